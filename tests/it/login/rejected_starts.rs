//! Rejected starts that are repeated while the owner of the username logs in.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::fixture::{Fixture, start};
use crate::support::{approve, poll_until};

/// The shortest login timeout.
const DEADLINE: Duration = Duration::from_secs(5);

/// Starts logins by this username continuously on one connection. Counts the responses, without
/// their date, attempt credential and number of seconds.
async fn repeat_starts(
    url: String,
    name: &'static str,
    address: impl Fn(u32) -> String,
    stop: Instant,
) -> BTreeMap<String, u32> {
    let host = url.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(host).await.unwrap();
    let body = format!(r#"{{"username":"{name}"}}"#);
    let mut responses = BTreeMap::new();
    let mut buffer = vec![0; 64 * 1024];
    for number in 0.. {
        if Instant::now() >= stop {
            break;
        }
        let request = format!(
            "POST /auth/login HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             x-forwarded-for: {}\r\ncontent-length: {}\r\n\r\n{body}",
            address(number),
            body.len(),
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut length = 0;
        // The body ends the response, and ends as JSON does.
        while !buffer[..length].ends_with(b"}") {
            length += socket.read(&mut buffer[length..]).await.unwrap();
        }
        let text = String::from_utf8_lossy(&buffer[..length]);
        let lines = text.lines().filter(|line| {
            let is = |name: &str| line.starts_with(name);
            !(is("date:") || is("set-cookie:") || is("content-length:"))
        });
        let text: String = lines.collect::<Vec<_>>().join("\n");
        let response: String =
            text.split_inclusive(|c: char| !c.is_ascii_digit()).map(mask_numbers).collect();
        *responses.entry(response).or_insert(0) += 1;
    }
    responses
}

/// A piece of text that ends where a number ends.
fn mask_numbers(piece: &str) -> String {
    let end = piece.trim_start_matches(|c: char| c.is_ascii_digit());
    if end.len() == piece.len() { piece.to_owned() } else { format!("#{end}") }
}

/// F36: a client starts continuously, while the owner logs in and long after the username is free.
/// It sends no push, and gets the responses of an unknown username.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_start_reveals_nothing() {
    let site = Fixture::new(&["alice"], |builder| builder.login_timeout(DEADLINE)).await;
    let (owner, decoy) = (site.browser(), site.browser());
    let began = Instant::now();
    for (browser, name) in [(&owner, "alice"), (&decoy, "nobody")] {
        assert_eq!(start(browser, name, "203.0.113.7").await.status(), 202);
    }
    let stop = began + DEADLINE + Duration::from_secs(2);
    let anonymous_clients = ["alice", "nobody"].map(|name| {
        tokio::spawn(repeat_starts(site.url.clone(), name, |_| "198.51.100.9".to_owned(), stop))
    });
    tokio::time::sleep_until(began + Duration::from_secs(1)).await;
    approve(&site.emulator).await;
    poll_until("in", async || (owner.status().await == "active").then_some(())).await;
    let mut reported = Vec::new();
    for anonymous in anonymous_clients {
        reported.push(anonymous.await.unwrap());
    }
    let counts: Vec<u32> = reported.iter().map(|responses| responses.values().sum()).collect();
    println!("{counts:?} starts");
    assert!(counts.iter().all(|count| *count > 1_000), "{counts:?}");
    let [alice, unknown] =
        [&reported[0], &reported[1]].map(|reported| reported.keys().collect::<Vec<_>>());
    assert_eq!(alice, unknown);
    assert!(alice.iter().all(|response| response.contains("Too Many Requests")), "{alice:?}");
    assert_eq!(site.push_count(), 1);
    assert_eq!(owner.page("/").await.text().await.unwrap(), "alice");
}

/// F36: an approval frees the username for other browsers at the attempt's deadline, not before,
/// from any address; a known browser may start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approved_name_stays_reserved_to_its_deadline() {
    let site = Fixture::new(&["alice"], |builder| builder.login_timeout(DEADLINE)).await;
    let owner = site.browser();
    let began = Instant::now();
    assert_eq!(start(&owner, "alice", "203.0.113.7").await.status(), 202);
    approve(&site.emulator).await;
    poll_until("in", async || (owner.status().await == "active").then_some(())).await;
    let stop = began + DEADLINE - Duration::from_millis(300);
    let address = |number: u32| format!("198.{}.{}.9", 18 + number / 250 % 2, number % 250);
    let reported = repeat_starts(site.url.clone(), "alice", address, stop).await;
    assert!(reported.keys().all(|response| response.contains("Too Many Requests")), "{reported:?}");
    assert_eq!(site.push_count(), 1);
    assert_eq!(start(&owner, "alice", "203.0.113.7").await.status(), 202);
    approve(&site.emulator).await;
    poll_until("in again", async || (owner.status().await == "active").then_some(())).await;
    // Each start from another address, because rejected starts count by address and name.
    let mut tries = 0..;
    poll_until("the name is free", async || {
        let from = format!("192.0.2.{}", tries.next().unwrap() % 250);
        let started = start(&site.browser(), "alice", &from).await;
        (started.status() == 202).then_some(())
    })
    .await;
}

/// F36: starts are rejected by address and username together: another username is accepted from
/// that address, and that username from another address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_starts_count_by_address_and_name() {
    let site = Fixture::new(&["alice"], |builder| builder.login_timeout(DEADLINE)).await;
    let first = site.browser();
    let began = Instant::now();
    assert_eq!(start(&first, "alice", "203.0.113.7").await.status(), 202);
    let anonymous = site.browser();
    let mut delays = Vec::new();
    for _ in 0..5 {
        let rejected = start(&anonymous, "alice", "198.51.100.9").await;
        assert_eq!(rejected.status(), 429);
        delays.push(rejected.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap());
    }
    assert!(delays[..4].iter().all(|wait| *wait <= 5) && delays[4] >= 299, "{delays:?}");
    tokio::time::sleep_until(began + DEADLINE + Duration::from_millis(300)).await;
    assert_eq!(start(&anonymous, "alice", "198.51.100.9").await.status(), 429);
    assert_eq!(start(&anonymous, "alice2", "198.51.100.9").await.status(), 202);
    assert_eq!(start(&site.browser(), "alice", "192.0.2.1").await.status(), 202);
}
