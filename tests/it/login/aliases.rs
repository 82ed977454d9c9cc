//! Several usernames of one user, and thus of one phone.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tower_activeconnect::protocol::SessionStatus;
use tower_activeconnect::{ActiveconnectBuilder, UserId};

use super::fixture::{Fixture, start};
use crate::support::{Browser, approve, pending_session, poll_until};

/// The shortest login timeout.
const DEADLINE: Duration = Duration::from_secs(5);

/// All of these usernames are alice's.
fn with_aliases(builder: ActiveconnectBuilder) -> ActiveconnectBuilder {
    let resolve = |name: String| async move {
        let user = match name.as_str() {
            "alice" | "a.smith" | "alice@example.com" | "alice.smith" => Some("alice"),
            _ => None,
        };
        Ok::<_, std::io::Error>(user.map(UserId::from))
    };
    builder.resolve_username(resolve).login_timeout(DEADLINE)
}

async fn fixture() -> Fixture {
    Fixture::new(&["alice"], with_aliases).await
}

/// Starts a login; asserts that it is accepted.
async fn start_login(browser: &Browser, username: &str, address: &str) {
    assert_eq!(start(browser, username, address).await.status(), 202, "{username}");
}

async fn wait_until_cancelled(site: &Fixture, session_token: &str) {
    poll_until("the request is withdrawn", async || {
        let sessions = site.emulator.state().sessions;
        let session = sessions.iter().find(|session| session.session_token == session_token)?;
        (session.status == SessionStatus::Closed).then_some(())
    })
    .await;
}

/// F35: two browsers start with different usernames of one user. The user sees one request and
/// cannot know its browser, so the request is cancelled, and the phone gets no push until both
/// attempts ended.
#[tokio::test]
async fn two_names_of_one_user_block_each_other() {
    let site = fixture().await;
    let began = Instant::now();
    let (anonymous, owner) = (site.browser(), site.browser());
    start_login(&anonymous, "a.smith", "198.51.100.9").await;
    let theirs = pending_session(&site.emulator).await;
    sleep_until(began + Duration::from_millis(2_500)).await;
    start_login(&owner, "alice", "203.0.113.7").await;
    let owner_began = Instant::now();
    wait_until_cancelled(&site, &theirs.session_token).await;
    // No anonymous browser can send a push.
    start_login(&anonymous, "a.smith", "198.51.100.9").await;
    start_login(&owner, "alice", "203.0.113.7").await;
    start_login(&site.browser(), "alice@example.com", "192.0.2.1").await;
    let mut late = None;
    while owner_began.elapsed() < DEADLINE - Duration::from_millis(300) {
        for browser in [&anonymous, &owner] {
            assert_eq!(browser.status().await, "pending");
        }
        // The first of both deadlines passed.
        if late.is_none() && began.elapsed() > DEADLINE + Duration::from_millis(300) {
            let browser = late.insert(site.browser());
            start_login(browser, "alice.smith", "192.0.2.2").await;
        }
        assert_eq!(site.push_count(), 1, "the phone is silent");
    }
    assert!(late.is_some());
    for browser in [&anonymous, &owner] {
        poll_until("over", async || (browser.status().await == "timeout").then_some(())).await;
    }
    assert_eq!(site.push_count(), 1);
    // The usernames are free, and a push is sent again.
    start_login(&owner, "alice", "203.0.113.7").await;
    approve(&site.emulator).await;
    poll_until("in", async || (owner.status().await == "active").then_some(())).await;
    assert_eq!((site.push_count(), anonymous.status().await.as_str()), (2, "timeout"));
}

/// F35: a known browser supersedes a browser that started with another username.
#[tokio::test]
async fn known_browser_supersedes_other_name() {
    let site = fixture().await;
    let known = site.known_browser("alice").await;
    let anonymous = site.browser();
    start_login(&anonymous, "a.smith", "198.51.100.9").await;
    let theirs = pending_session(&site.emulator).await;
    start_login(&known, "alice", "203.0.113.7").await;
    wait_until_cancelled(&site, &theirs.session_token).await;
    approve(&site.emulator).await;
    poll_until("in", async || (known.status().await == "active").then_some(())).await;
    assert_eq!(anonymous.status().await, "pending");
}

/// F35: a start with another username does not end a known browser's attempt.
#[tokio::test]
async fn other_name_keeps_known_browsers_attempt() {
    let site = fixture().await;
    let known = site.known_browser("alice").await;
    start_login(&known, "alice", "203.0.113.7").await;
    let ours = pending_session(&site.emulator).await;
    let push_count = site.push_count();
    let anonymous = site.browser();
    start_login(&anonymous, "a.smith", "198.51.100.9").await;
    for _ in 0..50 {
        assert_eq!(anonymous.status().await, "pending");
        assert_eq!(pending_session(&site.emulator).await.session_token, ours.session_token);
    }
    approve(&site.emulator).await;
    poll_until("in", async || (known.status().await == "active").then_some(())).await;
    assert_eq!(site.push_count(), push_count);
}

/// F36: after an approval other browsers send no push by any username, until the deadline of the
/// approved attempt.
#[tokio::test]
async fn approved_attempt_blocks_push_for_other_names() {
    let site = fixture().await;
    let (owner, anonymous) = (site.browser(), site.browser());
    let began = Instant::now();
    start_login(&owner, "alice", "203.0.113.7").await;
    approve(&site.emulator).await;
    poll_until("in", async || (owner.status().await == "active").then_some(())).await;
    start_login(&anonymous, "a.smith", "198.51.100.9").await;
    while began.elapsed() < DEADLINE - Duration::from_millis(300) {
        assert_eq!((site.push_count(), anonymous.status().await.as_str()), (1, "pending"));
    }
    // The owner's browser is a known browser.
    start_login(&owner, "alice", "203.0.113.7").await;
    approve(&site.emulator).await;
    poll_until("in again", async || (owner.status().await == "active").then_some(())).await;
    assert_eq!(site.push_count(), 2);
}
