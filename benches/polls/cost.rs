//! The CPU time (user and system) of one poll: on one thread, with 16 polls in flight, over
//! HTTP/1.1 without TLS.
//!
//! Three rows. *Call* is the client's status call: signature, HTTP, parsing. *Poll* is the work of
//! the engine: it finds the due session, builds its URL, calls, and publishes the status; up to 16
//! polls are in flight, and more of the 10,000 sessions are due than that. *Bare* is a reqwest
//! client configured like the crate's, with the same URL and headers, which discards the body.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use tower_activeconnect::client::{AuthenticationRequest, Client, RemoteSession};
use tower_activeconnect::protocol::{Dialect, Nonce, sign};
use tower_activeconnect::{Activeconnect, MemoryTokenStore, Secret, UserToken};

use super::service::{Service, TOKEN};
use super::{credentials, support};

const IN_FLIGHT: usize = 16;
const SESSIONS: usize = 10_000;
/// All three rows take less than a minute, because unused sessions are not polled for longer.
const ROUNDS: usize = 61;
const ROUND: Duration = Duration::from_millis(200);

const NAMES: [&str; 3] = ["bare", "call", "poll"];

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn measure() -> Vec<Value> {
    let (rounds, round) =
        if support::is_full_run() { (ROUNDS, ROUND) } else { (1, Duration::from_millis(50)) };
    let mut service = Service::start();
    let bare = Bare::new(&service.address);
    let client = Client::new(credentials(&service.address)).unwrap();
    let user = UserToken::random().unwrap();
    let session = client.authenticate_user(&user, &AuthenticationRequest::default()).await.unwrap();
    let ac = engine(&service.address);

    let mut samples = NAMES.map(|_| Vec::new());
    for _ in 0..rounds {
        for (name, samples) in NAMES.iter().zip(&mut samples) {
            let (calls_before, started_at) = (service.status_calls(), cpu());
            match *name {
                "bare" => in_flight(round, async || bare.call().await).await,
                "call" => in_flight(round, async || call(&client, &session).await).await,
                _ => ac.bench_polls(IN_FLIGHT as u32, round).await,
            }
            let took = (cpu() - started_at).as_secs_f64() * 1e6;
            samples.push(took / (service.status_calls() - calls_before) as f64);
        }
    }
    println!("{:<26}{:>14}{:>10}", "", "CPU us each", "to bare");
    let rows = NAMES.iter().zip(&samples).map(|(name, own)| {
        // Several rounds, because the speed of the machine varies.
        let ratios = own.iter().zip(&samples[0]).map(|(own, bare)| own / bare);
        let (us, ratio) =
            (support::median(own.iter().copied()).unwrap(), support::median(ratios).unwrap());
        println!("{:<26}{us:>14.2}{ratio:>10.3}", format!("{name}, {IN_FLIGHT} in flight"));
        json!({ "name": name, "cpu_us": us, "ratio": ratio })
    });
    rows.collect()
}

/// Runs turns for this duration, with this many in flight.
async fn in_flight(during: Duration, turn: impl AsyncFn()) {
    let until = tokio::time::Instant::now() + during;
    let turns = (0..IN_FLIGHT).map(|_| async {
        while tokio::time::Instant::now() < until {
            turn().await;
        }
    });
    futures_util::future::join_all(turns).await;
}

async fn call(client: &Client, session: &RemoteSession) {
    client.status(session).await.unwrap();
}

struct Bare {
    client: reqwest::Client,
    url: reqwest::Url,
    headers: Vec<(&'static str, HeaderValue)>,
}

impl Bare {
    fn new(service: &str) -> Self {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(Duration::from_secs(2))
            .pool_max_idle_per_host(64)
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .build()
            .unwrap();
        let url = format!("http://{service}/authentication/session_status/{TOKEN}");
        let secret = Secret::new("MXG9EDN581U33XTPLPFT75V2MXG9EDN5");
        let nonce = Nonce::from_u64(11_400_714_819_323_198_485);
        let signed = sign(Dialect::Activeconnect, TOKEN, &secret, &url, nonce, 1_795_323_600);
        let headers = signed.headers();
        let headers = headers.map(|(name, value)| (name, HeaderValue::from_str(value).unwrap()));
        Self { client, url: url.parse().unwrap(), headers: headers.into() }
    }

    async fn call(&self) {
        let mut request = self.client.get(self.url.clone());
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        drop(std::hint::black_box(response.bytes().await.unwrap()));
    }
}

/// An engine whose sessions are each due ten times a second.
fn engine(service: &str) -> Activeconnect {
    let ac = Activeconnect::builder(credentials(service))
        .token_store(MemoryTokenStore::new())
        .poll_interval(Duration::from_millis(100))
        .max_polls_per_second(1_000_000)
        .build()
        .unwrap();
    for i in 0..SESSIONS {
        let _ = ac.bench_session(&format!("user-{i:07}").into(), false);
    }
    ac
}

fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().into()
}
