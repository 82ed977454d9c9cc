use std::error::Error;
use std::fmt;
use std::future::Future;

use super::Activeconnect;
use crate::Secret;
use crate::client::ClientError;
use crate::identity::{UserId, UserToken};
use crate::store::StoreError;

/// Why an enrolment call failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum EnrolmentError {
    /// The user has no token; enrol them first.
    NotEnrolled,
    /// The token store failed.
    Store(StoreError),
    /// The service did not do its part.
    Service(ClientError),
    /// The application's own part, given to `enroll_new`, failed.
    Application(Box<dyn Error + Send + Sync>),
    /// The operating system has no randomness to give.
    NoRandomness,
}

impl fmt::Display for EnrolmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEnrolled => f.write_str("the user is not enrolled; call enroll first"),
            Self::Store(error) => error.fmt(f),
            Self::Service(error) => error.fmt(f),
            Self::Application(error) => error.fmt(f),
            Self::NoRandomness => f.write_str("the operating system has no randomness to give"),
        }
    }
}

impl Error for EnrolmentError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            Self::Service(error) => Some(error),
            Self::Application(error) => Some(error.as_ref()),
            Self::NotEnrolled | Self::NoRandomness => None,
        }
    }
}

impl From<StoreError> for EnrolmentError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ClientError> for EnrolmentError {
    fn from(error: ClientError) -> Self {
        Self::Service(error)
    }
}

impl Activeconnect {
    /// Enrols a user whose row in the users table exists: a new random token is registered at the
    /// service and kept in the token store. A user who has a token keeps it.
    ///
    /// # Errors
    ///
    /// When the store or the service fails; the token is then deleted at the service again.
    pub async fn enroll(&self, user: &UserId) -> Result<(), EnrolmentError> {
        if self.engine().store.token(user).await?.is_some() {
            return Ok(());
        }
        let token = self.register_token().await?;
        self.assign(user, &token).await
    }

    /// Enrols a user who does not exist yet: registers a token at the service, runs `insert`,
    /// which makes the application's row and returns the new user's id, and stores the token. If
    /// either fails the token is deleted at the service; a row that `insert` made stays, and
    /// [`Activeconnect::enroll`] completes it.
    ///
    /// # Errors
    ///
    /// When the service, `insert` or the store fails. `insert` does not run unless the service
    /// took the token.
    pub async fn enroll_new<F, E>(
        &self,
        insert: impl FnOnce() -> F + Send,
    ) -> Result<UserId, EnrolmentError>
    where
        F: Future<Output = Result<UserId, E>> + Send,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let token = self.register_token().await?;
        match insert().await {
            Ok(user) => {
                self.assign(&user, &token).await?;
                Ok(user)
            }
            Err(error) => {
                self.delete_token(&token).await;
                Err(EnrolmentError::Application(error.into()))
            }
        }
    }

    /// A link that makes the phone that opens it the user's. A secret: show it to nobody but that
    /// user.
    ///
    /// # Errors
    ///
    /// When the user is not enrolled, or the store or the service fails.
    pub async fn registration_link(&self, user: &UserId) -> Result<Secret, EnrolmentError> {
        let token = self.token(user).await?;
        Ok(self.engine().client.device_registration_link(&token, Some(user.as_str())).await?)
    }

    /// Whether the user has registered a phone.
    ///
    /// # Errors
    ///
    /// When the user is not enrolled, or the store or the service fails.
    pub async fn has_device(&self, user: &UserId) -> Result<bool, EnrolmentError> {
        let token = self.token(user).await?;
        Ok(self.engine().client.has_registered_mobile_device(&token).await?)
    }

    async fn token(&self, user: &UserId) -> Result<UserToken, EnrolmentError> {
        self.engine().store.token(user).await?.ok_or(EnrolmentError::NotEnrolled)
    }

    async fn register_token(&self) -> Result<UserToken, EnrolmentError> {
        let token = UserToken::random().map_err(|_| EnrolmentError::NoRandomness)?;
        self.engine().client.add_users(std::slice::from_ref(&token)).await?;
        Ok(token)
    }

    async fn assign(&self, user: &UserId, token: &UserToken) -> Result<(), EnrolmentError> {
        let assigned = self.engine().store.assign(user, token).await;
        if !assigned.as_ref().is_ok_and(|winner| winner == token) {
            // Somebody else was faster, or nothing was stored: nobody will use this one.
            self.delete_token(token).await;
        }
        assigned?;
        Ok(())
    }

    async fn delete_token(&self, token: &UserToken) {
        if let Err(error) = self.engine().client.delete_users(std::slice::from_ref(token)).await {
            tracing::warn!(%error, "an unused token stays registered at the service");
        }
    }
}
