//! How browsers that logged in before lose their privilege.

use std::sync::Arc;

use crate::engine::{Activeconnect, Engine};
use crate::identity::{UserId, UserToken};
use crate::store::{StoreError, StoreErrorKind};

impl Activeconnect {
    /// Forgets in which browsers the user has logged in: each counts as any other until the next
    /// login there. It has no limit of its own for logins any more, and does not go before others.
    /// What such a browser is told when it starts a login is the same as before. So a start there
    /// rings no phone until the [deadline](crate::ActiveconnectBuilder::login_timeout) of a login of that user
    /// that has just been approved.
    /// [`lost_device`](Activeconnect::lost_device) and [`unenroll`](Activeconnect::unenroll) do this
    /// too. Sessions go on; a login that such a browser has begun is withdrawn from the phone.
    ///
    /// The token store keeps it, if it implements
    /// [`TokenStore::set_browser_epoch`](crate::TokenStore::set_browser_epoch). Otherwise it is kept
    /// in this process's memory, and is lost with the process: browsers that were forgotten are then
    /// known again.
    ///
    /// # Errors
    ///
    /// When the token store fails, or takes longer than 5 s. This process has forgotten the browsers
    /// all the same.
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
        // A request on the phone may be that of a browser that is to be forgotten.
        self.cancel_attempts_of_known_browsers(user, known_token);
        match raised {
            // The process keeps the epoch, and by the token too if that is known.
            Err(error) if error.kind() == StoreErrorKind::ReadOnly => token.map(drop),
            raised => raised,
        }
    }

    /// The epoch of this user: proofs of an earlier one are revoked.
    pub(super) async fn browser_epoch(
        &self,
        user: &UserId,
        token: &UserToken,
    ) -> Result<u64, StoreError> {
        let stored = self.store.browser_epoch(user).await?.unwrap_or(0);
        Ok(stored.max(self.login.browser_epochs.of(user, Some(token))))
    }

    /// Revokes all proofs of this user, and of this token, which is the user's, that were made until
    /// now. This process does so even if the store fails.
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
        let kept = self.call_store(keep).await;
        // Also where the store keeps it: a login may have asked the store before, and be answered
        // after this.
        let epoch = kept.as_ref().copied().unwrap_or_else(|_| self.browser_epoch_after(known));
        self.login.browser_epochs.raise(user, token, epoch);
        kept.map(drop)
    }

    /// The time is later than any epoch that a process kept in its memory and lost.
    fn browser_epoch_after(&self, known: u64) -> u64 {
        self.now().wall.max(known.saturating_add(1))
    }
}
