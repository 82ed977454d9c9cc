//! Every kind of stream under every change of status, each with its expected end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use activeconnect_emulator::{Action, Endpoint, Fault, FaultKind};
use tonic::Code;
use tower_activeconnect::ActiveconnectLayer;
use tower_activeconnect::layer::Walkaway;

use super::fixture::{BOUND, Fixture, FrameLog, OpenStream, StreamEnd, StreamKind, UserClient};
use crate::support::poll_until;

/// The cause of a cut.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cause {
    Ended,
    Suspended,
    Unavailable,
}

/// The end of this kind when it is cut.
pub(crate) fn cut(kind: StreamKind, reason: Cause) -> StreamEnd {
    let (name, event, denied, code) = match reason {
        Cause::Ended => ("ended", ("ended", "closed"), 401, Code::Unauthenticated),
        Cause::Suspended => ("suspended", ("suspended", "walkaway"), 403, Code::Unauthenticated),
        Cause::Unavailable => {
            ("unavailable", ("unavailable", "unavailable"), 503, Code::Unavailable)
        }
    };
    match kind {
        StreamKind::Sse => StreamEnd::Event(event.0, event.1),
        StreamKind::Chunked | StreamKind::Download => StreamEnd::Broken,
        StreamKind::LongPoll | StreamKind::Upload => StreamEnd::Denied(denied),
        StreamKind::Socket => StreamEnd::Closed(1008, name.to_owned()),
        StreamKind::Unary | StreamKind::Server | StreamKind::Client | StreamKind::Both => {
            StreamEnd::Status(code)
        }
    }
}

/// Asserts the end of every stream.
async fn assert_all(open_streams: Vec<OpenStream>, expected: impl Fn(StreamKind) -> StreamEnd) {
    let (mut wrong, patience) = (Vec::new(), Duration::from_secs(20));
    let deadline = tokio::time::Instant::now() + patience;
    for OpenStream { kind, transport, outcome, .. } in open_streams {
        let outcome = tokio::time::timeout_at(deadline, outcome).await;
        let outcome = outcome.map(Result::unwrap).ok();
        if outcome.as_ref() != Some(&expected(kind)) {
            wrong.push(format!(
                "{kind:?} over {transport:?}: {outcome:?}, not {:?}",
                expected(kind)
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn seen(open_streams: &[OpenStream]) -> Vec<Arc<FrameLog>> {
    open_streams.iter().map(|open_streams| open_streams.seen.clone()).collect()
}

/// Asserts that nothing arrived after the promised time.
fn assert_ended_in_time(seen: &[Arc<FrameLog>], changed_at: u64) {
    for seen in seen {
        let took = Duration::from_millis(seen.at().saturating_sub(changed_at));
        assert!(took <= BOUND, "{took:?} after the change");
    }
}

/// Waits until no client or handler received anything for a while.
async fn assert_no_frames(fixture: &Fixture, open_streams: &[OpenStream]) {
    let frames = || {
        let uploaded = fixture.uploaded.load(Ordering::Relaxed);
        open_streams.iter().map(|open_streams| open_streams.seen.frames()).sum::<u64>() + uploaded
    };
    let (mut before, mut since) = (frames(), tokio::time::Instant::now());
    poll_until("no frames arrive", async || {
        if frames() != before {
            (before, since) = (frames(), tokio::time::Instant::now());
        }
        (since.elapsed() >= Duration::from_millis(400)).then_some(())
    })
    .await;
}

async fn fixture_with(
    walkaway: Walkaway,
    hold_limit: Duration,
) -> (Fixture, UserClient, Vec<OpenStream>) {
    let layer = |layer: ActiveconnectLayer| {
        let grace = Duration::from_millis(200);
        layer.walkaway(walkaway).grace(grace).hold_limit(hold_limit)
    };
    let fixture = Fixture::of(|engine| engine, layer).await;
    let alice = fixture.log_in("alice").await;
    let open_streams = fixture.open_all(&alice).await;
    (fixture, alice, open_streams)
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn ended() {
    let (fixture, alice, open_streams) = fixture_with(Walkaway::Suspend, LONG).await;
    let seen = seen(&open_streams);
    fixture.act(&alice, Action::Close);
    assert_all(open_streams, |kind| cut(kind, Cause::Ended)).await;
    assert_ended_in_time(&seen, fixture.report(&alice).ended_at.unwrap());
}

#[tokio::test]
async fn suspended() {
    let (fixture, alice, open_streams) = fixture_with(Walkaway::Suspend, LONG).await;
    let seen = seen(&open_streams);
    fixture.act(&alice, Action::WalkAway);
    assert_all(open_streams, |kind| cut(kind, Cause::Suspended)).await;
    assert_ended_in_time(&seen, fixture.report(&alice).changed_at.unwrap());
}

#[tokio::test]
async fn held_until_the_phone_returns() {
    let (fixture, alice, open_streams) = fixture_with(Walkaway::Hold(LONG), LONG).await;
    fixture.act(&alice, Action::WalkAway);
    fixture.responses(&alice, 403).await;
    fixture.let_handlers_respond();
    assert_no_frames(&fixture, &open_streams).await;
    assert!(open_streams.iter().all(|open_streams| !open_streams.outcome.is_finished()));
    fixture.act(&alice, Action::Return);
    fixture.responses(&alice, 200).await;
    fixture.finish();
    assert_all(open_streams, |_| StreamEnd::Whole).await;
}

#[tokio::test]
async fn held_for_too_long() {
    let limit = Duration::from_secs(1);
    let (fixture, alice, open_streams) = fixture_with(Walkaway::Hold(limit), LONG).await;
    fixture.act(&alice, Action::WalkAway);
    fixture.responses(&alice, 403).await;
    fixture.let_handlers_respond();
    assert_all(open_streams, |kind| cut(kind, Cause::Suspended)).await;
}

/// The walkaway ends the session, also at the service.
#[tokio::test]
async fn walk_away_that_ends() {
    let (fixture, alice, open_streams) = fixture_with(Walkaway::End, LONG).await;
    let seen = seen(&open_streams);
    fixture.act(&alice, Action::WalkAway);
    let changed_at =
        poll_until("the emulator reports the change", async || fixture.report(&alice).changed_at)
            .await;
    assert_all(open_streams, |kind| cut(kind, Cause::Ended)).await;
    assert_ended_in_time(&seen, changed_at);
    fixture.responses(&alice, 401).await;
    poll_until("logged out there", async || fixture.report(&alice).ended_at).await;
}

#[tokio::test]
async fn walk_away_that_is_allowed() {
    let (fixture, alice, open_streams) = fixture_with(Walkaway::Allow, LONG).await;
    fixture.act(&alice, Action::WalkAway);
    poll_until("the service ended the session", async || fixture.report(&alice).told_at).await;
    poll_until("the engine ended the session", async || {
        let sessions = fixture.ac.sessions(&"alice".into()).await.unwrap();
        (sessions[0].status().to_string() == "walkaway").then_some(())
    })
    .await;
    let before: Vec<u64> =
        open_streams.iter().map(|open_streams| open_streams.seen.frames()).collect();
    poll_until("all go on", async || {
        let mut on = open_streams.iter().zip(&before);
        on.all(|(open_streams, before)| {
            !open_streams.kind.streams() || open_streams.seen.frames() > before + 5
        })
        .then_some(())
    })
    .await;
    fixture.responses(&alice, 200).await;
    fixture.finish();
    assert_all(open_streams, |_| StreamEnd::Whole).await;
}

#[tokio::test]
async fn unavailable_then_back() {
    let (fixture, alice, open_streams) = fixture_with(Walkaway::Suspend, LONG).await;
    fixture.emulator.inject_fault(Fault::new(Endpoint::Status, FaultKind::UnknownStatus));
    fixture.responses(&alice, 503).await;
    // A complete response is held, too.
    fixture.let_handlers_respond();
    assert_no_frames(&fixture, &open_streams).await;
    assert!(open_streams.iter().all(|open_streams| !open_streams.outcome.is_finished()));
    fixture.emulator.clear_faults();
    fixture.responses(&alice, 200).await;
    fixture.finish();
    assert_all(open_streams, |_| StreamEnd::Whole).await;
}

#[tokio::test]
async fn unavailable_for_too_long() {
    let (fixture, alice, open_streams) =
        fixture_with(Walkaway::Suspend, Duration::from_secs(1)).await;
    fixture.emulator.inject_fault(Fault::new(Endpoint::Status, FaultKind::UnknownStatus));
    fixture.responses(&alice, 503).await;
    fixture.let_handlers_respond();
    assert_all(open_streams, |kind| cut(kind, Cause::Unavailable)).await;
}
