use std::fmt;

use dashmap::DashMap;

use super::{StoreError, TokenStore};
use crate::identity::{UserId, UserToken};

/// A lookup table in memory, for tests and examples: enrolments are gone with the process.
///
/// ```
/// use tower_activeconnect::{MemoryTokenStore, TokenStore, UserId, UserToken};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryTokenStore::new();
/// let (alice, first, second) = (UserId::from("alice"), UserToken::random()?, UserToken::random()?);
/// assert_eq!(store.assign(&alice, &first).await?, first);
/// assert_eq!(store.assign(&alice, &second).await?, first);
/// assert_eq!(store.token(&alice).await?, Some(first));
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct MemoryTokenStore(DashMap<UserId, UserToken>);

impl MemoryTokenStore {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl fmt::Debug for MemoryTokenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTokenStore").field("users", &self.0.len()).finish()
    }
}

impl TokenStore for MemoryTokenStore {
    async fn token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        Ok(self.0.get(user).map(|token| token.clone()))
    }

    async fn assign(&self, user: &UserId, token: &UserToken) -> Result<UserToken, StoreError> {
        Ok(self.0.entry(user.clone()).or_insert_with(|| token.clone()).clone())
    }

    async fn remove(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        Ok(self.0.remove(user).map(|(_, token)| token))
    }
}
