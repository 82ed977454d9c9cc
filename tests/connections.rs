//! Ten thousand gRPC connections, closed in every way, leave nothing behind. A separate program,
//! because the test counts the process's memory, files and tasks.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

#[path = "it/grpc/echo.rs"]
#[allow(dead_code, reason = "another test uses all of it")]
mod echo;
#[path = "it/support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::time::Instant;

use activeconnect_emulator::Emulator;
use bytes::Bytes;
use echo::Echo;
use futures_util::future::join_all;
use h2::Ping;
use http::Request;
use support::{approve, builder, enroll_users, poll_until};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

const CONNECTIONS: usize = 10_000;
const AT_A_TIME: usize = 40;
/// The maximum growth of the process for all connections together, in KiB.
const GROWTH: usize = 8 * 1024;

/// Resources of the process: memory in KiB, open files, tasks.
#[derive(Clone, Copy, Debug)]
struct Holds {
    memory: usize,
    files: usize,
    tasks: usize,
}

impl Holds {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        Self {
            memory: resident.trim().trim_end_matches(" kB").parse().unwrap(),
            files: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        }
    }
}

/// Connects and disconnects: after a call, in the middle of a stream, in the middle of a message,
/// or before any call.
async fn visit(server: SocketAddr, bearer: &str, which: usize) {
    let tcp = TcpStream::connect(server).await.unwrap();
    if which != 0 {
        tcp.set_zero_linger().unwrap();
    }
    let (send, mut connection) = h2::client::handshake(tcp).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    let connection = tokio::spawn(connection);
    let call = async |method: &str, message: &'static [u8], ends: bool| {
        let request = Request::post(format!("http://{server}/echo.Echo/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", bearer);
        let mut send = send.clone().ready().await.unwrap();
        let (response, mut body) = send.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from_static(message), ends).unwrap();
        (response, body)
    };
    match which {
        0 => {
            let mut response = call("Unary", b"\0\0\0\0\x02hi", true).await.0.await.unwrap();
            let message = response.body_mut().data().await.unwrap().unwrap();
            assert_eq!(message, &b"\0\0\0\0\x09alice: hi"[..]);
            assert!(response.body_mut().data().await.is_none());
            let trailers = response.body_mut().trailers().await.unwrap().unwrap();
            assert_eq!(trailers["grpc-status"], "0");
            drop((response, send));
            connection.await.unwrap().unwrap();
            return;
        }
        1 => {
            let mut response = call("Watch", b"\0\0\0\0\0", true).await.0.await.unwrap();
            assert!(response.body_mut().data().await.unwrap().is_ok());
        }
        2 => {
            let _call = call("Collect", b"\0\0\0", false).await;
            // The message has arrived when the next call gets its response.
            pings.ping(Ping::opaque()).await.unwrap();
        }
        _ => _ = pings.ping(Ping::opaque()).await.unwrap(),
    }
    connection.abort();
    connection.await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_leave_nothing() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    let alice = "alice".into();
    let (credential, _) = tokio::join!(ac.log_in(&alice), approve(&emulator));
    let bearer = format!("Bearer {}", credential.unwrap().expose());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().layer(ac.layer()).add_service(Echo);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));

    let visits = async |count: usize| {
        let some = async |first: usize| {
            for n in (first..count).step_by(AT_A_TIME) {
                visit(address, &bearer, n / AT_A_TIME % 4).await;
            }
        };
        join_all((0..AT_A_TIME).map(some)).await;
        poll_until("nothing holds the session open", async || {
            (ac.sessions(&alice).await.unwrap()[0].held_open() == 0).then_some(())
        })
        .await;
    };
    // The baseline includes everything that is created once.
    visits(CONNECTIONS / 10).await;
    let before = Holds::now();
    let started_at = Instant::now();
    visits(CONNECTIONS).await;
    let took = started_at.elapsed();
    let after = poll_until("files and tasks are as many as before", async || {
        let now = Holds::now();
        (now.files <= before.files + 2 && now.tasks <= before.tasks + 2).then_some(now)
    })
    .await;
    println!("{CONNECTIONS} connections in {took:?}: {before:?}, then {after:?}");
    assert!(after.memory <= before.memory + GROWTH, "{before:?}, then {after:?}");
}
