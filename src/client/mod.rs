//! Typed calls of the management and authentication APIs.

#[cfg(feature = "tonic")]
mod bearer_interceptor;
mod bearer_login;
mod clock_skew;
mod connector;
pub(crate) mod credentials;
mod credentials_error;
mod error;
#[cfg(test)]
pub(crate) mod mock;
mod pool;
mod remote_session;
mod tls;
mod transport;

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
#[cfg(feature = "layer")]
use tokio::runtime::Handle;
use url::Url;

use self::transport::{
    RawResponse, ResourceKind, SignedRequest, Signer, Transport, invalid_response,
};
use crate::Secret;
use crate::UserToken;
use crate::protocol::messages::{
    AddUsersResponse, AuthenticateResponse, HasDeviceResponse, OutcomeResponse,
    RegistrationLinkResponse, RegistrationSms, StatusResponse, Users,
};
use crate::protocol::{AuthMethod, AuthMethods, StatusReading};

#[cfg(feature = "tonic")]
pub use bearer_interceptor::BearerInterceptor;
pub use bearer_login::{
    BearerAttempt, BearerLogin, BearerLoginError, BearerLoginErrorKind, LoginProgress,
};
pub(crate) use credentials::Credentials;
pub use credentials_error::CredentialsError;
pub use error::{ClientError, ClientErrorKind};
#[cfg(feature = "layer")]
pub(crate) use pool::max_http1_calls;
pub use remote_session::RemoteSession;

/// How long a status call may take.
pub(crate) const POLL_TIMEOUT: Duration = Duration::from_secs(3);
/// How long any other call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// All that RFC 3986 leaves unreserved stands for itself, the rest is percent-encoded.
const PATH_SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Calls of one application to one service. Cheap to clone.
///
/// Each call has a fresh signature, takes at most 5 s (a status call 3 s) and follows no redirect.
/// It is sent once, except after a rejected signature (401, 403), which is tried once more.
/// Dropping the future of a call abandons it; its effect at the service is then unknown.
///
/// Up to 64 calls share an HTTP/2 connection, and there are as many connections as calls need: at
/// most 64, so 4,096 calls at a time. Over HTTP/1.1 each call has a connection of its own, and as
/// many calls are in flight as a quarter of the files that the process may open (64 to 4,096).
/// Others wait for a place, within their own time. A connection that carried nothing for a second,
/// while a call waited that was then abandoned, is not used again: the next call opens another.
///
/// A call runs on the tokio runtime on which it is awaited, which needs io and time, and so does the
/// connection that it opens, also for later calls. If that runtime is no longer driven, others that
/// use the connection run into their timeouts once; then they open another. The calls of an
/// [`Activeconnect`](crate::Activeconnect) always run on the runtime that it was built in.
///
/// ```no_run
/// use tower_activeconnect::client::Client;
/// use tower_activeconnect::{Credentials, UserToken};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(Credentials::from_env()?)?;
/// let token = UserToken::random()?;
/// client.add_users(std::slice::from_ref(&token)).await?;
/// let link = client.device_registration_link(&token, Some("Alice")).await?;
/// println!("open on your phone: {}", link.expose());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
    credentials: Credentials,
    server: Url,
}

/// The result of [`Client::add_users`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddedUsers {
    /// Tokens that are new at the service.
    pub created: Vec<String>,
    /// Tokens that were there before.
    pub existing: Vec<String>,
}

/// The parameters of [`Client::authenticate_user`].
///
/// ```
/// use std::time::Duration;
/// use tower_activeconnect::client::AuthenticationRequest;
/// use tower_activeconnect::protocol::AuthMethod;
///
/// let request = AuthenticationRequest::default()
///     .with_methods([AuthMethod::Facial])
///     .with_duration(Duration::from_secs(600));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthenticationRequest {
    /// The methods by which the user proves their identity; empty leaves the choice to the service.
    pub methods: AuthMethods,
    /// The longest life of the session, in whole seconds. Sent where the dialect has it.
    pub duration: Option<Duration>,
}

impl AuthenticationRequest {
    /// Sets the methods by which the user proves their identity.
    #[must_use]
    pub fn with_methods(mut self, methods: impl IntoIterator<Item = AuthMethod>) -> Self {
        self.methods = methods.into_iter().collect();
        self
    }

    /// Sets the longest life of the session. It is sent in whole seconds, where the dialect has it.
    #[must_use]
    pub fn with_duration(mut self, duration: Duration) -> Self {
        self.duration = Some(duration);
        self
    }
}

impl Client {
    /// A client for these credentials. Opens no connection yet.
    ///
    /// # Errors
    ///
    /// [`ClientErrorKind::NoCaCertificates`] when the server is on https and there are no CA
    /// certificates, neither on this machine nor from [`Credentials::with_ca_file`];
    /// [`ClientErrorKind::Invalid`] when TLS cannot be set up otherwise.
    pub fn new(credentials: Credentials) -> Result<Self, ClientError> {
        let server = credentials.server_url();
        Ok(Self { transport: Transport::new(&credentials)?, credentials, server })
    }

    /// Runs all calls on this runtime, whichever runtime they are awaited on.
    #[cfg(feature = "layer")]
    pub(crate) fn on_runtime(mut self, runtime: Handle) -> Self {
        self.transport = self.transport.on_runtime(runtime);
        self
    }

    #[cfg(feature = "layer")]
    pub(crate) fn application_secret(&self) -> &Secret {
        self.credentials.application_secret()
    }

    /// A client whose calls go to a test.
    /// How many calls may be in flight: more would wait for each other.
    #[cfg(feature = "layer")]
    pub(crate) fn max_calls(&self) -> usize {
        self.transport.max_calls()
    }

    #[cfg(all(test, feature = "layer"))]
    pub(crate) fn scripted(credentials: Credentials, script: mock::ScriptedUpstream) -> Self {
        let server = credentials.server_url();
        Self { transport: Transport::scripted(script), credentials, server }
    }

    /// Makes users at the service under these tokens.
    ///
    /// # Errors
    ///
    /// As [`ClientErrorKind`] lists.
    pub async fn add_users(&self, tokens: &[UserToken]) -> Result<AddedUsers, ClientError> {
        let reply: AddUsersResponse = self
            .post(
                self.url(&["management", "add_users"], None, "")?,
                &users(tokens),
                ResourceKind::Application,
            )
            .await?;
        check_status(reply.status, reply.reason)?;
        let users = reply.users.unwrap_or_default();
        Ok(AddedUsers {
            created: users.created.unwrap_or_default(),
            existing: users.existing.unwrap_or_default(),
        })
    }

    /// Deletes users at the service; their sessions end there.
    ///
    /// # Errors
    ///
    /// As [`ClientErrorKind`] lists.
    pub async fn delete_users(&self, tokens: &[UserToken]) -> Result<(), ClientError> {
        let reply: OutcomeResponse = self
            .post(
                self.url(&["management", "delete_users"], None, "")?,
                &users(tokens),
                ResourceKind::Application,
            )
            .await?;
        check_status(reply.status, reply.reason)
    }

    /// Requests a link that registers the phone that opens it for this user. A secret: the person
    /// who opens it becomes the user.
    ///
    /// # Errors
    ///
    /// As [`ClientErrorKind`] lists.
    pub async fn device_registration_link(
        &self,
        token: &UserToken,
        display_name: Option<&str>,
    ) -> Result<Secret, ClientError> {
        let query = display_name.filter(|name| !name.is_empty()).map_or_else(String::new, |name| {
            format!("?display_name={}", utf8_percent_encode(name, PATH_SEGMENT))
        });
        self.fetch_link("device_registration_link", token, &query).await
    }

    /// Whether the user has registered a phone.
    ///
    /// # Errors
    ///
    /// As [`ClientErrorKind`] lists.
    pub async fn has_registered_mobile_device(
        &self,
        token: &UserToken,
    ) -> Result<bool, ClientError> {
        let url = self.url(&["management", "has_registered_mobile_device"], Some(token), "")?;
        let reply: HasDeviceResponse = self.get(url).await?;
        check_status(reply.status, reply.reason)?;
        reply.device_registered.ok_or_else(|| invalid_response("device_registered is missing"))
    }

    /// Disables the user's lost phone and gives a link for the next one.
    ///
    /// # Errors
    ///
    /// As [`ClientErrorKind`] lists.
    pub async fn lost_user_mobile_device(&self, token: &UserToken) -> Result<Secret, ClientError> {
        self.fetch_link("lost_user_mobile_device", token, "").await
    }

    /// Has the service send the registration link by SMS. `phone_number` begins with `+` and the
    /// country code; the link is appended to `message`.
    ///
    /// # Errors
    ///
    /// As [`ClientErrorKind`] lists.
    pub async fn send_registration_sms(
        &self,
        token: &UserToken,
        phone_number: &str,
        display_name: Option<&str>,
        message: Option<&str>,
    ) -> Result<(), ClientError> {
        let url = self.url(&["management", "send_registration_sms"], Some(token), "")?;
        let mut sms = RegistrationSms::new(phone_number);
        sms.display_name = display_name.map(ToOwned::to_owned);
        sms.message = message.map(ToOwned::to_owned);
        let reply = self.post(url, &sms, ResourceKind::User).await;
        let reply: OutcomeResponse = self.disambiguate_not_found(reply).await?;
        check_status(reply.status, reply.reason)
    }

    /// Sends a push to the user's phone. The returned session is pending; poll its
    /// [`Client::status`].
    ///
    /// # Errors
    ///
    /// As [`ClientErrorKind`] lists; [`ClientErrorKind::NoMobileDevice`] when the user has no
    /// phone. After [`ClientErrorKind::TimedOut`] and [`ClientErrorKind::Unreachable`] the push may
    /// have been sent: do not repeat the call unless the user asks.
    pub async fn authenticate_user(
        &self,
        token: &UserToken,
        request: &AuthenticationRequest,
    ) -> Result<RemoteSession, ClientError> {
        let mut query = String::new();
        if !request.methods.is_empty() {
            query = format!("?methods={}", request.methods);
        }
        if let Some(duration) =
            request.duration.filter(|_| self.credentials.dialect().takes_duration())
        {
            let separator = if query.is_empty() { '?' } else { '&' };
            query = format!("{query}{separator}duration_seconds={}", duration.as_secs());
        }
        let url = self.url(&["authentication", "authenticate_user"], Some(token), &query)?;
        let response = self.signed(Method::POST, url, Some(Bytes::from_static(b"{}"))).await?;
        let reply = self
            .disambiguate_not_found(response.json::<AuthenticateResponse>(ResourceKind::User))
            .await?;
        let status = reply.authentication_status;
        if status.authenticated {
            RemoteSession::from_response(&self.server, status)
        } else {
            Err(rejection(status.reason))
        }
    }

    /// Requests a session's status.
    ///
    /// # Errors
    ///
    /// As [`ClientErrorKind`] lists. Whatever the error, nothing is learned about the session.
    pub async fn status(&self, session: &RemoteSession) -> Result<StatusReading, ClientError> {
        self.status_of(session.token(), session.secret(), session.status_url()).await
    }

    /// As [`Client::status`], for a session that is stored in parts. Each poll parses only this one
    /// of its URLs.
    #[cfg(feature = "layer")]
    pub(crate) async fn status_at(
        &self,
        token: &str,
        secret: &Secret,
        path: &str,
    ) -> Result<StatusReading, ClientError> {
        self.status_of(token, secret, &remote_session::join_path(&self.server, path)?).await
    }

    async fn status_of(
        &self,
        token: &str,
        secret: &Secret,
        url: &Url,
    ) -> Result<StatusReading, ClientError> {
        let response = self.send_for_session(token, secret, Method::GET, url, POLL_TIMEOUT).await?;
        response
            .json::<StatusResponse>(ResourceKind::Session)?
            .reading()
            .ok_or_else(|| invalid_response("no session_status"))
    }

    /// Ends a session at the service.
    ///
    /// # Errors
    ///
    /// As [`ClientErrorKind`] lists; [`ClientErrorKind::Rejected`] when the session had ended
    /// already.
    pub async fn logout(&self, session: &RemoteSession) -> Result<(), ClientError> {
        let (token, secret, url) = (session.token(), session.secret(), session.logout_url());
        let response =
            self.send_for_session(token, secret, Method::POST, url, CALL_TIMEOUT).await?;
        let reply: OutcomeResponse = response.json(ResourceKind::Session)?;
        check_status(reply.status, reply.reason)
    }

    /// A session of this service that was kept in parts.
    ///
    /// # Errors
    ///
    /// When a path is none that the service could have named.
    #[cfg(feature = "layer")]
    pub(crate) fn restore(
        &self,
        token: &str,
        secret: &str,
        status_path: &str,
        logout_path: &str,
    ) -> Result<RemoteSession, ClientError> {
        RemoteSession::restore(&self.server, token, secret, status_path, logout_path)
    }

    /// Whether the service responds well to this application, by a management call that changes
    /// nothing.
    #[cfg(feature = "layer")]
    pub(crate) async fn is_reachable(&self) -> bool {
        match self.add_users(&[]).await {
            Ok(_) => true,
            Err(error) => error.kind() == ClientErrorKind::Rejected,
        }
    }

    /// The same call, for the check of the setup; with the seconds by which the service's clock is
    /// ahead of this machine's, if the response has a `Date`.
    #[cfg(feature = "layer")]
    pub(crate) async fn check(&self) -> (Result<(), ClientError>, Option<i64>) {
        let call = async {
            let url = self.url(&["management", "add_users"], None, "")?;
            let body = serde_json::to_vec(&users(&[]))
                .map_err(|error| ClientError::new(ClientErrorKind::Invalid).with_source(error))?;
            self.signed(Method::POST, url, Some(body.into())).await
        };
        match call.await {
            Ok(response) => {
                let reply = response.json::<AddUsersResponse>(ResourceKind::Application);
                // Even if the service requires users: it has read the call.
                let outcome = match reply.and_then(|reply| check_status(reply.status, reply.reason))
                {
                    Err(error) if error.kind() == ClientErrorKind::Rejected => Ok(()),
                    outcome => outcome,
                };
                (outcome, response.clock_offset())
            }
            Err(error) => (Err(error), None),
        }
    }

    /// The service's origin.
    #[cfg(feature = "layer")]
    pub(crate) fn server_origin(&self) -> String {
        self.server.origin().ascii_serialization()
    }

    async fn fetch_link(
        &self,
        call: &str,
        token: &UserToken,
        query: &str,
    ) -> Result<Secret, ClientError> {
        let url = self.url(&["management", call], Some(token), query)?;
        let reply: RegistrationLinkResponse = self.get(url).await?;
        check_status(reply.status, reply.reason)?;
        reply
            .register_url
            .map(Secret::new)
            .ok_or_else(|| invalid_response("register_url is missing"))
    }

    /// `SERVER/area/call/APPLICATION[/TOKEN][?query]`. Parsing must not change the text, because
    /// the service checks the signature of this text.
    fn url(
        &self,
        call: &[&str],
        token: Option<&UserToken>,
        query: &str,
    ) -> Result<Url, ClientError> {
        let mut text = self.server.as_str().trim_end_matches('/').to_owned();
        let names = [Some(self.credentials.application_id()), token.map(UserToken::as_str)];
        for segment in call.iter().copied().chain(names.into_iter().flatten()) {
            text.push('/');
            text.extend(utf8_percent_encode(segment, PATH_SEGMENT));
        }
        text.push_str(query);
        match Url::parse(&text) {
            Ok(url) if url.as_str() == text => Ok(url),
            _ => Err(ClientError::new(ClientErrorKind::Invalid)
                .detail("no URL can carry this user token")),
        }
    }

    async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<T, ClientError> {
        let response = self.signed(Method::GET, url, None).await?;
        self.disambiguate_not_found(response.json(ResourceKind::User)).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        url: Url,
        body: &impl Serialize,
        resource: ResourceKind,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| ClientError::new(ClientErrorKind::Invalid).with_source(error))?;
        self.signed(Method::POST, url, Some(body.into())).await?.json(resource)
    }

    /// A 404 to a call about a user may mean the application as well. A call without a user tells
    /// them apart.
    async fn disambiguate_not_found<T>(
        &self,
        reply: Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        match reply {
            Err(error) if error.kind() == ClientErrorKind::UnknownUser => {
                match self.add_users(&[]).await {
                    Err(other) if other.kind() == ClientErrorKind::UnknownApplication => Err(other),
                    _ => Err(error),
                }
            }
            reply => reply,
        }
    }

    async fn signed(
        &self,
        method: Method,
        url: Url,
        body: Option<Bytes>,
    ) -> Result<RawResponse, ClientError> {
        let signer = Signer {
            dialect: self.credentials.dialect(),
            client_id: self.credentials.application_id().to_owned(),
            secret: self.credentials.application_secret().clone(),
        };
        self.transport
            .call(SignedRequest { signer, method, url, body, timeout: CALL_TIMEOUT })
            .await
    }

    async fn send_for_session(
        &self,
        token: &str,
        secret: &Secret,
        method: Method,
        url: &Url,
        timeout: Duration,
    ) -> Result<RawResponse, ClientError> {
        remote_session::check_origin(&self.server, url)?;
        let dialect = self.credentials.dialect();
        let signer = Signer { dialect, client_id: token.to_owned(), secret: secret.clone() };
        let url = url.clone();
        self.transport.call(SignedRequest { signer, method, url, body: None, timeout }).await
    }
}

fn users(tokens: &[UserToken]) -> Users {
    Users::new(tokens.iter().map(|token| token.as_str().to_owned()).collect::<Vec<_>>())
}

fn check_status(status: bool, reason: Option<String>) -> Result<(), ClientError> {
    if status { Ok(()) } else { Err(rejection(reason)) }
}

fn rejection(reason: Option<String>) -> ClientError {
    match reason {
        Some(reason) if reason == "NO_MOBILE_DEVICE" => {
            ClientError::new(ClientErrorKind::NoMobileDevice)
        }
        Some(reason) => ClientError::new(ClientErrorKind::Rejected)
            .detail(reason.chars().filter(|c| !c.is_control()).take(64).collect::<String>()),
        None => ClientError::new(ClientErrorKind::Rejected),
    }
}
