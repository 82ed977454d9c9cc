use std::sync::Arc;

use dashmap::DashMap;

use super::session::Session;
use crate::identity::SessionKey;

/// The sessions whose credential a browser or caller holds, ended ones too until they are swept
/// out.
#[derive(Debug)]
pub(crate) struct Sessions(DashMap<SessionKey, Arc<Session>>);

impl Sessions {
    pub(crate) fn new() -> Self {
        // Many shards: two requests then seldom want the same lock.
        Self(DashMap::with_shard_amount(1024))
    }

    pub(crate) fn find(&self, key: &SessionKey) -> Option<Arc<Session>> {
        self.0.get(key).map(|session| session.clone())
    }

    pub(crate) fn insert(&self, key: SessionKey, session: Arc<Session>) {
        self.0.insert(key, session);
    }

    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.0.iter().map(|session| session.clone()).collect()
    }

    pub(crate) fn retain(&self, mut keep: impl FnMut(&Arc<Session>) -> bool) {
        self.0.retain(|_, session| keep(session));
    }
}
