//! Very many sessions that end at one moment are logged out at the service a few at a time.

use std::time::{Duration, Instant};

use activeconnect_emulator::{Action, Emulator, Endpoint, Fault, FaultKind};
use tokio::task::JoinSet;
use tower_activeconnect::UserId;
use tower_activeconnect::session::LogoutOutcome;

use crate::support::{approve, builder, until, with_phones};

const SESSIONS: usize = 300;
/// How long the service takes for a logout.
const LOGOUT: Duration = Duration::from_millis(500);
/// Client and emulator are one process: each connection is two files in it.
const FILES_PER_CONNECTION: usize = 2;
/// What polls, and connections that are just being closed, may have open beside.
const OTHER_FILES: usize = 64;
const MAX_LOGOUTS_IN_FLIGHT: usize = 64;

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// T175: the sessions of very many users expire together at a service that is slow to log out. A
/// user who logs in and out meanwhile is not kept waiting.
#[tokio::test]
async fn expiring_sessions_open_few_connections() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    let users: Vec<_> = (0..SESSIONS).map(|n| UserId::from(format!("user{n}").as_str())).collect();
    ac.enroll_many(users.clone(), |_, enrolled| enrolled.unwrap()).await.unwrap();
    for user in emulator.state().users {
        emulator.register_device(&user.user_id).unwrap();
    }
    let mut logins = JoinSet::new();
    for user in users {
        let ac = ac.clone();
        logins.spawn(async move { ac.log_in(&user).await.unwrap() });
    }
    until("all have logged in", async || {
        for session in emulator.state().sessions {
            if session.status.to_string() == "pending" {
                emulator.act_on_session(&session.session_token, Action::Approve).unwrap();
            }
        }
        while logins.try_join_next().is_some() {}
        logins.is_empty().then_some(())
    })
    .await;
    with_phones(&emulator, &ac, &["alice"]).await;
    emulator.inject_fault(Fault::new(Endpoint::Logout, FaultKind::Delay).with_delay(LOGOUT));
    let before = open_files();
    // Half a day goes by.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(12 * 3_600)).await;
    tokio::time::resume();
    let begun = Instant::now();
    until("sessions expire", async || (ac.health().logouts_pending > 200).then_some(())).await;
    let alice = UserId::from("alice");
    let (credential, _) = tokio::join!(ac.log_in(&alice), approve(&emulator));
    credential.unwrap();
    let asked = Instant::now();
    let session = ac.sessions(&alice).await.unwrap()[0].id();
    assert_eq!(ac.end_session(&alice, &session).await.unwrap(), LogoutOutcome::Confirmed);
    assert!(asked.elapsed() < LOGOUT + Duration::from_secs(1), "{:?}", asked.elapsed());
    assert!(ac.health().logouts_pending > 0, "all others are logged out already");
    let mut most = 0;
    until("all are logged out", async || {
        most = most.max(open_files());
        let sessions = emulator.state().sessions;
        let over = sessions.iter().filter(|session| session.status.to_string() == "closed");
        (over.count() > SESSIONS && ac.health().logouts_pending == 0).then_some(())
    })
    .await;
    let most = most.saturating_sub(before);
    assert!(most <= FILES_PER_CONNECTION * MAX_LOGOUTS_IN_FLIGHT + OTHER_FILES, "{most} files");
    eprintln!("{SESSIONS} logouts: at most {most} files more, in {:?}", begun.elapsed());
}
