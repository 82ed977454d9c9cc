//! Starts of logins over hours: how often the phone rings, and how soon after a decline. Time is
//! paused, the service is played here.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::sleep;

use super::harness::{Harness, app_login, reply_ok, reply_status, started};
use crate::UserId;
use crate::engine::{
    AttemptTarget, BrowserId, BrowserProof, ClientDetails, Initiator, StartAttempt,
    UsernameNormalizer,
};
use crate::identity::AttemptCredential;
use crate::protocol::SessionStatus::{Active, Cancelled, Pending, Timeout};

fn anonymous<'a>(typed: &str, mine: Option<&'a AttemptCredential>) -> StartAttempt<'a> {
    StartAttempt {
        target: AttemptTarget::Username(UsernameNormalizer::new(str::to_owned).username(typed)),
        initiator: Initiator::Anonymous(None),
        previous_attempt: mine,
        deliver_in_body: false,
        client: ClientDetails::default(),
    }
}

/// Lets all that is ready run.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// T027: the same browser may begin again at once, and the phone is left alone for longer after each
/// decline; a login that succeeds ends the row.
#[tokio::test(start_paused = true)]
async fn each_decline_keeps_the_phone_quiet_for_longer() {
    let mut stage = Harness::new();
    let engine = stage.ac.engine().clone();
    let (mut mine, mut waited) = (None, Vec::new());
    for round in 0..5 {
        let named = engine.begin_attempt(anonymous("alice", mine.as_ref())).unwrap();
        let begun = stage.now();
        let call = stage.call("/authentication/authenticate_user").await;
        waited.push(stage.now() - begun);
        started(call, round);
        let answer = if round == 3 { Active } else { Cancelled };
        reply_status(stage.call("/s/").await, answer);
        settle().await;
        if answer == Active {
            engine.claim(&named, None).unwrap().session.mark_presented();
        }
        mine = Some(named.credential);
    }
    assert_eq!(waited, [0, 0, 5_000, 10_000, 0]);
}

/// T027: a name that may be spelled in many ways rings no more often than one that may not.
#[tokio::test(start_paused = true)]
async fn spellings_without_end_do_not_ring_without_end() {
    let mut stage = Harness::with_builder(|builder| {
        builder.resolve_username(|typed| async move {
            Ok::<_, std::io::Error>(Some(UserId::from(typed.to_lowercase())))
        })
    });
    let engine = stage.ac.engine().clone();
    let rings = Arc::new(Mutex::new(Vec::new()));
    let heard = rings.clone();
    stage.respond_with(move |now, call| {
        if call.path.starts_with("/authentication/authenticate_user") {
            let mut rings = heard.lock().unwrap();
            started(call, rings.len());
            rings.push(now);
        } else if call.path.starts_with("/s/") {
            reply_status(call, Timeout);
        } else {
            reply_ok(call);
        }
    });
    for number in 0..360_u64 {
        stage.at(number * 10_000).await;
        let letters = "alice".chars().enumerate();
        let spelled: String = letters
            .map(|(bit, c)| if number >> bit & 1 == 1 { c.to_ascii_uppercase() } else { c })
            .collect();
        engine.begin_attempt(anonymous(&spelled, None)).ok();
    }
    stage.at(3_600_000).await;
    let rings = rings.lock().unwrap();
    assert_eq!(rings.len(), 12, "{rings:?}");
    assert!(rings.windows(6).all(|six| six[5] - six[0] >= 300_000), "{rings:?}");
}

/// One in which alice has logged in.
async fn known_browser(stage: &Harness, number: u8) -> Initiator {
    let engine = stage.ac.engine();
    let token = engine.store.token(&"alice".into()).await.unwrap().unwrap();
    let user = engine.login.browser_proofs.user_mark(&token);
    Initiator::KnownBrowser(BrowserProof { browser: BrowserId([number; 16]), user, epoch: 0 })
}

/// T174: browsers that are forgotten ring as often as one stranger does, all of them together.
#[tokio::test(start_paused = true)]
async fn revoked_proofs_share_the_strangers_budget() {
    let mut stage = Harness::new();
    let engine = stage.ac.engine().clone();
    let rings = Arc::new(AtomicUsize::new(0));
    let heard = rings.clone();
    stage.respond_with(move |_, call| {
        if call.path.starts_with("/authentication/authenticate_user") {
            started(call, heard.fetch_add(1, Ordering::Relaxed));
        } else if call.path.starts_with("/s/") {
            reply_status(call, Pending);
        } else {
            reply_ok(call);
        }
    });
    for (is_revoked, expected) in [(false, 8), (true, 8 + 5)] {
        if is_revoked {
            stage.ac.forget_browsers(&"alice".into()).await.unwrap();
        }
        for number in 0..8 {
            let initiator = known_browser(&stage, number).await;
            let start = StartAttempt { initiator, ..anonymous("alice", None) };
            let named = engine.begin_attempt(start).unwrap();
            sleep(Duration::from_secs(2)).await;
            engine.cancel_attempt(&named.attempt);
            sleep(Duration::from_secs(2)).await;
        }
        assert_eq!(rings.load(Ordering::Relaxed), expected);
    }
}

/// T174: a browser that is forgotten begins though the name is reserved, as it did before; its
/// phone stays silent, as for a stranger that is refused.
#[tokio::test(start_paused = true)]
async fn revoked_proof_rings_by_no_reserved_name() {
    for is_revoked in [false, true] {
        let mut stage = Harness::new();
        let engine = stage.ac.engine().clone();
        if is_revoked {
            stage.ac.forget_browsers(&"alice".into()).await.unwrap();
        }
        engine.begin_attempt(anonymous("alice", None)).unwrap();
        stage.start().await;
        reply_status(stage.call("/s/0").await, Timeout);
        settle().await;
        let initiator = known_browser(&stage, 7).await;
        engine.begin_attempt(StartAttempt { initiator, ..anonymous("alice", None) }).unwrap();
        assert_eq!(stage.is_quiet().await, is_revoked);
    }
}

/// The application's own logins have their own budget, and go before those of strangers.
#[tokio::test(start_paused = true)]
async fn strangers_do_not_keep_the_application_out() {
    let mut stage = Harness::new();
    let engine = stage.ac.engine().clone();
    let mut mine = None;
    for _ in 0..5 {
        mine = Some(engine.begin_attempt(anonymous("alice", mine.as_ref())).unwrap().credential);
    }
    assert!(engine.begin_attempt(anonymous("alice", mine.as_ref())).is_err());
    stage.start().await;
    reply_status(stage.call("/s/0").await, Pending);
    let named = engine.begin_attempt(app_login("alice".into())).unwrap();
    reply_ok(stage.call("/l/0").await);
    stage.start().await;
    reply_status(stage.call("/s/1").await, Active);
    settle().await;
    assert!(engine.claim(&named, Some(&"alice".into())).is_some());
}

/// A name that leads to a user, who may have several, or to none.
#[cfg(feature = "axum")]
async fn resolve(name: String) -> Result<Option<UserId>, std::io::Error> {
    let user = match name.as_str() {
        "alice" | "a.smith" | "alice.smith" => Some("alice"),
        "bob" | "carol" => Some(name.as_str()),
        _ => None,
    };
    Ok(user.map(UserId::from))
}

/// Two browsers that start with a name each, and all that they and others see.
#[cfg(feature = "axum")]
struct Scene {
    app: axum::Router,
    names: [&'static str; 2],
    /// The attempt cookies of the two.
    cookies: [Option<String>; 2],
    seen: Vec<String>,
}

#[cfg(feature = "axum")]
impl Scene {
    /// Sends a request and keeps the answer, without what is random.
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
        // The time of day is that of the real clock, plus the time that is played.
        if let Some((before, rest)) = body.clone().split_once("<span data-started=") {
            body = format!("{before}{}", rest.split_once("</span>").unwrap().1);
            // And the name is the one that was typed.
            for name in self.names {
                body = body.replace(&format!("<bdi>{name}</bdi>"), "");
            }
            assert_eq!(body.matches("<bdi>").count(), 1, "{body}");
            parts.headers.remove("content-length");
        }
        self.seen.push(format!("{} {:?} {attributes:?}\n{body}", parts.status, parts.headers));
        cookie.map(str::to_owned)
    }

    async fn start(&mut self, which: usize) {
        let body = format!(r#"{{"username":"{}"}}"#, self.names[which]);
        let cookie = self.cookies[which].clone();
        if let Some(set) = self.send("POST", "login", body, cookie).await {
            self.cookies[which] = Some(set);
        }
    }

    /// What both browsers see that wait, and a third one that starts with each name in use.
    async fn look(&mut self) {
        for cookie in self.cookies.clone().into_iter().flatten() {
            self.send("GET", "status", String::new(), Some(cookie.clone())).await;
            self.send("GET", "waiting", String::new(), Some(cookie)).await;
        }
        for which in 0..2 {
            if self.cookies[which].is_some() {
                let body = format!(r#"{{"username":"{}"}}"#, self.names[which]);
                self.send("POST", "login", body, None).await;
            }
        }
    }
}

/// T172: what browsers see over time is the same, byte for byte, for two names of one user, of two
/// users and of none, and where a browser that is known goes before the first.
#[cfg(feature = "axum")]
#[tokio::test(start_paused = true)]
async fn browsers_see_the_same_for_all_names() {
    let mut told = Vec::new();
    for (names, is_superseded, rings) in [
        (["alice", "a.smith"], false, 2),
        (["unknown", "un.known"], false, 0),
        (["bob", "carol"], false, 5),
        (["alice.smith", "unknown"], false, 3),
        (["alice", "unknown"], true, 3),
        (["alice", "a.smith"], true, 3),
    ] {
        let mut stage = Harness::with_builder(|builder| builder.resolve_username(resolve));
        let heard = Arc::new(Mutex::new(0));
        let count = heard.clone();
        stage.respond_with(move |_, call| {
            if call.path.starts_with("/authentication/authenticate_user") {
                let mut count = count.lock().unwrap();
                started(call, *count);
                *count += 1;
            } else if call.path.starts_with("/s/") {
                reply_status(call, Pending);
            } else {
                reply_ok(call);
            }
        });
        let app = axum::Router::new().nest("/auth", stage.ac.routes());
        let mut scene = Scene { app, names, cookies: [None, None], seen: Vec::new() };
        for (second, step) in
            (0_u64..).zip(["start", "look", "start of the other", "look", "restart", "look"])
        {
            stage.at(second * 10_000 + second).await;
            match step {
                "look" => scene.look().await,
                "start of the other" => scene.start(1).await,
                _ => scene.start(0).await,
            }
            if is_superseded && second == 0 {
                let initiator = known_browser(&stage, 7).await;
                let start = StartAttempt { initiator, ..anonymous("alice", None) };
                stage.at(5_000).await;
                stage.ac.engine().begin_attempt(start).unwrap();
            }
        }
        // The deadlines: 60,000 of the first, 80,002 of the other, 100,004 of the restart.
        for ms in [79_999, 80_001, 80_002, 100_003, 100_004, 180_000] {
            stage.at(ms).await;
            scene.look().await;
        }
        assert_eq!(*heard.lock().unwrap(), rings, "{names:?}");
        told.push((names, scene.seen));
    }
    let (_, first) = &told[0];
    for (names, seen) in &told[1..] {
        for (number, (one, other)) in first.iter().zip(seen).enumerate() {
            assert_eq!(one, other, "{number} of {names:?}");
        }
        assert_eq!(first.len(), seen.len());
    }
    let all = first.join("\n");
    for word in ["pending", "timeout", "Too Many Requests"] {
        assert!(all.contains(word), "{word}");
    }
}
