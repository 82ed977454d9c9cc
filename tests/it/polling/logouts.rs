//! Many sessions that end at once are logged out at the service a few at a time.

use std::time::{Duration, Instant};

use activeconnect_emulator::{Action, Emulator, Endpoint, Fault, FaultKind};
use tokio::task::JoinSet;
use tower_activeconnect::UserId;
use tower_activeconnect::session::LogoutOutcome;

use crate::support::{approve, builder, enroll_users, poll_until};

const SESSIONS: usize = 300;
/// The service's response time for a logout.
const LOGOUT: Duration = Duration::from_millis(500);
/// Client and emulator share the process: each connection is two files.
const FILES_PER_CONNECTION: usize = 2;
/// Other open files: polls, and connections that are closing.
const OTHER_FILES: usize = 64;
const MAX_LOGOUTS_IN_FLIGHT: usize = 64;

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// T175: the sessions of many users expire together while the service is slow. A user who logs in
/// and out meanwhile does not wait.
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
    poll_until("all have logged in", async || {
        for session in emulator.state().sessions {
            if session.status.to_string() == "pending" {
                emulator.act_on_session(&session.session_token, Action::Approve).unwrap();
            }
        }
        while logins.try_join_next().is_some() {}
        logins.is_empty().then_some(())
    })
    .await;
    enroll_users(&emulator, &ac, &["alice"]).await;
    emulator.inject_fault(Fault::new(Endpoint::Logout, FaultKind::Delay).with_delay(LOGOUT));
    let before = open_files();
    // Advances by half a day.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(12 * 3_600)).await;
    tokio::time::resume();
    let started_at = Instant::now();
    poll_until("sessions expire", async || (ac.health().logouts_pending > 200).then_some(())).await;
    let alice = UserId::from("alice");
    let (credential, _) = tokio::join!(ac.log_in(&alice), approve(&emulator));
    credential.unwrap();
    let logout_at = Instant::now();
    let session = ac.sessions(&alice).await.unwrap()[0].id();
    assert_eq!(ac.end_session(&alice, &session).await.unwrap(), LogoutOutcome::Confirmed);
    assert!(logout_at.elapsed() < LOGOUT + Duration::from_secs(1), "{:?}", logout_at.elapsed());
    assert!(ac.health().logouts_pending > 0, "all others are logged out already");
    let mut max = 0;
    poll_until("all are logged out", async || {
        max = max.max(open_files());
        let sessions = emulator.state().sessions;
        let closed = sessions.iter().filter(|session| session.status.to_string() == "closed");
        (closed.count() > SESSIONS && ac.health().logouts_pending == 0).then_some(())
    })
    .await;
    let max = max.saturating_sub(before);
    assert!(max <= FILES_PER_CONNECTION * MAX_LOGOUTS_IN_FLIGHT + OTHER_FILES, "{max} files");
    eprintln!("{SESSIONS} logouts: at most {max} files more, in {:?}", started_at.elapsed());
}
