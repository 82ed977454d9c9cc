//! A client that signs its own requests, to call the emulator without the client under test.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

use std::time::{SystemTime, UNIX_EPOCH};

use activeconnect_emulator::Emulator;
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde_json::{Value, json};
use tower_activeconnect::Secret;
use tower_activeconnect::protocol::Dialect;
use tower_activeconnect::protocol::{Nonce, sign};

/// An HTTP client that does not sign requests or follow redirects.
pub(crate) fn http_client() -> Client {
    let builder = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    builder.build().expect("a client")
}

/// Percent-encodes one path segment; only unreserved characters stay.
pub(crate) fn encode_segment(segment: &str) -> String {
    segment
        .bytes()
        .map(|byte| match byte {
            b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

pub(crate) struct JsonReply {
    pub(crate) status: StatusCode,
    pub(crate) json: Value,
}

impl JsonReply {
    async fn receive(request: RequestBuilder) -> Self {
        let reply = request.send().await.expect("the request gets a response");
        Self { status: reply.status(), json: reply.json().await.expect("JSON") }
    }

    fn session(&self, http: Client) -> Session {
        let status = &self.json["authentication_status"];
        assert_eq!(status["authenticated"], true, "{status}");
        let text = |name: &str| status[name].as_str().expect("a text").to_owned();
        Session {
            http,
            token: text("session_token"),
            secret: Secret::new(text("session_secret")),
            status_url: text("status_url").parse().expect("a URL"),
            logout_url: text("logout_url").parse().expect("a URL"),
        }
    }
}

#[derive(Clone)]
pub(crate) struct SignedClient {
    pub(crate) http: Client,
    pub(crate) base: String,
    pub(crate) dialect: Dialect,
    pub(crate) id: String,
    pub(crate) secret: Secret,
}

impl SignedClient {
    pub(crate) fn new(emulator: &Emulator, dialect: Dialect) -> Self {
        Self {
            http: http_client(),
            base: emulator.url().to_owned(),
            dialect,
            id: emulator.application_id().to_owned(),
            secret: emulator.application_secret().clone(),
        }
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        format!("{}{path}", self.base).parse().expect("a URL")
    }

    pub(crate) fn application_path(&self, call: &str) -> String {
        format!("/management/{call}/{}", self.id)
    }

    pub(crate) fn user_path(&self, call: &str, user_id: &str) -> String {
        format!("/management/{call}/{}/{}", self.id, encode_segment(user_id))
    }

    /// The authentication headers for this URL, with a new nonce.
    pub(crate) fn signed_headers(&self, url: &Url) -> Vec<(&'static str, String)> {
        let nonce = Nonce::random().expect("randomness");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        sign(self.dialect, &self.id, &self.secret, url.as_str(), nonce, now)
            .headers()
            .into_iter()
            .map(|(name, value)| (name, value.to_owned()))
            .collect()
    }

    fn sign(&self, url: &Url, mut request: RequestBuilder) -> RequestBuilder {
        for (name, value) in self.signed_headers(url) {
            request = request.header(name, value);
        }
        request
    }

    pub(crate) async fn get(&self, path: &str) -> JsonReply {
        let url = self.url(path);
        JsonReply::receive(self.sign(&url, self.http.get(url.clone()))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> JsonReply {
        let url = self.url(path);
        JsonReply::receive(self.sign(&url, self.http.post(url.clone())).json(body)).await
    }

    pub(crate) async fn add_users(&self, user_ids: &[&str]) -> JsonReply {
        self.post(&self.application_path("add_users"), &json!({"users": user_ids})).await
    }

    /// Starts a session with `authenticate_user`.
    pub(crate) async fn start_session(&self, user_id: &str, query: &str) -> Session {
        self.session(&self.authenticate(user_id, query).await)
    }

    /// The session in a reply of `authenticate_user`.
    pub(crate) fn session(&self, reply: &JsonReply) -> Session {
        reply.session(self.http.clone())
    }

    pub(crate) async fn authenticate(&self, user_id: &str, query: &str) -> JsonReply {
        let user_id = encode_segment(user_id);
        let path = format!("/authentication/authenticate_user/{}/{user_id}{query}", self.id);
        self.post(&path, &json!({})).await
    }
}

#[derive(Clone)]
pub(crate) struct Session {
    http: Client,
    pub(crate) token: String,
    pub(crate) secret: Secret,
    pub(crate) status_url: Url,
    pub(crate) logout_url: Url,
}

impl Session {
    pub(crate) fn signed_client(&self, dialect: Dialect) -> SignedClient {
        let base = self.status_url.origin().ascii_serialization();
        let http = self.http.clone();
        SignedClient { http, base, dialect, id: self.token.clone(), secret: self.secret.clone() }
    }

    pub(crate) async fn get_status(&self, dialect: Dialect) -> JsonReply {
        self.signed_client(dialect).get(self.status_url.path()).await
    }

    /// The status in the SDKs' form; asserts that `authenticated` agrees with it.
    pub(crate) async fn status(&self, dialect: Dialect) -> String {
        let reply = self.get_status(dialect).await;
        assert_eq!(reply.status, StatusCode::OK);
        let status = &reply.json["authentication_status"];
        let session_status = status["session_status"].as_str().expect("a status").to_owned();
        assert_eq!(status["authenticated"], session_status == "active");
        session_status
    }

    pub(crate) async fn logout(&self, dialect: Dialect) -> JsonReply {
        self.signed_client(dialect).post(self.logout_url.path(), &json!({})).await
    }
}
