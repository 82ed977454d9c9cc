//! Browsers in which a user has logged in: their budget, and how they are forgotten.

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
use crate::support::{Browser, approve, pass, ringing, until};

const ATTEMPT_COOKIE: &str = "__Host-activeconnect-attempt";
const OWNER: &str = "203.0.113.7";
const STRANGER: &str = "198.51.100.9";

/// An application whose user alice has a phone.
async fn fixture() -> Fixture {
    Fixture::new(&["alice"], |builder| builder).await
}

/// A lookup table that keeps no epochs.
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

/// A lookup table that keeps epochs, and can be made to answer late about them, or never.
#[derive(Clone, Default)]
struct Slow {
    table: Arc<MemoryTokenStore>,
    /// The answer about an epoch that leaves when it is released: the first, the second, or none (0).
    holds: Arc<AtomicUsize>,
    held: Arc<AtomicBool>,
    release: Arc<Notify>,
    /// It takes no changes, and does not say so.
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

/// A stranger's login rings alice's phone.
async fn strangers_login(site: &Fixture) -> SessionReport {
    assert_eq!(start(&site.browser(), "alice", STRANGER).await.status(), 202);
    ringing(&site.emulator).await
}

/// The browser starts a login while a stranger's rings: a known browser goes before it.
async fn goes_before_a_stranger(site: &Fixture, browser: &Browser) {
    let theirs = strangers_login(site).await;
    assert_eq!(start(browser, "alice", OWNER).await.status(), 202);
    until("it is withdrawn", async || (!is_pending(site, &theirs)).then_some(())).await;
    until("the phone rings", async || (site.rings_now() == 1).then_some(())).await;
}

/// The browser starts a login while a stranger's rings: one that is forgotten changes nothing.
async fn changes_nothing_for_a_stranger(site: &Fixture, browser: &Browser, how: &str) {
    let theirs = strangers_login(site).await;
    let rings = site.rings();
    assert_eq!(start(browser, "alice", OWNER).await.status(), 202, "{how}: as before");
    for _ in 0..50 {
        assert_eq!(browser.status().await, "pending", "{how}");
        assert!(is_pending(site, &theirs), "{how}");
    }
    assert_eq!(site.rings(), rings, "{how}");
}

/// Gives alice's newest token a phone.
fn register_device(site: &Fixture) {
    let users = site.emulator.state().users;
    site.emulator.register_device(&users.last().unwrap().user_id).unwrap();
}

/// F37: proofs that were kept from several logins of one browser share one budget.
#[tokio::test]
async fn kept_proofs_share_one_budget() {
    let site = fixture().await;
    let browser = site.browser();
    let mut kept = Vec::new();
    for _ in 0..4 {
        browser.log_in(&site.emulator, "alice").await;
        kept.push(site.copy(&browser));
        browser.json("/auth/logout", &json!({})).await;
    }
    let proofs: Vec<_> = kept.iter().map(|copy| copy.cookie(KNOWN).unwrap()).collect();
    let mut answers = Vec::new();
    for copy in kept.iter().cycle().take(20) {
        answers.push(start(copy, "alice", OWNER).await.status().as_u16());
    }
    assert_eq!(answers[..5], [202; 5], "{proofs:?}");
    assert_eq!(answers[5..], [429; 15]);
    until("five more rings", async || (site.rings() == 9).then_some(())).await;
}

/// F37: nor does a result that is claimed again, before its credential was presented, make another
/// browser.
#[tokio::test]
async fn repeated_claim_makes_one_browser() {
    let site = fixture().await;
    let browser = site.browser();
    assert_eq!(start(&browser, "alice", OWNER).await.status(), 202);
    let again = site.browser();
    again.set_cookie(ATTEMPT_COOKIE, &browser.cookie(ATTEMPT_COOKIE).unwrap());
    approve(&site.emulator).await;
    until("claimed", async || (browser.status().await == "active").then_some(())).await;
    assert_eq!(again.status().await, "active");
    // The id is what a proof begins with.
    let ids = [browser, again].map(|browser| browser.cookie(KNOWN).unwrap()[..21].to_owned());
    assert_eq!(ids[0], ids[1]);
}

/// F37: a browser is forgotten by whatever forgets it, and by nothing else.
#[tokio::test]
async fn forgotten_browsers_count_as_strangers() {
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
        changes_nothing_for_a_stranger(&site, &browser, how).await;
    }
}

#[tokio::test]
async fn ended_sessions_leave_browsers_known() {
    let site = fixture().await;
    let browser = site.known_browser("alice").await;
    site.ac.end_all_sessions(&"alice".into()).await.unwrap();
    site.ac.forget_browsers(&"bob".into()).await.unwrap();
    goes_before_a_stranger(&site, &browser).await;
}

/// F37: a lookup table that keeps no epochs leaves them to the process.
#[tokio::test]
async fn process_keeps_epochs_for_a_plain_store() {
    let keep_no_epochs =
        |builder: ActiveconnectBuilder| builder.token_store(Plain(MemoryTokenStore::new()));
    let site = Fixture::new(&["alice"], keep_no_epochs).await;
    let browser = site.browser();
    browser.log_in(&site.emulator, "alice").await;
    site.ac.end_all_sessions(&"alice".into()).forget_browsers().await.unwrap();
    // The name is reserved to the deadline of the login: a known browser begins all the same.
    let rings = site.rings();
    assert_eq!(start(&browser, "alice", OWNER).await.status(), 202);
    for _ in 0..50 {
        assert_eq!((browser.status().await.as_str(), site.rings()), ("pending", rings));
    }
}

/// What an answer says, without what differs by chance.
fn said(response: &Response) -> (u16, Vec<String>) {
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

/// F37: whoever starts with a proof does not learn whether it is revoked.
#[tokio::test]
async fn revoked_proof_is_answered_like_a_valid_one() {
    let mut answers = Vec::new();
    for is_revoked in [false, true] {
        let site = fixture().await;
        let browser = site.known_browser("alice").await;
        if is_revoked {
            site.ac.forget_browsers(&"alice".into()).await.unwrap();
        }
        let mut heard = Vec::new();
        // By a free name, by a reserved one, and more often than is allowed.
        heard.push(said(&start(&browser, "alice", OWNER).await));
        let copy = site.copy(&browser);
        for _ in 0..5 {
            let answer = start(&copy, "alice", OWNER).await;
            heard.push(said(&answer));
            answer.bytes().await.unwrap();
            heard.push(said(&copy.api("/auth/status").await));
        }
        answers.push(heard);
    }
    assert_eq!(answers[0], answers[1]);
    let codes: Vec<_> = answers[0].iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [202, 202, 200, 202, 200, 202, 200, 202, 200, 429, 200]);
}

/// F37: a browser that logs in after it was forgotten is another one: whoever kept its old proof
/// does not use up its budget.
#[tokio::test]
async fn old_proof_uses_up_no_new_budget() {
    let site = fixture().await;
    let browser = site.known_browser("alice").await;
    let thief = site.copy(&browser);
    site.ac.forget_browsers(&"alice".into()).await.unwrap();
    browser.log_in(&site.emulator, "alice").await;
    browser.json("/auth/logout", &json!({})).await;
    let rings = site.rings();
    // The browser's own last start was counted by the old proof.
    for expected in [202, 202, 202, 202, 429] {
        assert_eq!(start(&thief, "alice", STRANGER).await.status(), expected);
    }
    assert_eq!(thief.status().await, "pending");
    browser.log_in(&site.emulator, "alice").await;
    assert_eq!(site.rings(), rings + 1, "the old proof rings nobody");
}

/// T174: a request that rings already is withdrawn.
#[tokio::test]
async fn forgotten_while_its_phone_rings() {
    let site = fixture().await;
    let browser = site.known_browser("alice").await;
    assert_eq!(start(&browser, "alice", OWNER).await.status(), 202);
    let session = ringing(&site.emulator).await;
    site.ac.forget_browsers(&"alice".into()).await.unwrap();
    until("its request is withdrawn", async || (!is_pending(&site, &session)).then_some(())).await;
    assert_ne!(browser.status().await, "active");
}

/// F37: also while its login waits, as the user has said no twice.
#[tokio::test]
async fn forgotten_while_its_login_waits() {
    for forgets in [false, true] {
        let site = fixture().await;
        let browser = site.known_browser("alice").await;
        for _ in 0..2 {
            assert_eq!(start(&browser, "alice", OWNER).await.status(), 202);
            let declined = ringing(&site.emulator).await;
            site.emulator.act_on_session(&declined.session_token, Action::Cancel).unwrap();
            let over = async || (browser.status().await == "timeout").then_some(());
            until("it is over", over).await;
        }
        let rings = site.rings();
        assert_eq!(start(&browser, "alice", OWNER).await.status(), 202);
        assert_eq!((browser.status().await.as_str(), site.rings()), ("pending", rings));
        if forgets {
            // Another instance of the application does: this one withdraws nothing.
            let epoch = u64::MAX / 2;
            site.table.set_browser_epoch(&"alice".into(), epoch).await.unwrap();
        }
        pass(Duration::from_secs(8), Duration::from_secs(1)).await;
        let rings_again = u64::from(!forgets);
        for _ in 0..50 {
            assert_eq!(browser.status().await, "pending");
        }
        assert_eq!(site.rings(), rings + rings_again);
    }
}

/// F37: also while an answer of the table about it is on its way.
#[tokio::test]
async fn forgotten_while_the_table_answers() {
    for answer in [1, 2] {
        let store = Slow::default();
        let site = Fixture::new(&["alice"], |builder| builder.token_store(store.clone())).await;
        let browser = site.browser();
        browser.log_in(&site.emulator, "alice").await;
        let rings = site.rings();
        store.holds.store(answer, Ordering::SeqCst);
        // The name is reserved by that login: a known browser begins all the same.
        assert_eq!(start(&browser, "alice", OWNER).await.status(), 202);
        let is_held = async || store.held.load(Ordering::SeqCst).then_some(());
        until("the table is asked", is_held).await;
        site.ac.forget_browsers(&"alice".into()).await.unwrap();
        store.release.notify_one();
        for _ in 0..50 {
            let now = (browser.status().await, site.rings());
            assert_eq!((now.0.as_str(), now.1), ("pending", rings), "{answer}");
        }
    }
}

/// F37: a table that hangs is not waited for: the phone is disabled, the sessions end, and the
/// process has forgotten the browsers.
#[tokio::test]
async fn hanging_table_keeps_no_browser_known() {
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
            () = pass(Duration::from_secs(20), Duration::from_secs(1)) => panic!("it hangs"),
        };
        let EnrollmentError::Store(error) = error else { panic!("{error}") };
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert_eq!(browser.api("/").await.status(), 401);
        let calls = site.emulator.state().calls;
        assert_eq!(calls.lost_user_mobile_device + calls.delete_users, 1);
        let rings = site.rings();
        assert_eq!(start(&browser, "alice", OWNER).await.status(), 202);
        for _ in 0..50 {
            assert_eq!((browser.status().await.as_str(), site.rings()), ("pending", rings));
        }
    }
}

/// F37: a name may be another user's by now. In whose browser it was logged in with before, does not
/// go before the new owner, who would approve that login for their own.
#[tokio::test]
async fn name_of_another_user_is_not_known() {
    let renamed = |builder: ActiveconnectBuilder| {
        builder.resolve_username(|_| async { Ok::<_, StoreError>(Some(UserId::from("bob"))) })
    };
    let site = Fixture::new(&["alice", "bob"], renamed).await;
    // At another instance, where the name is still the first owner's.
    let browser = site.known_browser("alice").await;
    changes_nothing_for_a_stranger(&site, &browser, "another user").await;
}
