//! Login rate limits over hours: the number of pushes, the backoff after a decline, and identical
//! responses for all usernames.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::sleep;

use super::harness::{Harness, app_login, reply_ok, reply_started, reply_status, run_ready_tasks};
use crate::UserId;
use crate::engine::{
    AttemptTarget, BrowserId, BrowserProof, ClientDetails, Initiator, StartAttempt,
    UsernameNormalizer,
};
use crate::identity::AttemptCredential;
use crate::protocol::SessionStatus::{Active, Cancelled, Pending, Timeout};

fn anonymous<'a>(typed: &str, previous_attempt: Option<&'a AttemptCredential>) -> StartAttempt<'a> {
    StartAttempt {
        target: AttemptTarget::Username(UsernameNormalizer::new(str::to_owned).username(typed)),
        initiator: Initiator::Anonymous(None),
        previous_attempt,
        deliver_in_body: false,
        client: ClientDetails::default(),
    }
}

/// T027: a browser may start again at once, but the push waits longer after each decline; a
/// successful login resets the backoff.
#[tokio::test(start_paused = true)]
async fn decline_backoff_grows() {
    let mut harness = Harness::new();
    let engine = harness.ac.engine().clone();
    let (mut previous, mut delays) = (None, Vec::new());
    for round in 0..5 {
        let attempt = engine.begin_attempt(anonymous("alice", previous.as_ref())).unwrap();
        let started_at = harness.now();
        let call = harness.next_call("/authentication/authenticate_user").await;
        delays.push(harness.now() - started_at);
        reply_started(call, round);
        let status = if round == 3 { Active } else { Cancelled };
        reply_status(harness.next_call("/s/").await, status);
        run_ready_tasks().await;
        if status == Active {
            engine.claim(&attempt, None).unwrap().session.mark_presented();
        }
        previous = Some(attempt.credential);
    }
    assert_eq!(delays, [0, 0, 5_000, 10_000, 0]);
}

/// T027: all spellings of a username share one push limit.
#[tokio::test(start_paused = true)]
async fn spellings_share_the_push_limit() {
    let mut harness = Harness::with_builder(|builder| {
        builder.resolve_username(|typed| async move {
            Ok::<_, std::io::Error>(Some(UserId::from(typed.to_lowercase())))
        })
    });
    let engine = harness.ac.engine().clone();
    let pushes = Arc::new(Mutex::new(Vec::new()));
    let push_times = pushes.clone();
    harness.respond_with(move |now, call| {
        if call.path.starts_with("/authentication/authenticate_user") {
            let mut push_times = push_times.lock().unwrap();
            reply_started(call, push_times.len());
            push_times.push(now);
        } else if call.path.starts_with("/s/") {
            reply_status(call, Timeout);
        } else {
            reply_ok(call);
        }
    });
    for number in 0..360_u64 {
        harness.advance_to(number * 10_000).await;
        let letters = "alice".chars().enumerate();
        let spelling: String = letters
            .map(|(bit, c)| if number >> bit & 1 == 1 { c.to_ascii_uppercase() } else { c })
            .collect();
        engine.begin_attempt(anonymous(&spelling, None)).ok();
    }
    harness.advance_to(3_600_000).await;
    let pushes = pushes.lock().unwrap();
    assert_eq!(pushes.len(), 12, "{pushes:?}");
    assert!(pushes.windows(6).all(|six| six[5] - six[0] >= 300_000), "{pushes:?}");
}

/// A browser in which alice logged in before.
async fn known_browser(harness: &Harness, number: u8) -> Initiator {
    let engine = harness.ac.engine();
    let token = engine.store.token(&"alice".into()).await.unwrap().unwrap();
    let user = engine.login.browser_proofs.user_mark(&token);
    Initiator::KnownBrowser(BrowserProof { browser: BrowserId([number; 16]), user, epoch: 0 })
}

/// T174: all browsers with revoked proofs together get the push limit of one anonymous client.
#[tokio::test(start_paused = true)]
async fn revoked_proofs_share_the_anonymous_limit() {
    let mut harness = Harness::new();
    let engine = harness.ac.engine().clone();
    let pushes = Arc::new(AtomicUsize::new(0));
    let push_count = pushes.clone();
    harness.respond_with(move |_, call| {
        if call.path.starts_with("/authentication/authenticate_user") {
            reply_started(call, push_count.fetch_add(1, Ordering::Relaxed));
        } else if call.path.starts_with("/s/") {
            reply_status(call, Pending);
        } else {
            reply_ok(call);
        }
    });
    for (is_revoked, expected) in [(false, 8), (true, 8 + 5)] {
        if is_revoked {
            harness.ac.forget_browsers(&"alice".into()).await.unwrap();
        }
        for number in 0..8 {
            let initiator = known_browser(&harness, number).await;
            let start = StartAttempt { initiator, ..anonymous("alice", None) };
            let attempt = engine.begin_attempt(start).unwrap();
            sleep(Duration::from_secs(2)).await;
            engine.cancel_attempt(&attempt.attempt);
            sleep(Duration::from_secs(2)).await;
        }
        assert_eq!(pushes.load(Ordering::Relaxed), expected);
    }
}

/// T174: with a revoked proof a browser can start an attempt for a reserved username, but the
/// attempt sends no push, as for a rejected anonymous client.
#[tokio::test(start_paused = true)]
async fn revoked_proof_sends_no_push_for_reserved_name() {
    for is_revoked in [false, true] {
        let mut harness = Harness::new();
        let engine = harness.ac.engine().clone();
        if is_revoked {
            harness.ac.forget_browsers(&"alice".into()).await.unwrap();
        }
        engine.begin_attempt(anonymous("alice", None)).unwrap();
        harness.reply_next_start().await;
        reply_status(harness.next_call("/s/0").await, Timeout);
        run_ready_tasks().await;
        let initiator = known_browser(&harness, 7).await;
        engine.begin_attempt(StartAttempt { initiator, ..anonymous("alice", None) }).unwrap();
        assert_eq!(harness.has_no_calls().await, is_revoked);
    }
}

/// Logins of the application have their own limit, and supersede those of anonymous clients.
#[tokio::test(start_paused = true)]
async fn anonymous_limit_spares_application_logins() {
    let mut harness = Harness::new();
    let engine = harness.ac.engine().clone();
    let mut previous = None;
    for _ in 0..5 {
        previous =
            Some(engine.begin_attempt(anonymous("alice", previous.as_ref())).unwrap().credential);
    }
    assert!(engine.begin_attempt(anonymous("alice", previous.as_ref())).is_err());
    harness.reply_next_start().await;
    reply_status(harness.next_call("/s/0").await, Pending);
    let attempt = engine.begin_attempt(app_login("alice".into())).unwrap();
    reply_ok(harness.next_call("/l/0").await);
    harness.reply_next_start().await;
    reply_status(harness.next_call("/s/1").await, Active);
    run_ready_tasks().await;
    assert!(engine.claim(&attempt, Some(&"alice".into())).is_some());
}

/// Resolves a username. Users may have several usernames, and some usernames have no user.
#[cfg(feature = "axum")]
async fn resolve(name: String) -> Result<Option<UserId>, std::io::Error> {
    let user = match name.as_str() {
        "alice" | "a.smith" | "alice.smith" => Some("alice"),
        "bob" | "carol" => Some(name.as_str()),
        _ => None,
    };
    Ok(user.map(UserId::from))
}

/// Two browsers, each with a username, and all responses to them and to a third browser.
#[cfg(feature = "axum")]
struct Browsers {
    app: axum::Router,
    names: [&'static str; 2],
    /// The attempt cookies of the two browsers.
    cookies: [Option<String>; 2],
    responses: Vec<String>,
}

#[cfg(feature = "axum")]
impl Browsers {
    /// Sends a request and records the response without its random parts.
    async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: String,
        cookie: Option<String>,
    ) -> Option<String> {
        use tower::ServiceExt as _;
        let mut request = http::Request::builder().method(method).uri(format!("/auth/{path}"));
        if let Some(cookie) = cookie {
            request = request.header("cookie", cookie);
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(axum::body::Body::from(body)).unwrap();
        let (mut parts, body) = self.app.clone().oneshot(request).await.unwrap().into_parts();
        let set = parts.headers.remove("set-cookie").map(|set| set.to_str().unwrap().to_owned());
        let (cookie, attributes) = set.as_deref().and_then(|set| set.split_once(';')).unzip();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let mut body = String::from_utf8(body.to_vec()).unwrap();
        // The page's start time is from the real clock.
        if let Some((before, rest)) = body.clone().split_once("<span data-started=") {
            body = format!("{before}{}", rest.split_once("</span>").unwrap().1);
            // The page has the username as typed.
            for name in self.names {
                body = body.replace(&format!("<bdi>{name}</bdi>"), "");
            }
            assert_eq!(body.matches("<bdi>").count(), 1, "{body}");
            parts.headers.remove("content-length");
        }
        self.responses.push(format!("{} {:?} {attributes:?}\n{body}", parts.status, parts.headers));
        cookie.map(str::to_owned)
    }

    async fn start_login(&mut self, browser: usize) {
        let body = format!(r#"{{"username":"{}"}}"#, self.names[browser]);
        let cookie = self.cookies[browser].clone();
        if let Some(set) = self.send("POST", "login", body, cookie).await {
            self.cookies[browser] = Some(set);
        }
    }

    /// Requests the status and the waiting page in both browsers, and a start for each username in
    /// use in a third one.
    async fn observe(&mut self) {
        for cookie in self.cookies.clone().into_iter().flatten() {
            self.send("GET", "status", String::new(), Some(cookie.clone())).await;
            self.send("GET", "waiting", String::new(), Some(cookie)).await;
        }
        for browser in 0..2 {
            if self.cookies[browser].is_some() {
                let body = format!(r#"{{"username":"{}"}}"#, self.names[browser]);
                self.send("POST", "login", body, None).await;
            }
        }
    }
}

/// T172: the responses over time are byte for byte the same for two usernames of one user, of two
/// users and of no user, and also if a known browser supersedes the first attempt.
#[cfg(feature = "axum")]
#[tokio::test(start_paused = true)]
async fn responses_are_identical_for_all_names() {
    let mut recorded = Vec::new();
    for (names, is_superseded, expected_pushes) in [
        (["alice", "a.smith"], false, 2),
        (["unknown", "un.known"], false, 0),
        (["bob", "carol"], false, 5),
        (["alice.smith", "unknown"], false, 3),
        (["alice", "unknown"], true, 3),
        (["alice", "a.smith"], true, 3),
    ] {
        let mut harness = Harness::with_builder(|builder| builder.resolve_username(resolve));
        let pushes = Arc::new(Mutex::new(0));
        let count = pushes.clone();
        harness.respond_with(move |_, call| {
            if call.path.starts_with("/authentication/authenticate_user") {
                let mut count = count.lock().unwrap();
                reply_started(call, *count);
                *count += 1;
            } else if call.path.starts_with("/s/") {
                reply_status(call, Pending);
            } else {
                reply_ok(call);
            }
        });
        let app = axum::Router::new().nest("/auth", harness.ac.routes());
        let mut browsers = Browsers { app, names, cookies: [None, None], responses: Vec::new() };
        for (second, step) in
            (0_u64..).zip(["start", "observe", "second start", "observe", "restart", "observe"])
        {
            harness.advance_to(second * 10_000 + second).await;
            match step {
                "observe" => browsers.observe().await,
                "second start" => browsers.start_login(1).await,
                _ => browsers.start_login(0).await,
            }
            if is_superseded && second == 0 {
                let initiator = known_browser(&harness, 7).await;
                let start = StartAttempt { initiator, ..anonymous("alice", None) };
                harness.advance_to(5_000).await;
                harness.ac.engine().begin_attempt(start).unwrap();
            }
        }
        // The deadlines: 60,000 of the first start, 80,002 of the second, 100,004 of the restart.
        for ms in [79_999, 80_001, 80_002, 100_003, 100_004, 180_000] {
            harness.advance_to(ms).await;
            browsers.observe().await;
        }
        assert_eq!(*pushes.lock().unwrap(), expected_pushes, "{names:?}");
        recorded.push((names, browsers.responses));
    }
    let (_, expected) = &recorded[0];
    for (names, responses) in &recorded[1..] {
        for (number, (expected, response)) in expected.iter().zip(responses).enumerate() {
            assert_eq!(expected, response, "{number} of {names:?}");
        }
        assert_eq!(expected.len(), responses.len());
    }
    let all = expected.join("\n");
    for text in ["pending", "timeout", "Too Many Requests"] {
        assert!(all.contains(text), "{text}");
    }
}
