//! Floods of starts that fill the slots of pending attempts.

use std::time::Duration;

use tower_activeconnect::login::{LoginLimits, RateLimit};

use super::fixture::{Fixture, start};
use crate::support::approve;

/// F49: the last slots are not for anonymous browsers, so the application and known browsers can
/// still log in.
#[tokio::test]
async fn flood_of_starts_keeps_log_in_going() {
    let often = RateLimit::new(1_000, Duration::from_secs(1));
    let limits = LoginLimits::default().overall(often).per_address(often);
    let users = ["alice", "bob", "carol"];
    let site = Fixture::new(&users, |builder| builder.max_attempts(20).login_limits(limits)).await;
    let known = site.known_browser("alice").await;
    let mut places = 0;
    let rejected = loop {
        let name = format!("name-{places}");
        let started = start(&site.browser(), &name, "198.51.100.9").await;
        if started.status() != 202 {
            break started;
        }
        places += 1;
    };
    assert_eq!((rejected.status().as_u16(), places), (429, 18));
    for user in ["bob", "carol"] {
        let user = user.into();
        let (credential, _) = tokio::join!(site.ac.log_in(&user), approve(&site.emulator));
        credential.unwrap();
    }
    assert_eq!(start(&known, "alice", "203.0.113.7").await.status(), 202);
    approve(&site.emulator).await;
}
