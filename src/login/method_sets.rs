use std::sync::{Mutex, PoisonError};

use crate::protocol::AuthMethods;

/// The sets of methods that the layers of an engine require. A confirmation uses one of these and
/// no other, whatever its request names.
#[derive(Debug, Default)]
pub(crate) struct RequiredMethodSets(Mutex<Vec<AuthMethods>>);

impl RequiredMethodSets {
    /// A layer requires this set.
    pub(crate) fn add(&self, methods: AuthMethods) {
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !methods.is_empty() && !sets.contains(&methods) {
            sets.push(methods);
        }
    }

    pub(crate) fn contains(&self, methods: AuthMethods) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&methods)
    }
}
