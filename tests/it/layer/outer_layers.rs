//! Layers and routers around the gate.

use std::time::Duration;

use activeconnect_emulator::{Action, Emulator};
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::get;
use axum::{Router, ServiceExt};
use bytes::Bytes;
use http::{Method, StatusCode, header};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request as GrpcRequest};
use tower::{Layer as _, ServiceBuilder};
use tower_activeconnect::identity::SessionCredential;
use tower_activeconnect::layer::GateBody;
use tower_activeconnect::{ActiveSession, Activeconnect};
use tower_http::cors::{Any, CorsLayer};
use tower_http::timeout::TimeoutLayer;
use tower_http::validate_request::ValidateRequestHeaderLayer;

use crate::grpc::echo::Echo;
use crate::support::bytes_codec::BytesCodec;
use crate::support::{approve, builder, enroll_users};

const ORIGIN: &str = "https://partner.example";

struct Site {
    emulator: Emulator,
    ac: Activeconnect,
    credential: SessionCredential,
}

impl Site {
    async fn new() -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = builder(&emulator).build().unwrap();
        enroll_users(&emulator, &ac, &["alice"]).await;
        let alice = "alice".into();
        let (credential, _) = tokio::join!(ac.log_in(&alice), approve(&emulator));
        Self { emulator, credential: credential.unwrap(), ac }
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.credential.expose())
    }

    /// The status and text of a `GET`, with or without the session.
    async fn get(&self, url: &str, with_session: bool) -> (StatusCode, String) {
        let mut request = reqwest::Client::new().get(url).header(header::ORIGIN, ORIGIN);
        if with_session {
            request = request.header(header::AUTHORIZATION, self.bearer());
        }
        let response = request.send().await.unwrap();
        let allowed = response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_some();
        let text = if allowed { "cors: " } else { "" }.to_owned();
        (response.status(), text + &response.text().await.unwrap())
    }
}

fn app() -> Router {
    Router::new()
        .route("/", get(|session: ActiveSession| async move { session.user().to_string() }))
        .route("/slow", get(std::future::pending::<()>))
}

async fn address() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// T161: layers with their own responses need an empty body of the gate's type.
#[tokio::test]
async fn layers_with_empty_responses_wrap_the_gate() {
    let site = Site::new().await;
    let service = ServiceBuilder::new()
        .map_response(|response: Response<GateBody<Body>>| response.map(Body::new))
        .layer(CorsLayer::new().allow_origin(Any).allow_headers(Any))
        .layer(ValidateRequestHeaderLayer::accept("text/plain"))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::GATEWAY_TIMEOUT,
            Duration::from_millis(300),
        ))
        .layer(site.ac.layer())
        .service(app());
    let (listener, address) = address().await;
    tokio::spawn(async {
        axum::serve(listener, ServiceExt::<Request>::into_make_service(service)).await
    });
    let url = format!("http://{address}");
    assert_eq!(site.get(&url, true).await, (StatusCode::OK, "cors: alice".to_owned()));
    assert_eq!(site.get(&url, false).await.0, StatusCode::UNAUTHORIZED);
    let late = site.get(&format!("{url}/slow"), true).await;
    assert_eq!(late, (StatusCode::GATEWAY_TIMEOUT, "cors: ".to_owned()));

    // A preflight has no credential, and the outer layer rejects other `Accept` values.
    let client = reqwest::Client::new();
    let preflight = client
        .request(Method::OPTIONS, &url)
        .header(header::ORIGIN, ORIGIN)
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET");
    let preflight = preflight.send().await.unwrap();
    assert_eq!(preflight.status(), StatusCode::OK);
    assert!(preflight.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    let image = client.get(&url).header(header::ACCEPT, "image/png").send().await.unwrap();
    assert_eq!(image.status(), StatusCode::NOT_ACCEPTABLE);
    assert_eq!(image.bytes().await.unwrap(), Bytes::new());
}

/// T161: the same under axum's own `Router::layer`.
#[tokio::test]
async fn layers_with_empty_responses_wrap_a_router() {
    let site = Site::new().await;
    let gated = ServiceBuilder::new()
        .layer(CorsLayer::new().allow_origin(Any))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::GATEWAY_TIMEOUT,
            Duration::from_millis(300),
        ))
        .layer(ValidateRequestHeaderLayer::accept("text/plain"))
        .layer(site.ac.layer());
    let (listener, address) = address().await;
    tokio::spawn(async { axum::serve(listener, app().layer(gated)).await });
    let url = format!("http://{address}");
    assert_eq!(site.get(&url, true).await, (StatusCode::OK, "cors: alice".to_owned()));
    let late = site.get(&format!("{url}/slow"), true).await;
    assert_eq!(late, (StatusCode::GATEWAY_TIMEOUT, "cors: ".to_owned()));
}

/// T161: a tonic server with CORS and grpc-web outside the gate.
#[tokio::test]
async fn layers_wrap_the_gate_of_a_tonic_server() {
    let site = Site::new().await;
    let timeout = TimeoutLayer::with_status_code(StatusCode::OK, Duration::from_secs(20));
    let (listener, outside) = address().await;
    let server = Server::builder()
        .accept_http1(true)
        .layer(CorsLayer::new().allow_origin(Any))
        .layer(timeout)
        .layer(tonic_web::GrpcWebLayer::new())
        .layer(site.ac.layer())
        .add_service(Echo);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let (listener, inside) = address().await;
    let server = Server::builder()
        .accept_http1(true)
        .layer(timeout)
        .layer(CorsLayer::new().allow_origin(Any))
        .layer(site.ac.layer())
        .layer(tonic_web::GrpcWebLayer::new())
        .add_service(Echo);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    for address in [outside, inside] {
        calls_are_gated(&site, &address).await;
    }
}

async fn calls_are_gated(site: &Site, address: &str) {
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    let mut client = tonic::client::Grpc::new(channel.connect().await.unwrap());
    let mut call = async |bearer: Option<String>| {
        let mut request = GrpcRequest::new(Bytes::from("hello"));
        if let Some(bearer) = bearer {
            request.metadata_mut().insert("authorization", bearer.parse().unwrap());
        }
        client.ready().await.unwrap();
        client.unary(request, "/echo.Echo/Unary".parse().unwrap(), BytesCodec).await
    };
    assert_eq!(call(Some(site.bearer())).await.unwrap().into_inner(), "alice: hello");
    assert_eq!(call(None).await.unwrap_err().code(), Code::Unauthenticated);
}

/// T162: a gated service around a whole router can be served, and its streams are cut.
#[tokio::test]
async fn gated_router_is_served_and_streams_are_cut() {
    let site = Site::new().await;
    let stream =
        async || Body::from_stream(futures_util::stream::pending::<Result<Bytes, axum::Error>>());
    let router = app().route("/stream", get(stream));
    let gated = ServiceBuilder::new()
        .map_response(|response: Response<GateBody<Body>>| response.map(Body::new))
        .layer(site.ac.layer())
        .service(router);
    let (listener, address) = address().await;
    tokio::spawn(async {
        axum::serve(listener, ServiceExt::<Request>::into_make_service(gated)).await
    });
    let url = format!("http://{address}");
    assert_eq!(site.get(&url, true).await, (StatusCode::OK, "alice".to_owned()));
    for path in ["", "/unknown"] {
        let rejected = site.get(&format!("{url}{path}"), false).await;
        assert_eq!(rejected.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    let request = reqwest::Client::new().get(format!("{url}/stream"));
    let mut open = request.header(header::AUTHORIZATION, site.bearer()).send().await.unwrap();
    let session = site.emulator.state().sessions.remove(0);
    site.emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    assert!(open.chunk().await.is_err(), "the stream is cut");
}

/// T163: what requests without a session reach, for each documented form of nesting.
#[tokio::test]
async fn nested_gates_deny_unknown_paths() {
    let site = Site::new().await;
    let layer = || site.ac.layer();
    let not_found = async || (StatusCode::NOT_FOUND, "inner");
    let outer = async || (StatusCode::NOT_FOUND, "outer");
    let nested =
        Router::new().nest("/api", app().fallback(not_found).layer(layer())).fallback(outer);
    let open = Router::new().nest("/api", app().layer(layer())).fallback(outer);
    let router = Router::new()
        .nest("/auth", site.ac.routes())
        .fallback_service(layer().layer(app().nest("/api", app())));
    for (form, router, unknown) in [
        ("a fallback of its own", nested, Some("inner")),
        ("no fallback of its own", open, None),
        ("the fallback of the login's router", router, Some("")),
    ] {
        let (listener, address) = address().await;
        tokio::spawn(async move { axum::serve(listener, router).await });
        let url = format!("http://{address}/api");
        assert_eq!(site.get(&url, true).await, (StatusCode::OK, "alice".to_owned()), "{form}");
        assert_eq!(site.get(&url, false).await.0, StatusCode::UNAUTHORIZED, "{form}");
        for path in ["/unknown", "/slow/deeper"] {
            let anonymous = site.get(&format!("{url}{path}"), false).await;
            let user = site.get(&format!("{url}{path}"), true).await;
            match unknown {
                Some(inner) => {
                    assert_eq!(anonymous.0, StatusCode::UNAUTHORIZED, "{form}: {path}");
                    assert_eq!(user, (StatusCode::NOT_FOUND, inner.to_owned()), "{form}: {path}");
                }
                // As documented: axum does not call the layer.
                None => assert_eq!(anonymous, (StatusCode::NOT_FOUND, "outer".to_owned())),
            }
        }
        // axum does not route `/api/` to a router nested at `/api`, but to the outer router.
        let slash = site.get(&format!("{url}/"), false).await;
        match unknown {
            Some("") => assert_eq!(slash.0, StatusCode::UNAUTHORIZED, "{form}"),
            _ => assert_eq!(slash, (StatusCode::NOT_FOUND, "outer".to_owned()), "{form}"),
        }
    }
}
