//! The HTTP rules: no redirects, no proxy from the environment, no retries, no decompression, https
//! unless the host is the loopback, 64 KiB a body, a deadline for every call.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, StatusCode};
use reqwest::redirect::Policy;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::clock_offset::{self, Offset};
use super::error::{ClientError, ClientErrorKind};
use crate::Secret;
use crate::clock::unix_millis;
use crate::protocol::wire::from_json;
use crate::protocol::{Dialect, Nonce, sign};

const CONNECT: Duration = Duration::from_secs(2);
const BODY_LIMIT: usize = 64 * 1024;

/// Who signs a call.
#[derive(Clone, Copy)]
pub(super) struct Signer<'a> {
    pub(super) dialect: Dialect,
    pub(super) client_id: &'a str,
    pub(super) secret: &'a Secret,
}

/// One call, so that it can be sent once more.
pub(super) struct Call<'a> {
    pub(super) signer: Signer<'a>,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) body: Option<Bytes>,
    /// How long the call may take, a second try included.
    pub(super) within: Duration,
}

/// Whom a 404 says to be unknown.
#[derive(Clone, Copy)]
pub(super) enum Subject {
    Application,
    User,
    Session,
}

/// What came back: a status, and a body of at most 64 KiB.
pub(super) struct Answer {
    status: StatusCode,
    retry_after: Option<Duration>,
    /// How far the service's clock was off when it answered, if that is too far.
    clock_off: Option<i64>,
    body: Vec<u8>,
}

/// Sends signed calls to one service, and knows how far its clock is ahead of ours.
#[derive(Clone, Debug)]
pub(super) struct Http {
    wire: Wire,
    clock_offset: Arc<AtomicI64>,
}

#[derive(Clone, Debug)]
enum Wire {
    Sockets(reqwest::Client),
    #[cfg(test)]
    Script(super::script::Script),
}

impl Http {
    pub(super) fn new(server: &Url) -> Result<Self, ClientError> {
        let client = reqwest::Client::builder()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .referer(false)
            .https_only(server.scheme() == "https")
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(64)
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| {
                ClientError::new(ClientErrorKind::Invalid).because(error.without_url())
            })?;
        Ok(Self { wire: Wire::Sockets(client), clock_offset: Arc::default() })
    }

    /// Calls that go to a test.
    #[cfg(test)]
    pub(super) fn scripted(script: super::script::Script) -> Self {
        Self { wire: Wire::Script(script), clock_offset: Arc::default() }
    }

    /// Signs and sends. The URL that is signed is the one that is sent. A refused signature is
    /// tried once more, with a fresh one and what the refusal's `Date` says of the clocks; nothing
    /// else is ever sent twice.
    pub(super) async fn call(&self, call: &Call<'_>) -> Result<Answer, ClientError> {
        let tries = async {
            let refusal = self.send(call).await?;
            if !refusal.refuses_signature() || refusal.clock_off.is_some() {
                return Ok(refusal);
            }
            self.send(call).await
        };
        tokio::time::timeout(call.within, tries)
            .await
            .map_err(|_| ClientError::new(ClientErrorKind::TimedOut))?
    }

    async fn send(&self, call: &Call<'_>) -> Result<Answer, ClientError> {
        #[allow(clippy::infallible_destructuring_match, reason = "in tests there are two")]
        let client = match &self.wire {
            Wire::Sockets(client) => client,
            #[cfg(test)]
            Wire::Script(script) => {
                let path = &call.url[url::Position::BeforePath..];
                let (status, retry_after, body) = script.call(path).await?;
                let status = StatusCode::from_u16(status).unwrap();
                return Ok(Answer { status, retry_after, clock_off: None, body: body.into() });
            }
        };
        let mut request = client.request(call.method.clone(), call.url.clone());
        for (name, value) in self.headers(call)? {
            request = request.header(name, value);
        }
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        let mut response = request.send().await.map_err(from_reqwest)?;
        let now = Duration::from_millis(unix_millis());
        let text =
            |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let mut answer = Answer {
            status: response.status(),
            retry_after: text(RETRY_AFTER).and_then(|value| clock_offset::retry_after(value, now)),
            clock_off: None,
            body: Vec::new(),
        };
        if answer.refuses_signature() {
            match text(DATE).and_then(|date| clock_offset::learn(date, now)) {
                Some(Offset::Tolerated(offset)) => self.clock_offset.store(offset, Relaxed),
                Some(Offset::TooFar(offset)) => answer.clock_off = Some(offset),
                None => {}
            }
        }
        let too_big = || not_understood("more than 64 KiB");
        if response.content_length().is_some_and(|length| length > BODY_LIMIT as u64) {
            return Err(too_big());
        }
        while let Some(chunk) = response.chunk().await.map_err(from_reqwest)? {
            if answer.body.len() + chunk.len() > BODY_LIMIT {
                return Err(too_big());
            }
            answer.body.extend_from_slice(&chunk);
        }
        Ok(answer)
    }

    fn headers(&self, call: &Call<'_>) -> Result<[(HeaderName, HeaderValue); 3], ClientError> {
        let invalid = || ClientError::new(ClientErrorKind::Invalid);
        let nonce = Nonce::random().map_err(|error| invalid().because(error))?;
        let now = (unix_millis() / 1000).saturating_add_signed(self.clock_offset.load(Relaxed));
        let Signer { dialect, client_id, secret } = call.signer;
        let signed = sign(dialect, client_id, secret, call.url.as_str(), nonce, now);
        let mut headers = Vec::with_capacity(3);
        for (name, value) in signed.headers() {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| invalid())?;
            value.set_sensitive(true);
            headers.push((name, value));
        }
        headers.try_into().map_err(|_| invalid())
    }
}

fn from_reqwest(error: reqwest::Error) -> ClientError {
    let kind = if error.is_timeout() {
        ClientErrorKind::TimedOut
    } else if error.is_builder() {
        ClientErrorKind::Invalid
    } else if has_tls_cause(&error) {
        ClientErrorKind::Tls
    } else {
        ClientErrorKind::Unreachable
    };
    ClientError::new(kind).because(error.without_url())
}

fn has_tls_cause(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return true;
        }
        // An `io::Error` names the source of what it holds, not that itself.
        cause = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(held) => Some(held as _),
            None => error.source(),
        };
    }
    false
}

impl Answer {
    fn refuses_signature(&self) -> bool {
        matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
    }

    /// The JSON of a 2xx answer, or what another status means.
    pub(super) fn json<T: DeserializeOwned>(&self, subject: Subject) -> Result<T, ClientError> {
        let kind = match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => match self.clock_off {
                Some(ahead) => ClientErrorKind::ClockOff(ahead),
                None => ClientErrorKind::SignatureRefused,
            },
            StatusCode::NOT_FOUND | StatusCode::GONE => match subject {
                Subject::Application => ClientErrorKind::UnknownApplication,
                Subject::User => ClientErrorKind::UnknownUser,
                Subject::Session => ClientErrorKind::UnknownSession,
            },
            StatusCode::TOO_MANY_REQUESTS => ClientErrorKind::RateLimited(self.retry_after),
            status if status.is_server_error() => ClientErrorKind::ServerError(status.as_u16()),
            // The three that the protocol has. A part (206) is not the whole.
            StatusCode::OK | StatusCode::CREATED | StatusCode::ACCEPTED => {
                return from_json(&self.body).map_err(|error| {
                    // serde's message can quote the text; where it went wrong says enough.
                    let place = format!("JSON, line {} column {}", error.line(), error.column());
                    not_understood(place)
                });
            }
            status => return Err(not_understood(format!("status {}", status.as_u16()))),
        };
        let pauses = self.status == StatusCode::TOO_MANY_REQUESTS || self.status.is_server_error();
        let pause = self.retry_after.filter(|_| pauses);
        Err(ClientError::new(kind).said_by_service(self.is_json_object()).asks_for_pause(pause))
    }

    fn is_json_object(&self) -> bool {
        #[derive(Deserialize)]
        struct Anything {}
        from_json::<Anything>(&self.body).is_ok()
    }
}

pub(super) fn not_understood(detail: impl Into<String>) -> ClientError {
    ClientError::new(ClientErrorKind::NotUnderstood).detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::wire::StatusAnswer;

    /// T057: a load balancer's page does not end a session, however often it is shown.
    #[test]
    fn only_json_is_the_services_own_refusal() {
        let refuses = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            let body = body.as_bytes().to_vec();
            let answer = Answer { status, retry_after: None, clock_off: None, body };
            let error = answer.json::<StatusAnswer>(Subject::Session).unwrap_err();
            error.refuses_session()
        };
        for status in [401, 403, 404, 410] {
            assert!(refuses(status, r#"{"status":false}"#), "{status}");
            for page in ["<html>404</html>", "", "null", "\"no\"", "[]", "{", "not found"] {
                assert!(!refuses(status, page), "{status} {page}");
            }
        }
        for status in [204, 302, 400, 429, 500, 503] {
            assert!(!refuses(status, r#"{"status":false}"#), "{status}");
        }
    }
}
