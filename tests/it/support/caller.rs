//! An application that signs by hand, to talk to the emulator without the client under test.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

use std::time::{SystemTime, UNIX_EPOCH};

use activeconnect_emulator::Emulator;
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde_json::{Value, json};
use tower_activeconnect::Secret;
use tower_activeconnect::protocol::Dialect;
use tower_activeconnect::protocol::{Nonce, sign};

/// A client that signs nothing and follows nothing.
pub(crate) fn plain() -> Client {
    let builder = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    builder.build().expect("a client")
}

/// One path segment, with nothing but unreserved characters left as they are.
pub(crate) fn encode(segment: &str) -> String {
    segment
        .bytes()
        .map(|byte| match byte {
            b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) json: Value,
}

impl Answer {
    async fn of(request: RequestBuilder) -> Self {
        let answer = request.send().await.expect("an answer");
        Self { status: answer.status(), json: answer.json().await.expect("JSON") }
    }

    fn session(&self, http: Client) -> Session {
        let said = &self.json["authentication_status"];
        assert_eq!(said["authenticated"], true, "{said}");
        let text = |name: &str| said[name].as_str().expect("a text").to_owned();
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
pub(crate) struct Caller {
    pub(crate) http: Client,
    pub(crate) base: String,
    pub(crate) dialect: Dialect,
    pub(crate) id: String,
    pub(crate) secret: Secret,
}

impl Caller {
    pub(crate) fn of(emulator: &Emulator, dialect: Dialect) -> Self {
        Self {
            http: plain(),
            base: emulator.url().to_owned(),
            dialect,
            id: emulator.application_id().to_owned(),
            secret: emulator.application_secret().clone(),
        }
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        format!("{}{path}", self.base).parse().expect("a URL")
    }

    pub(crate) fn of_application(&self, call: &str) -> String {
        format!("/management/{call}/{}", self.id)
    }

    pub(crate) fn of_user(&self, call: &str, user_id: &str) -> String {
        format!("/management/{call}/{}/{}", self.id, encode(user_id))
    }

    /// Fresh headers for this URL.
    pub(crate) fn signed(&self, url: &Url) -> Vec<(&'static str, String)> {
        let nonce = Nonce::random().expect("randomness");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        sign(self.dialect, &self.id, &self.secret, url.as_str(), nonce, now)
            .headers()
            .into_iter()
            .map(|(name, value)| (name, value.to_owned()))
            .collect()
    }

    fn sign(&self, url: &Url, mut request: RequestBuilder) -> RequestBuilder {
        for (name, value) in self.signed(url) {
            request = request.header(name, value);
        }
        request
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let url = self.url(path);
        Answer::of(self.sign(&url, self.http.get(url.clone()))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let url = self.url(path);
        Answer::of(self.sign(&url, self.http.post(url.clone())).json(body)).await
    }

    pub(crate) async fn add_users(&self, user_ids: &[&str]) -> Answer {
        self.post(&self.of_application("add_users"), &json!({"users": user_ids})).await
    }

    /// The session that this call begins.
    pub(crate) async fn begin(&self, user_id: &str, query: &str) -> Session {
        self.session(&self.authenticate(user_id, query).await)
    }

    /// The session that `authenticate_user` began.
    pub(crate) fn session(&self, answer: &Answer) -> Session {
        answer.session(self.http.clone())
    }

    pub(crate) async fn authenticate(&self, user_id: &str, query: &str) -> Answer {
        let user_id = encode(user_id);
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
    pub(crate) fn caller(&self, dialect: Dialect) -> Caller {
        let base = self.status_url.origin().ascii_serialization();
        let http = self.http.clone();
        Caller { http, base, dialect, id: self.token.clone(), secret: self.secret.clone() }
    }

    pub(crate) async fn get_status(&self, dialect: Dialect) -> Answer {
        self.caller(dialect).get(self.status_url.path()).await
    }

    /// The status in the SDKs' form; `authenticated` must not contradict it.
    pub(crate) async fn status(&self, dialect: Dialect) -> String {
        let answer = self.get_status(dialect).await;
        assert_eq!(answer.status, StatusCode::OK);
        let said = &answer.json["authentication_status"];
        let status = said["session_status"].as_str().expect("a status").to_owned();
        assert_eq!(said["authenticated"], status == "active");
        status
    }

    pub(crate) async fn logout(&self, dialect: Dialect) -> Answer {
        self.caller(dialect).post(self.logout_url.path(), &json!({})).await
    }
}
