//! The login of a program: at an application of this crate, without a browser.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Method, StatusCode};
use reqwest::redirect::Policy;
use rustls::RootCertStore;
use serde::{Deserialize, Serialize};
use url::Url;

use super::clock_skew;
use super::credentials::parse_server;
use super::credentials_error::CredentialsError;
use super::tls;
use crate::Secret;
use crate::clock::{monotonic_now, unix_millis};
use crate::identity::SessionCredential;
use crate::protocol::messages::from_json;

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the application is polled for the approval.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// How long the application may be out of reach: a result that is not claimed within 60 s is lost.
const MAX_UNREACHABLE_TIME: Duration = Duration::from_secs(60);
/// The longest pause between two polls, whatever the application requests: a longer one would lose
/// the result.
const MAX_PAUSE: Duration = Duration::from_secs(30);
const MAX_BODY_BYTES: usize = 16 * 1024;
/// As much of the application's own words as an error repeats, in characters.
const MAX_DETAIL_CHARS: usize = 200;

/// Logs a program in at an application of this crate: a command line tool, a client of a gRPC
/// server, a job. The user approves on the phone as for a browser; the program gets the credential
/// of a session for `authorization: Bearer`.
///
/// Cheap to clone. Requests take 10 s at most, follow no redirect, and go through the proxy that
/// the environment names (`HTTPS_PROXY`), if any.
///
/// ```no_run
/// use tower_activeconnect::client::{BearerLogin, LoginProgress};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// // Where the application nests `Activeconnect::routes`.
/// let login = BearerLogin::new("https://app.example/auth")?;
/// let mut attempt = login.start("alice").await?;
/// let credential = attempt
///     .wait_with(|progress| match progress {
///         LoginProgress::Retrying => println!("the application is out of reach; trying again"),
///         _ => println!("confirm on your phone"),
///     })
///     .await?;
/// let authorization = format!("Bearer {}", credential.expose());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct BearerLogin {
    http: reqwest::Client,
    auth_url: Url,
}

/// A login that waits for the phone; made by [`BearerLogin::start`].
///
/// Dropping it leaves the phone ringing until the application's deadline; [`BearerAttempt::cancel`]
/// does not.
pub struct BearerAttempt {
    login: BearerLogin,
    /// The secret of the attempt.
    secret: Secret,
}

/// How a login stands that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginProgress {
    /// The push was sent; the user has not responded yet.
    Waiting,
    /// The application is out of reach; it is polled again, for 60 s.
    Retrying,
}

/// Why a program was not logged in; the message says what to do.
pub struct BearerLoginError {
    kind: BearerLoginErrorKind,
    detail: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Why a program was not logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BearerLoginErrorKind {
    /// The address is none, or one that credentials must not be sent to, or TLS cannot be set up.
    InvalidSetup,
    /// The application was out of reach: on a start at once, while waiting for 60 s.
    Unreachable,
    /// The application does not accept the user name.
    InvalidUsername,
    /// There were too many logins; try again after this time.
    RateLimited(Duration),
    /// The user declined or did not respond in time, or cannot log in.
    NotApproved,
    /// The application responded with this status, which has no other meaning here.
    Status(u16),
    /// The response is not understood.
    InvalidResponse,
}

#[derive(Serialize)]
struct Start<'a> {
    username: &'a str,
    credential: &'static str,
}

#[derive(Deserialize)]
struct Started {
    attempt: Secret,
}

#[derive(Deserialize)]
struct Status {
    status: String,
    credential: Option<Secret>,
}

/// RFC 9457; the rest of it is not for people.
#[derive(Deserialize)]
struct Problem {
    detail: Option<String>,
}

/// A response of the application.
struct RawResponse {
    status: StatusCode,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl BearerLogin {
    /// For the application whose [`routes`](crate::Activeconnect::routes) are at this address, such
    /// as `https://app.example/auth`: `https`, or plain `http` on the loopback. The machine's own
    /// certificate authorities are trusted.
    ///
    /// # Errors
    ///
    /// [`BearerLoginErrorKind::InvalidSetup`] when this is not such an address, or there are no
    /// certificate authorities.
    pub fn new(auth_url: &str) -> Result<Self, BearerLoginError> {
        let mut auth_url = parse_server(auth_url).map_err(BearerLoginError::setup)?;
        // Paths that are joined to it come below it.
        if !auth_url.path().ends_with('/') {
            auth_url.set_path(&format!("{}/", auth_url.path()));
        }
        let http = http_client(&auth_url, None)?;
        Ok(Self { http, auth_url })
    }

    /// Trusts the certificate authorities in this PEM file, which is read at once, and no others.
    ///
    /// # Errors
    ///
    /// [`BearerLoginErrorKind::InvalidSetup`] when the file cannot be read or holds no
    /// certificate.
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Result<Self, BearerLoginError> {
        let authorities = tls::read_ca_file(path.as_ref()).map_err(BearerLoginError::setup)?;
        self.http = http_client(&self.auth_url, Some(&Arc::new(authorities)))?;
        Ok(self)
    }

    /// Starts a login: a push goes to the phone of the user with this name, if there is one.
    ///
    /// # Errors
    ///
    /// [`BearerLoginErrorKind::InvalidUsername`], [`BearerLoginErrorKind::RateLimited`] with the
    /// pause, [`BearerLoginErrorKind::Unreachable`], or the kind of another response. A name that
    /// does not exist is not an error here, because the application does not reveal it: the login
    /// times out.
    ///
    /// Not cancel safe: dropping the future may leave a phone ringing.
    pub async fn start(&self, username: &str) -> Result<BearerAttempt, BearerLoginError> {
        let body = serde_json::to_vec(&Start { username, credential: "bearer" })
            .map_err(|error| BearerLoginErrorKind::InvalidUsername.with_source(error))?;
        let reply = self.send(Method::POST, "login", None, Some(body)).await?;
        if reply.status != StatusCode::ACCEPTED {
            return Err(reply.into_error());
        }
        let Started { attempt } = reply.json()?;
        Ok(BearerAttempt { login: self.clone(), secret: attempt })
    }

    /// Ends the session of this credential, here and at the service.
    ///
    /// # Errors
    ///
    /// [`BearerLoginErrorKind::Unreachable`], or whatever else the application answers. A session
    /// that is over already is not an error.
    pub async fn log_out(&self, credential: &SessionCredential) -> Result<(), BearerLoginError> {
        self.end(&Secret::new(credential.expose())).await
    }

    async fn end(&self, secret: &Secret) -> Result<(), BearerLoginError> {
        let reply = self.send(Method::POST, "logout", Some(secret), None).await?;
        if reply.status.is_success() { Ok(()) } else { Err(reply.into_error()) }
    }

    async fn send(
        &self,
        method: Method,
        route: &str,
        bearer: Option<&Secret>,
        json: Option<Vec<u8>>,
    ) -> Result<RawResponse, BearerLoginError> {
        let url = self
            .auth_url
            .join(route)
            .map_err(|error| BearerLoginErrorKind::InvalidSetup.with_source(error))?;
        let mut request = self.http.request(method, url);
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer.expose());
        }
        if let Some(json) = json {
            request = request.header(CONTENT_TYPE, "application/json").body(json);
        }
        let unreachable = |error: reqwest::Error| {
            BearerLoginErrorKind::Unreachable
                .with_source(error.without_url())
                .detail(&origin(&self.auth_url))
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let now = Duration::from_millis(unix_millis());
        let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = header.and_then(|value| clock_skew::retry_after(value, now));
        let mut reply = RawResponse { status: response.status(), retry_after, body: Vec::new() };
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if reply.body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(BearerLoginErrorKind::InvalidResponse.detail("more than 16 KiB"));
            }
            reply.body.extend_from_slice(&chunk);
        }
        Ok(reply)
    }
}

impl BearerAttempt {
    /// Waits for the approval and returns the session's credential. Polls the application once a
    /// second.
    ///
    /// # Errors
    ///
    /// As [`BearerAttempt::wait_with`].
    ///
    /// Cancel safe, as that is.
    pub async fn wait(&mut self) -> Result<SessionCredential, BearerLoginError> {
        self.wait_with(|_| {}).await
    }

    /// As [`BearerAttempt::wait`]; `on_progress` is called at each change of the login's
    /// progress while it waits, and not for a login that is approved before the first poll.
    ///
    /// # Errors
    ///
    /// [`BearerLoginErrorKind::NotApproved`], [`BearerLoginErrorKind::Unreachable`] after 60 s
    /// without an answer, or whatever else the application answers.
    ///
    /// Cancel safe: a further call continues. The application repeats the credential for 60 s from
    /// the first time, until a request has carried it.
    pub async fn wait_with(
        &mut self,
        mut on_progress: impl FnMut(LoginProgress),
    ) -> Result<SessionCredential, BearerLoginError> {
        let mut reported = None;
        let mut report = |progress| {
            if reported.replace(progress) != Some(progress) {
                on_progress(progress);
            }
        };
        let mut last_response_at = monotonic_now();
        loop {
            let mut pause = STATUS_INTERVAL;
            let result = self.login.send(Method::GET, "status", Some(&self.secret), None).await;
            let failure = match result {
                Ok(reply) if reply.status == StatusCode::OK => {
                    last_response_at = monotonic_now();
                    match reply.json::<Status>()? {
                        Status { status, credential: Some(credential) } if status == "active" => {
                            return SessionCredential::parse(credential.expose().as_bytes())
                                .ok_or_else(|| BearerLoginErrorKind::InvalidResponse.into());
                        }
                        Status { status, .. } if status == "pending" => {
                            report(LoginProgress::Waiting);
                        }
                        Status { status, .. } => {
                            return Err(BearerLoginErrorKind::NotApproved.detail(&status));
                        }
                    }
                    None
                }
                Ok(reply) => {
                    let is_temporary = reply.status == StatusCode::TOO_MANY_REQUESTS
                        || reply.status.is_server_error();
                    if !is_temporary {
                        return Err(reply.into_error());
                    }
                    pause = reply
                        .retry_after
                        .map_or(pause, |requested| requested.clamp(pause, MAX_PAUSE));
                    Some(reply.into_error())
                }
                Err(error) if error.kind == BearerLoginErrorKind::Unreachable => Some(error),
                Err(error) => return Err(error),
            };
            if let Some(error) = failure {
                if monotonic_now().duration_since(last_response_at) >= MAX_UNREACHABLE_TIME {
                    return Err(error);
                }
                report(LoginProgress::Retrying);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Cancels the login: the push is withdrawn.
    ///
    /// # Errors
    ///
    /// [`BearerLoginErrorKind::Unreachable`], or whatever else the application answers.
    pub async fn cancel(self) -> Result<(), BearerLoginError> {
        self.login.end(&self.secret).await
    }
}

impl fmt::Debug for BearerAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerAttempt").field("login", &self.login).finish_non_exhaustive()
    }
}

impl RawResponse {
    fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, BearerLoginError> {
        // serde's message can quote the text, which may be a secret.
        from_json(&self.body).map_err(|_| BearerLoginErrorKind::InvalidResponse.into())
    }

    fn into_error(self) -> BearerLoginError {
        let kind = match self.status {
            StatusCode::UNPROCESSABLE_ENTITY => BearerLoginErrorKind::InvalidUsername,
            StatusCode::TOO_MANY_REQUESTS => {
                BearerLoginErrorKind::RateLimited(self.retry_after.unwrap_or(STATUS_INTERVAL))
            }
            status => BearerLoginErrorKind::Status(status.as_u16()),
        };
        match self.json::<Problem>() {
            Ok(Problem { detail: Some(detail) }) => kind.detail(&detail),
            _ => kind.into(),
        }
    }
}

impl BearerLoginErrorKind {
    fn with_source(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> BearerLoginError {
        BearerLoginError { kind: self, detail: None, source: Some(source.into()) }
    }

    fn detail(self, detail: &str) -> BearerLoginError {
        BearerLoginError::from(self).detail(detail)
    }
}

impl BearerLoginError {
    fn setup(error: CredentialsError) -> Self {
        BearerLoginErrorKind::InvalidSetup.with_source(error)
    }

    /// The application's own words are shown without control characters, which a terminal obeys.
    fn detail(mut self, detail: &str) -> Self {
        let shown = detail.chars().filter(|c| !c.is_control()).take(MAX_DETAIL_CHARS);
        self.detail = Some(shown.collect());
        self
    }

    /// Why the program was not logged in.
    #[must_use]
    pub fn kind(&self) -> BearerLoginErrorKind {
        self.kind
    }
}

impl From<BearerLoginErrorKind> for BearerLoginError {
    fn from(kind: BearerLoginErrorKind) -> Self {
        Self { kind, detail: None, source: None }
    }
}

crate::error_debug::debug_as_message!(BearerLoginError);

impl fmt::Display for BearerLoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            BearerLoginErrorKind::InvalidSetup => {
                f.write_str("the login cannot be set up; give the address of the login routes")
            }
            BearerLoginErrorKind::Unreachable => {
                f.write_str("the application cannot be reached; check its address and the network")
            }
            BearerLoginErrorKind::InvalidUsername => {
                f.write_str("the application does not take this user name")
            }
            BearerLoginErrorKind::RateLimited(after) => {
                write!(f, "there were too many logins; try again in {} s", after.as_secs())
            }
            BearerLoginErrorKind::NotApproved => {
                f.write_str("the phone did not approve; check the user name, and start again")
            }
            BearerLoginErrorKind::Status(status) => write!(
                f,
                "the application answered with status {status}; check that its login routes are \
                 at this address"
            ),
            BearerLoginErrorKind::InvalidResponse => f.write_str(
                "the application's reply was not understood; check that its login routes are at \
                 this address",
            ),
        }?;
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

impl Error for BearerLoginError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

fn http_client(
    url: &Url,
    authorities: Option<&Arc<RootCertStore>>,
) -> Result<reqwest::Client, BearerLoginError> {
    let is_https = url.scheme() == "https";
    let tls = tls::client_config(is_https, authorities)
        .map_err(|error| BearerLoginErrorKind::InvalidSetup.with_source(error))?;
    let mut builder = reqwest::Client::builder();
    if !is_https {
        // A proxy would read the credential, and the loopback is not behind one.
        builder = builder.no_proxy();
    }
    builder
        .redirect(Policy::none())
        .referer(false)
        .https_only(is_https)
        .tls_backend_preconfigured(tls)
        .timeout(REQUEST_TIMEOUT)
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| BearerLoginErrorKind::InvalidSetup.with_source(error.without_url()))
}

/// The server, without the path.
fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}
