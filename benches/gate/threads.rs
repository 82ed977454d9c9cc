//! What a request costs on two threads at once, against one: what both write to, their processors
//! have to hand to each other.
//!
//! In CPU time of the threads, not by the clock on the wall: that would count who else is busy.

use std::sync::Barrier;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use nix::time::{ClockId, clock_gettime};

use super::support::service::drive;

const TURNS: usize = 20_000;
const ROUNDS: usize = 15;

/// How much of a request's speed on one thread is left to each of two: the best of some rounds, for
/// each of these.
pub(crate) fn scaling<F>(apps: &[Router<()>], request: impl Fn() -> F) -> Vec<f64>
where
    F: FnMut() -> Request<Body>,
{
    let rounds = if super::support::in_full() { ROUNDS } else { 1 };
    let mut best = vec![[Duration::MAX; 2]; apps.len()];
    for _ in 0..rounds {
        for (app, best) in apps.iter().zip(&mut best) {
            for (threads, best) in [1, 2].into_iter().zip(best) {
                *best = (*best).min(took(app, threads, &request));
            }
        }
    }
    best.iter().map(|[alone, both]| alone.as_secs_f64() / both.as_secs_f64()).collect()
}

/// CPU time of the slower thread.
fn took<F>(app: &Router<()>, threads: usize, request: &impl Fn() -> F) -> Duration
where
    F: FnMut() -> Request<Body>,
{
    let barrier = Barrier::new(threads);
    let turns = if super::support::in_full() { TURNS } else { 50 };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let mut request = request();
                // Not the same sessions at the same time.
                (0..thread * 4_999).for_each(|_| drop(request()));
                let requests: Vec<_> = (0..turns).map(|_| request()).collect();
                let (app, barrier) = (app.clone(), &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let begun = cpu();
                    for request in requests {
                        let (status, _) = drive(&app, request);
                        assert_eq!(status, 200);
                    }
                    cpu() - begun
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
    })
}

fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}
