//! How known browsers lose their privilege.

use std::sync::Arc;

use crate::engine::{Activeconnect, Engine};
use crate::identity::{UserId, UserToken};
use crate::store::{StoreError, StoreErrorKind};

impl Activeconnect {
    /// Forgets in which browsers the user has logged in: each counts as unknown until the next
    /// login in it. It loses its own login limits and no longer supersedes others. The response to
    /// a login that it starts is the same as before; after a login of that user was approved, a
    /// start there sends no push until the [deadline](crate::ActiveconnectBuilder::login_timeout)
    /// of that login. [`lost_device`](Activeconnect::lost_device) and
    /// [`unenroll`](Activeconnect::unenroll) do this too. Sessions go on; a pending login of such a
    /// browser is cancelled.
    ///
    /// The token store keeps it, if it implements
    /// [`TokenStore::set_browser_epoch`](crate::TokenStore::set_browser_epoch). Otherwise this
    /// process keeps it in memory, and forgotten browsers are known again after a restart.
    ///
    /// # Errors
    ///
    /// When the token store fails, or takes longer than 5 s. This process has forgotten the
    /// browsers even then.
    pub async fn forget_browsers(&self, user: &UserId) -> Result<(), StoreError> {
        self.engine().forget_browsers(user).await
    }
}

impl Engine {
    /// As [`Activeconnect::forget_browsers`].
    pub(super) async fn forget_browsers(self: &Arc<Self>, user: &UserId) -> Result<(), StoreError> {
        let token = self.find_token(user).await;
        let known_token = token.as_ref().ok().and_then(Option::as_ref);
        let raised = self.raise_browser_epoch(user, known_token).await;
        // The push on the phone may be that of a browser that is to be forgotten.
        self.cancel_attempts_of_known_browsers(user, known_token);
        match raised {
            // The process keeps the epoch, by the token too if that is known.
            Err(error) if error.kind() == StoreErrorKind::ReadOnly => token.map(drop),
            raised => raised,
        }
    }

    /// The epoch of this user: proofs of an earlier epoch are revoked.
    pub(super) async fn browser_epoch(
        &self,
        user: &UserId,
        token: &UserToken,
    ) -> Result<u64, StoreError> {
        let stored = self.store.browser_epoch(user).await?.unwrap_or(0);
        Ok(stored.max(self.login.browser_epochs.of(user, Some(token))))
    }

    /// Revokes all present proofs of this user and of the user's token. This process does so even
    /// if the store fails.
    async fn raise_browser_epoch(
        self: &Arc<Self>,
        user: &UserId,
        token: Option<&UserToken>,
    ) -> Result<(), StoreError> {
        let known = self.login.browser_epochs.of(user, token);
        let keep = || {
            let (engine, id) = (self.clone(), user.clone());
            async move {
                let stored = engine.store.browser_epoch(&id).await?.unwrap_or(0);
                let epoch = engine.browser_epoch_after(stored.max(known));
                engine.store.set_browser_epoch(&id, epoch).await.map(|()| epoch)
            }
        };
        let stored = self.call_store(keep).await;
        // Also if the store keeps it: a login may have read the store before, and get its result
        // after this.
        let epoch = stored.as_ref().copied().unwrap_or_else(|_| self.browser_epoch_after(known));
        self.login.browser_epochs.raise(user, token, epoch);
        stored.map(drop)
    }

    /// The present time is later than any epoch that a process kept in its memory and lost.
    fn browser_epoch_after(&self, known: u64) -> u64 {
        self.now().wall.as_millis().max(known.saturating_add(1))
    }
}
