//! Many concurrent streams: each ends in time, and none before.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use activeconnect_emulator::{Action, Emulator};
use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures_util::future::join_all;
use futures_util::stream::{self, Stream, StreamExt as _};

use super::fixture::{
    Fixture, FrameLog, OpenStream, StreamEnd, StreamKind, Transport, UserClient, outcome,
};
use super::matrix::{Cause, cut};
use crate::support::{advance, poll_until, serve};

const SECOND: Duration = Duration::from_secs(1);

/// The count from an environment variable, or the default.
fn count(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |count| count.parse().unwrap())
}

/// Logs this many users in.
async fn log_in_all(fixture: &Fixture, count: usize) -> Vec<UserClient> {
    let mut users = Vec::new();
    let mut phones = HashSet::new();
    for n in 0..count {
        let user = format!("user-{n}").into();
        fixture.ac.enroll(&user).await.unwrap();
        let known = fixture.emulator.state().users.into_iter().map(|user| user.user_id);
        let phone = known.into_iter().find(|phone| !phones.contains(phone)).unwrap();
        fixture.emulator.register_device(&phone).unwrap();
        phones.insert(phone.clone());
        users.push((user, phone));
    }
    let log_in = async |(user, phone)| (fixture.ac.log_in(&user).await.unwrap().expose(), phone);
    let log_in_all = async {
        let logins = stream::iter(users).map(log_in);
        logins.buffer_unordered(50).collect::<Vec<_>>().await
    };
    let logged_in = tokio::select! {
        logged_in = log_in_all => logged_in,
        () = approve_all(&fixture.emulator) => unreachable!("the task runs until the test ends"),
    };
    let mut sessions: BTreeMap<_, _> = (fixture.emulator.state().sessions.into_iter())
        .map(|session| (session.user_id.clone(), session))
        .collect();
    let mut user_client = |credential: String, phone| {
        fixture.user_client(&credential, sessions.remove(&phone).unwrap())
    };
    logged_in.into_iter().map(|(credential, phone)| user_client(credential, phone)).collect()
}

async fn approve_all(emulator: &Emulator) {
    loop {
        for session in emulator.state().sessions {
            if session.status.to_string() == "pending" {
                emulator.act_on_session(&session.session_token, Action::Approve).unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Prints a histogram; returns the 99th percentile and the maximum.
fn histogram(context: &str, mut took: Vec<u64>, step: u64) -> (Duration, Duration) {
    took.sort_unstable();
    let mut bars = BTreeMap::<u64, usize>::new();
    took.iter().for_each(|ms| *bars.entry(ms / step * step).or_default() += 1);
    println!("{context}");
    for (from, count) in bars {
        println!("{from:>6} ms and on {count:>5}");
    }
    let at = |part: usize| Duration::from_millis(took[(took.len() * part).div_ceil(100) - 1]);
    println!("half {:?}, p99 {:?}, all {:?}", at(50), at(99), at(100));
    (at(99), at(100))
}

/// The number of concurrent streams; each one's session is polled every second, by an unoptimized
/// build.
/// that is not optimised.
const AT_A_TIME: usize = 100;

/// Measures the promised bound: `LOGOUTS` remote logouts, 100 by default, under load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remote_logouts_end_streams_in_time() {
    let (mut from_end, mut from_told) = (Vec::new(), Vec::new());
    let mut left = count("LOGOUTS", 100);
    while left > 0 {
        let logouts = left.min(AT_A_TIME);
        left -= logouts;
        let (ends, reported) = log_out_remotely(logouts).await;
        from_end.extend(ends);
        from_told.extend(reported);
    }
    let (p99, all) = histogram("last byte after the end", from_end, 100);
    assert!(p99 <= SECOND + Duration::from_secs(3) + SECOND, "{p99:?}");
    assert!(all <= Duration::from_secs(15), "{all:?}");
    let (p99, _) = histogram("last byte after the report of the end", from_told, 10);
    assert!(p99 <= SECOND, "{p99:?}");
}

/// Opens `count` streams and ends their sessions. Returns the milliseconds until the last byte of
/// each, from the end and from the service's first response with it.
async fn log_out_remotely(logouts: usize) -> (Vec<u64>, Vec<u64>) {
    let tick = Duration::from_millis(100);
    let fixture =
        Fixture::ticking(tick, |engine| engine.poll_interval(SECOND), |layer| layer).await;
    let clients = log_in_all(&fixture, logouts).await;
    let kinds = [StreamKind::Sse, StreamKind::Chunked, StreamKind::Socket, StreamKind::Server];
    let opened = clients.iter().zip(kinds.iter().cycle());
    let open_streams: Vec<OpenStream> = (opened.enumerate())
        .map(|(n, (user_client, kind))| {
            let both = matches!(kind, StreamKind::Sse | StreamKind::Chunked) && n % 8 >= 4;
            let transport = if both || *kind == StreamKind::Server {
                Transport::Http2
            } else {
                Transport::Http1
            };
            fixture.open(user_client, *kind, transport)
        })
        .collect();
    poll_until("all run", async || {
        open_streams.iter().all(|open_streams| open_streams.seen.frames() > 1).then_some(())
    })
    .await;
    for user_client in &clients {
        fixture.act(user_client, Action::Close);
        // Spread over the poll interval.
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    let mut ends = BTreeMap::new();
    for (user_client, open_streams) in clients.iter().zip(open_streams) {
        assert_eq!(
            open_streams.outcome.await.unwrap(),
            cut(open_streams.kind, Cause::Ended),
            "{:?}",
            open_streams.transport
        );
        ends.insert(user_client.session.session_token.clone(), open_streams.seen.at());
    }
    let (mut from_end, mut from_told) = (Vec::new(), Vec::new());
    for session in fixture.emulator.state().sessions {
        let last = ends[&session.session_token];
        from_end.push(last.saturating_sub(session.ended_at.unwrap()));
        from_told.push(last.saturating_sub(session.first_told_at.unwrap()));
    }
    (from_end, from_told)
}

/// This many pieces a few milliseconds apart, and a last one.
fn pieces(count: u64) -> impl Stream<Item = &'static str> + Send {
    let pieces = stream::iter(0..count).then(async |n| {
        tokio::time::sleep(Duration::from_millis(n % 4)).await;
        "piece"
    });
    pieces.chain(stream::once(async { "whole" }))
}

/// `SOAK` requests, 10,000 by default, with short streams: none is cut, and nothing leaks.
#[tokio::test]
async fn short_streams_complete_and_leak_nothing() {
    let requests = count("SOAK", 10_000);
    let fixture = Fixture::of(|engine| engine.poll_interval(SECOND), |layer| layer).await;
    let clients = log_in_all(&fixture, 4).await;
    let app = Router::new()
        .route(
            "/chunked/{count}",
            get(async |Path(count)| Body::from_stream(pieces(count).map(Ok::<_, Infallible>))),
        )
        .route(
            "/sse/{count}",
            get(async |Path(count)| {
                Sse::new(
                    pieces(count).map(|piece| Ok::<_, Infallible>(Event::default().data(piece))),
                )
            }),
        )
        .route("/small/{count}", get(async |Path(count)| format!("{}whole", "x".repeat(count))));
    let url = serve(app.layer(fixture.layer.clone())).await;
    let clients: Vec<UserClient> =
        clients.iter().map(|user_client| user_client.at(url.clone())).collect();
    let clients = &clients;
    let worker = async |worker: usize| {
        for n in (worker..requests).step_by(WORKERS) {
            // A step without a common pattern with the four users, three kinds and two protocols.
            let mixed = n.wrapping_mul(0x9E37_79B9) >> 7;
            let kind = ["chunked", "sse", "small"][mixed % 3];
            let transport = if mixed % 5 < 2 { Transport::Http2 } else { Transport::Http1 };
            let path = format!("/{kind}/{}", mixed % 17);
            let response = clients[mixed % 4].get(transport, &path).send().await;
            assert_eq!(
                outcome(response, &FrameLog::default()).await,
                StreamEnd::Whole,
                "{n}: {path}"
            );
        }
    };
    join_all((0..WORKERS).map(worker)).await;
    let parks_after = Duration::from_secs(130);
    advance(parks_after, Duration::from_secs(5)).await;
    let polls = fixture.emulator.state().calls.status;
    advance(Duration::from_secs(60), Duration::from_secs(5)).await;
    assert_eq!(fixture.emulator.state().calls.status, polls, "something keeps a session live");
}

const WORKERS: usize = 40;
