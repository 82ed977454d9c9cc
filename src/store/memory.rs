use std::fmt;

use dashmap::DashMap;

use super::{StoreError, TokenStore};
use crate::identity::{UserId, UserToken};

/// A lookup table in memory, for tests and examples: enrollments are lost with the process.
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
pub struct MemoryTokenStore {
    tokens: DashMap<UserId, UserToken>,
    browser_epochs: DashMap<UserId, u64>,
}

impl MemoryTokenStore {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl fmt::Debug for MemoryTokenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTokenStore").field("users", &self.tokens.len()).finish()
    }
}

impl TokenStore for MemoryTokenStore {
    async fn token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        Ok(self.tokens.get(user).map(|token| token.clone()))
    }

    async fn assign(&self, user: &UserId, token: &UserToken) -> Result<UserToken, StoreError> {
        Ok(self.tokens.entry(user.clone()).or_insert_with(|| token.clone()).clone())
    }

    async fn remove(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        Ok(self.tokens.remove(user).map(|(_, token)| token))
    }

    async fn browser_epoch(&self, user: &UserId) -> Result<Option<u64>, StoreError> {
        Ok(self.browser_epochs.get(user).map(|epoch| *epoch))
    }

    async fn set_browser_epoch(&self, user: &UserId, epoch: u64) -> Result<(), StoreError> {
        let mut stored = self.browser_epochs.entry(user.clone()).or_default();
        *stored = epoch.max(*stored);
        Ok(())
    }
}
