//! Login attempts: deadline, cancel, superseding, answers that come too late, one result taken once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use activeconnect_emulator::{Action, Emulator, Endpoint, Fault, FaultKind, SessionReport};
use axum::Router;
use axum::routing::get;
use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::json;
use tokio::sync::Notify;
use tower_activeconnect::login::LoginError;
use tower_activeconnect::protocol::SessionStatus;
use tower_activeconnect::store::StoreError;
use tower_activeconnect::{
    ActiveSession, Activeconnect, MemoryTokenStore, TokenStore, UserId, UserToken,
};

use crate::support::{Browser, approve, builder, ringing, serve, until, with_phones};

const SESSION: &str = "__Host-activeconnect";
const ATTEMPT_COOKIE: &str = "__Host-activeconnect-attempt";

/// The shortest deadline there is, for those who wait for it.
const SOON: Duration = Duration::from_secs(5);
/// A deadline that does not come.
const NEVER: Duration = Duration::from_secs(600);

struct Site {
    emulator: Emulator,
    ac: Activeconnect,
    url: String,
}

impl Site {
    async fn new(deadline: Duration) -> Self {
        Self::on(MemoryTokenStore::new(), deadline).await
    }

    async fn on(store: impl TokenStore, deadline: Duration) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = builder(&emulator).token_store(store).login_timeout(deadline).build().unwrap();
        with_phones(&emulator, &ac, &["alice"]).await;
        let app = Router::new()
            .route("/", get(|s: ActiveSession| async move { s.user().to_string() }))
            .layer(ac.layer())
            .nest("/auth", ac.routes());
        let url = serve(app).await;
        Self { emulator, ac, url }
    }

    fn browser(&self) -> Browser {
        Browser::new(&self.url)
    }

    fn sessions(&self) -> Vec<SessionReport> {
        self.emulator.state().sessions
    }

    /// How often a phone was to ring.
    fn starts(&self) -> u64 {
        self.emulator.state().calls.authenticate_user
    }

    /// As [`until`]; all the while at most one request waits on the phone.
    async fn until_while_one_rings<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        until(what, async || {
            let waiting = self.sessions().into_iter().filter(waits).count();
            assert!(waiting <= 1, "{waiting} requests wait on one phone");
            look()
        })
        .await
    }

    /// Waits until the service has it that this session is over.
    async fn withdrawn(&self, session: &SessionReport) -> SessionReport {
        until("logged out at the service", async || {
            self.sessions().into_iter().find(|now| {
                now.session_token == session.session_token && now.status == SessionStatus::Closed
            })
        })
        .await
    }

    /// Begins `log_in` and drops it as soon as the service was asked to ring.
    async fn log_in_and_drop(&self, user: &str) {
        let before = self.starts();
        let (ac, user) = (self.ac.clone(), UserId::from(user));
        let dropped = tokio::spawn(async move { ac.log_in(&user).await });
        until("the start", async || (self.starts() > before).then_some(())).await;
        dropped.abort();
        assert!(dropped.await.unwrap_err().is_cancelled());
    }
}

fn waits(session: &SessionReport) -> bool {
    matches!(session.status, SessionStatus::Pending | SessionStatus::Identifying)
}

/// The next call of this kind is obeyed at once and answered this much later.
fn slow(call: Endpoint, delay: Duration) -> Fault {
    Fault::new(call, FaultKind::Delay).with_delay(delay).times(1)
}

/// The next calls of this kind are not obeyed.
fn refused(call: Endpoint, times: u32) -> Fault {
    let kind = FaultKind::Http { status: StatusCode::SERVICE_UNAVAILABLE, retry_after_s: None };
    Fault::new(call, kind).times(times)
}

async fn begin(browser: &Browser, user: &str) {
    let begun = browser.json("/auth/login", &json!({ "username": user })).await;
    assert_eq!(begun.status(), 202);
}

/// A browser for each user whose login is approved, as the engine knows, and not taken.
async fn approved(site: &Site, users: &[&str]) -> Vec<(Browser, SessionReport)> {
    let mut all = Vec::new();
    for user in users {
        let browser = site.browser();
        begin(&browser, user).await;
        all.push((browser, approve(&site.emulator).await));
    }
    for (browser, _) in &all {
        // The event stream tells, and takes nothing.
        let mut events = browser.api("/auth/events").await;
        let told = async {
            let mut text = String::new();
            while !text.contains("active") {
                text.push_str(&String::from_utf8_lossy(&events.chunk().await.unwrap().unwrap()));
            }
        };
        tokio::time::timeout(Duration::from_secs(20), told).await.expect("never approved");
    }
    all
}

/// Runs a task after this many others had their turn: a little later than at once.
async fn a_little_later<T>(turns: usize, task: impl Future<Output = T>) -> T {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
    task.await
}

/// T034: the phone does not answer in time, or does when nobody waits any more.
#[tokio::test]
async fn approval_after_deadline_is_denied() {
    let site = Site::new(SOON).await;
    // The phone goes on ringing for a while: the service refuses the first logouts.
    site.emulator.inject_fault(refused(Endpoint::Logout, 2));
    let browser = site.browser();
    begin(&browser, "alice").await;
    let session = ringing(&site.emulator).await;
    until("the deadline", async || {
        let word = browser.status().await;
        assert!(["pending", "timeout"].contains(&word.as_str()), "{word}");
        (word == "timeout").then_some(())
    })
    .await;
    until("a logout", async || (site.emulator.state().calls.logout > 0).then_some(())).await;
    site.emulator.act_on_session(&session.session_token, Action::Approve).unwrap();
    site.withdrawn(&session).await;
    assert_eq!(browser.status().await, "timeout");
    assert_eq!(browser.cookie(SESSION), None);
    assert_eq!(browser.api("/").await.status(), 401);
    assert!(site.ac.sessions(&"alice".into()).await.unwrap().is_empty());
}

/// T036: nobody looks any more.
#[tokio::test]
async fn abandoned_attempt_is_withdrawn_at_deadline() {
    let site = Site::new(SOON).await;
    let browser = site.browser();
    begin(&browser, "alice").await;
    let session = ringing(&site.emulator).await;
    drop(browser);
    let ended = site.withdrawn(&session).await.ended_at.unwrap();
    // Not at once: the browser might have come back.
    assert!(ended / 1000 - session.created_at >= SOON.as_secs() - 1, "{session:?}, {ended}");
    assert_eq!((site.starts(), site.emulator.state().calls.logout), (1, 1));
}

/// T034: what the start brings when nobody wants it any more is logged out, approved or not.
#[tokio::test]
async fn start_answered_after_cancel_is_logged_out() {
    let site = Site::new(NEVER).await;
    for phone in [None, Some(Action::Approve)] {
        site.emulator.inject_fault(slow(Endpoint::AuthenticateUser, Duration::from_secs(1)));
        site.log_in_and_drop("alice").await;
        let session = ringing(&site.emulator).await;
        if let Some(action) = phone {
            site.emulator.act_on_session(&session.session_token, action).unwrap();
        }
        site.withdrawn(&session).await;
        assert!(site.ac.sessions(&"alice".into()).await.unwrap().is_empty());
    }
    assert_eq!((site.starts(), site.emulator.state().calls.logout), (2, 2));
}

/// T037: whether the phone rings is not known. It is not rung again.
#[tokio::test]
async fn start_of_unknown_outcome_is_not_repeated() {
    let site = Site::new(Duration::from_secs(7)).await;
    for (count, kind) in (1..).zip([FaultKind::Reset, FaultKind::Truncate, FaultKind::Garbage]) {
        site.emulator.inject_fault(Fault::new(Endpoint::AuthenticateUser, kind).times(1));
        let failed = site.ac.log_in(&"alice".into()).await.unwrap_err();
        assert_eq!(site.starts(), count, "{kind:?}");
        assert!(matches!(failed, LoginError::Service(_)), "{kind:?}: {failed}");
    }
    site.emulator.inject_fault(Fault::new(Endpoint::AuthenticateUser, FaultKind::Hang).times(1));
    let browser = site.browser();
    begin(&browser, "alice").await;
    until("the start", async || (site.starts() == 4).then_some(())).await;
    // It did ring, and the user said yes: to an answer that nobody got.
    approve(&site.emulator).await;
    until("the deadline", async || {
        let word = browser.status().await;
        assert!(["pending", "timeout"].contains(&word.as_str()), "{word}");
        (word == "timeout").then_some(())
    })
    .await;
    assert_eq!(site.starts(), 4);
    assert_eq!(browser.cookie(SESSION), None);
}

/// T035: the first is logged out at the service before the phone rings again.
#[tokio::test]
async fn push_follows_withdrawal_of_previous() {
    let site = Site::new(NEVER).await;
    site.emulator.inject_fault(slow(Endpoint::AuthenticateUser, Duration::from_secs(2)));
    site.emulator.inject_fault(slow(Endpoint::Logout, Duration::from_secs(2)));
    let browser = site.browser();
    begin(&browser, "alice").await;
    until("the start", async || (site.starts() == 1).then_some(())).await;
    begin(&browser, "alice").await;
    // Answered though the first start has not even come back.
    assert!(site.sessions().iter().all(waits));
    let second = site.until_while_one_rings("it rings again", || site.sessions().get(1).cloned());
    let second = second.await;
    let first = &site.sessions()[0];
    assert_eq!(first.status, SessionStatus::Closed);
    let answered = first.ended_at.unwrap() + 2_000;
    assert!(second.created_at >= answered / 1_000, "rang before the logout was answered");
    approve(&site.emulator).await;
    until("active", async || (browser.status().await == "active").then_some(())).await;
    assert_eq!((site.starts(), site.emulator.state().calls.logout), (2, 1));
}

/// T035: of several that were begun anew while the first start hung, the last alone rings.
#[tokio::test]
async fn last_of_a_chain_rings_alone() {
    let site = Site::new(NEVER).await;
    site.emulator.inject_fault(slow(Endpoint::AuthenticateUser, Duration::from_secs(2)));
    let browser = site.browser();
    begin(&browser, "alice").await;
    until("the start", async || (site.starts() == 1).then_some(())).await;
    for _ in 0..3 {
        begin(&browser, "alice").await;
    }
    site.until_while_one_rings("it rings again", || site.sessions().get(1).cloned()).await;
    approve(&site.emulator).await;
    until("active", async || (browser.status().await == "active").then_some(())).await;
    assert_eq!((site.starts(), site.sessions().len()), (2, 2));
}

/// One that waits for its turn is given up at once, rings nobody, and lets nobody past.
#[tokio::test]
async fn attempt_cancelled_in_queue_sends_no_push() {
    let site = Site::new(NEVER).await;
    let (second, third) = (site.browser(), site.browser());
    site.emulator.inject_fault(slow(Endpoint::AuthenticateUser, Duration::from_secs(3)));
    site.log_in_and_drop("alice").await;
    begin(&second, "alice").await;
    second.json("/auth/logout", &json!({})).await;
    // Another browser: the name is free though the first start has not come back.
    begin(&third, "alice").await;
    assert!(site.sessions().iter().all(waits));
    site.until_while_one_rings("it rings again", || site.sessions().get(1).cloned()).await;
    approve(&site.emulator).await;
    until("active", async || (third.status().await == "active").then_some(())).await;
    assert_eq!((site.starts(), site.sessions().len()), (2, 2));
    assert_eq!(second.status().await, "none");
}

/// Its own deadline ends the wait for its turn; who comes next waits on.
#[tokio::test]
async fn attempt_expired_in_queue_sends_no_push() {
    let site = Site::new(SOON).await;
    site.emulator.inject_fault(slow(Endpoint::AuthenticateUser, Duration::from_secs(4)));
    site.emulator.inject_fault(slow(Endpoint::Logout, Duration::from_secs(4)));
    site.log_in_and_drop("alice").await;
    let late = site.ac.log_in(&"alice".into()).await.unwrap_err();
    assert!(matches!(late, LoginError::TimedOut), "{late}");
    assert_eq!(site.starts(), 1);
    let browser = site.browser();
    begin(&browser, "alice").await;
    let last = site.until_while_one_rings("it rings again", || site.sessions().get(1).cloned());
    let last = last.await;
    let answered = site.sessions()[0].ended_at.unwrap() + 4_000;
    assert!(last.created_at >= answered / 1_000, "rang before the logout was answered");
    approve(&site.emulator).await;
    until("active", async || (browser.status().await == "active").then_some(())).await;
    assert_eq!(site.starts(), 2);
}

/// A lookup table that can be told to keep its next answer back, and to panic then.
struct Held {
    table: MemoryTokenStore,
    next: Arc<Next>,
}

#[derive(Default)]
struct Next {
    holds: AtomicBool,
    panics: AtomicBool,
    asked: AtomicBool,
    go: Notify,
}

impl TokenStore for Held {
    async fn token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        if self.next.holds.swap(false, Ordering::SeqCst) {
            self.next.asked.store(true, Ordering::SeqCst);
            self.next.go.notified().await;
            assert!(!self.next.panics.load(Ordering::SeqCst), "a store with a bug");
        }
        self.table.token(user).await
    }

    async fn assign(&self, user: &UserId, token: &UserToken) -> Result<UserToken, StoreError> {
        self.table.assign(user, token).await
    }
}

/// Given up while the lookup table is read, or while that ends in a panic: nothing rings, and the
/// next one does not wait for ever.
#[tokio::test]
async fn attempt_superseded_in_queue_sends_no_push() {
    for panics in [false, true] {
        let next = Arc::new(Next::default());
        let store = Held { table: MemoryTokenStore::new(), next: next.clone() };
        let site = Site::on(store, NEVER).await;
        next.panics.store(panics, Ordering::SeqCst);
        next.holds.store(true, Ordering::SeqCst);
        let browser = site.browser();
        begin(&browser, "alice").await;
        until("the lookup", async || next.asked.load(Ordering::SeqCst).then_some(())).await;
        begin(&browser, "alice").await;
        next.go.notify_one();
        approve(&site.emulator).await;
        until("active", async || (browser.status().await == "active").then_some(())).await;
        assert_eq!(site.starts(), 1, "panics: {panics}");
    }
}

/// T033: a hundred tabs of the browser that began.
#[tokio::test(flavor = "multi_thread")]
async fn hundred_racers_make_one_session() {
    let site = Site::new(NEVER).await;
    let (browser, _) = approved(&site, &["alice"]).await.remove(0);
    let cookies = browser.cookie_header();
    let racers = (0..100).map(|_| {
        let request = browser.get("/auth/status").header("cookie", &cookies);
        tokio::spawn(async move { request.send().await.unwrap() })
    });
    let answers = join_all(racers).await.into_iter().map(Result::unwrap);
    let session = |answer: &reqwest::Response| {
        let set = answer.headers().get_all("set-cookie").into_iter();
        set.filter_map(|set| set.to_str().ok()?.strip_prefix("__Host-activeconnect=")?.get(..43))
            .map(ToOwned::to_owned)
            .next()
    };
    let taken: Vec<String> = answers.filter_map(|answer| session(&answer)).collect();
    assert!(taken.len() == 100 && taken.iter().all(|one| *one == taken[0]), "{}", taken.len());
    assert_eq!(site.ac.sessions(&"alice".into()).await.unwrap().len(), 1);
    browser.set_cookie(SESSION, &taken[0]);
    assert_eq!(browser.api("/").await.text().await.unwrap(), "alice");
}

const RACERS: [&str; 16] =
    ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];

/// T082: a login whose result is taken while all of the user's sessions are ended is in or out,
/// here and at the service alike.
#[tokio::test(flavor = "multi_thread")]
async fn login_that_races_the_end_of_all_is_in_or_out() {
    let site = Site::new(NEVER).await;
    with_phones(&site.emulator, &site.ac, &RACERS).await;
    let logins = approved(&site, &RACERS).await;
    for (round, (browser, session)) in logins.into_iter().enumerate() {
        let (ac, user) = (site.ac.clone(), UserId::from(RACERS[round]));
        let ending =
            a_little_later(round * 8, async move { ac.end_all_sessions(&user).await.unwrap() });
        let ending = tokio::spawn(ending);
        browser.status().await;
        ending.await.unwrap();
        let is_in = browser.api("/").await.status() == 200;
        let left = site.ac.sessions(&RACERS[round].into()).await.unwrap().len();
        assert_eq!(left, usize::from(is_in), "round {round}");
        let expected = if is_in { SessionStatus::Active } else { SessionStatus::Closed };
        until("the service has it too", async || {
            let sessions = site.sessions();
            let there = sessions.iter().find(|there| there.session_token == session.session_token);
            (there?.status == expected).then_some(())
        })
        .await;
    }
}

/// T082, T083: of a logout and a login's taking, in two tabs, the logout wins.
#[tokio::test(flavor = "multi_thread")]
async fn logout_wins_over_a_login_that_races_it() {
    let site = Site::new(NEVER).await;
    with_phones(&site.emulator, &site.ac, &RACERS).await;
    let logins = approved(&site, &RACERS).await;
    for (round, (browser, session)) in logins.into_iter().enumerate() {
        let other = site.browser();
        other.set_cookie(ATTEMPT_COOKIE, &browser.cookie(ATTEMPT_COOKIE).unwrap());
        let logging_out = a_little_later(round * 8, async move {
            other.json("/auth/logout", &json!({})).await.status()
        });
        let logging_out = tokio::spawn(logging_out);
        browser.status().await;
        assert!(logging_out.await.unwrap().is_success());
        assert_eq!(browser.api("/").await.status(), 401, "round {round}");
        site.withdrawn(&session).await;
        assert!(site.ac.sessions(&RACERS[round].into()).await.unwrap().is_empty(), "round {round}");
    }
}

/// T083: a poll that says active and arrives after the logout revives nothing.
#[tokio::test]
async fn late_poll_revives_nothing() {
    let site = Site::new(NEVER).await;
    with_phones(&site.emulator, &site.ac, &["bob"]).await;
    let (alice, bob) = (site.browser(), site.browser());
    bob.log_in(&site.emulator, "bob").await;
    let session = alice.log_in(&site.emulator, "alice").await;
    let kept = alice.cookie(SESSION).unwrap();
    let polls = || site.emulator.state().calls.status;
    let before = polls();
    let late = slow(Endpoint::Status, Duration::from_millis(1_500)).for_user(&session.user_id);
    site.emulator.inject_fault(late);
    // Of three at least one is about alice.
    until("the late poll is on its way", async || (polls() >= before + 3).then_some(())).await;
    alice.json("/auth/logout", &json!({})).await;
    alice.set_cookie(SESSION, &kept);
    let before = polls();
    // Bob's, none sooner than 400 ms after the other.
    until("the late answer is there", async || {
        assert_eq!(alice.api("/").await.status(), 401);
        (polls() >= before + 6).then_some(())
    })
    .await;
    site.withdrawn(&session).await;
}
