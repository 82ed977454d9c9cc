//! Login attempts: deadline, cancel, supersede, late responses, one claim.

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

use crate::support::{Browser, approve, builder, enroll_users, pending_session, poll_until, serve};

const SESSION: &str = "__Host-activeconnect";
const ATTEMPT_COOKIE: &str = "__Host-activeconnect-attempt";

/// The shortest login timeout.
const SHORT_TIMEOUT: Duration = Duration::from_secs(5);
/// A login timeout that the test does not reach.
const NEVER: Duration = Duration::from_secs(600);

struct Site {
    emulator: Emulator,
    ac: Activeconnect,
    url: String,
}

impl Site {
    async fn new(deadline: Duration) -> Self {
        Self::with_builder(MemoryTokenStore::new(), deadline).await
    }

    async fn with_builder(store: impl TokenStore, deadline: Duration) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = builder(&emulator).token_store(store).login_timeout(deadline).build().unwrap();
        enroll_users(&emulator, &ac, &["alice"]).await;
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

    /// The number of pushes so far.
    fn start_count(&self) -> u64 {
        self.emulator.state().calls.authenticate_user
    }

    /// Like [`poll_until`]; asserts that at most one session is pending at any time.
    async fn poll_until_with_one_push<T>(&self, context: &str, look: impl Fn() -> Option<T>) -> T {
        poll_until(context, async || {
            let waiting = self.sessions().into_iter().filter(wait_for_pending).count();
            assert!(waiting <= 1, "{waiting} requests wait on one phone");
            look()
        })
        .await
    }

    /// Waits until the session ended at the service.
    async fn wait_until_cancelled(&self, session: &SessionReport) -> SessionReport {
        poll_until("logged out at the service", async || {
            self.sessions().into_iter().find(|now| {
                now.session_token == session.session_token && now.status == SessionStatus::Closed
            })
        })
        .await
    }

    /// Starts `log_in`, and drops it once the service received the request.
    async fn drop_log_in(&self, user: &str) {
        let before = self.start_count();
        let (ac, user) = (self.ac.clone(), UserId::from(user));
        let dropped = tokio::spawn(async move { ac.log_in(&user).await });
        poll_until("the start", async || (self.start_count() > before).then_some(())).await;
        dropped.abort();
        assert!(dropped.await.unwrap_err().is_cancelled());
    }
}

fn wait_for_pending(session: &SessionReport) -> bool {
    matches!(session.status, SessionStatus::Pending | SessionStatus::Identifying)
}

/// Delays the response to the next call of this kind; the service processes the call at once.
fn delaying_fault(call: Endpoint, delay: Duration) -> Fault {
    Fault::new(call, FaultKind::Delay).with_delay(delay).times(1)
}

/// Rejects the next calls of this kind without processing them.
fn rejecting_fault(call: Endpoint, times: u32) -> Fault {
    let kind = FaultKind::Http { status: StatusCode::SERVICE_UNAVAILABLE, retry_after_s: None };
    Fault::new(call, kind).times(times)
}

async fn start_login(browser: &Browser, user: &str) {
    let started_at = browser.json("/auth/login", &json!({ "username": user })).await;
    assert_eq!(started_at.status(), 202);
}

/// A browser for each user whose login is approved but not claimed.
async fn approved(site: &Site, users: &[&str]) -> Vec<(Browser, SessionReport)> {
    let mut all = Vec::new();
    for user in users {
        let browser = site.browser();
        start_login(&browser, user).await;
        all.push((browser, approve(&site.emulator).await));
    }
    for (browser, _) in &all {
        // The event stream does not claim.
        let mut events = browser.api("/auth/events").await;
        let reported = async {
            let mut text = String::new();
            while !text.contains("active") {
                text.push_str(&String::from_utf8_lossy(&events.chunk().await.unwrap().unwrap()));
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reported)
            .await
            .expect("the approval arrives");
    }
    all
}

/// Runs a task after this many other tasks had a turn.
async fn sleep_briefly<T>(turns: usize, task: impl Future<Output = T>) -> T {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
    task.await
}

/// T034: no approval before the deadline, or an approval after it.
#[tokio::test]
async fn approval_after_deadline_is_denied() {
    let site = Site::new(SHORT_TIMEOUT).await;
    // The service rejects the first logouts, so the push stays for a while.
    site.emulator.inject_fault(rejecting_fault(Endpoint::Logout, 2));
    let browser = site.browser();
    start_login(&browser, "alice").await;
    let session = pending_session(&site.emulator).await;
    poll_until("the deadline", async || {
        let status = browser.status().await;
        assert!(["pending", "timeout"].contains(&status.as_str()), "{status}");
        (status == "timeout").then_some(())
    })
    .await;
    poll_until("a logout", async || (site.emulator.state().calls.logout > 0).then_some(())).await;
    site.emulator.act_on_session(&session.session_token, Action::Approve).unwrap();
    site.wait_until_cancelled(&session).await;
    assert_eq!(browser.status().await, "timeout");
    assert_eq!(browser.cookie(SESSION), None);
    assert_eq!(browser.api("/").await.status(), 401);
    assert!(site.ac.sessions(&"alice".into()).await.unwrap().is_empty());
}

/// T036: the browser no longer polls.
#[tokio::test]
async fn abandoned_attempt_is_withdrawn_at_deadline() {
    let site = Site::new(SHORT_TIMEOUT).await;
    let browser = site.browser();
    start_login(&browser, "alice").await;
    let session = pending_session(&site.emulator).await;
    drop(browser);
    let ended = site.wait_until_cancelled(&session).await.ended_at.unwrap();
    // Not at once: the browser might return.
    assert!(
        ended / 1000 - session.created_at >= SHORT_TIMEOUT.as_secs() - 1,
        "{session:?}, {ended}"
    );
    assert_eq!((site.start_count(), site.emulator.state().calls.logout), (1, 1));
}

/// T034: a session from a late start response is logged out, approved or not.
#[tokio::test]
async fn start_answered_after_cancel_is_logged_out() {
    let site = Site::new(NEVER).await;
    for phone in [None, Some(Action::Approve)] {
        site.emulator
            .inject_fault(delaying_fault(Endpoint::AuthenticateUser, Duration::from_secs(1)));
        site.drop_log_in("alice").await;
        let session = pending_session(&site.emulator).await;
        if let Some(action) = phone {
            site.emulator.act_on_session(&session.session_token, action).unwrap();
        }
        site.wait_until_cancelled(&session).await;
        assert!(site.ac.sessions(&"alice".into()).await.unwrap().is_empty());
    }
    assert_eq!((site.start_count(), site.emulator.state().calls.logout), (2, 2));
}

/// T037: whether the push was sent is unknown; the start is not repeated.
#[tokio::test]
async fn start_of_unknown_outcome_is_not_repeated() {
    let site = Site::new(Duration::from_secs(7)).await;
    for (count, kind) in (1..).zip([FaultKind::Reset, FaultKind::Truncate, FaultKind::Garbage]) {
        site.emulator.inject_fault(Fault::new(Endpoint::AuthenticateUser, kind).times(1));
        let failed = site.ac.log_in(&"alice".into()).await.unwrap_err();
        assert_eq!(site.start_count(), count, "{kind:?}");
        assert!(matches!(failed, LoginError::Service(_)), "{kind:?}: {failed}");
    }
    site.emulator.inject_fault(Fault::new(Endpoint::AuthenticateUser, FaultKind::Hang).times(1));
    let browser = site.browser();
    start_login(&browser, "alice").await;
    poll_until("the start", async || (site.start_count() == 4).then_some(())).await;
    // The push was sent and approved, but the response was lost.
    approve(&site.emulator).await;
    poll_until("the deadline", async || {
        let status = browser.status().await;
        assert!(["pending", "timeout"].contains(&status.as_str()), "{status}");
        (status == "timeout").then_some(())
    })
    .await;
    assert_eq!(site.start_count(), 4);
    assert_eq!(browser.cookie(SESSION), None);
}

/// T035: the first attempt is logged out at the service before the next push.
#[tokio::test]
async fn push_follows_withdrawal_of_previous() {
    let site = Site::new(NEVER).await;
    site.emulator.inject_fault(delaying_fault(Endpoint::AuthenticateUser, Duration::from_secs(2)));
    site.emulator.inject_fault(delaying_fault(Endpoint::Logout, Duration::from_secs(2)));
    let browser = site.browser();
    start_login(&browser, "alice").await;
    poll_until("the start", async || (site.start_count() == 1).then_some(())).await;
    start_login(&browser, "alice").await;
    // The response does not wait for the first start.
    assert!(site.sessions().iter().all(wait_for_pending));
    let second =
        site.poll_until_with_one_push("another push is sent", || site.sessions().get(1).cloned());
    let second = second.await;
    let first = &site.sessions()[0];
    assert_eq!(first.status, SessionStatus::Closed);
    let answered = first.ended_at.unwrap() + 2_000;
    assert!(second.created_at >= answered / 1_000, "the push was sent before the logout completed");
    approve(&site.emulator).await;
    poll_until("active", async || (browser.status().await == "active").then_some(())).await;
    assert_eq!((site.start_count(), site.emulator.state().calls.logout), (2, 1));
}

/// T035: several attempts start while the first start hangs; only the last sends a push.
#[tokio::test]
async fn only_last_of_a_chain_sends_push() {
    let site = Site::new(NEVER).await;
    site.emulator.inject_fault(delaying_fault(Endpoint::AuthenticateUser, Duration::from_secs(2)));
    let browser = site.browser();
    start_login(&browser, "alice").await;
    poll_until("the start", async || (site.start_count() == 1).then_some(())).await;
    for _ in 0..3 {
        start_login(&browser, "alice").await;
    }
    site.poll_until_with_one_push("another push is sent", || site.sessions().get(1).cloned()).await;
    approve(&site.emulator).await;
    poll_until("active", async || (browser.status().await == "active").then_some(())).await;
    assert_eq!((site.start_count(), site.sessions().len()), (2, 2));
}

/// A queued attempt that is cancelled ends at once, sends no push, and keeps its place in the
/// queue.
#[tokio::test]
async fn attempt_cancelled_in_queue_sends_no_push() {
    let site = Site::new(NEVER).await;
    let (second, third) = (site.browser(), site.browser());
    site.emulator.inject_fault(delaying_fault(Endpoint::AuthenticateUser, Duration::from_secs(3)));
    site.drop_log_in("alice").await;
    start_login(&second, "alice").await;
    second.json("/auth/logout", &json!({})).await;
    // Another browser: the username is free although the first start has no response yet.
    start_login(&third, "alice").await;
    assert!(site.sessions().iter().all(wait_for_pending));
    site.poll_until_with_one_push("another push is sent", || site.sessions().get(1).cloned()).await;
    approve(&site.emulator).await;
    poll_until("active", async || (third.status().await == "active").then_some(())).await;
    assert_eq!((site.start_count(), site.sessions().len()), (2, 2));
    assert_eq!(second.status().await, "none");
}

/// A queued attempt ends at its own deadline; the next attempt keeps waiting.
#[tokio::test]
async fn attempt_expired_in_queue_sends_no_push() {
    let site = Site::new(SHORT_TIMEOUT).await;
    site.emulator.inject_fault(delaying_fault(Endpoint::AuthenticateUser, Duration::from_secs(4)));
    site.emulator.inject_fault(delaying_fault(Endpoint::Logout, Duration::from_secs(4)));
    site.drop_log_in("alice").await;
    let late = site.ac.log_in(&"alice".into()).await.unwrap_err();
    assert!(matches!(late, LoginError::TimedOut), "{late}");
    assert_eq!(site.start_count(), 1);
    let browser = site.browser();
    start_login(&browser, "alice").await;
    let last =
        site.poll_until_with_one_push("another push is sent", || site.sessions().get(1).cloned());
    let last = last.await;
    let answered = site.sessions()[0].ended_at.unwrap() + 4_000;
    assert!(last.created_at >= answered / 1_000, "the push was sent before the logout completed");
    approve(&site.emulator).await;
    poll_until("active", async || (browser.status().await == "active").then_some(())).await;
    assert_eq!(site.start_count(), 2);
}

/// A token store that can delay its next result, and panic then.
struct HeldStore {
    table: MemoryTokenStore,
    next: Arc<NextToken>,
}

#[derive(Default)]
struct NextToken {
    holds: AtomicBool,
    panics: AtomicBool,
    asked: AtomicBool,
    go: Notify,
}

impl TokenStore for HeldStore {
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

/// An attempt is superseded while the token store is read or panics: no push is sent, and the next
/// attempt continues.
#[tokio::test]
async fn attempt_superseded_in_queue_sends_no_push() {
    for panics in [false, true] {
        let next = Arc::new(NextToken::default());
        let store = HeldStore { table: MemoryTokenStore::new(), next: next.clone() };
        let site = Site::with_builder(store, NEVER).await;
        next.panics.store(panics, Ordering::SeqCst);
        next.holds.store(true, Ordering::SeqCst);
        let browser = site.browser();
        start_login(&browser, "alice").await;
        poll_until("the lookup", async || next.asked.load(Ordering::SeqCst).then_some(())).await;
        start_login(&browser, "alice").await;
        next.go.notify_one();
        approve(&site.emulator).await;
        poll_until("active", async || (browser.status().await == "active").then_some(())).await;
        assert_eq!(site.start_count(), 1, "panics: {panics}");
    }
}

/// T033: a hundred tabs of the starting browser.
#[tokio::test(flavor = "multi_thread")]
async fn hundred_concurrent_claims_make_one_session() {
    let site = Site::new(NEVER).await;
    let (browser, _) = approved(&site, &["alice"]).await.remove(0);
    let cookies = browser.cookie_header();
    let racers = (0..100).map(|_| {
        let request = browser.get("/auth/status").header("cookie", &cookies);
        tokio::spawn(async move { request.send().await.unwrap() })
    });
    let responses = join_all(racers).await.into_iter().map(Result::unwrap);
    let session = |response: &reqwest::Response| {
        let set = response.headers().get_all("set-cookie").into_iter();
        set.filter_map(|set| set.to_str().ok()?.strip_prefix("__Host-activeconnect=")?.get(..43))
            .map(ToOwned::to_owned)
            .next()
    };
    let claimed: Vec<String> = responses.filter_map(|response| session(&response)).collect();
    assert!(
        claimed.len() == 100 && claimed.iter().all(|one| *one == claimed[0]),
        "{}",
        claimed.len()
    );
    assert_eq!(site.ac.sessions(&"alice".into()).await.unwrap().len(), 1);
    browser.set_cookie(SESSION, &claimed[0]);
    assert_eq!(browser.api("/").await.text().await.unwrap(), "alice");
}

const CLAIMS: [&str; 16] =
    ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];

/// T082: a login is claimed while all sessions of the user are ended: it is either in or out, here
/// and at the service.
#[tokio::test(flavor = "multi_thread")]
async fn login_racing_end_all_is_in_or_out() {
    let site = Site::new(NEVER).await;
    enroll_users(&site.emulator, &site.ac, &CLAIMS).await;
    let logins = approved(&site, &CLAIMS).await;
    for (round, (browser, session)) in logins.into_iter().enumerate() {
        let (ac, user) = (site.ac.clone(), UserId::from(CLAIMS[round]));
        let ending =
            sleep_briefly(round * 8, async move { ac.end_all_sessions(&user).await.unwrap() });
        let ending = tokio::spawn(ending);
        browser.status().await;
        ending.await.unwrap();
        let is_in = browser.api("/").await.status() == 200;
        let left = site.ac.sessions(&CLAIMS[round].into()).await.unwrap().len();
        assert_eq!(left, usize::from(is_in), "round {round}");
        let expected = if is_in { SessionStatus::Active } else { SessionStatus::Closed };
        poll_until("the service has it too", async || {
            let sessions = site.sessions();
            let report =
                sessions.iter().find(|report| report.session_token == session.session_token);
            (report?.status == expected).then_some(())
        })
        .await;
    }
}

/// T082, T083: a logout and a claim race in two tabs: the logout wins.
#[tokio::test(flavor = "multi_thread")]
async fn logout_wins_over_racing_login() {
    let site = Site::new(NEVER).await;
    enroll_users(&site.emulator, &site.ac, &CLAIMS).await;
    let logins = approved(&site, &CLAIMS).await;
    for (round, (browser, session)) in logins.into_iter().enumerate() {
        let other = site.browser();
        other.set_cookie(ATTEMPT_COOKIE, &browser.cookie(ATTEMPT_COOKIE).unwrap());
        let logging_out = sleep_briefly(round * 8, async move {
            other.json("/auth/logout", &json!({})).await.status()
        });
        let logging_out = tokio::spawn(logging_out);
        browser.status().await;
        assert!(logging_out.await.unwrap().is_success());
        assert_eq!(browser.api("/").await.status(), 401, "round {round}");
        site.wait_until_cancelled(&session).await;
        assert!(site.ac.sessions(&CLAIMS[round].into()).await.unwrap().is_empty(), "round {round}");
    }
}

/// T083: an active status that arrives after the logout does not revive the attempt.
#[tokio::test]
async fn late_poll_revives_no_attempt() {
    let site = Site::new(NEVER).await;
    enroll_users(&site.emulator, &site.ac, &["bob"]).await;
    let (alice, bob) = (site.browser(), site.browser());
    bob.log_in(&site.emulator, "bob").await;
    let session = alice.log_in(&site.emulator, "alice").await;
    let old_cookie = alice.cookie(SESSION).unwrap();
    let polls = || site.emulator.state().calls.status;
    let before = polls();
    let late =
        delaying_fault(Endpoint::Status, Duration::from_millis(1_500)).for_user(&session.user_id);
    site.emulator.inject_fault(late);
    // At least one of three is about alice.
    poll_until("the late poll is on its way", async || (polls() >= before + 3).then_some(())).await;
    alice.json("/auth/logout", &json!({})).await;
    alice.set_cookie(SESSION, &old_cookie);
    let before = polls();
    // Bob's polls are at least 400 ms apart.
    poll_until("the late response arrived", async || {
        assert_eq!(alice.api("/").await.status(), 401);
        (polls() >= before + 6).then_some(())
    })
    .await;
    site.wait_until_cancelled(&session).await;
}
