use std::fmt;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

use dashmap::DashMap;
use hashbrown::HashTable;

use super::session::Session;
use crate::identity::{SessionKey, UserId};

/// The sessions whose credential a browser or caller holds, ended ones too until they are swept
/// out. No lock of one map is held while the other's is taken.
#[derive(Debug)]
pub(crate) struct Sessions {
    by_key: DashMap<SessionKey, Arc<Session>, AsItIs>,
    by_user: ByUser,
}

/// Hashes nothing: a session's key is a hash already.
type AsItIs = BuildHasherDefault<KeyHasher>;

#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write_u64(&mut self, part_of_key: u64) {
        self.0 = part_of_key;
    }

    fn write(&mut self, bytes: &[u8]) {
        unreachable!("a session's key is written as one number, not as {} bytes", bytes.len());
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Sessions {
    pub(crate) fn new() -> Self {
        // Many shards: two requests then seldom want the same lock.
        Self {
            by_key: DashMap::with_hasher_and_shard_amount(AsItIs::default(), 1024),
            by_user: ByUser::new(),
        }
    }

    /// The session whose credential a request carries, which is presented by that.
    pub(crate) fn present(&self, key: &SessionKey) -> Option<Arc<Session>> {
        let session = self.by_key.get(key).map(|session| session.clone())?;
        session.mark_presented();
        Some(session)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn of_user(&self, user: &UserId) -> Vec<Arc<Session>> {
        self.by_user.find(user.as_str())
    }

    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.by_key.iter().map(|session| session.clone()).collect()
    }

    pub(crate) fn insert(&self, key: SessionKey, session: Arc<Session>) {
        self.by_user.insert(session.clone());
        self.by_key.insert(key, session);
    }

    pub(crate) fn retain(&self, mut keep: impl FnMut(&Arc<Session>) -> bool) {
        let mut swept = Vec::new();
        self.by_key.retain(|_, session| {
            let keeps = keep(session);
            if !keeps {
                swept.push(session.clone());
            }
            keeps
        });
        swept.iter().for_each(|session| self.by_user.remove(session));
    }
}

/// The sessions of each user: one pointer for each, found by the user's name that is in it.
struct ByUser {
    hasher: RandomState,
    shards: [RwLock<HashTable<Arc<Session>>>; 64],
}

impl ByUser {
    fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| RwLock::new(HashTable::new())),
        }
    }

    fn find(&self, user: &str) -> Vec<Arc<Session>> {
        let (hash, shard) = self.place(user);
        let sessions = shard.read().unwrap_or_else(PoisonError::into_inner);
        sessions.iter_hash(hash).filter(|session| session.user() == user).cloned().collect()
    }

    fn insert(&self, session: Arc<Session>) {
        let (hash, shard) = self.place(session.user());
        let mut sessions = shard.write().unwrap_or_else(PoisonError::into_inner);
        sessions.insert_unique(hash, session, |session| self.hasher.hash_one(session.user()));
    }

    fn remove(&self, session: &Arc<Session>) {
        let (hash, shard) = self.place(session.user());
        let mut sessions = shard.write().unwrap_or_else(PoisonError::into_inner);
        if let Ok(entry) = sessions.find_entry(hash, |other| Arc::ptr_eq(other, session)) {
            entry.remove();
        }
    }

    fn place(&self, user: &str) -> (u64, &RwLock<HashTable<Arc<Session>>>) {
        let hash = self.hasher.hash_one(user);
        // The table uses the other bits.
        (hash, &self.shards[hash as usize >> 20 & 63])
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap().len()).sum()
    }
}

impl fmt::Debug for ByUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByUser").finish_non_exhaustive()
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
        for (user, letter) in [(&alice, b'A'), (&alice, b'Q'), (&bob, b'g')] {
            let key = SessionCredential::parse(&[letter; 43]).unwrap().key();
            sessions.insert(key, session_of(user));
        }
        assert_eq!((sessions.of_user(&alice).len(), sessions.of_user(&bob).len()), (2, 1));
        sessions.retain(|session| session.user() == bob.as_str());
        assert_eq!((sessions.of_user(&alice).len(), sessions.of_user(&bob).len()), (0, 1));
        assert_eq!((sessions.by_key.len(), sessions.by_user.len()), (1, 1));
    }
}
