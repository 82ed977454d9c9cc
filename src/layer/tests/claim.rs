//! Claims of what a phone approved: how often, for how long, and what becomes of what no client
//! gets. Time is paused, the service is played here.

use std::sync::{Arc, Mutex};

use super::harness::{Harness, app_login, next_event, of, reply_ok, reply_status};
use crate::UserId;
use crate::engine::StartAttempt;
use crate::events::{EndReason, EventKind};
use crate::protocol::SessionStatus::{Active, Pending};

/// Lets all that is ready run.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// T150: the answer that carries the credential is repeated until a request carries that; what is
/// not presented for a minute ends, here and at the service.
#[tokio::test(start_paused = true)]
async fn claimed_session_has_a_minute_to_be_presented() {
    for presented_at in [Some(0), Some(59_999), Some(60_001), None] {
        let mut stage = Harness::new();
        let engine = stage.ac.engine().clone();
        let mut events = stage.ac.events();
        let user = UserId::from("alice");
        let named = engine.begin_attempt(app_login(user.clone())).unwrap();
        stage.start().await;
        reply_status(stage.call("/s/").await, Active);
        settle().await;
        let logouts = Arc::new(Mutex::new(0));
        let counted = logouts.clone();
        stage.respond_with(move |_, call| {
            *counted.lock().unwrap() += usize::from(call.path.starts_with("/l/"));
            reply_ok(call);
        });
        // Late, but in time: the minute to present it in begins with the claim.
        stage.at(50_000).await;
        let first = engine.claim(&named, Some(&user)).unwrap();
        let begun = stage.now();
        let repeat = || engine.claim(&named, Some(&user)).map(|claim| claim.credential.key());
        for later in [0, 1_000, 30_000, 59_998] {
            if presented_at.is_none_or(|at| at > later) {
                stage.at(begun + later).await;
                assert_eq!(repeat(), Some(first.credential.key()), "after {later} ms");
            }
        }
        let is_in_time = presented_at.is_some_and(|at| at < 60_000);
        if let Some(at) = presented_at {
            stage.at(begun + at).await;
            settle().await;
            let expected = if is_in_time { "allowed" } else { "ended" };
            assert_eq!(stage.send_request(&first.credential).await, expected, "after {at} ms");
        }
        stage.at(begun + 61_000).await;
        assert_eq!(repeat(), None, "presented or ended: {presented_at:?}");
        assert!(named.attempt.is_over(engine.now()) && !named.attempt.is_pending(engine.now()));
        assert_eq!(stage.ac.sessions(&user).await.unwrap().len(), usize::from(is_in_time));
        assert_eq!(*logouts.lock().unwrap(), usize::from(!is_in_time));
        assert_eq!(next_event(&mut events).await, Some(of(user.as_str(), EventKind::Started)));
        if !is_in_time {
            let ended = EventKind::Ended { reason: EndReason::Unclaimed };
            assert_eq!(next_event(&mut events).await, Some(of(user.as_str(), ended)));
        }
    }
}

/// T176: the same browser starts another login before it presented the credential of the last.
#[tokio::test(start_paused = true)]
async fn second_start_ends_a_session_that_was_not_presented() {
    for is_presented in [false, true] {
        let mut stage = Harness::new();
        let engine = stage.ac.engine().clone();
        let user = UserId::from("alice");
        let named = engine.begin_attempt(app_login(user.clone())).unwrap();
        stage.start().await;
        reply_status(stage.call("/s/0").await, Active);
        settle().await;
        let first = engine.claim(&named, Some(&user)).unwrap();
        if is_presented {
            assert_eq!(stage.send_request(&first.credential).await, "allowed");
        }
        let start = app_login(user.clone());
        engine
            .begin_attempt(StartAttempt { previous_attempt: Some(&named.credential), ..start })
            .unwrap();
        let left = usize::from(is_presented);
        assert_eq!(stage.ac.sessions(&user).await.unwrap().len(), left, "at once");
        assert!(engine.claim(&named, Some(&user)).is_none());
        if !is_presented {
            reply_ok(stage.call("/l/0").await);
        }
        stage.start().await;
        assert_eq!(stage.ac.sessions(&user).await.unwrap().len(), left);
    }
}

/// T150: approved just before the deadline and claimed a minute later, it is found for the minute
/// in which the claim can be repeated, and for one more in which its browser is told that it is
/// over.
#[tokio::test(start_paused = true)]
async fn late_claim_is_found_until_it_is_over() {
    let mut stage = Harness::new();
    let engine = stage.ac.engine().clone();
    let user = UserId::from("alice");
    let named = engine.begin_attempt(app_login(user.clone())).unwrap();
    stage.start().await;
    stage.respond_with(|now, call| {
        if call.path.starts_with("/s/") && now < 59_000 {
            reply_status(call, Pending);
        } else {
            reply_ok(call);
        }
    });
    let claim = || {
        let found = engine.login.attempts.find_named(named.credential.clone());
        found.map(|named| engine.claim(&named, Some(&user)).is_some())
    };
    stage.at(58_000).await;
    assert_eq!(claim(), Some(false), "pending");
    for (at, expected) in
        [(118_000, Some(true)), (177_000, Some(true)), (179_000, Some(false)), (239_000, None)]
    {
        stage.at(at).await;
        settle().await;
        assert_eq!(claim(), expected, "at {at} ms");
    }
}

/// T150: who is given the credential by `log_in` needs no request to keep its session.
#[tokio::test(start_paused = true)]
async fn log_in_presents_its_credential() {
    let mut stage = Harness::new();
    let alice = stage.log_in("alice").await;
    stage.respond_with(|_, call| reply_ok(call));
    stage.at(61_000).await;
    assert_eq!(stage.ac.sessions(&"alice".into()).await.unwrap().len(), 1);
    assert_eq!(stage.send_request(&alice).await, "allowed");
}
