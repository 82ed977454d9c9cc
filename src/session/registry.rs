use std::fmt;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

use dashmap::DashMap;
use hashbrown::HashTable;

use crate::identity::{SessionKey, UserId, UserToken};
use crate::session::live::Session;
use crate::session::record::PackedRecord;

/// The sessions whose credential a client holds, ended ones too until they are purged. No lock of
/// one map is held while the other's is taken.
#[derive(Debug)]
pub(crate) struct SessionRegistry {
    by_key: DashMap<SessionKey, Arc<Session>, PassthroughHasher>,
    by_user: SessionIndex,
    /// A lookup table that ignores case names one token for several spellings of a user.
    by_token: SessionIndex,
}

/// Hashes nothing: a session's key is a hash already.
type PassthroughHasher = BuildHasherDefault<KeyHasher>;

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

impl SessionRegistry {
    pub(crate) fn new() -> Self {
        // Many shards: two requests then seldom want the same lock.
        Self {
            by_key: DashMap::with_hasher_and_shard_amount(PassthroughHasher::default(), 1024),
            by_user: SessionIndex::new(|record| record.user().as_bytes()),
            by_token: SessionIndex::new(PackedRecord::token_digest),
        }
    }

    /// Finds the session whose credential a request carries, and marks it as presented.
    pub(crate) fn present(&self, key: &SessionKey) -> Option<Arc<Session>> {
        let session = self.by_key.get(key).map(|session| session.clone())?;
        session.mark_presented();
        Some(session)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The sessions of this very user id.
    pub(crate) fn of_user(&self, user: &UserId) -> Vec<Arc<Session>> {
        self.by_user.find(user.as_str().as_bytes())
    }

    /// The sessions of this user id, and those of the user's token under any spelling of the id.
    pub(crate) fn of_user_and_token(
        &self,
        user: &UserId,
        token: Option<&UserToken>,
    ) -> Vec<Arc<Session>> {
        let mut sessions = self.of_user(user);
        if let Some(token) = token {
            let of_token = self.by_token.find(&PackedRecord::digest_of(token));
            sessions.extend(of_token.into_iter().filter(|other| other.user() != user.as_str()));
        }
        sessions
    }

    /// The sessions of the same token as this one, itself included.
    pub(crate) fn of_token_of(&self, session: &Session) -> Vec<Arc<Session>> {
        self.by_token.find(session.record.token_digest())
    }

    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.by_key.iter().map(|session| session.clone()).collect()
    }

    pub(crate) fn insert(&self, key: SessionKey, session: Arc<Session>) {
        self.by_user.insert(session.clone());
        self.by_token.insert(session.clone());
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
        for session in &swept {
            self.by_user.remove(session);
            self.by_token.remove(session);
        }
    }
}

/// The number of shards: each table is nearly full, and none grows again, at the default maximum of
/// 1,000,000 sessions.
const SHARD_COUNT: usize = 36;

/// An index of sessions by a key in their records: one pointer for each session.
struct SessionIndex {
    key: for<'a> fn(&'a PackedRecord) -> &'a [u8],
    hasher: RandomState,
    shards: [RwLock<HashTable<Arc<Session>>>; SHARD_COUNT],
}

impl SessionIndex {
    fn new(key: for<'a> fn(&'a PackedRecord) -> &'a [u8]) -> Self {
        Self {
            key,
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| RwLock::new(HashTable::new())),
        }
    }

    fn find(&self, key: &[u8]) -> Vec<Arc<Session>> {
        let hash = self.hasher.hash_one(key);
        let sessions = self.shard_for(hash).read().unwrap_or_else(PoisonError::into_inner);
        let found = sessions.iter_hash(hash).filter(|session| (self.key)(&session.record) == key);
        found.cloned().collect()
    }

    fn insert(&self, session: Arc<Session>) {
        let hash = self.hash(&session);
        let mut sessions = self.shard_for(hash).write().unwrap_or_else(PoisonError::into_inner);
        sessions.insert_unique(hash, session, |session| self.hash(session));
    }

    fn remove(&self, session: &Arc<Session>) {
        let hash = self.hash(session);
        let mut sessions = self.shard_for(hash).write().unwrap_or_else(PoisonError::into_inner);
        if let Ok(entry) = sessions.find_entry(hash, |other| Arc::ptr_eq(other, session)) {
            entry.remove();
        }
    }

    fn hash(&self, session: &Session) -> u64 {
        self.hasher.hash_one((self.key)(&session.record))
    }

    fn shard_for(&self, hash: u64) -> &RwLock<HashTable<Arc<Session>>> {
        // The table itself uses the other bits of the hash.
        &self.shards[(hash >> 20) as usize % SHARD_COUNT]
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap().len()).sum()
    }
}

impl fmt::Debug for SessionIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionIndex").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::SessionCredential;
    use crate::session::test_session::test_session;

    fn key(letter: u8) -> SessionKey {
        SessionCredential::parse(&[letter; 43]).unwrap().key()
    }

    #[test]
    fn users_of_swept_sessions_are_forgotten() {
        let sessions = SessionRegistry::new();
        let (alice, bob) = (UserId::from("alice"), UserId::from("bob"));
        for (user, letter) in [(&alice, b'A'), (&alice, b'Q'), (&bob, b'g')] {
            sessions.insert(key(letter), test_session(user, &UserToken::random().unwrap()));
        }
        assert_eq!((sessions.of_user(&alice).len(), sessions.of_user(&bob).len()), (2, 1));
        sessions.retain(|session| session.user() == bob.as_str());
        assert_eq!((sessions.of_user(&alice).len(), sessions.of_user(&bob).len()), (0, 1));
        assert_eq!((sessions.by_key.len(), sessions.by_user.len()), (1, 1));
        assert_eq!(sessions.by_token.len(), 1);
    }

    #[test]
    fn sessions_of_a_token_are_of_one_user() {
        let sessions = SessionRegistry::new();
        let [one, other] = [UserToken::random().unwrap(), UserToken::random().unwrap()];
        let [lower, upper, bob] = ["alice", "ALICE", "bob"].map(UserId::from);
        for (user, token, letter) in [
            (&lower, &one, b'A'),
            (&upper, &one, b'Q'),
            (&lower, &other, b'g'),
            (&bob, &other, b'w'),
        ] {
            sessions.insert(key(letter), test_session(user, token));
        }
        let count = |user, token| sessions.of_user_and_token(user, token).len();
        assert_eq!((count(&lower, None), count(&upper, None)), (2, 1));
        assert_eq!((count(&lower, Some(&one)), count(&upper, Some(&one))), (3, 2), "each once");
        assert_eq!(count(&UserId::from("Alice"), Some(&one)), 2);
    }
}
