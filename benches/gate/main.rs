//! What a gated request costs: one `GET` through a bare axum router, through a no-op layer, through
//! the baseline gate, and through this crate's layer in each of its uses, with 10,000 sessions.
//!
//! ```text
//! cargo bench --features __bench,tonic --bench gate                      # table, and target/bench/gate.json
//! cargo bench --features __bench,tonic --bench gate -- --instructions    # only those; needs valgrind
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench may fail, and measures"
)]

mod baseline;
#[path = "../support/mod.rs"]
mod support;
mod threads;

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response};
use axum::routing::get;
use baseline::BaselineLayer;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use support::service::{NoOpLayer, requests};
use support::{Case, HASH, Prepare};
use tonic::service::Routes;
use tower::Service;
use tower_activeconnect::identity::SessionCredential;
use tower_activeconnect::{Activeconnect, Credentials, MemoryTokenStore, UserId};

const SESSIONS: usize = 10_000;
/// Fewer sessions under callgrind, where creating them is slow.
const SESSIONS_COUNTED: usize = 500;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let (ac, sessions) = engine();
    let mut rows = support::measure("gate", cases(&ac, &sessions));
    if !std::env::args().any(|argument| argument == "--instructions") {
        let bare = router().with_state(());
        let gate = router().layer(ac.layer()).with_state(());
        let scaling =
            threads::scaling(&[bare, gate], || requests_by(&sessions, By::ColdCookie, "/"));
        let share = scaling[1] / scaling[0];
        println!("two threads against one: bare {:.2}, gate {:.2}", scaling[0], scaling[1]);
        println!("the gate's share of the bare router's scaling: {share:.2}");
        rows.push(json!({ "name": "two threads, share of the bare router's", "share": share }));
    }
    support::write("gate", &rows);
}

/// An engine that does not poll during the measurement, with its sessions.
fn engine() -> (Activeconnect, Vec<SessionCredential>) {
    let hour = Duration::from_secs(3600);
    let credentials = Credentials::new("APPLICATION", "MXG9EDN581U33XTPLPFT75V2").unwrap();
    let ac = Activeconnect::builder(credentials)
        .token_store(MemoryTokenStore::new())
        .poll_interval(hour)
        .max_staleness(2 * hour)
        .build()
        .unwrap();
    let counted = std::env::args().any(|argument| argument == "--counted");
    let sessions = if counted { SESSIONS_COUNTED } else { SESSIONS };
    let credentials = (0..sessions).map(|i| ac.bench_session(&user(i), false)).collect();
    (ac, credentials)
}

fn user(i: usize) -> UserId {
    format!("user-{i:07}").into()
}

/// A route with an immediate response, and one with a stream.
fn router() -> Router<()> {
    Router::new().route("/", get(async || "hello")).route(
        "/stream",
        get(async || {
            let frame = Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"hello")));
            Body::new(StreamBody::new(futures_util::stream::iter([frame])))
        }),
    )
}

/// The user that another login puts into the extensions.
#[derive(Clone)]
struct AppUser(usize);

/// The kind of client.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Cookie,
    /// A different session for each request, so that it is not in the CPU caches.
    ColdCookie,
    Bearer,
    Anonymous,
}

/// Requests with the credential of one of these sessions.
fn requests_by(
    sessions: &[SessionCredential],
    by: By,
    uri: &'static str,
) -> impl FnMut() -> Request<Body> + 'static {
    let sessions: Vec<String> = sessions.iter().map(SessionCredential::expose).collect();
    let mut turn = sessions.len() / 2;
    move || {
        if by == By::ColdCookie {
            turn = (turn + 7_919) % sessions.len();
        }
        let cookies = "theme=dark; lang=en";
        let (name, value) = match by {
            By::Cookie | By::ColdCookie => {
                ("cookie", format!("{cookies}; __Host-activeconnect={}", sessions[turn]))
            }
            By::Bearer => ("authorization", format!("Bearer {}", sessions[turn])),
            By::Anonymous => ("cookie", cookies.to_owned()),
        };
        let mut request = Request::get(uri).header(name, value).body(Body::empty()).unwrap();
        request.extensions_mut().insert(AppUser(turn));
        request
    }
}

fn cases(ac: &Activeconnect, sessions: &[SessionCredential]) -> Vec<Case> {
    let second_factor =
        ac.with_user_resolver(|parts| parts.extensions.get::<AppUser>().map(|AppUser(i)| user(*i)));
    // `with_state` applies the layers once instead of for each request.
    let bare = router().with_state(());
    let noop = router().layer(NoOpLayer).with_state(());
    let baseline = router().layer(BaselineLayer::new(sessions)).with_state(());
    let gate = router().layer(ac.layer()).with_state(());
    let optional = router().layer(ac.layer().optional()).with_state(());
    let second_factor = router().layer(second_factor.layer()).with_state(());
    let ask = |by| requests_by(sessions, by, "/");
    let stream = || requests_by(sessions, By::Cookie, "/stream");
    let response = (200, 1);
    let grpc_gate = grpc(ac.layer(), sessions);
    vec![
        Case::new("bare router", requests(bare.clone(), ask(By::Cookie), response)),
        Case::new(NOOP, requests(noop.clone(), ask(By::Cookie), response)).over("bare router"),
        Case::new(BASELINE, requests(baseline.clone(), ask(By::Cookie), response))
            .over(NOOP)
            .hashes(),
        Case::new("gate, cookie", requests(gate.clone(), ask(By::Cookie), response)).gate(),
        Case::new(BASELINE_COLD, requests(baseline.clone(), ask(By::ColdCookie), response))
            .over(NOOP)
            .hashes(),
        Case::new(
            "gate, cookie, cold session",
            requests(gate.clone(), ask(By::ColdCookie), response),
        )
        .over(NOOP)
        .hashes()
        .against(BASELINE_COLD),
        Case::new("gate, bearer", requests(gate.clone(), ask(By::Bearer), response)).gate(),
        Case::new("gate, second factor", requests(second_factor, ask(By::Cookie), response)).gate(),
        Case::new("gate, optional", requests(optional.clone(), ask(By::Cookie), response)).gate(),
        Case::new("gate, optional, anonymous", requests(optional, ask(By::Anonymous), response))
            .over(NOOP),
        Case::new("bare router, guarded body", requests(bare, stream(), response)),
        Case::new(NOOP_GUARDED, requests(noop, stream(), response))
            .over("bare router, guarded body"),
        Case::new(BASELINE_GUARDED, requests(baseline, stream(), response))
            .over(NOOP_GUARDED)
            .hashes(),
        Case::new("gate, guarded body", requests(gate, stream(), response))
            .over(NOOP_GUARDED)
            .hashes()
            .against(BASELINE_GUARDED),
        Case::new(TONIC_NOOP, grpc(NoOpLayer, sessions)),
        Case::new(TONIC_BASELINE, grpc(BaselineLayer::new(sessions), sessions))
            .over(TONIC_NOOP)
            .hashes(),
        Case::new("tonic, gate", grpc_gate).over(TONIC_NOOP).hashes().against(TONIC_BASELINE),
        Case::new(HASH, hash()),
    ]
}

const NOOP: &str = "no-op layer";
const BASELINE: &str = "baseline";
const BASELINE_COLD: &str = "baseline, cold session";
const NOOP_GUARDED: &str = "no-op layer, guarded body";
const BASELINE_GUARDED: &str = "baseline, guarded body";
const TONIC_NOOP: &str = "tonic, no-op layer";
const TONIC_BASELINE: &str = "tonic, baseline";

impl Case {
    /// The gate in front of the small response.
    fn gate(self) -> Self {
        self.over(NOOP).hashes().against(BASELINE)
    }
}

/// The layer around all services of a tonic server.
fn grpc<L, B>(layer: L, sessions: &[SessionCredential]) -> Prepare
where
    L: tower::Layer<Routes>,
    L::Service: Service<Request<tonic::body::Body>, Response = Response<B>, Error = Infallible>
        + Clone
        + 'static,
    B: http_body::Body<Data = Bytes> + 'static,
{
    let service = layer.layer(Routes::new(tonic_health::server::health_reporter().1).prepare());
    let mut request = requests_by(sessions, By::Cookie, "/grpc.health.v1.Health/Check");
    let request = move || {
        let (mut parts, _) = request().into_parts();
        parts.method = Method::POST;
        parts.headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        parts.headers.insert("te", HeaderValue::from_static("trailers"));
        // An empty message: the health of the whole server.
        let message = Full::new(Bytes::from_static(&[0; 5]));
        Request::from_parts(parts, tonic::body::Body::new(message))
    };
    // The message and the trailers.
    requests(service, request, (200, 2))
}

fn hash() -> Prepare {
    Box::new(|turns| {
        Box::new(move || {
            for _ in 0..turns {
                black_box(Sha256::digest(black_box([7; 32])));
            }
        })
    })
}
