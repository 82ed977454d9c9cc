use std::sync::Arc;

use dashmap::DashMap;

use super::session::Session;
use crate::identity::{SessionKey, UserId};

/// The sessions whose credential a browser or caller holds, ended ones too until they are swept
/// out. No lock of one map is held while the other's is taken.
#[derive(Debug)]
pub(crate) struct Sessions {
    by_key: DashMap<SessionKey, Arc<Session>>,
    by_user: DashMap<UserId, Vec<SessionKey>>,
}

impl Sessions {
    pub(crate) fn new() -> Self {
        // Many shards: two requests then seldom want the same lock.
        Self { by_key: DashMap::with_shard_amount(1024), by_user: DashMap::new() }
    }

    pub(crate) fn find(&self, key: &SessionKey) -> Option<Arc<Session>> {
        self.by_key.get(key).map(|session| session.clone())
    }

    pub(crate) fn of_user(&self, user: &UserId) -> Vec<Arc<Session>> {
        let keys = self.by_user.get(user).map(|keys| keys.clone()).unwrap_or_default();
        keys.iter().filter_map(|key| self.find(key)).collect()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.by_key.iter().map(|session| session.clone()).collect()
    }

    pub(crate) fn insert(&self, key: SessionKey, session: Arc<Session>) {
        let user = session.user.clone();
        self.by_key.insert(key, session);
        self.by_user.entry(user).or_default().push(key);
    }

    pub(crate) fn retain(&self, mut keep: impl FnMut(&Arc<Session>) -> bool) {
        let mut swept = Vec::new();
        self.by_key.retain(|key, session| {
            let keeps = keep(session);
            if !keeps {
                swept.push((*key, session.user.clone()));
            }
            keeps
        });
        for (key, user) in swept {
            if let Some(mut keys) = self.by_user.get_mut(&user) {
                keys.retain(|other| *other != key);
            }
            self.by_user.remove_if(&user, |_, keys| keys.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::session::tests::session_of;
    use crate::identity::SessionCredential;

    #[test]
    fn the_users_of_swept_sessions_are_forgotten() {
        let sessions = Sessions::new();
        let (alice, bob) = (UserId::from("alice"), UserId::from("bob"));
        for user in [&alice, &alice, &bob] {
            let key = SessionCredential::random().unwrap().key();
            sessions.insert(key, session_of(user));
        }
        assert_eq!((sessions.of_user(&alice).len(), sessions.of_user(&bob).len()), (2, 1));
        sessions.retain(|session| session.user == bob);
        assert_eq!((sessions.of_user(&alice).len(), sessions.of_user(&bob).len()), (0, 1));
        assert_eq!((sessions.by_key.len(), sessions.by_user.len()), (1, 1));
    }
}
