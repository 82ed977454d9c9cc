//! Enrollment in a user's life cycle: lost phones, text messages, unenrolling, batches.

use std::sync::Arc;
use std::time::Duration;

use activeconnect_emulator::{Emulator, Endpoint, Fault, FaultKind};
use tokio::sync::Notify;
use tower_activeconnect::enrollment::{EnrollNewError, EnrollmentError, EnrollmentGrant};
use tower_activeconnect::{Activeconnect, MemoryTokenStore, TokenStore as _, UserId, UserToken};
use tower_activeconnect_sqlx::SqliteTokenStore;

use crate::support::{self, approve, builder, enroll_users, poll_until};

/// An engine with a store that the test can read.
async fn engine(emulator: &Emulator) -> (Activeconnect, Arc<MemoryTokenStore>) {
    let store = Arc::new(MemoryTokenStore::new());
    let ac = builder(emulator).token_store(store.clone()).build().unwrap();
    enroll_users(emulator, &ac, &["alice"]).await;
    (ac, store)
}

/// A grant for a user whom the test has verified.
fn grant(ac: &Activeconnect, user: &str) -> EnrollmentGrant {
    ac.enrollment_grant(&user.into()).unwrap()
}

async fn log_in(emulator: &Emulator, ac: &Activeconnect) {
    let alice = "alice".into();
    let (credential, _) = tokio::join!(ac.log_in(&alice), approve(emulator));
    credential.unwrap();
}

#[tokio::test]
async fn lost_phone_ends_sessions_and_is_disabled() {
    let emulator = Emulator::start().await.unwrap();
    let (ac, _) = engine(&emulator).await;
    let alice = UserId::from("alice");
    for _ in 0..2 {
        log_in(&emulator, &ac).await;
    }
    assert_eq!(ac.sessions(&alice).await.unwrap().len(), 2);
    let link = ac.lost_device(&grant(&ac, "alice")).await.unwrap();
    assert_eq!(link.user(), &alice);
    assert!(link.expose().starts_with(emulator.url()));
    assert!(ac.sessions(&alice).await.unwrap().is_empty());
    assert!(!ac.has_device(&alice).await.unwrap());
    let sessions = emulator.state().sessions;
    assert!(sessions.iter().all(|session| session.status.to_string() == "closed"));
    let anonymous = ac.lost_device(&grant(&ac, "nobody")).await;
    assert!(matches!(anonymous, Err(EnrollmentError::NotEnrolled)));
}

/// The holder of a lost phone may have approved a login that is not claimed yet.
#[tokio::test]
async fn lost_phone_ends_unclaimed_approval() {
    let emulator = Emulator::start().await.unwrap();
    let (ac, _) = engine(&emulator).await;
    let app = axum::Router::new().nest("/auth", ac.routes());
    let thief = support::Browser::new(&support::serve(app).await);
    let start = serde_json::json!({ "username": "alice" });
    assert_eq!(thief.json("/auth/login", &start).await.status(), 202);
    let session = approve(&emulator).await;
    let mut events = thief.api("/auth/events").await;
    let mut text = String::new();
    while !text.contains("active") {
        text.push_str(&String::from_utf8_lossy(&events.chunk().await.unwrap().unwrap()));
    }
    let alice = UserId::from("alice");
    ac.lost_device(&ac.enrollment_grant(&alice).unwrap()).await.unwrap();
    assert_ne!(thief.status().await, "active");
    assert!(ac.sessions(&alice).await.unwrap().is_empty());
    poll_until("logged out there", async || {
        let sessions = emulator.state().sessions;
        let now = sessions.iter().find(|now| now.session_token == session.session_token)?;
        (now.status.to_string() == "closed").then_some(())
    })
    .await;
}

/// The holder of a lost phone may have its sessions: they end even during an outage.
#[tokio::test]
async fn lost_phone_ends_sessions_despite_outage() {
    let emulator = Emulator::start().await.unwrap();
    let (ac, _) = engine(&emulator).await;
    log_in(&emulator, &ac).await;
    emulator.inject_fault(Fault::new(Endpoint::LostUserMobileDevice, FaultKind::Reset));
    let lost = ac.lost_device(&grant(&ac, "alice")).await;
    assert!(matches!(lost, Err(EnrollmentError::Service(_))));
    assert!(ac.sessions(&"alice".into()).await.unwrap().is_empty());
}

#[tokio::test]
async fn unenroll_is_idempotent() {
    let emulator = Emulator::start().await.unwrap();
    let (ac, store) = engine(&emulator).await;
    let alice = UserId::from("alice");
    log_in(&emulator, &ac).await;
    emulator.inject_fault(Fault::new(Endpoint::DeleteUsers, FaultKind::Reset).times(1));
    assert!(matches!(ac.unenroll(&alice).await, Err(EnrollmentError::Service(_))));
    assert!(store.token(&alice).await.unwrap().is_some(), "the token stays until it is deleted");
    ac.unenroll(&alice).await.unwrap();
    assert!(store.token(&alice).await.unwrap().is_none());
    assert!(emulator.state().users.is_empty());
    assert!(ac.sessions(&alice).await.unwrap().is_empty());
    ac.unenroll(&alice).await.unwrap();
    // The user can enroll again, with another token.
    ac.enroll(&alice).await.unwrap();
    assert_eq!(emulator.state().users.len(), 1);
}

/// T134: three messages an hour for a user and for a number; the limit refills by the engine's
/// clock.
#[tokio::test]
async fn text_messages_are_rate_limited() {
    let emulator = Emulator::start().await.unwrap();
    let (ac, _) = engine(&emulator).await;
    ac.enroll(&"bob".into()).await.unwrap();
    let send = async |user: &str, number: &str| {
        ac.send_registration_sms(&grant(&ac, user), number, Some("Your link:")).await
    };
    for _ in 0..3 {
        send("alice", "+15550001").await.unwrap();
    }
    let rejected = send("alice", "+15550002").await.unwrap_err();
    let EnrollmentError::TooManyMessages(after) = rejected else { panic!("{rejected}") };
    assert!(after.as_secs() > 3_590 && after.as_secs() <= 3_600, "{after:?}");
    assert!(rejected.to_string().contains("try again in"));
    let rejected = send("bob", "+15550001").await.unwrap_err();
    assert!(matches!(rejected, EnrollmentError::TooManyMessages(_)), "another's number");
    send("bob", "+15550003").await.unwrap();
    assert_eq!(emulator.state().calls.send_registration_sms, 4);
}

#[tokio::test]
async fn enroll_many_works_in_batches_and_resumes() {
    let emulator = Emulator::start().await.unwrap();
    let (ac, store) = engine(&emulator).await;
    let users = || (0..250).map(|i| UserId::from(format!("user-{i}")));
    // The second call to the service fails.
    let mut reported = Vec::new();
    emulator.inject_fault(Fault::new(Endpoint::AddUsers, FaultKind::Delay).times(1));
    emulator.inject_fault(Fault::new(Endpoint::AddUsers, FaultKind::Reset).times(1));
    let broken = ac
        .enroll_many(users(), |user, result| {
            result.unwrap();
            reported.push(user.clone());
        })
        .await;
    assert!(matches!(broken, Err(EnrollmentError::Service(_))));
    assert_eq!(reported, users().take(100).collect::<Vec<_>>(), "in order");
    let first = store.token(&reported[0]).await.unwrap();

    reported.clear();
    ac.enroll_many(users(), |user, result| {
        result.unwrap();
        reported.push(user.clone());
    })
    .await
    .unwrap();
    assert_eq!(reported.len(), 250);
    assert_eq!(store.token(&reported[0]).await.unwrap(), first, "who has a token keeps it");
    poll_until("all are known there", async || (emulator.state().users.len() == 251).then_some(()))
        .await;
}

/// Users without their own row are reported, and do not block other users.
#[tokio::test]
async fn failed_enrollment_is_reported() {
    let emulator = Emulator::start().await.unwrap();
    let store = SqliteTokenStore::open("sqlite::memory:").await.unwrap();
    let ac = builder(&emulator).token_store(store).build().unwrap();
    let mut rejected = Vec::new();
    ac.enroll_many(["nobody".into()], |user, result| {
        assert!(matches!(result, Err(EnrollmentError::Store(_))));
        rejected.push(user.clone());
    })
    .await
    .unwrap();
    assert_eq!(rejected, ["nobody".into()]);
    // The unassigned token is deleted again.
    assert!(emulator.state().users.is_empty());
}

/// Rows of an interrupted enrollment. A user known only locally is added to the service with the
/// same token. A token known only to the service is deleted, and the user gets another.
#[tokio::test]
async fn incomplete_rows_are_repaired() {
    let emulator = Emulator::start().await.unwrap();
    let (ac, store) = engine(&emulator).await;
    let here_alone = UserToken::random().unwrap();
    store.assign(&"bob".into(), &here_alone).await.unwrap();
    let mut reported = Vec::new();
    let users = ["alice", "bob", "carol"].map(UserId::from);
    ac.enroll_many(users.clone(), |user, result| {
        result.unwrap();
        reported.push(user.clone());
    })
    .await
    .unwrap();
    assert_eq!(reported, users, "in order, whatever each needed");
    assert_eq!(store.token(&"bob".into()).await.unwrap().as_ref(), Some(&here_alone));
    let known = emulator.state().users;
    assert_eq!(known.len(), 3);
    assert!(known.iter().any(|user| user.user_id == here_alone.as_str()));
    assert!(known.iter().any(|user| user.devices == 1), "alice keeps her phone");
}

/// An interruption in the middle of a call, or while tokens are assigned: unassigned tokens at the
/// service are deleted, and the next run completes.
#[tokio::test]
async fn interrupted_batch_enrollment_resumes() {
    let emulator = Emulator::start().await.unwrap();
    let (ac, store) = engine(&emulator).await;
    let users = || (0..150).map(|i| UserId::from(format!("user-{i}")));
    let late = Duration::from_secs(60);
    emulator.inject_fault(Fault::new(Endpoint::AddUsers, FaultKind::Delay).times(1));
    emulator
        .inject_fault(Fault::new(Endpoint::AddUsers, FaultKind::Delay).with_delay(late).times(1));
    let mut reported = 0;
    let enrolling = ac.enroll_many(users(), |_, result| {
        result.unwrap();
        reported += 1;
    });
    tokio::select! {
        _ = enrolling => panic!("the service takes a minute"),
        () = poll_until("the second call is there", async || {
            (emulator.state().users.len() == 151).then_some(())
        }) => {}
    }
    assert_eq!(reported, 100);
    poll_until("unassigned tokens are deleted", async || {
        (emulator.state().users.len() == 101).then_some(())
    })
    .await;
    let mut reported = 0;
    ac.enroll_many(users(), |_, result| {
        result.unwrap();
        reported += 1;
    })
    .await
    .unwrap();
    assert_eq!((reported, emulator.state().users.len()), (150, 151));
    for user in users() {
        let token = store.token(&user).await.unwrap().unwrap();
        assert!(emulator.state().users.iter().any(|known| known.user_id == token.as_str()));
    }
}

/// A user who unenrolls during enrollment leaves no unassigned token.
#[tokio::test]
async fn unenroll_during_enroll_leaves_no_token() {
    let emulator = Emulator::start().await.unwrap();
    let (ac, _) = engine(&emulator).await;
    let registered = Notify::new();
    let insert = async || {
        registered.notify_one();
        std::future::pending::<Result<UserId, std::io::Error>>().await
    };
    tokio::select! {
        _ = ac.enroll_new(insert) => panic!("the enrollment ends in time"),
        () = registered.notified() => {}
    }
    poll_until("the token is gone", async || (emulator.state().users.len() == 1).then_some(()))
        .await;
}

#[tokio::test]
async fn failed_insert_returns_its_error() {
    #[derive(Debug, PartialEq)]
    struct NameTaken(&'static str);

    let emulator = Emulator::start().await.unwrap();
    let (ac, _) = engine(&emulator).await;
    let before = emulator.state().users.len();
    let failed = ac.enroll_new(async || Err(NameTaken("alice"))).await.unwrap_err();
    assert!(matches!(failed, EnrollNewError::Application(NameTaken("alice"))), "{failed:?}");
    assert_eq!(emulator.state().users.len(), before, "its token is deleted again");
}
