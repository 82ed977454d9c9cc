//! Starts that are refused, again and again, while the owner of the name logs in.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::fixture::{Fixture, start};
use crate::support::{approve, until};

/// The shortest deadline of an attempt.
const DEADLINE: Duration = Duration::from_secs(5);

/// Starts logins by this name without a pause, on one connection; gives each answer without its
/// date, its attempt's secret and the number of seconds, and how often it came.
async fn hammer(
    url: String,
    name: &'static str,
    address: impl Fn(u32) -> String,
    stop: Instant,
) -> BTreeMap<String, u32> {
    let host = url.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(host).await.unwrap();
    let body = format!(r#"{{"username":"{name}"}}"#);
    let mut answers = BTreeMap::new();
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
        // The body is the last thing of an answer, and ends as JSON does.
        while !buffer[..length].ends_with(b"}") {
            length += socket.read(&mut buffer[length..]).await.unwrap();
        }
        let text = String::from_utf8_lossy(&buffer[..length]);
        let lines = text.lines().filter(|line| {
            let is = |name: &str| line.starts_with(name);
            !(is("date:") || is("set-cookie:") || is("content-length:"))
        });
        let text: String = lines.collect::<Vec<_>>().join("\n");
        let answer: String =
            text.split_inclusive(|c: char| !c.is_ascii_digit()).map(without_number).collect();
        *answers.entry(answer).or_insert(0) += 1;
    }
    answers
}

/// A piece of text that ends where a number does.
fn without_number(piece: &str) -> String {
    let end = piece.trim_start_matches(|c: char| c.is_ascii_digit());
    if end.len() == piece.len() { piece.to_owned() } else { format!("#{end}") }
}

/// F36: a client that starts without a pause, while the owner logs in and long after the name is
/// free, rings no phone and learns nothing: it is told what it would be told of a name that does
/// not exist.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_start_reveals_nothing() {
    let site = Fixture::new(&["alice"], |builder| builder.login_timeout(DEADLINE)).await;
    let (owner, decoy) = (site.browser(), site.browser());
    let began = Instant::now();
    for (browser, name) in [(&owner, "alice"), (&decoy, "nobody")] {
        assert_eq!(start(browser, name, "203.0.113.7").await.status(), 202);
    }
    let stop = began + DEADLINE + Duration::from_secs(2);
    let strangers = ["alice", "nobody"].map(|name| {
        tokio::spawn(hammer(site.url.clone(), name, |_| "198.51.100.9".to_owned(), stop))
    });
    tokio::time::sleep_until(began + Duration::from_secs(1)).await;
    approve(&site.emulator).await;
    until("in", async || (owner.status().await == "active").then_some(())).await;
    let mut told = Vec::new();
    for stranger in strangers {
        told.push(stranger.await.unwrap());
    }
    let counts: Vec<u32> = told.iter().map(|answers| answers.values().sum()).collect();
    println!("{counts:?} starts");
    assert!(counts.iter().all(|count| *count > 1_000), "{counts:?}");
    let [alice, nobody] = [&told[0], &told[1]].map(|told| told.keys().collect::<Vec<_>>());
    assert_eq!(alice, nobody);
    assert!(alice.iter().all(|answer| answer.contains("Too Many Requests")), "{alice:?}");
    assert_eq!(site.rings(), 1);
    assert_eq!(owner.page("/").await.text().await.unwrap(), "alice");
}

/// F36: an approval frees the name for other browsers at the attempt's deadline, not before, from
/// wherever they come; a browser in which the owner logged in may go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approved_name_stays_reserved_to_its_deadline() {
    let site = Fixture::new(&["alice"], |builder| builder.login_timeout(DEADLINE)).await;
    let owner = site.browser();
    let began = Instant::now();
    assert_eq!(start(&owner, "alice", "203.0.113.7").await.status(), 202);
    approve(&site.emulator).await;
    until("in", async || (owner.status().await == "active").then_some(())).await;
    let stop = began + DEADLINE - Duration::from_millis(300);
    let address = |number: u32| format!("198.{}.{}.9", 18 + number / 250 % 2, number % 250);
    let told = hammer(site.url.clone(), "alice", address, stop).await;
    assert!(told.keys().all(|answer| answer.contains("Too Many Requests")), "{told:?}");
    assert_eq!(site.rings(), 1);
    assert_eq!(start(&owner, "alice", "203.0.113.7").await.status(), 202);
    approve(&site.emulator).await;
    until("in again", async || (owner.status().await == "active").then_some(())).await;
    // Each try from another address, as refused ones count by address and name.
    let mut tries = 0..;
    until("the name is free", async || {
        let from = format!("192.0.2.{}", tries.next().unwrap() % 250);
        let started = start(&site.browser(), "alice", &from).await;
        (started.status() == 202).then_some(())
    })
    .await;
}

/// F36: a client is refused by address and name together. Neither are other names refused to it,
/// nor is the name to others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_starts_count_by_address_and_name() {
    let site = Fixture::new(&["alice"], |builder| builder.login_timeout(DEADLINE)).await;
    let first = site.browser();
    let began = Instant::now();
    assert_eq!(start(&first, "alice", "203.0.113.7").await.status(), 202);
    let stranger = site.browser();
    let mut waits = Vec::new();
    for _ in 0..5 {
        let refused = start(&stranger, "alice", "198.51.100.9").await;
        assert_eq!(refused.status(), 429);
        waits.push(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap());
    }
    assert!(waits[..4].iter().all(|wait| *wait <= 5) && waits[4] >= 299, "{waits:?}");
    tokio::time::sleep_until(began + DEADLINE + Duration::from_millis(300)).await;
    assert_eq!(start(&stranger, "alice", "198.51.100.9").await.status(), 429);
    assert_eq!(start(&stranger, "alice2", "198.51.100.9").await.status(), 202);
    assert_eq!(start(&site.browser(), "alice", "192.0.2.1").await.status(), 202);
}
