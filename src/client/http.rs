//! The HTTP rules: no redirects, no proxy from the environment, no retries, no decompression, https
//! unless the host is the loopback, 64 KiB a body, a deadline for every call.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, StatusCode};
use reqwest::redirect::Policy;
use serde::de::DeserializeOwned;
use url::Url;

use super::error::{ClientError, ClientErrorKind};
use crate::Secret;
use crate::clock::unix_millis;
use crate::protocol::wire::from_json;
use crate::protocol::{Dialect, Nonce, sign};

const CONNECT: Duration = Duration::from_secs(2);
const BODY_LIMIT: usize = 64 * 1024;

/// Who signs a call.
pub(super) struct Signer<'a> {
    pub(super) dialect: Dialect,
    pub(super) client_id: &'a str,
    pub(super) secret: &'a Secret,
}

/// What came back: a status, and a body of at most 64 KiB.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(super) struct Http(reqwest::Client);

impl Http {
    pub(super) fn new(server: &Url) -> Result<Self, ClientError> {
        reqwest::Client::builder()
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
            .map(Self)
            .map_err(|error| {
                ClientError::new(ClientErrorKind::Invalid).because(error.without_url())
            })
    }

    /// Signs and sends; the URL that is signed is the one that is sent.
    pub(super) async fn call(
        &self,
        signer: &Signer<'_>,
        method: Method,
        url: Url,
        body: Option<Vec<u8>>,
        within: Duration,
    ) -> Result<Answer, ClientError> {
        let mut request = self.0.request(method, url.clone());
        for (name, value) in headers(signer, &url)? {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.header(http::header::CONTENT_TYPE, "application/json").body(body);
        }
        tokio::time::timeout(within, receive(request))
            .await
            .map_err(|_| ClientError::new(ClientErrorKind::TimedOut))?
    }
}

fn headers(signer: &Signer<'_>, url: &Url) -> Result<[(HeaderName, HeaderValue); 3], ClientError> {
    let invalid = || ClientError::new(ClientErrorKind::Invalid);
    let nonce = Nonce::random().map_err(|error| invalid().because(error))?;
    let now = unix_millis() / 1000;
    let signed = sign(signer.dialect, signer.client_id, signer.secret, url.as_str(), nonce, now);
    let mut headers = Vec::with_capacity(3);
    for (name, value) in signed.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| invalid())?;
        value.set_sensitive(true);
        headers.push((name, value));
    }
    headers.try_into().map_err(|_| invalid())
}

async fn receive(request: reqwest::RequestBuilder) -> Result<Answer, ClientError> {
    let mut response = request.send().await.map_err(from_reqwest)?;
    let too_big = || ClientError::new(ClientErrorKind::NotUnderstood).detail("more than 64 KiB");
    if response.content_length().is_some_and(|length| length > BODY_LIMIT as u64) {
        return Err(too_big());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(from_reqwest)? {
        if body.len() + chunk.len() > BODY_LIMIT {
            return Err(too_big());
        }
        body.extend_from_slice(&chunk);
    }
    let retry_after = response.headers().get(RETRY_AFTER).and_then(retry_after);
    Ok(Answer { status: response.status(), retry_after, body })
}

fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let seconds: u64 = value.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.clamp(1, 300)))
}

fn from_reqwest(error: reqwest::Error) -> ClientError {
    let kind = if error.is_timeout() {
        ClientErrorKind::TimedOut
    } else if error.is_builder() {
        ClientErrorKind::Invalid
    } else {
        ClientErrorKind::Unreachable
    };
    ClientError::new(kind).because(error.without_url())
}

impl Answer {
    /// The JSON of a 2xx answer, or what another status means.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(ClientError::new(ClientErrorKind::SignatureRefused))
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                Err(ClientError::new(ClientErrorKind::NotFound))
            }
            StatusCode::TOO_MANY_REQUESTS => {
                Err(ClientError::new(ClientErrorKind::RateLimited(self.retry_after)))
            }
            status if status.is_server_error() => {
                Err(ClientError::new(ClientErrorKind::ServerError(status.as_u16())))
            }
            status if !status.is_success() => Err(not_understood(format!("status {status}"))),
            _ => from_json(&self.body).map_err(|error| {
                // serde's message can quote the text; where it went wrong says enough.
                not_understood(format!("JSON, line {} column {}", error.line(), error.column()))
            }),
        }
    }
}

pub(super) fn not_understood(detail: impl Into<String>) -> ClientError {
    ClientError::new(ClientErrorKind::NotUnderstood).detail(detail)
}
