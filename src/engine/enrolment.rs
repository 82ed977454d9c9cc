use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::Activeconnect;
use super::budget::{Budget, Rate};
use crate::Secret;
use crate::client::{ClientError, ClientErrorKind};
use crate::identity::{UserId, UserToken};
use crate::store::StoreError;

/// How many users are enrolled by one call.
const BATCH: usize = 100;

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
    /// Too many text messages: to this user, to this number, or in all. Try again after this time.
    TooManyMessages(Duration),
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
            Self::TooManyMessages(after) => {
                write!(f, "too many text messages; try again in {} s", after.as_secs().max(1))
            }
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
            Self::NotEnrolled | Self::TooManyMessages(_) | Self::NoRandomness => None,
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
                self.delete_tokens(std::slice::from_ref(&token)).await;
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

    /// The user has lost their phone: every session of theirs ends, the phone is disabled at the
    /// service, and a link for the next phone is given, a secret as that of
    /// [`Activeconnect::registration_link`].
    ///
    /// # Errors
    ///
    /// When the user is not enrolled, or the store or the service fails. The sessions are over here
    /// all the same, for whoever has the phone may have them.
    pub async fn lost_device(&self, user: &UserId) -> Result<Secret, EnrolmentError> {
        self.end_all(user).await;
        let token = self.token(user).await?;
        Ok(self.engine().client.lost_user_mobile_device(&token).await?)
    }

    /// Has the service send the registration link by text message. The number is the one that the
    /// application knows to be the user's (`+` and the country code first), never one that a
    /// browser sends: whoever opens the link becomes the user. The link is appended to `message`.
    ///
    /// At most 3 an hour to one user, 3 an hour to one number, and 100 an hour in all.
    ///
    /// # Errors
    ///
    /// When there were too many, the user is not enrolled, or the store or the service fails.
    pub async fn send_registration_sms(
        &self,
        user: &UserId,
        phone_number: &str,
        message: Option<&str>,
    ) -> Result<(), EnrolmentError> {
        let token = self.token(user).await?;
        let engine = self.engine();
        let spent = engine.messages().spend(user, phone_number, engine.now().mono);
        spent.map_err(EnrolmentError::TooManyMessages)?;
        let display_name = Some(user.as_str());
        Ok(engine.client.send_registration_sms(&token, phone_number, display_name, message).await?)
    }

    /// Ends what enrolment began: the token is deleted at the service and in the store, and the
    /// user's sessions end. A user without a token stays without one.
    ///
    /// # Errors
    ///
    /// When the store or the service fails; call it again then. Nothing is removed from the store
    /// before the service has deleted the token, so that no token is forgotten there.
    pub async fn unenroll(&self, user: &UserId) -> Result<(), EnrolmentError> {
        if let Some(token) = self.engine().store.token(user).await? {
            self.delete_there(&token).await?;
            self.engine().store.remove(user).await?;
        }
        self.end_all(user).await;
        Ok(())
    }

    /// Enrols an existing user base, a hundred users a call to the service. `progress` hears of
    /// each user who has a token now, and of those who could not get one; it is called in order.
    ///
    /// Resumable: users who have a token keep it, so what was interrupted is begun again with the
    /// same users. Dropping the future stops after what is on its way.
    ///
    /// # Errors
    ///
    /// When the service fails: the users of that call, and all after them, are not enrolled yet.
    pub async fn enroll_many(
        &self,
        users: impl IntoIterator<Item = UserId>,
        mut progress: impl FnMut(&UserId, Result<(), &EnrolmentError>),
    ) -> Result<(), EnrolmentError> {
        let mut users = users.into_iter();
        loop {
            let batch: Vec<UserId> = users.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(());
            }
            let mut missing = Vec::new();
            for user in batch {
                match self.engine().store.token(&user).await {
                    Ok(Some(_)) => progress(&user, Ok(())),
                    Ok(None) => missing.push((user, new_token()?)),
                    Err(error) => progress(&user, Err(&error.into())),
                }
            }
            if missing.is_empty() {
                continue;
            }
            let tokens: Vec<UserToken> = missing.iter().map(|(_, token)| token.clone()).collect();
            if let Err(error) = self.engine().client.add_users(&tokens).await {
                // Whether they exist there now is unknown; nobody will use them.
                self.delete_tokens(&tokens).await;
                return Err(error.into());
            }
            for (user, token) in missing {
                match self.assign(&user, &token).await {
                    Ok(()) => progress(&user, Ok(())),
                    Err(error) => progress(&user, Err(&error)),
                }
            }
        }
    }

    async fn token(&self, user: &UserId) -> Result<UserToken, EnrolmentError> {
        self.engine().store.token(user).await?.ok_or(EnrolmentError::NotEnrolled)
    }

    async fn register_token(&self) -> Result<UserToken, EnrolmentError> {
        let token = new_token()?;
        self.engine().client.add_users(std::slice::from_ref(&token)).await?;
        Ok(token)
    }

    async fn assign(&self, user: &UserId, token: &UserToken) -> Result<(), EnrolmentError> {
        let assigned = self.engine().store.assign(user, token).await;
        if !assigned.as_ref().is_ok_and(|winner| winner == token) {
            // Somebody else was faster, or nothing was stored: nobody will use this one.
            self.delete_tokens(std::slice::from_ref(token)).await;
        }
        assigned?;
        Ok(())
    }

    /// Deletes a user at the service, who may be gone there already.
    async fn delete_there(&self, token: &UserToken) -> Result<(), ClientError> {
        let client = &self.engine().client;
        let deleted = client.delete_users(std::slice::from_ref(token)).await;
        if !deleted.as_ref().is_err_and(|error| error.kind() == ClientErrorKind::Declined) {
            return deleted;
        }
        match client.has_registered_mobile_device(token).await {
            Err(error) if error.kind() == ClientErrorKind::UnknownUser => Ok(()),
            _ => deleted,
        }
    }

    async fn delete_tokens(&self, tokens: &[UserToken]) {
        if let Err(error) = self.engine().client.delete_users(tokens).await {
            tracing::warn!(%error, "unused tokens stay registered at the service");
        }
    }
}

fn new_token() -> Result<UserToken, EnrolmentError> {
    UserToken::random().map_err(|_| EnrolmentError::NoRandomness)
}

/// What was spent on text messages.
#[derive(Debug)]
pub(super) struct MessageBudgets {
    to_user: Budget<UserId>,
    to_number: Budget<String>,
    all: Budget<()>,
}

impl MessageBudgets {
    /// As many users, and as many numbers, are counted at a time.
    const KEYS: usize = 100_000;

    pub(super) fn new() -> Self {
        let an_hour = |times| [Rate::new(times, Duration::from_secs(3_600))];
        Self {
            to_user: Budget::new(an_hour(3), Self::KEYS),
            to_number: Budget::new(an_hour(3), Self::KEYS),
            all: Budget::new(an_hour(100), 1),
        }
    }

    /// Spends what one message costs, of all budgets or of none; or says how long to wait.
    fn spend(&mut self, user: &UserId, number: &str, now: u64) -> Result<(), Duration> {
        let number = number.to_owned();
        let waits = [
            self.to_user.wait(user, now),
            self.to_number.wait(&number, now),
            self.all.wait(&(), now),
        ];
        if let Some(wait) = waits.into_iter().flatten().max() {
            return Err(wait);
        }
        self.to_user.spend(user.clone(), now);
        self.to_number.spend(number, now);
        self.all.spend((), now);
        Ok(())
    }

    pub(super) fn sweep(&mut self, now: u64) {
        self.to_user.sweep(now);
        self.to_number.sweep(now);
    }
}
