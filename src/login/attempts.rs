//! All attempts of an engine.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dashmap::DashMap;

use crate::identity::{AttemptCredential, AttemptKey};
use crate::login::attempt::Attempt;
use crate::login::username::LoginKey;

/// All attempts, by the key of their credential and by the name that they reserve.
#[derive(Debug)]
pub(crate) struct Attempts {
    pub(crate) by_key: DashMap<AttemptKey, Arc<Attempt>>,
    /// The attempt that reserves a name until its deadline, whatever its result: other anonymous
    /// browsers are rejected until then. An attempt that supersedes it leaves the reservation, so
    /// that its browser and others see the same as for a name that does not exist.
    pub(crate) reservations: DashMap<LoginKey, Arc<Attempt>>,
}

/// An attempt, and the secret that names it, from which its session's credential is derived.
#[derive(Clone, Debug)]
pub(crate) struct NamedAttempt {
    pub(crate) credential: AttemptCredential,
    pub(crate) attempt: Arc<Attempt>,
}

impl Attempts {
    pub(crate) fn new() -> Self {
        Self { by_key: DashMap::new(), reservations: DashMap::new() }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Attempt>> {
        self.by_key.iter().map(|attempt| attempt.clone()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn find(&self, credential: &AttemptCredential) -> Option<Arc<Attempt>> {
        self.by_key.get(&credential.key()).map(|attempt| attempt.clone())
    }

    /// The attempt whose credential a request carries, with that credential.
    pub(crate) fn find_named(&self, credential: AttemptCredential) -> Option<NamedAttempt> {
        let attempt = self.find(&credential)?;
        Some(NamedAttempt { credential, attempt })
    }

    /// Removes an attempt for which no browser asks any more.
    pub(crate) fn evict(&self, attempt: &Arc<Attempt>) {
        self.by_key.remove(&attempt.key);
        attempt.evicted.store(true, Ordering::Release);
        attempt.watchers.wake();
    }

    /// Whether the attempt is the one that reserves its name.
    pub(crate) fn reserves_username(&self, attempt: &Arc<Attempt>) -> bool {
        let holder = self.reservations.get(&attempt.name);
        holder.is_some_and(|holder| Arc::ptr_eq(&holder, attempt))
    }

    /// Releases the name for the next attempt.
    pub(crate) fn release_username(&self, attempt: &Arc<Attempt>) {
        self.reservations.remove_if(&attempt.name, |_, holder| Arc::ptr_eq(holder, attempt));
    }
}
