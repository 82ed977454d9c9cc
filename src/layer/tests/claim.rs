//! Claims of approved attempts: repetition, time limits, and sessions that no client presents.

use crate::UserId;
use std::sync::{Arc, Mutex};

use super::harness::{
    Harness, app_login, next_event, reply_ok, reply_status, run_ready_tasks, user_event,
};
use crate::engine::StartAttempt;
use crate::events::{EndReason, EventKind};
use crate::protocol::SessionStatus::{Active, Pending};

/// T150: a claim is repeatable until a request presents the credential. A session that is not
/// presented for a minute ends, also at the service.
#[tokio::test(start_paused = true)]
async fn claimed_session_ends_unless_presented_in_60_s() {
    for presented_at in [Some(0), Some(59_999), Some(60_001), None] {
        let mut harness = Harness::new();
        let engine = harness.ac.engine().clone();
        let mut events = harness.ac.events();
        let user = UserId::from("alice");
        let attempt = engine.begin_attempt(app_login(user.clone())).unwrap();
        harness.reply_next_start().await;
        reply_status(harness.next_call("/s/").await, Active);
        run_ready_tasks().await;
        let logouts = Arc::new(Mutex::new(0));
        let logout_count = logouts.clone();
        harness.respond_with(move |_, call| {
            *logout_count.lock().unwrap() += usize::from(call.path.starts_with("/l/"));
            reply_ok(call);
        });
        // The minute starts with the claim, not with the approval.
        harness.advance_to(50_000).await;
        let first = engine.claim(&attempt, Some(&user)).unwrap();
        let claimed_at = harness.now();
        let repeat = || engine.claim(&attempt, Some(&user)).map(|claim| claim.credential.key());
        for delay_ms in [0, 1_000, 30_000, 59_998] {
            if presented_at.is_none_or(|at| at > delay_ms) {
                harness.advance_to(claimed_at + delay_ms).await;
                assert_eq!(repeat(), Some(first.credential.key()), "after {delay_ms} ms");
            }
        }
        let is_in_time = presented_at.is_some_and(|at| at < 60_000);
        if let Some(at) = presented_at {
            harness.advance_to(claimed_at + at).await;
            run_ready_tasks().await;
            let expected = if is_in_time { "allowed" } else { "ended" };
            assert_eq!(harness.send_request(&first.credential).await, expected, "after {at} ms");
        }
        harness.advance_to(claimed_at + 61_000).await;
        assert_eq!(repeat(), None, "presented or ended: {presented_at:?}");
        assert!(attempt.attempt.is_over(engine.now()) && !attempt.attempt.is_pending(engine.now()));
        assert_eq!(harness.ac.sessions(&user).await.unwrap().len(), usize::from(is_in_time));
        assert_eq!(*logouts.lock().unwrap(), usize::from(!is_in_time));
        assert_eq!(
            next_event(&mut events).await,
            Some(user_event(user.as_str(), EventKind::Started))
        );
        if !is_in_time {
            let ended = EventKind::Ended { reason: EndReason::Unclaimed };
            assert_eq!(next_event(&mut events).await, Some(user_event(user.as_str(), ended)));
        }
    }
}

/// T176: a browser starts another login before it presents the credential of the last one.
#[tokio::test(start_paused = true)]
async fn second_start_ends_unpresented_session() {
    for is_presented in [false, true] {
        let mut harness = Harness::new();
        let engine = harness.ac.engine().clone();
        let user = UserId::from("alice");
        let attempt = engine.begin_attempt(app_login(user.clone())).unwrap();
        harness.reply_next_start().await;
        reply_status(harness.next_call("/s/0").await, Active);
        run_ready_tasks().await;
        let first = engine.claim(&attempt, Some(&user)).unwrap();
        if is_presented {
            assert_eq!(harness.send_request(&first.credential).await, "allowed");
        }
        let start = app_login(user.clone());
        engine
            .begin_attempt(StartAttempt { previous_attempt: Some(&attempt.credential), ..start })
            .unwrap();
        let remaining = usize::from(is_presented);
        assert_eq!(harness.ac.sessions(&user).await.unwrap().len(), remaining, "at once");
        assert!(engine.claim(&attempt, Some(&user)).is_none());
        if !is_presented {
            reply_ok(harness.next_call("/l/0").await);
        }
        harness.reply_next_start().await;
        assert_eq!(harness.ac.sessions(&user).await.unwrap().len(), remaining);
    }
}

/// T150: an attempt is approved just before its deadline and claimed a minute later. The engine
/// keeps the attempt for a minute of repeatable claims, and for a minute in which it reports
/// that the attempt ended.
#[tokio::test(start_paused = true)]
async fn late_claim_is_repeatable_for_a_minute() {
    let mut harness = Harness::new();
    let engine = harness.ac.engine().clone();
    let user = UserId::from("alice");
    let attempt = engine.begin_attempt(app_login(user.clone())).unwrap();
    harness.reply_next_start().await;
    harness.respond_with(|now, call| {
        if call.path.starts_with("/s/") && now < 59_000 {
            reply_status(call, Pending);
        } else {
            reply_ok(call);
        }
    });
    let claim = || {
        let named = engine.login.attempts.find_named(attempt.credential.clone());
        named.map(|attempt| engine.claim(&attempt, Some(&user)).is_some())
    };
    harness.advance_to(58_000).await;
    assert_eq!(claim(), Some(false), "pending");
    for (at, expected) in
        [(118_000, Some(true)), (177_000, Some(true)), (179_000, Some(false)), (239_000, None)]
    {
        harness.advance_to(at).await;
        run_ready_tasks().await;
        assert_eq!(claim(), expected, "at {at} ms");
    }
}

/// T150: the session of `log_in` stays without a request that presents its credential.
#[tokio::test(start_paused = true)]
async fn session_of_log_in_counts_as_presented() {
    let mut harness = Harness::new();
    let alice = harness.log_in("alice").await;
    harness.respond_with(|_, call| reply_ok(call));
    harness.advance_to(61_000).await;
    assert_eq!(harness.ac.sessions(&"alice".into()).await.unwrap().len(), 1);
    assert_eq!(harness.send_request(&alice).await, "allowed");
}
