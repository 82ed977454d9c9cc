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

mod floor;
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
use bytes::Bytes;
use floor::FloorLayer;
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
        let scaling = threads::scaling(&[bare, gate], || asking(&sessions, By::OtherCookie, "/"));
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
    let made = (0..sessions).map(|i| ac.bench_session(&user(i), false)).collect();
    (ac, made)
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
    OtherCookie,
    Bearer,
    Stranger,
}

/// Requests with the credential of one of these sessions.
fn asking(
    sessions: &[SessionCredential],
    by: By,
    uri: &'static str,
) -> impl FnMut() -> Request<Body> + 'static {
    let sessions: Vec<String> = sessions.iter().map(SessionCredential::expose).collect();
    let mut turn = sessions.len() / 2;
    move || {
        if by == By::OtherCookie {
            turn = (turn + 7_919) % sessions.len();
        }
        let cookies = "theme=dark; lang=en";
        let (name, value) = match by {
            By::Cookie | By::OtherCookie => {
                ("cookie", format!("{cookies}; __Host-activeconnect={}", sessions[turn]))
            }
            By::Bearer => ("authorization", format!("Bearer {}", sessions[turn])),
            By::Stranger => ("cookie", cookies.to_owned()),
        };
        let mut request = Request::get(uri).header(name, value).body(Body::empty()).unwrap();
        request.extensions_mut().insert(AppUser(turn));
        request
    }
}

fn cases(ac: &Activeconnect, sessions: &[SessionCredential]) -> Vec<Case> {
    let presence =
        ac.with_user_resolver(|parts| parts.extensions.get::<AppUser>().map(|AppUser(i)| user(*i)));
    // `with_state` applies the layers once instead of for each request.
    let bare = router().with_state(());
    let noop = router().layer(NoOpLayer).with_state(());
    let floor = router().layer(FloorLayer::new(sessions)).with_state(());
    let gate = router().layer(ac.layer()).with_state(());
    let optional = router().layer(ac.layer().optional()).with_state(());
    let presence = router().layer(presence.layer()).with_state(());
    let ask = |by| asking(sessions, by, "/");
    let stream = || asking(sessions, By::Cookie, "/stream");
    let response = (200, 1);
    let grpc_gate = grpc(ac.layer(), sessions);
    vec![
        Case::new("bare router", requests(bare.clone(), ask(By::Cookie), response)),
        Case::new(NOOP, requests(noop.clone(), ask(By::Cookie), response)).over("bare router"),
        Case::new(FLOOR, requests(floor.clone(), ask(By::Cookie), response)).over(NOOP).hashes(),
        Case::new("gate, cookie", requests(gate.clone(), ask(By::Cookie), response)).gate(),
        Case::new(FLOOR_OTHERS, requests(floor.clone(), ask(By::OtherCookie), response))
            .over(NOOP)
            .hashes(),
        Case::new("gate, cookie, others", requests(gate.clone(), ask(By::OtherCookie), response))
            .over(NOOP)
            .hashes()
            .against(FLOOR_OTHERS),
        Case::new("gate, bearer", requests(gate.clone(), ask(By::Bearer), response)).gate(),
        Case::new("gate, presence", requests(presence, ask(By::Cookie), response)).gate(),
        Case::new("gate, optional", requests(optional.clone(), ask(By::Cookie), response)).gate(),
        Case::new("gate, optional, stranger", requests(optional, ask(By::Stranger), response))
            .over(NOOP),
        Case::new("bare router, guarded body", requests(bare, stream(), response)),
        Case::new(NOOP_GUARDED, requests(noop, stream(), response))
            .over("bare router, guarded body"),
        Case::new(FLOOR_GUARDED, requests(floor, stream(), response)).over(NOOP_GUARDED).hashes(),
        Case::new("gate, guarded body", requests(gate, stream(), response))
            .over(NOOP_GUARDED)
            .hashes()
            .against(FLOOR_GUARDED),
        Case::new(TONIC_NOOP, grpc(NoOpLayer, sessions)),
        Case::new(TONIC_FLOOR, grpc(FloorLayer::new(sessions), sessions)).over(TONIC_NOOP).hashes(),
        Case::new("tonic, gate", grpc_gate).over(TONIC_NOOP).hashes().against(TONIC_FLOOR),
        Case::new(HASH, hash()),
    ]
}

const NOOP: &str = "no-op layer";
const FLOOR: &str = "floor";
const FLOOR_OTHERS: &str = "floor, others";
const NOOP_GUARDED: &str = "no-op layer, guarded body";
const FLOOR_GUARDED: &str = "floor, guarded body";
const TONIC_NOOP: &str = "tonic, no-op layer";
const TONIC_FLOOR: &str = "tonic, floor";

impl Case {
    /// The gate in front of the small response.
    fn gate(self) -> Self {
        self.over(NOOP).hashes().against(FLOOR)
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
    let mut request = asking(sessions, By::Cookie, "/grpc.health.v1.Health/Check");
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
