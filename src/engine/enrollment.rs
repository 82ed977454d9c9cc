use std::future::Future;
use std::sync::Arc;

use crate::client::{ClientError, ClientErrorKind};
use crate::engine::{Activeconnect, Engine};
use crate::enrollment::enrollment_error::{EnrollNewError, EnrollmentError};
use crate::identity::{UserId, UserToken};

/// How many users one call enrolls.
const BATCH_SIZE: usize = 100;

impl Activeconnect {
    /// Enrolls a user whose row in the users table exists: registers a new random token at the
    /// service and stores it in the token store. A user who has a token keeps it, and it is
    /// registered again, in case an interrupted enrollment left it unknown at the service.
    ///
    /// # Errors
    ///
    /// When the store or the service fails. A new token is then deleted at the service, also when
    /// the future is dropped before the token is assigned.
    pub async fn enroll(&self, user: &UserId) -> Result<(), EnrollmentError> {
        if let Some(token) = self.engine().store.token(user).await? {
            self.engine().client.add_users(&[token]).await?;
            return Ok(());
        }
        let (token, mut unused) = self.register_token().await?;
        self.assign(user, &token, &mut unused).await
    }

    /// Enrolls a user who does not exist yet: registers a token at the service, runs `insert`,
    /// which makes the application's row and returns the new user's id, and stores the token. If
    /// either fails, the token is deleted at the service; a row that `insert` made stays, and
    /// [`Activeconnect::enroll`] completes it.
    ///
    /// # Errors
    ///
    /// When the service, `insert` or the store fails. `insert` runs only after the service accepted
    /// the token.
    ///
    /// Dropping the future deletes the token at the service unless it is assigned; a row that
    /// `insert` made stays.
    pub async fn enroll_new<F, E>(
        &self,
        insert: impl FnOnce() -> F + Send,
    ) -> Result<UserId, EnrollNewError<E>>
    where
        F: Future<Output = Result<UserId, E>> + Send,
    {
        let (token, mut unused) = self.register_token().await?;
        match insert().await {
            Ok(user) => {
                self.assign(&user, &token, &mut unused).await?;
                Ok(user)
            }
            Err(error) => {
                unused.delete().await;
                Err(EnrollNewError::Application(error))
            }
        }
    }

    /// Whether the user has registered a phone.
    ///
    /// # Errors
    ///
    /// When the user is not enrolled, or the store or the service fails.
    pub async fn has_device(&self, user: &UserId) -> Result<bool, EnrollmentError> {
        let token = self.token(user).await?;
        Ok(self.engine().client.has_registered_mobile_device(&token).await?)
    }

    /// Reverts the enrollment: deletes the token at the service and in the store, withdraws the
    /// user's grant, [forgets](Activeconnect::forget_browsers) the user's browsers, and ends the
    /// user's sessions. A user without a token stays without one.
    ///
    /// # Errors
    ///
    /// When the store or the service fails; call it again then. The sessions of this very id have
    /// ended even then. The store drops the token only after the service has deleted it, so that no
    /// token stays behind at the service.
    ///
    /// For a handler behind the gate: [`ActiveSession::unenroll`](crate::engine::active_session::ActiveSession::unenroll).
    pub async fn unenroll(&self, user: &UserId) -> Result<(), EnrollmentError> {
        self.engine().unenroll(user).await
    }

    /// Enrolls an existing user base, with one call to the service for a hundred users. `progress`
    /// is called for each user, in the given order, with the result.
    ///
    /// Resumable: users who have a token keep it, so an interrupted run is repeated with the same
    /// users. It repairs: a token that the service does not know is registered there again.
    ///
    /// # Errors
    ///
    /// When the service fails: `progress` was not called for the users of that call, nor for any
    /// after them; those without a token have none yet.
    ///
    /// Dropping the future stops it; tokens that are not assigned yet are deleted at the service.
    pub async fn enroll_many(
        &self,
        users: impl IntoIterator<Item = UserId>,
        mut progress: impl FnMut(&UserId, Result<(), &EnrollmentError>),
    ) -> Result<(), EnrollmentError> {
        let mut users = users.into_iter();
        loop {
            let batch: Vec<UserId> = users.by_ref().take(BATCH_SIZE).collect();
            if batch.is_empty() {
                return Ok(());
            }
            let mut rows = Vec::new();
            let mut unused = PendingTokens::new(self.engine());
            for user in batch {
                let row = match self.engine().store.token(&user).await {
                    Ok(Some(token)) => Ok(UserRow::Existing(token)),
                    Ok(None) => unused.generate().map(UserRow::New),
                    Err(error) => Err(error.into()),
                };
                rows.push((user, row));
            }
            // Existing tokens too: the service may not know them.
            let tokens: Vec<UserToken> = rows
                .iter()
                .filter_map(|(_, row)| row.as_ref().ok())
                .map(|(UserRow::Existing(token) | UserRow::New(token))| token.clone())
                .collect();
            if !tokens.is_empty()
                && let Err(error) = self.engine().client.add_users(&tokens).await
            {
                // Whether the service knows them now is uncertain; no user gets them.
                unused.delete().await;
                return Err(error.into());
            }
            for (user, row) in rows {
                let enrolled = match row {
                    Ok(UserRow::Existing(_)) => Ok(()),
                    Ok(UserRow::New(token)) => self.assign(&user, &token, &mut unused).await,
                    Err(error) => Err(error),
                };
                progress(&user, enrolled.as_ref().copied());
            }
        }
    }

    pub(super) async fn token(&self, user: &UserId) -> Result<UserToken, EnrollmentError> {
        self.engine().store.token(user).await?.ok_or(EnrollmentError::NotEnrolled)
    }

    /// Registers a new token at the service; it is pending until it is assigned.
    async fn register_token(&self) -> Result<(UserToken, PendingTokens), EnrollmentError> {
        let mut unused = PendingTokens::new(self.engine());
        let token = unused.generate()?;
        if let Err(error) = self.engine().client.add_users(std::slice::from_ref(&token)).await {
            unused.delete().await;
            return Err(error.into());
        }
        Ok((token, unused))
    }

    /// Assigns this token to a user who has none yet.
    async fn assign(
        &self,
        user: &UserId,
        token: &UserToken,
        unused: &mut PendingTokens,
    ) -> Result<(), EnrollmentError> {
        let assigned = self.engine().store.assign(user, token).await;
        if !assigned.as_ref().is_ok_and(|winner| winner == token) {
            // Another call was faster, or the store failed: no user gets this token.
            self.engine().delete_tokens(std::slice::from_ref(token)).await;
        }
        unused.tokens.retain(|other| other != token);
        assigned?;
        Ok(())
    }
}

/// A user of `enroll_many`: with an existing or a new token.
enum UserRow {
    Existing(UserToken),
    New(UserToken),
}

/// New tokens that the service may know and no user has. Dropping it deletes the remaining ones at
/// the service.
struct PendingTokens {
    engine: Arc<Engine>,
    tokens: Vec<UserToken>,
}

impl PendingTokens {
    fn new(engine: &Arc<Engine>) -> Self {
        Self { engine: engine.clone(), tokens: Vec::new() }
    }

    fn generate(&mut self) -> Result<UserToken, EnrollmentError> {
        let token = UserToken::random().map_err(|_| EnrollmentError::Rng)?;
        self.tokens.push(token.clone());
        Ok(token)
    }

    async fn delete(mut self) {
        self.engine.delete_tokens(&self.tokens).await;
        self.tokens.clear();
    }
}

impl Drop for PendingTokens {
    fn drop(&mut self) {
        let tokens = std::mem::take(&mut self.tokens);
        if !tokens.is_empty() {
            let engine = self.engine.clone();
            let delete = async move { engine.delete_tokens(&tokens).await };
            self.engine.tasks.spawn_awaited(delete);
        }
    }
}

impl Engine {
    /// As [`Activeconnect::unenroll`].
    pub(super) async fn unenroll(self: &Arc<Self>, user: &UserId) -> Result<(), EnrollmentError> {
        self.enrollment.grants.withdraw(user);
        let forgotten = self.forget_browsers(user).await;
        let token = self.find_token(user).await;
        let known_token = token.as_ref().ok().and_then(Option::as_ref);
        let removed = self.remove_token(user, known_token).await;
        // Even after a failure.
        self.first_tries(self.end_sessions_here(user, known_token, None)).await;
        removed?;
        forgotten.and(token)?;
        Ok(())
    }

    async fn remove_token(
        self: &Arc<Self>,
        user: &UserId,
        token: Option<&UserToken>,
    ) -> Result<(), EnrollmentError> {
        if let Some(token) = token {
            self.delete_remote_user(token).await?;
            let remove = || {
                let (store, user) = (self.store.clone(), user.clone());
                async move { store.remove(&user).await }
            };
            self.call_store(remove).await?;
        }
        Ok(())
    }

    /// Deletes a user at the service; succeeds if the user is gone already.
    async fn delete_remote_user(&self, token: &UserToken) -> Result<(), ClientError> {
        let deleted = self.client.delete_users(std::slice::from_ref(token)).await;
        if !deleted.as_ref().is_err_and(|error| error.kind() == ClientErrorKind::Rejected) {
            return deleted;
        }
        match self.client.has_registered_mobile_device(token).await {
            Err(error) if error.kind() == ClientErrorKind::UnknownUser => Ok(()),
            _ => deleted,
        }
    }

    async fn delete_tokens(&self, tokens: &[UserToken]) {
        if let Err(error) = self.client.delete_users(tokens).await {
            tracing::warn!(?error, "unused tokens stay registered at the service");
        }
    }
}
