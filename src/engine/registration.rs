//! How a phone becomes a user's: links, text messages, lost phones. All of it is for that very
//! user only, so none of it takes a name.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;

use crate::Secret;
use crate::engine::active_session::ActiveSession;
use crate::engine::{Activeconnect, Engine};
use crate::enrollment::enrollment_error::EnrollmentError;
use crate::enrollment::grants::EnrollmentGrant;
use crate::identity::{UserId, UserToken};
use crate::verdict::Denial;

/// Who vouches that a caller is the user whose phone it is about.
///
/// There is no way to name a user: a browser that merely knows a name gets nothing.
#[derive(Clone, Copy, Debug)]
pub enum Authorization<'a> {
    /// Their own session, which must be allowed at that moment: the one that let the request in.
    Session(&'a ActiveSession),
    /// The application, by a grant; it is used up even if what it was used for fails.
    Grant(&'a EnrollmentGrant),
}

impl<'a> From<&'a ActiveSession> for Authorization<'a> {
    fn from(session: &'a ActiveSession) -> Self {
        Self::Session(session)
    }
}

impl<'a> From<&'a EnrollmentGrant> for Authorization<'a> {
    fn from(grant: &'a EnrollmentGrant) -> Self {
        Self::Grant(grant)
    }
}

/// A link that makes the phone that opens it a user's. A secret: `Debug` does not show it, and it
/// is zeroised on drop.
///
/// With the `axum` feature it is a response, a page with the link and its QR code, which goes on by
/// itself once the phone has registered; `response_to` makes it for a request. On a page of your own,
/// which [`RegistrationLink::expose`] is for, send `Cache-Control: no-store` and
/// `Referrer-Policy: no-referrer`, as that response does. Never redirect to it: the address would
/// stay in histories and logs.
///
/// ```
/// # #[cfg(feature = "axum")] mod example {
/// use axum::extract::State;
/// use axum::http::StatusCode;
/// use tower_activeconnect::enrollment::RegistrationLink;
/// use tower_activeconnect::{ActiveSession, Activeconnect};
///
/// /// `POST /phone`, behind the gate: another phone for the user who is logged in.
/// async fn another_phone(
///     State(ac): State<Activeconnect>,
///     session: ActiveSession,
/// ) -> Result<RegistrationLink, StatusCode> {
///     ac.registration_link(&session).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
/// }
/// # }
/// ```
pub struct RegistrationLink {
    user: UserId,
    display_name: Option<String>,
    link: Secret,
    #[cfg_attr(not(feature = "axum"), expect(dead_code, reason = "pages ask for it"))]
    pub(crate) token: UserToken,
    /// The user had no phone when the link was made, so that the service will tell of this one. It
    /// says whether a user has a phone, not how many.
    #[cfg_attr(not(feature = "axum"), expect(dead_code, reason = "pages ask for it"))]
    pub(crate) is_first_phone: bool,
    /// Where its page goes on to.
    #[cfg(feature = "axum")]
    pub(crate) next: Option<String>,
    /// Whose pages show it.
    pub(crate) engine: Arc<Engine>,
}

impl RegistrationLink {
    /// Whose phone it makes.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// Whose phone it makes, for people: the display name, or else the application's id of the user.
    #[must_use]
    pub fn shown_name(&self) -> &str {
        self.display_name.as_deref().unwrap_or(self.user.as_str())
    }

    /// The link itself. Each caller is a place to look at when links leak.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.link.expose()
    }
}

impl fmt::Debug for RegistrationLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrationLink").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Makes a registration link when it is awaited; made by [`Activeconnect::registration_link`] and
/// [`Activeconnect::lost_device`], which say what the errors are.
#[must_use = "no link is made before it is awaited"]
pub struct MakeRegistrationLink<'a> {
    ac: &'a Activeconnect,
    by: Authorization<'a>,
    is_phone_lost: bool,
    display_name: Option<String>,
}

impl MakeRegistrationLink<'_> {
    /// What the link's page, and the service, call the user. Without it they get the application's
    /// [`UserId`], which should be a name then that may be seen. For a lost phone the service is
    /// told neither.
    pub fn display_name(mut self, name: impl Into<String>) -> Self {
        self.display_name = Some(name.into());
        self
    }
}

impl<'a> IntoFuture for MakeRegistrationLink<'a> {
    type Output = Result<RegistrationLink, EnrollmentError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { ac, by, is_phone_lost, display_name } = self;
        if is_phone_lost {
            Box::pin(ac.replace_lost_device(by, display_name))
        } else {
            Box::pin(ac.make_registration_link(by, display_name))
        }
    }
}

impl fmt::Debug for MakeRegistrationLink<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MakeRegistrationLink").finish_non_exhaustive()
    }
}

/// Sends a registration link by text message when it is awaited; made by
/// [`Activeconnect::send_registration_sms`], which says what the errors are.
#[must_use = "nothing is sent before it is awaited"]
pub struct SendRegistrationSms<'a> {
    ac: &'a Activeconnect,
    by: Authorization<'a>,
    phone_number: &'a str,
    message: Option<&'a str>,
    display_name: Option<String>,
}

impl SendRegistrationSms<'_> {
    /// What the service calls the user. Without it, it gets the application's [`UserId`].
    pub fn display_name(mut self, name: impl Into<String>) -> Self {
        self.display_name = Some(name.into());
        self
    }
}

impl<'a> IntoFuture for SendRegistrationSms<'a> {
    type Output = Result<(), EnrollmentError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { ac, by, phone_number, message, display_name } = self;
            ac.send_sms(by, phone_number, message, display_name.as_deref()).await
        })
    }
}

impl fmt::Debug for SendRegistrationSms<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendRegistrationSms").finish_non_exhaustive()
    }
}

impl Activeconnect {
    /// A link that makes the phone that opens it the user's: of the session, or of the grant.
    ///
    /// # Errors
    ///
    /// [`EnrollmentError::SessionDenied`] unless the session is allowed now, and still when the
    /// service has answered; [`EnrollmentError::InvalidGrant`]; when the user is not enrolled, or
    /// the store or the service fails. A grant is then used up all the same.
    ///
    /// Dropping the future may leave a link at the service that no caller got.
    ///
    /// ```
    /// # use tower_activeconnect::Activeconnect;
    /// # use tower_activeconnect::enrollment::{EnrollmentError, EnrollmentGrant};
    /// # async fn example(ac: &Activeconnect, grant: &EnrollmentGrant) -> Result<(), EnrollmentError> {
    /// // The id of this user is a number that is not for pages.
    /// let link = ac.registration_link(grant).display_name("Alice").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn registration_link<'a>(
        &'a self,
        by: impl Into<Authorization<'a>>,
    ) -> MakeRegistrationLink<'a> {
        MakeRegistrationLink { ac: self, by: by.into(), is_phone_lost: false, display_name: None }
    }

    async fn make_registration_link(
        &self,
        by: Authorization<'_>,
        display_name: Option<String>,
    ) -> Result<RegistrationLink, EnrollmentError> {
        let user = self.authorize(by)?;
        let token = self.token(&user).await?;
        let client = &self.engine().client;
        let shown_name = display_name.as_deref().unwrap_or(user.as_str());
        let (link, has_phone) = tokio::join!(
            client.device_registration_link(&token, Some(shown_name)),
            client.has_registered_mobile_device(&token),
        );
        let link = link?;
        // Where the service does not say, the page does not wait.
        let is_first_phone = has_phone.is_ok_and(|has_phone| !has_phone);
        if let Authorization::Session(session) = by {
            // It may have ended while the service was asked.
            self.check_session(session)?;
        }
        Ok(RegistrationLink {
            user,
            display_name,
            link,
            token,
            is_first_phone,
            #[cfg(feature = "axum")]
            next: None,
            engine: self.engine().clone(),
        })
    }

    /// The user has lost their phone: every session of theirs ends, their browsers are
    /// [forgotten](Activeconnect::forget_browsers), the phone is disabled at the service, and a link
    /// for the next phone is given.
    ///
    /// # Errors
    ///
    /// [`EnrollmentError::SessionDenied`] or [`EnrollmentError::InvalidGrant`], and nothing has
    /// happened; when the user is not enrolled, or the store or the service fails. The sessions are
    /// over here all the same then, for the finder of the phone may have them.
    ///
    /// Dropping the future may leave the phone disabled and its user without a link: call it again.
    pub fn lost_device<'a>(&'a self, by: impl Into<Authorization<'a>>) -> MakeRegistrationLink<'a> {
        MakeRegistrationLink { ac: self, by: by.into(), is_phone_lost: true, display_name: None }
    }

    async fn replace_lost_device(
        &self,
        by: Authorization<'_>,
        display_name: Option<String>,
    ) -> Result<RegistrationLink, EnrollmentError> {
        let user = self.authorize(by)?;
        self.engine().grants.withdraw(&user);
        let (_, token) = self.engine().end_sessions_of(&user, None, None).await;
        let forgotten = self.forget_browsers(&user).await;
        let token = token?.ok_or(EnrollmentError::NotEnrolled)?;
        let link = self.engine().client.lost_user_mobile_device(&token).await?;
        // A login that the phone approved meanwhile.
        let engine = self.engine();
        engine.first_tries(engine.end_sessions_here(&user, Some(&token), None)).await;
        // The phone is disabled whether or not the store keeps what is forgotten.
        forgotten?;
        Ok(RegistrationLink {
            user,
            display_name,
            link,
            token,
            is_first_phone: true,
            #[cfg(feature = "axum")]
            next: None,
            engine: engine.clone(),
        })
    }

    /// Has the service send the registration link by text message. The number is the one that the
    /// application knows to be the user's (`+` and the country code first), never one that a
    /// browser sends: the phone that opens the link becomes the user's. The link is appended to `message`.
    ///
    /// At most 3 an hour to one user, 3 an hour to one number, and 100 an hour in all.
    ///
    /// # Errors
    ///
    /// [`EnrollmentError::SessionDenied`] or [`EnrollmentError::InvalidGrant`]; when there were too
    /// many, the user is not enrolled, or the store or the service fails.
    ///
    /// Dropping the future leaves open whether a message is sent; it is counted once it is tried.
    pub fn send_registration_sms<'a>(
        &'a self,
        by: impl Into<Authorization<'a>>,
        phone_number: &'a str,
        message: Option<&'a str>,
    ) -> SendRegistrationSms<'a> {
        let display_name = None;
        SendRegistrationSms { ac: self, by: by.into(), phone_number, message, display_name }
    }

    async fn send_sms(
        &self,
        by: Authorization<'_>,
        phone_number: &str,
        message: Option<&str>,
        display_name: Option<&str>,
    ) -> Result<(), EnrollmentError> {
        let user = self.authorize(by)?;
        let token = self.token(&user).await?;
        let engine = self.engine();
        let spent = engine.messages().spend(&user, phone_number, engine.now().mono);
        spent.map_err(EnrollmentError::TooManyMessages)?;
        let display_name = Some(display_name.unwrap_or(user.as_str()));
        Ok(engine.client.send_registration_sms(&token, phone_number, display_name, message).await?)
    }

    /// The user who is vouched for.
    fn authorize(&self, by: Authorization<'_>) -> Result<UserId, EnrollmentError> {
        match by {
            Authorization::Session(session) => {
                self.check_session(session)?;
                Ok(session.user().clone())
            }
            Authorization::Grant(grant) => {
                let engine = self.engine();
                engine.grants.redeem(grant, engine.now()).ok_or(EnrollmentError::InvalidGrant)
            }
        }
    }

    /// Whether the session is of this engine, and would let a request in at this moment, whatever a
    /// layer does about phones that walk away.
    fn check_session(&self, active: &ActiveSession) -> Result<(), EnrollmentError> {
        let session = active.session();
        // Another engine's user of that name is another user.
        if !session.belongs_to(&self.engine().shared) {
            return Err(EnrollmentError::SessionDenied(Denial::NoSession));
        }
        Denial::from_verdict(session.verdict())
            .map_or(Ok(()), |denial| Err(EnrollmentError::SessionDenied(denial)))
    }
}
