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
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use url::Url;

use super::clock_skew::{self, ClockSkew};
use super::credentials::Credentials;
use super::error::{ClientError, ClientErrorKind};
use super::pool::ClientPool;
use super::tls;
use crate::Secret;
use crate::clock::unix_millis;
use crate::protocol::messages::from_json;
use crate::protocol::{Dialect, Nonce, sign};
use crate::runtime::{self, NoResult};

const MAX_BODY_BYTES: usize = 64 * 1024;

/// The name and the secret that sign a call.
#[derive(Clone)]
pub(super) struct Signer {
    pub(super) dialect: Dialect,
    pub(super) client_id: String,
    pub(super) secret: Secret,
}

/// One call, which owns all that a second try needs.
pub(super) struct SignedRequest {
    pub(super) signer: Signer,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) body: Option<Bytes>,
    /// The longest duration of the call, a second try included.
    pub(super) timeout: Duration,
}

/// The resource that a 404 says is unknown.
#[derive(Clone, Copy)]
pub(super) enum ResourceKind {
    Application,
    User,
    Session,
}

/// A response: a status, and a body of at most 64 KiB.
pub(super) struct RawResponse {
    status: StatusCode,
    retry_after: Option<Duration>,
    /// The service's clock skew at the response, if it is too large.
    clock_skew: Option<i64>,
    /// How many seconds the service's clock was ahead of this machine's, if the response has a
    /// `Date`.
    clock_offset: Option<i64>,
    body: Vec<u8>,
}

/// Sends signed calls to one service, and knows how far its clock is ahead of ours. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    backend: Backend,
    clock_offset: Arc<AtomicI64>,
    /// Where calls run; the caller's runtime if there is none.
    runtime: Option<Handle>,
}

#[derive(Clone, Debug)]
enum Backend {
    Http(ClientPool),
    #[cfg(test)]
    Scripted(super::mock::ScriptedUpstream),
}

impl Transport {
    pub(super) fn new(credentials: &Credentials) -> Result<Self, ClientError> {
        let is_https = credentials.server_url().scheme() == "https";
        let tls = tls::client_config(is_https, credentials.authorities())?;
        Ok(Self::over(Backend::Http(ClientPool::new(is_https, tls)?)))
    }

    /// Calls that go to a test.
    #[cfg(test)]
    pub(super) fn scripted(script: super::mock::ScriptedUpstream) -> Self {
        Self::over(Backend::Scripted(script))
    }

    fn over(backend: Backend) -> Self {
        Self { backend, clock_offset: Arc::default(), runtime: None }
    }

    /// Runs all calls on this runtime, whichever runtime they are awaited on: connections live on
    /// the runtime of the call that opened them.
    #[cfg(feature = "layer")]
    pub(super) fn on_runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// How many calls may be in flight: more would wait for each other.
    #[cfg(feature = "layer")]
    pub(super) fn max_calls(&self) -> usize {
        match &self.backend {
            Backend::Http(pool) => pool.max_calls(),
            #[cfg(test)]
            Backend::Scripted(_) => usize::MAX,
        }
    }

    /// Signs and sends. The signed URL is the one that is sent. A rejected signature is tried once
    /// more, with a fresh signature and the clock skew that the rejection's `Date` shows; nothing
    /// else is sent twice.
    pub(super) async fn call(&self, request: SignedRequest) -> Result<RawResponse, ClientError> {
        let Some(runtime) = &self.runtime else { return self.call_here(&request).await };
        let (transport, timeout) = (self.clone(), request.timeout);
        let call = async move { transport.call_here(&request).await };
        match runtime::run_on(runtime, timeout, call).await {
            Ok(outcome) => outcome,
            Err(NoResult::TimedOut) => Err(ClientError::new(ClientErrorKind::TimedOut)
                .detail("is the runtime that the engine was built in still driven?")),
            Err(NoResult::Lost) => Err(ClientError::new(ClientErrorKind::Unreachable)
                .detail("the runtime that the engine was built in has ended")),
        }
    }

    async fn call_here(&self, request: &SignedRequest) -> Result<RawResponse, ClientError> {
        let tries = async {
            let rejection = self.send(request).await?;
            if !rejection.is_signature_rejection() || rejection.clock_skew.is_some() {
                return Ok(rejection);
            }
            self.send(request).await
        };
        let outcome = tokio::time::timeout(request.timeout, tries).await;
        outcome
            .unwrap_or_else(|_| Err(ClientError::new(ClientErrorKind::TimedOut)))
            .map_err(|error| error.with_server(&request.url))
    }

    async fn send(&self, request: &SignedRequest) -> Result<RawResponse, ClientError> {
        #[allow(clippy::infallible_destructuring_match, reason = "in tests there are two")]
        let pool = match &self.backend {
            Backend::Http(pool) => pool,
            #[cfg(test)]
            Backend::Scripted(script) => {
                let path = &request.url[url::Position::BeforePath..];
                let (status, retry_after, body) = script.call(path).await?;
                let status = StatusCode::from_u16(status).unwrap();
                let body = body.into();
                return Ok(RawResponse {
                    status,
                    retry_after,
                    clock_skew: None,
                    clock_offset: None,
                    body,
                });
            }
        };
        let mut lease = pool.lease().await?;
        let mut http = lease.http().request(request.method.clone(), request.url.clone());
        for (name, value) in self.headers(request)? {
            http = http.header(name, value);
        }
        if let Some(body) = &request.body {
            http = http.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        let sent = http.send().await.inspect_err(|error| lease.mark_failed(error));
        let mut response = sent.map_err(from_reqwest)?;
        lease.mark_heard();
        let now = Duration::from_millis(unix_millis());
        let text =
            |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let mut raw = RawResponse {
            status: response.status(),
            retry_after: text(RETRY_AFTER).and_then(|value| clock_skew::retry_after(value, now)),
            clock_skew: None,
            clock_offset: None,
            body: Vec::new(),
        };
        let offset = text(DATE).and_then(|date| clock_skew::measure(date, now));
        raw.clock_offset = offset.map(ClockSkew::seconds);
        if raw.is_signature_rejection() {
            match offset {
                Some(ClockSkew::Accepted(offset)) => self.clock_offset.store(offset, Relaxed),
                Some(ClockSkew::Excessive(offset)) => raw.clock_skew = Some(offset),
                None => {}
            }
        }
        let too_big = || invalid_response("more than 64 KiB");
        if response.content_length().is_some_and(|length| length > MAX_BODY_BYTES as u64) {
            return Err(too_big());
        }
        loop {
            let chunk = response.chunk().await.inspect_err(|error| lease.mark_failed(error));
            let Some(chunk) = chunk.map_err(from_reqwest)? else { break };
            lease.mark_heard();
            if raw.body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(too_big());
            }
            raw.body.extend_from_slice(&chunk);
        }
        lease.mark_answered();
        Ok(raw)
    }

    fn headers(
        &self,
        request: &SignedRequest,
    ) -> Result<[(HeaderName, HeaderValue); 3], ClientError> {
        let invalid = || ClientError::new(ClientErrorKind::Invalid);
        let nonce = Nonce::random().map_err(|error| invalid().with_source(error))?;
        let now = (unix_millis() / 1000).saturating_add_signed(self.clock_offset.load(Relaxed));
        let Signer { dialect, client_id, secret } = &request.signer;
        let signed = sign(*dialect, client_id, secret, request.url.as_str(), nonce, now);
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
    ClientError::new(kind).with_source(error.without_url())
}

fn has_tls_cause(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return true;
        }
        // An `io::Error` returns the source of the error that it holds, not that error itself.
        cause = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(held) => Some(held as _),
            None => error.source(),
        };
    }
    false
}

impl RawResponse {
    fn is_signature_rejection(&self) -> bool {
        matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
    }

    /// How many seconds the service's clock is ahead of this machine's, if the response has a
    /// `Date`.
    #[cfg(feature = "layer")]
    pub(super) fn clock_offset(&self) -> Option<i64> {
        self.clock_offset
    }

    /// The JSON of a 2xx response, or the error of another status.
    pub(super) fn json<T: DeserializeOwned>(
        &self,
        resource: ResourceKind,
    ) -> Result<T, ClientError> {
        let kind = match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => match self.clock_skew {
                Some(ahead) => ClientErrorKind::ClockSkew(ahead),
                None => ClientErrorKind::SignatureRejected,
            },
            StatusCode::NOT_FOUND | StatusCode::GONE => match resource {
                ResourceKind::Application => ClientErrorKind::UnknownApplication,
                ResourceKind::User => ClientErrorKind::UnknownUser,
                ResourceKind::Session => ClientErrorKind::UnknownSession,
            },
            StatusCode::TOO_MANY_REQUESTS => ClientErrorKind::RateLimited(self.retry_after),
            status if status.is_server_error() => ClientErrorKind::ServerError(status.as_u16()),
            // The three that the protocol has. A part (206) is not the whole.
            StatusCode::OK | StatusCode::CREATED | StatusCode::ACCEPTED => {
                return from_json(&self.body).map_err(|error| {
                    // serde's message can quote the text; where it went wrong says enough.
                    let place = format!("JSON, line {} column {}", error.line(), error.column());
                    invalid_response(place)
                });
            }
            status => return Err(invalid_response(format!("status {}", status.as_u16()))),
        };
        let pauses = self.status == StatusCode::TOO_MANY_REQUESTS || self.status.is_server_error();
        let pause = self.retry_after.filter(|_| pauses);
        Err(ClientError::new(kind).with_upstream(self.is_json_object()).with_retry_after(pause))
    }

    fn is_json_object(&self) -> bool {
        #[derive(Deserialize)]
        struct AnyJson {}
        from_json::<AnyJson>(&self.body).is_ok()
    }
}

pub(super) fn invalid_response(detail: impl Into<String>) -> ClientError {
    ClientError::new(ClientErrorKind::InvalidResponse).detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::StatusResponse;

    /// T057: a load balancer's page does not end a session, however often it is shown.
    #[test]
    fn only_json_is_the_services_own_rejection() {
        let rejects = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            let body = body.as_bytes().to_vec();
            let raw = RawResponse {
                status,
                retry_after: None,
                clock_skew: None,
                clock_offset: None,
                body,
            };
            let error = raw.json::<StatusResponse>(ResourceKind::Session).unwrap_err();
            error.is_session_rejection()
        };
        for status in [401, 403, 404, 410] {
            assert!(rejects(status, r#"{"status":false}"#), "{status}");
            for page in ["<html>404</html>", "", "null", "\"no\"", "[]", "{", "not found"] {
                assert!(!rejects(status, page), "{status} {page}");
            }
        }
        for status in [204, 302, 400, 429, 500, 503] {
            assert!(!rejects(status, r#"{"status":false}"#), "{status}");
        }
    }
}
