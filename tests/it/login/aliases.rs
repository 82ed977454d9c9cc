//! Several names that lead to one user, and so to one phone.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tower_activeconnect::protocol::SessionStatus;
use tower_activeconnect::{ActiveconnectBuilder, UserId};

use super::fixture::{Fixture, start};
use crate::support::{Browser, approve, ringing, until};

/// The shortest deadline of an attempt.
const DEADLINE: Duration = Duration::from_secs(5);

/// All of these names are alice's.
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

/// Starts a login that is accepted.
async fn begin(browser: &Browser, username: &str, address: &str) {
    assert_eq!(start(browser, username, address).await.status(), 202, "{username}");
}

async fn until_withdrawn(site: &Fixture, session_token: &str) {
    until("the request is withdrawn", async || {
        let sessions = site.emulator.state().sessions;
        let session = sessions.iter().find(|session| session.session_token == session_token)?;
        (session.status == SessionStatus::Closed).then_some(())
    })
    .await;
}

/// F35: two browsers start with different names of one user. The user sees one request and cannot
/// tell whose it is: it is withdrawn, and the phone is silent until both attempts are over.
#[tokio::test]
async fn two_names_of_one_user_let_neither_in() {
    let site = fixture().await;
    let began = Instant::now();
    let (stranger, owner) = (site.browser(), site.browser());
    begin(&stranger, "a.smith", "198.51.100.9").await;
    let theirs = ringing(&site.emulator).await;
    sleep_until(began + Duration::from_millis(2_500)).await;
    begin(&owner, "alice", "203.0.113.7").await;
    let owner_began = Instant::now();
    until_withdrawn(&site, &theirs.session_token).await;
    // Whatever anonymous browsers start with, the phone is silent.
    begin(&stranger, "a.smith", "198.51.100.9").await;
    begin(&owner, "alice", "203.0.113.7").await;
    begin(&site.browser(), "alice@example.com", "192.0.2.1").await;
    let mut late = None;
    while owner_began.elapsed() < DEADLINE - Duration::from_millis(300) {
        for browser in [&stranger, &owner] {
            assert_eq!(browser.status().await, "pending");
        }
        // The first of both deadlines is over.
        if late.is_none() && began.elapsed() > DEADLINE + Duration::from_millis(300) {
            let browser = late.insert(site.browser());
            begin(browser, "alice.smith", "192.0.2.2").await;
        }
        assert_eq!(site.rings(), 1, "the phone is silent");
    }
    assert!(late.is_some());
    for browser in [&stranger, &owner] {
        until("over", async || (browser.status().await == "timeout").then_some(())).await;
    }
    assert_eq!(site.rings(), 1);
    // The names are free, and the phone rings again.
    begin(&owner, "alice", "203.0.113.7").await;
    approve(&site.emulator).await;
    until("in", async || (owner.status().await == "active").then_some(())).await;
    assert_eq!((site.rings(), stranger.status().await.as_str()), (2, "timeout"));
}

/// F35: a browser that is known for the name goes before one that started with another name.
#[tokio::test]
async fn known_browser_goes_before_another_name() {
    let site = fixture().await;
    let known = site.known_browser("alice").await;
    let stranger = site.browser();
    begin(&stranger, "a.smith", "198.51.100.9").await;
    let theirs = ringing(&site.emulator).await;
    begin(&known, "alice", "203.0.113.7").await;
    until_withdrawn(&site, &theirs.session_token).await;
    approve(&site.emulator).await;
    until("in", async || (known.status().await == "active").then_some(())).await;
    assert_eq!(stranger.status().await, "pending");
}

/// F35: nor does a start with another name end the request of a known browser.
#[tokio::test]
async fn another_name_does_not_end_a_known_browsers_request() {
    let site = fixture().await;
    let known = site.known_browser("alice").await;
    begin(&known, "alice", "203.0.113.7").await;
    let ours = ringing(&site.emulator).await;
    let rings = site.rings();
    let stranger = site.browser();
    begin(&stranger, "a.smith", "198.51.100.9").await;
    for _ in 0..50 {
        assert_eq!(stranger.status().await, "pending");
        assert_eq!(ringing(&site.emulator).await.session_token, ours.session_token);
    }
    approve(&site.emulator).await;
    until("in", async || (known.status().await == "active").then_some(())).await;
    assert_eq!(site.rings(), rings);
}

/// F36: after an approval the phone is silent for other browsers, by whatever name they start,
/// until the deadline of the attempt that was approved.
#[tokio::test]
async fn approved_phone_is_silent_for_other_names() {
    let site = fixture().await;
    let (owner, stranger) = (site.browser(), site.browser());
    let began = Instant::now();
    begin(&owner, "alice", "203.0.113.7").await;
    approve(&site.emulator).await;
    until("in", async || (owner.status().await == "active").then_some(())).await;
    begin(&stranger, "a.smith", "198.51.100.9").await;
    while began.elapsed() < DEADLINE - Duration::from_millis(300) {
        assert_eq!((site.rings(), stranger.status().await.as_str()), (1, "pending"));
    }
    // The owner's browser is known.
    begin(&owner, "alice", "203.0.113.7").await;
    approve(&site.emulator).await;
    until("in again", async || (owner.status().await == "active").then_some(())).await;
    assert_eq!(site.rings(), 2);
}
