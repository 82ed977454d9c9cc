//! Every kind of stream under every change, side by side, each with exactly the end that it is to
//! have.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use activeconnect_emulator::{Action, Endpoint, Fault, FaultKind};
use tonic::Code;
use tower_activeconnect::ActiveconnectLayer;
use tower_activeconnect::layer::Walkaway;

use super::stage::{BOUND, Caller, Held, Kind, Outcome, Seen, Stage};
use crate::support::until;

/// The reason for a cut.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Why {
    Ended,
    Suspended,
    Unavailable,
}

/// How this kind ends when it is cut.
pub(crate) fn cut(kind: Kind, why: Why) -> Outcome {
    let (name, event, denied, code) = match why {
        Why::Ended => ("ended", ("ended", "closed"), 401, Code::Unauthenticated),
        Why::Suspended => ("suspended", ("suspended", "walkaway"), 403, Code::Unauthenticated),
        Why::Unavailable => ("unavailable", ("unavailable", "unavailable"), 503, Code::Unavailable),
    };
    match kind {
        Kind::Sse => Outcome::Event(event.0, event.1),
        Kind::Chunked | Kind::Download => Outcome::Broken,
        Kind::LongPoll | Kind::Upload => Outcome::Denied(denied),
        Kind::Socket => Outcome::Closed(1008, name.to_owned()),
        Kind::Unary | Kind::Server | Kind::Client | Kind::Both => Outcome::Status(code),
    }
}

/// What became of all of them, beside what is to.
async fn all_are(held: Vec<Held>, expected: impl Fn(Kind) -> Outcome) {
    let (mut wrong, patience) = (Vec::new(), Duration::from_secs(20));
    let deadline = tokio::time::Instant::now() + patience;
    for Held { kind, over, outcome, .. } in held {
        let outcome = tokio::time::timeout_at(deadline, outcome).await;
        let outcome = outcome.map(Result::unwrap).ok();
        if outcome.as_ref() != Some(&expected(kind)) {
            wrong.push(format!("{kind:?} over {over:?}: {outcome:?}, not {:?}", expected(kind)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn seen(held: &[Held]) -> Vec<Arc<Seen>> {
    held.iter().map(|held| held.seen.clone()).collect()
}

/// Nothing has arrived anywhere after the promised time.
fn over_in_time(seen: &[Arc<Seen>], changed_at: u64) {
    for seen in seen {
        let took = Duration::from_millis(seen.at().saturating_sub(changed_at));
        assert!(took <= BOUND, "{took:?} after the change");
    }
}

/// Waits until nothing has arrived for a while, at any client or handler.
async fn quiet(stage: &Stage, held: &[Held]) {
    let frames = || {
        let uploaded = stage.uploaded.load(Ordering::Relaxed);
        held.iter().map(|held| held.seen.frames()).sum::<u64>() + uploaded
    };
    let (mut before, mut since) = (frames(), tokio::time::Instant::now());
    until("it is quiet", async || {
        if frames() != before {
            (before, since) = (frames(), tokio::time::Instant::now());
        }
        (since.elapsed() >= Duration::from_millis(400)).then_some(())
    })
    .await;
}

async fn stage_of(walkaway: Walkaway, hold_limit: Duration) -> (Stage, Caller, Vec<Held>) {
    let layer = |layer: ActiveconnectLayer| {
        let grace = Duration::from_millis(200);
        layer.walkaway(walkaway).grace(grace).hold_limit(hold_limit)
    };
    let stage = Stage::of(|engine| engine, layer).await;
    let alice = stage.log_in("alice").await;
    let held = stage.open_all(&alice).await;
    (stage, alice, held)
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn ended() {
    let (stage, alice, held) = stage_of(Walkaway::Suspend, LONG).await;
    let seen = seen(&held);
    stage.act(&alice, Action::Close);
    all_are(held, |kind| cut(kind, Why::Ended)).await;
    over_in_time(&seen, stage.report(&alice).ended_at.unwrap());
}

#[tokio::test]
async fn suspended() {
    let (stage, alice, held) = stage_of(Walkaway::Suspend, LONG).await;
    let seen = seen(&held);
    stage.act(&alice, Action::WalkAway);
    all_are(held, |kind| cut(kind, Why::Suspended)).await;
    over_in_time(&seen, stage.report(&alice).changed_at.unwrap());
}

#[tokio::test]
async fn held_until_the_phone_is_back() {
    let (stage, alice, held) = stage_of(Walkaway::Hold(LONG), LONG).await;
    stage.act(&alice, Action::WalkAway);
    stage.answers(&alice, 403).await;
    stage.answer();
    quiet(&stage, &held).await;
    assert!(held.iter().all(|held| !held.outcome.is_finished()));
    stage.act(&alice, Action::Return);
    stage.answers(&alice, 200).await;
    stage.finish();
    all_are(held, |_| Outcome::Whole).await;
}

#[tokio::test]
async fn held_for_too_long() {
    let limit = Duration::from_secs(1);
    let (stage, alice, held) = stage_of(Walkaway::Hold(limit), LONG).await;
    stage.act(&alice, Action::WalkAway);
    stage.answers(&alice, 403).await;
    stage.answer();
    all_are(held, |kind| cut(kind, Why::Suspended)).await;
}

/// The walk away ends the session, here and at the service.
#[tokio::test]
async fn walk_away_that_ends() {
    let (stage, alice, held) = stage_of(Walkaway::End, LONG).await;
    let seen = seen(&held);
    stage.act(&alice, Action::WalkAway);
    let changed_at = until("told", async || stage.report(&alice).changed_at).await;
    all_are(held, |kind| cut(kind, Why::Ended)).await;
    over_in_time(&seen, changed_at);
    stage.answers(&alice, 401).await;
    until("logged out there", async || stage.report(&alice).ended_at).await;
}

#[tokio::test]
async fn walk_away_that_is_allowed() {
    let (stage, alice, held) = stage_of(Walkaway::Allow, LONG).await;
    stage.act(&alice, Action::WalkAway);
    until("it is known", async || stage.report(&alice).told_at).await;
    until("it is known here", async || {
        let sessions = stage.ac.sessions(&"alice".into()).await.unwrap();
        (sessions[0].status().to_string() == "walkaway").then_some(())
    })
    .await;
    let before: Vec<u64> = held.iter().map(|held| held.seen.frames()).collect();
    until("all go on", async || {
        let mut on = held.iter().zip(&before);
        on.all(|(held, before)| !held.kind.streams() || held.seen.frames() > before + 5)
            .then_some(())
    })
    .await;
    stage.answers(&alice, 200).await;
    stage.finish();
    all_are(held, |_| Outcome::Whole).await;
}

#[tokio::test]
async fn unavailable_then_back() {
    let (stage, alice, held) = stage_of(Walkaway::Suspend, LONG).await;
    stage.emulator.inject_fault(Fault::new(Endpoint::Status, FaultKind::UnknownStatus));
    stage.answers(&alice, 503).await;
    // An answer that is there is held back too.
    stage.answer();
    quiet(&stage, &held).await;
    assert!(held.iter().all(|held| !held.outcome.is_finished()));
    stage.emulator.clear_faults();
    stage.answers(&alice, 200).await;
    stage.finish();
    all_are(held, |_| Outcome::Whole).await;
}

#[tokio::test]
async fn unavailable_for_too_long() {
    let (stage, alice, held) = stage_of(Walkaway::Suspend, Duration::from_secs(1)).await;
    stage.emulator.inject_fault(Fault::new(Endpoint::Status, FaultKind::UnknownStatus));
    stage.answers(&alice, 503).await;
    stage.answer();
    all_are(held, |kind| cut(kind, Why::Unavailable)).await;
}
