//! How the engine waits for the token store on behalf of a caller whose runtime may be another.

use std::time::Duration;

use crate::engine::state::Engine;
use crate::identity::{UserId, UserToken};
use crate::runtime::{self, NoResult};
use crate::store::StoreError;

/// The longest that a caller's operation waits for the token store.
pub(super) const TOKEN_STORE_TIMEOUT: Duration = Duration::from_secs(5);

impl Engine {
    /// Reads the user's token, within 5 s.
    pub(super) async fn find_token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        self.call_store(|| {
            let (store, user) = (self.store.clone(), user.clone());
            async move { store.token(&user).await }
        })
        .await
    }

    /// Waits for a call to the token store, within 5 s.
    pub(super) async fn call_store<T: Send + 'static, F>(
        &self,
        call: impl Fn() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let (runtime, limit) = (self.tasks.runtime(), TOKEN_STORE_TIMEOUT);
        let future = call();
        // The timer is the engine's: the caller's runtime may have none.
        let future = async move { tokio::time::timeout(limit, future).await.ok() };
        let result = match runtime::run_on(runtime, limit, future).await {
            Ok(result) => result,
            Err(NoResult::TimedOut) => None,
            // The engine's runtime is gone.
            Err(NoResult::Lost) => runtime::within(runtime, limit, call()).await,
        };
        result.unwrap_or_else(|| Err(StoreError::timed_out()))
    }
}
