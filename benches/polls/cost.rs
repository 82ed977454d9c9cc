//! CPU time of this process, user and system, for one poll: in one thread, with 16 in flight, over
//! HTTP/1.1 without TLS.
//!
//! "One poll" is measured twice. *Call* is the client's own status call: signature, HTTP, parsing.
//! *Poll* is all that the engine does: it finds the session that is due, makes its URL from what is
//! kept, calls, and publishes what was said; the poller sends as many as 16 at once will take, from
//! 10,000 sessions of which more are due than that. *Bare* is reqwest's client, built as this
//! crate's, with the same URL and headers, whose body is read and thrown away.

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
/// All three rows in less than a minute: sessions that nobody uses for longer are not polled.
const ROUNDS: usize = 61;
const ROUND: Duration = Duration::from_millis(200);

const NAMES: [&str; 3] = ["bare", "call", "poll"];

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn measure() -> Vec<Value> {
    let (rounds, round) =
        if support::in_full() { (ROUNDS, ROUND) } else { (1, Duration::from_millis(50)) };
    let mut service = Service::start();
    let bare = Bare::new(&service.address);
    let client = Client::new(credentials(&service.address)).unwrap();
    let user = UserToken::random().unwrap();
    let session = client.authenticate_user(&user, &AuthenticationRequest::default()).await.unwrap();
    let ac = engine(&service.address);

    let mut samples = NAMES.map(|_| Vec::new());
    for _ in 0..rounds {
        for (name, samples) in NAMES.iter().zip(&mut samples) {
            let (answered, begun) = (service.answered(), cpu());
            match *name {
                "bare" => in_flight(round, async || bare.call().await).await,
                "call" => in_flight(round, async || call(&client, &session).await).await,
                _ => ac.bench_polls(IN_FLIGHT as u32, round).await,
            }
            let took = (cpu() - begun).as_secs_f64() * 1e6;
            samples.push(took / (service.answered() - answered) as f64);
        }
    }
    println!("{:<26}{:>14}{:>10}", "", "CPU us each", "to bare");
    let rows = NAMES.iter().zip(&samples).map(|(name, own)| {
        // Of each round, for the machine is never the same for long.
        let ratios = own.iter().zip(&samples[0]).map(|(own, bare)| own / bare);
        let (us, ratio) =
            (support::median(own.iter().copied()).unwrap(), support::median(ratios).unwrap());
        println!("{:<26}{us:>14.2}{ratio:>10.3}", format!("{name}, {IN_FLIGHT} in flight"));
        json!({ "name": name, "cpu_us": us, "ratio": ratio })
    });
    rows.collect()
}

/// Turns for so long, so many at once.
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
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        drop(std::hint::black_box(answer.bytes().await.unwrap()));
    }
}

/// Sessions each of which wants ten polls a second.
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
