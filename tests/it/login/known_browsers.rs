//! Known browsers: their rate limit, and how they are forgotten.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use activeconnect_emulator::{Action, SessionReport};
use reqwest::Response;
use serde_json::json;
use tokio::sync::Notify;
use tower_activeconnect::enrollment::EnrollmentError;
use tower_activeconnect::protocol::SessionStatus;
use tower_activeconnect::store::{StoreError, StoreErrorKind};
use tower_activeconnect::{ActiveconnectBuilder, MemoryTokenStore, TokenStore, UserId, UserToken};

use super::fixture::{Fixture, KNOWN, start};
use crate::support::{Browser, advance, approve, pending_session, poll_until};

const ATTEMPT_COOKIE: &str = "__Host-activeconnect-attempt";
const OWNER: &str = "203.0.113.7";
const STRANGER: &str = "198.51.100.9";

/// An application whose user alice has a phone.
async fn fixture() -> Fixture {
    Fixture::new(&["alice"], |builder| builder).await
}

/// A token store without epochs.
struct Plain(MemoryTokenStore);

impl TokenStore for Plain {
    async fn token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        self.0.token(user).await
    }

    async fn assign(&self, user: &UserId, token: &UserToken) -> Result<UserToken, StoreError> {
        self.0.assign(user, token).await
    }

    async fn remove(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        self.0.remove(user).await
    }
}

/// A token store with epochs, which can delay its results or hang.
#[derive(Clone, Default)]
struct Slow {
    table: Arc<MemoryTokenStore>,
    /// The call whose result waits until it is released: the first, the second, or none (0).
    holds: Arc<AtomicUsize>,
    held: Arc<AtomicBool>,
    release: Arc<Notify>,
    /// Changes hang.
    hangs: Arc<AtomicBool>,
}

impl Slow {
    async fn hang(&self) {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}

impl TokenStore for Slow {
    async fn token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        self.table.token(user).await
    }

    async fn assign(&self, user: &UserId, token: &UserToken) -> Result<UserToken, StoreError> {
        self.table.assign(user, token).await
    }

    async fn remove(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        self.hang().await;
        self.table.remove(user).await
    }

    async fn browser_epoch(&self, user: &UserId) -> Result<Option<u64>, StoreError> {
        let epoch = self.table.browser_epoch(user).await;
        let fewer = |holds: usize| holds.checked_sub(1);
        if self.holds.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer) == Ok(1) {
            self.held.store(true, Ordering::SeqCst);
            self.release.notified().await;
        }
        epoch
    }

    async fn set_browser_epoch(&self, user: &UserId, epoch: u64) -> Result<(), StoreError> {
        self.hang().await;
        self.table.set_browser_epoch(user, epoch).await
    }
}

fn is_pending(site: &Fixture, session: &SessionReport) -> bool {
    let sessions = site.emulator.state().sessions;
    let now = sessions.iter().find(|now| now.session_token == session.session_token);
    now.is_some_and(|now| now.status == SessionStatus::Pending)
}

/// An anonymous login sends a push to alice.
async fn start_anonymous_login(site: &Fixture) -> SessionReport {
    assert_eq!(start(&site.browser(), "alice", STRANGER).await.status(), 202);
    pending_session(&site.emulator).await
}

/// Asserts that the browser is known: its start supersedes an anonymous attempt.
async fn assert_known(site: &Fixture, browser: &Browser) {
    let theirs = start_anonymous_login(site).await;
    assert_eq!(start(browser, "alice", OWNER).await.status(), 202);
    poll_until("the anonymous attempt is cancelled", async || {
        (!is_pending(site, &theirs)).then_some(())
    })
    .await;
    poll_until("a push is sent", async || (site.pending_count() == 1).then_some(())).await;
}

/// Asserts that the browser is anonymous: its start does not supersede an anonymous attempt.
async fn assert_anonymous(site: &Fixture, browser: &Browser, how: &str) {
    let theirs = start_anonymous_login(site).await;
    let push_count = site.push_count();
    assert_eq!(start(browser, "alice", OWNER).await.status(), 202, "{how}: as before");
    for _ in 0..50 {
        assert_eq!(browser.status().await, "pending", "{how}");
        assert!(is_pending(site, &theirs), "{how}");
    }
    assert_eq!(site.push_count(), push_count, "{how}");
}

/// Registers a phone for alice's newest token.
fn register_device(site: &Fixture) {
    let users = site.emulator.state().users;
    site.emulator.register_device(&users.last().unwrap().user_id).unwrap();
}

/// F37: copied proofs from several logins of one browser share one limit.
#[tokio::test]
async fn copied_proofs_share_one_limit() {
    let site = fixture().await;
    let browser = site.browser();
    let mut copies = Vec::new();
    for _ in 0..4 {
        browser.log_in(&site.emulator, "alice").await;
        copies.push(site.copy(&browser));
        browser.json("/auth/logout", &json!({})).await;
    }
    let proofs: Vec<_> = copies.iter().map(|copy| copy.cookie(KNOWN).unwrap()).collect();
    let mut responses = Vec::new();
    for copy in copies.iter().cycle().take(20) {
        responses.push(start(copy, "alice", OWNER).await.status().as_u16());
    }
    assert_eq!(responses[..5], [202; 5], "{proofs:?}");
    assert_eq!(responses[5..], [429; 15]);
    poll_until("five more pushes", async || (site.push_count() == 9).then_some(())).await;
}

/// F37: a claim that is repeated before the credential is presented does not create another known
/// browser.
#[tokio::test]
async fn repeated_claim_makes_one_browser() {
    let site = fixture().await;
    let browser = site.browser();
    assert_eq!(start(&browser, "alice", OWNER).await.status(), 202);
    let again = site.browser();
    again.set_cookie(ATTEMPT_COOKIE, &browser.cookie(ATTEMPT_COOKIE).unwrap());
    approve(&site.emulator).await;
    poll_until("claimed", async || (browser.status().await == "active").then_some(())).await;
    assert_eq!(again.status().await, "active");
    // A proof starts with the browser's id.
    let ids = [browser, again].map(|browser| browser.cookie(KNOWN).unwrap()[..21].to_owned());
    assert_eq!(ids[0], ids[1]);
}

/// F37: which actions forget browsers, and which do not.
#[tokio::test]
async fn forgotten_browsers_count_as_anonymous() {
    let alice = UserId::from("alice");
    for how in ["forget_browsers", "end_all_sessions", "lost_device", "unenroll"] {
        let site = fixture().await;
        let browser = site.known_browser("alice").await;
        match how {
            "forget_browsers" => site.ac.forget_browsers(&alice).await.unwrap(),
            "end_all_sessions" => {
                site.ac.end_all_sessions(&alice).forget_browsers().await.unwrap();
            }
            "lost_device" => {
                let grant = site.ac.enrollment_grant(&alice).unwrap();
                site.ac.lost_device(&grant).await.unwrap();
                register_device(&site);
            }
            _ => {
                site.ac.unenroll(&alice).await.unwrap();
                site.ac.enroll(&alice).await.unwrap();
                register_device(&site);
            }
        }
        assert_anonymous(&site, &browser, how).await;
    }
}

#[tokio::test]
async fn ended_sessions_leave_browsers_known() {
    let site = fixture().await;
    let browser = site.known_browser("alice").await;
    site.ac.end_all_sessions(&"alice".into()).await.unwrap();
    site.ac.forget_browsers(&"bob".into()).await.unwrap();
    assert_known(&site, &browser).await;
}

/// F37: with a token store without epochs, the process keeps them.
#[tokio::test]
async fn process_keeps_epochs_for_a_plain_store() {
    let keep_no_epochs =
        |builder: ActiveconnectBuilder| builder.token_store(Plain(MemoryTokenStore::new()));
    let site = Fixture::new(&["alice"], keep_no_epochs).await;
    let browser = site.browser();
    browser.log_in(&site.emulator, "alice").await;
    site.ac.end_all_sessions(&"alice".into()).forget_browsers().await.unwrap();
    // The username is reserved until the deadline, but a known browser can start.
    let push_count = site.push_count();
    assert_eq!(start(&browser, "alice", OWNER).await.status(), 202);
    for _ in 0..50 {
        assert_eq!((browser.status().await.as_str(), site.push_count()), ("pending", push_count));
    }
}

/// A response without its random parts.
fn comparable(response: &Response) -> (u16, Vec<String>) {
    let mut headers: Vec<_> = response
        .headers()
        .iter()
        .filter(|(name, _)| *name != "date")
        .map(|(name, value)| match value.to_str().unwrap().split_once('=') {
            Some((cookie, rest)) => format!("{name}: {cookie} {}", rest.len()),
            None => format!("{name}: {value:?}"),
        })
        .collect();
    headers.sort();
    (response.status().as_u16(), headers)
}

/// F37: a response does not reveal whether a proof is revoked.
#[tokio::test]
async fn revoked_proof_gets_same_response() {
    let mut responses = Vec::new();
    for is_revoked in [false, true] {
        let site = fixture().await;
        let browser = site.known_browser("alice").await;
        if is_revoked {
            site.ac.forget_browsers(&"alice".into()).await.unwrap();
        }
        let mut received = Vec::new();
        // With a free username, a reserved one, and above the limit.
        received.push(comparable(&start(&browser, "alice", OWNER).await));
        let copy = site.copy(&browser);
        for _ in 0..5 {
            let response = start(&copy, "alice", OWNER).await;
            received.push(comparable(&response));
            response.bytes().await.unwrap();
            received.push(comparable(&copy.api("/auth/status").await));
        }
        responses.push(received);
    }
    assert_eq!(responses[0], responses[1]);
    let codes: Vec<_> = responses[0].iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [202, 202, 200, 202, 200, 202, 200, 202, 200, 429, 200]);
}

/// F37: a browser that logs in after it was forgotten is a new one: a copy of its old proof does
/// not use its limit.
#[tokio::test]
async fn old_proof_does_not_use_new_limit() {
    let site = fixture().await;
    let browser = site.known_browser("alice").await;
    let thief = site.copy(&browser);
    site.ac.forget_browsers(&"alice".into()).await.unwrap();
    browser.log_in(&site.emulator, "alice").await;
    browser.json("/auth/logout", &json!({})).await;
    let push_count = site.push_count();
    // The browser's own last start counted for the old proof.
    for expected in [202, 202, 202, 202, 429] {
        assert_eq!(start(&thief, "alice", STRANGER).await.status(), expected);
    }
    assert_eq!(thief.status().await, "pending");
    browser.log_in(&site.emulator, "alice").await;
    assert_eq!(site.push_count(), push_count + 1, "the old proof sends no push");
}

/// T174: a pending request is cancelled.
#[tokio::test]
async fn browser_forgotten_during_push_is_anonymous() {
    let site = fixture().await;
    let browser = site.known_browser("alice").await;
    assert_eq!(start(&browser, "alice", OWNER).await.status(), 202);
    let session = pending_session(&site.emulator).await;
    site.ac.forget_browsers(&"alice".into()).await.unwrap();
    poll_until("its request is withdrawn", async || (!is_pending(&site, &session)).then_some(()))
        .await;
    assert_ne!(browser.status().await, "active");
}

/// F37: also while its login is queued after two declines.
#[tokio::test]
async fn browser_forgotten_in_queue_is_anonymous() {
    for forgets in [false, true] {
        let site = fixture().await;
        let browser = site.known_browser("alice").await;
        for _ in 0..2 {
            assert_eq!(start(&browser, "alice", OWNER).await.status(), 202);
            let declined = pending_session(&site.emulator).await;
            site.emulator.act_on_session(&declined.session_token, Action::Cancel).unwrap();
            let has_timed_out = async || (browser.status().await == "timeout").then_some(());
            poll_until("the login failed", has_timed_out).await;
        }
        let push_count = site.push_count();
        assert_eq!(start(&browser, "alice", OWNER).await.status(), 202);
        assert_eq!((browser.status().await.as_str(), site.push_count()), ("pending", push_count));
        if forgets {
            // Another instance of the application forgets it, so this one cancels nothing.
            let epoch = u64::MAX / 2;
            site.table.set_browser_epoch(&"alice".into(), epoch).await.unwrap();
        }
        advance(Duration::from_secs(8), Duration::from_secs(1)).await;
        let extra_pushes = u64::from(!forgets);
        for _ in 0..50 {
            assert_eq!(browser.status().await, "pending");
        }
        assert_eq!(site.push_count(), push_count + extra_pushes);
    }
}

/// F37: also while the token store's result is in flight.
#[tokio::test]
async fn browser_forgotten_during_lookup_is_anonymous() {
    for response in [1, 2] {
        let store = Slow::default();
        let site = Fixture::new(&["alice"], |builder| builder.token_store(store.clone())).await;
        let browser = site.browser();
        browser.log_in(&site.emulator, "alice").await;
        let push_count = site.push_count();
        store.holds.store(response, Ordering::SeqCst);
        // The username is reserved by that login, but a known browser can start.
        assert_eq!(start(&browser, "alice", OWNER).await.status(), 202);
        let is_held = async || store.held.load(Ordering::SeqCst).then_some(());
        poll_until("the store is called", is_held).await;
        site.ac.forget_browsers(&"alice".into()).await.unwrap();
        store.release.notify_one();
        for _ in 0..50 {
            let now = (browser.status().await, site.push_count());
            assert_eq!((now.0.as_str(), now.1), ("pending", push_count), "{response}");
        }
    }
}

/// F37: the engine does not wait for a hanging store: the phone is disabled, the sessions end, and
/// the process forgets the browsers.
#[tokio::test]
async fn hanging_store_makes_browser_anonymous() {
    for unenrolls in [false, true] {
        let store = Slow::default();
        let site = Fixture::new(&["alice"], |builder| builder.token_store(store.clone())).await;
        let browser = site.browser();
        browser.log_in(&site.emulator, "alice").await;
        store.hangs.store(true, Ordering::SeqCst);
        let alice = UserId::from("alice");
        let fails = async {
            if unenrolls {
                site.ac.unenroll(&alice).await.unwrap_err()
            } else {
                let grant = site.ac.enrollment_grant(&alice).unwrap();
                site.ac.lost_device(&grant).await.unwrap_err()
            }
        };
        let error = tokio::select! {
            error = fails => error,
            () = advance(Duration::from_secs(20), Duration::from_secs(1)) => panic!("it hangs"),
        };
        let EnrollmentError::Store(error) = error else { panic!("{error}") };
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert_eq!(browser.api("/").await.status(), 401);
        let calls = site.emulator.state().calls;
        assert_eq!(calls.lost_user_mobile_device + calls.delete_users, 1);
        let push_count = site.push_count();
        assert_eq!(start(&browser, "alice", OWNER).await.status(), 202);
        for _ in 0..50 {
            assert_eq!(
                (browser.status().await.as_str(), site.push_count()),
                ("pending", push_count)
            );
        }
    }
}

/// F37: a username may move to another user. A browser in which its previous owner logged in does
/// not supersede logins of the new owner.
#[tokio::test]
async fn name_of_another_user_is_not_known() {
    let renamed = |builder: ActiveconnectBuilder| {
        builder.resolve_username(|_| async { Ok::<_, StoreError>(Some(UserId::from("bob"))) })
    };
    let site = Fixture::new(&["alice", "bob"], renamed).await;
    // At another instance, where the username is still the first owner's.
    let browser = site.known_browser("alice").await;
    assert_anonymous(&site, &browser, "another user").await;
}
