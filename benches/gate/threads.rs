//! What a request costs on two threads compared with one: the threads' processors contend for
//! shared memory that both write to.
//!
//! Measures CPU time of the threads, because wall clock time includes other processes.

use std::sync::Barrier;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use nix::time::{ClockId, clock_gettime};

use super::support::service::drive;

const TURNS: usize = 20_000;
const ROUNDS: usize = 15;

/// The share of the single-thread speed that each of two threads keeps, for each case: the best of
/// several rounds.
pub(crate) fn scaling<F>(apps: &[Router<()>], request: impl Fn() -> F) -> Vec<f64>
where
    F: FnMut() -> Request<Body>,
{
    let rounds = if super::support::is_full_run() { ROUNDS } else { 1 };
    let mut best = vec![[Duration::MAX; 2]; apps.len()];
    for _ in 0..rounds {
        for (app, best) in apps.iter().zip(&mut best) {
            for (threads, best) in [1, 2].into_iter().zip(best) {
                *best = (*best).min(slower_thread_time(app, threads, &request));
            }
        }
    }
    best.iter().map(|[alone, both]| alone.as_secs_f64() / both.as_secs_f64()).collect()
}

/// The CPU time of the slower thread.
fn slower_thread_time<F>(app: &Router<()>, threads: usize, request: &impl Fn() -> F) -> Duration
where
    F: FnMut() -> Request<Body>,
{
    let barrier = Barrier::new(threads);
    let turns = if super::support::is_full_run() { TURNS } else { 50 };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let mut request = request();
                // The threads use different sessions at the same time.
                (0..thread * 4_999).for_each(|_| drop(request()));
                let requests: Vec<_> = (0..turns).map(|_| request()).collect();
                let (app, barrier) = (app.clone(), &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let started_at = cpu();
                    for request in requests {
                        let (status, _) = drive(&app, request);
                        assert_eq!(status, 200);
                    }
                    cpu() - started_at
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
    })
}

fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}
