//! How a phone becomes a user's: links, text messages, lost phones. All of it concerns one verified
//! user, so nothing here takes a typed name.

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

/// The proof that a caller is the user of the phone.
///
/// There is no way to name a user: a browser that merely knows a name gets nothing.
#[derive(Clone, Copy, Debug)]
pub enum Authorization<'a> {
    /// The user's own session, which must be allowed at that moment: the one that allowed the
    /// request.
    Session(&'a ActiveSession),
    /// A grant of the application; it is used up even if the operation fails.
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
/// With the `axum` feature it is a response: a page with the link and its QR code, which continues
/// by itself once the phone has registered; `response_to` builds it for a request. On a page of
/// your own, for which [`RegistrationLink::expose`] returns the text, send `Cache-Control:
/// no-store` and `Referrer-Policy: no-referrer`, as that response does. Never redirect to it: the
/// address would stay in histories and logs.
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
    /// The user had no phone when the link was made, so that the service can report this one. The
    /// service reports whether a user has a phone, not how many.
    #[cfg_attr(not(feature = "axum"), expect(dead_code, reason = "pages ask for it"))]
    pub(crate) is_first_phone: bool,
    /// The destination after the registration.
    #[cfg(feature = "axum")]
    pub(crate) next: Option<String>,
    /// The engine whose pages show it.
    pub(crate) engine: Arc<Engine>,
}

impl RegistrationLink {
    /// The user of the phone.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// The user of the phone as people read it: the display name, or else the application's id of
    /// the user.
    #[must_use]
    pub fn shown_name(&self) -> &str {
        self.display_name.as_deref().unwrap_or(self.user.as_str())
    }

    /// The link itself. Check each caller when links leak.
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

/// Requests a registration link when awaited; returned by [`Activeconnect::registration_link`] and
/// [`Activeconnect::lost_device`], which list the errors.
#[must_use = "no link is made before it is awaited"]
pub struct MakeRegistrationLink<'a> {
    ac: &'a Activeconnect,
    by: Authorization<'a>,
    is_phone_lost: bool,
    display_name: Option<String>,
}

impl MakeRegistrationLink<'_> {
    /// The display name of the user, for the link's page and the service. By default they get the
    /// application's [`UserId`], which must then be fit to be seen. For a lost phone the service
    /// gets neither.
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

/// Sends a registration link by text message when awaited; returned by
/// [`Activeconnect::send_registration_sms`], which lists the errors.
#[must_use = "nothing is sent before it is awaited"]
pub struct SendRegistrationSms<'a> {
    ac: &'a Activeconnect,
    by: Authorization<'a>,
    phone_number: &'a str,
    message: Option<&'a str>,
    display_name: Option<String>,
}

impl SendRegistrationSms<'_> {
    /// The display name of the user for the service. By default it gets the application's
    /// [`UserId`].
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
    /// [`EnrollmentError::SessionDenied`] unless the session is allowed now and still after the
    /// service's response; [`EnrollmentError::InvalidGrant`]; when the user is not enrolled, or the
    /// store or the service fails. A grant is used up even then.
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
            // The session may have ended during the call.
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

    /// Handles a lost phone: ends every session of the user,
    /// [forgets](Activeconnect::forget_browsers) the user's browsers, disables the phone at the
    /// service, and returns a link for the next phone.
    ///
    /// # Errors
    ///
    /// [`EnrollmentError::SessionDenied`] or [`EnrollmentError::InvalidGrant`], and nothing has
    /// happened; when the user is not enrolled, or the store or the service fails. The sessions
    /// have ended here even then, because the finder of the phone may use them.
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
        self.engine().enrollment.grants.withdraw(&user);
        let (_, token) = self.engine().end_sessions_of(&user, None, None).await;
        let forgotten = self.forget_browsers(&user).await;
        let token = token?.ok_or(EnrollmentError::NotEnrolled)?;
        let link = self.engine().client.lost_user_mobile_device(&token).await?;
        // A login that the phone approved in the meantime.
        let engine = self.engine();
        engine.first_tries(engine.end_sessions_here(&user, Some(&token), None)).await;
        // The phone is disabled even if the store fails.
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
    /// After a drop of the future the message may or may not be sent; it counts once it is tried.
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
        let sms_check =
            engine.enrollment.lock_sms_limiter().spend(&user, phone_number, engine.now().mono);
        sms_check.map_err(EnrollmentError::TooManyMessages)?;
        let display_name = Some(display_name.unwrap_or(user.as_str()));
        Ok(engine.client.send_registration_sms(&token, phone_number, display_name, message).await?)
    }

    /// The user that the authorization proves.
    fn authorize(&self, by: Authorization<'_>) -> Result<UserId, EnrollmentError> {
        match by {
            Authorization::Session(session) => {
                self.check_session(session)?;
                Ok(session.user().clone())
            }
            Authorization::Grant(grant) => {
                let engine = self.engine();
                engine
                    .enrollment
                    .grants
                    .redeem(grant, engine.now())
                    .ok_or(EnrollmentError::InvalidGrant)
            }
        }
    }

    /// Whether the session is of this engine and would allow a request at this moment, whatever a
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
