//! Calls run on the engine's runtime, so no future hangs if another runtime stops.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use activeconnect_emulator::Emulator;
use tokio::runtime::{Builder, Runtime};
use tower_activeconnect::client::Client;
use tower_activeconnect::login::LoginError;
use tower_activeconnect::setup::BuildError;
use tower_activeconnect::{Activeconnect, Credentials, MemoryTokenStore};

use super::service::Service;
use crate::support;
use crate::support::raw_server::{alice, authenticate};

/// Awaits on a current-thread runtime of another thread. The runtime then stops being driven, but
/// lives until the sender is dropped.
fn await_elsewhere(
    work: impl Future<Output = ()> + Send + 'static,
) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (done, is_done) = mpsc::channel();
    let (keep, kept) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work);
        done.send(()).unwrap();
        kept.recv().unwrap_err();
    });
    (is_done, keep)
}

fn engine(credentials: Credentials) -> Activeconnect {
    Activeconnect::builder(credentials).token_store(MemoryTokenStore::new()).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_runtime_blocks_no_calls() {
    let service = Service::start().await;
    let ac = engine(service.credentials());
    let other = ac.clone();
    let (done, _keep) = await_elsewhere(async move {
        other.enroll(&"alice".into()).await.unwrap();
        other.log_in(&"alice".into()).await.unwrap();
    });
    tokio::task::spawn_blocking(move || done.recv().unwrap()).await.unwrap();
    let started_at = Instant::now();
    ac.enroll(&"bob".into()).await.unwrap();
    let credential = ac.log_in(&"bob".into()).await.unwrap();
    assert!(started_at.elapsed() < Duration::from_secs(2), "{:?}", started_at.elapsed());
    assert!(!credential.expose().is_empty());
    assert_eq!(service.connections(), 1);
}

/// A client without an engine runs where it is awaited: the other calls time out once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_leaves_an_idle_runtime() {
    let service = Service::start().await;
    let client = Client::new(service.credentials()).unwrap();
    let session = authenticate(&client).await.unwrap();
    drop(client);
    let client = Client::new(service.credentials()).unwrap();
    let other = client.clone();
    let (done, _keep) =
        await_elsewhere(async move { other.add_users(&[alice()]).await.map(drop).unwrap() });
    tokio::task::spawn_blocking(move || done.recv().unwrap()).await.unwrap();
    client.status(&session).await.unwrap_err();
    client.status(&session).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caller_without_timer_gets_responses() {
    let emulator = Emulator::start().await.unwrap();
    let ac = engine(support::credentials(&emulator));
    let calls = tokio::task::spawn_blocking(move || {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            ac.enroll(&"alice".into()).await.unwrap();
            ac.shutdown().await;
        });
    });
    calls.await.unwrap();
}

fn build_in(runtime: &Runtime) -> Result<Activeconnect, BuildError> {
    let _context = runtime.enter();
    let credentials = Credentials::new("id", "MXG9EDN581U33XTPLPFT75V2").unwrap();
    let credentials = credentials.with_server("http://127.0.0.1:9").unwrap();
    Activeconnect::builder(credentials).token_store(MemoryTokenStore::new()).build()
}

#[test]
fn build_rejects_incomplete_runtimes() {
    for make in [Builder::new_current_thread, Builder::new_multi_thread] {
        for (missing, runtime) in [
            ("time", make().enable_io().build().unwrap()),
            ("time", make().build().unwrap()),
            ("io", make().enable_time().build().unwrap()),
        ] {
            let error = build_in(&runtime).unwrap_err();
            let expected =
                matches!(error, BuildError::IncompleteRuntime { missing: m } if m == missing);
            assert!(expected, "{missing}: {error:?}");
            assert!(error.to_string().contains("enable_all"), "{error}");
        }
        drop(build_in(&make().enable_all().build().unwrap()).unwrap());
    }
}

/// The engine is built in a runtime that is never driven, and awaited in another one.
#[tokio::test]
async fn deadlines_hold_on_an_undriven_runtime() {
    let undriven = Builder::new_current_thread().enable_all().build().unwrap();
    let deadline = Duration::from_secs(5);
    let emulator = Emulator::start().await.unwrap();
    let ac = {
        let _context = undriven.enter();
        let builder = Activeconnect::builder(support::credentials(&emulator));
        let builder = builder.token_store(MemoryTokenStore::new()).login_timeout(deadline);
        builder.build().unwrap()
    };
    let slack = Duration::from_secs(1);
    let started_at = Instant::now();
    let user = "alice".into();
    let (logged_in, enrolled) = tokio::join!(ac.log_in(&user), ac.enroll(&user));
    assert!(matches!(logged_in.unwrap_err(), LoginError::TimedOut));
    let error = enrolled.unwrap_err().to_string();
    assert!(error.contains("did not answer in time"), "{error}");
    // The call, and the call that undoes it.
    assert!(started_at.elapsed() < 2 * deadline + slack, "{:?}", started_at.elapsed());
    let started_at = Instant::now();
    ac.shutdown().await;
    assert!(started_at.elapsed() < Duration::from_secs(6) + slack, "{:?}", started_at.elapsed());
    drop(ac);
    tokio::task::spawn_blocking(move || drop(undriven)).await.unwrap();
}
