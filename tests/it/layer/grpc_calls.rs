//! Which requests count as gRPC calls, whose denials are HTTP 200.

use std::convert::Infallible;

use activeconnect_emulator::{Action, Emulator};
use axum::Router;
use axum::body::Body;
use axum::routing::{any, get};
use futures_util::stream::{self, StreamExt as _};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Method, StatusCode, redirect};

use crate::support::{Browser, builder, enroll_users, serve};

#[tokio::test]
async fn only_a_post_is_a_grpc_call() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    let app = Router::new()
        .route("/", any(async || "a secret"))
        .layer(ac.layer())
        .nest("/auth", ac.routes());
    let site = serve(app).await;
    let client = Client::builder().redirect(redirect::Policy::none()).build().unwrap();
    for content_type in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpc-web-text",
    ] {
        for (method, accept, expected) in [
            ("GET", "*/*", StatusCode::UNAUTHORIZED),
            // A request that nginx, Caddy and Traefik forward from a browser.
            ("GET", "text/html", StatusCode::SEE_OTHER),
            ("HEAD", "*/*", StatusCode::UNAUTHORIZED),
            ("PUT", "*/*", StatusCode::UNAUTHORIZED),
            ("OPTIONS", "*/*", StatusCode::UNAUTHORIZED),
            ("PROPFIND", "*/*", StatusCode::UNAUTHORIZED),
            // HTTP methods are case-sensitive.
            ("post", "*/*", StatusCode::UNAUTHORIZED),
            ("POST", "*/*", StatusCode::OK),
        ] {
            let request = client
                .request(Method::from_bytes(method.as_bytes()).unwrap(), &site)
                .header(CONTENT_TYPE, content_type)
                .header(ACCEPT, accept);
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), expected, "{method} {content_type} {accept}");
            let is_grpc =
                response.headers().get("grpc-status").is_some_and(|status| status == "16");
            assert_eq!(is_grpc, method == "POST", "{method} {content_type} {accept}");
            assert_ne!(response.text().await.unwrap(), "a secret");
        }
    }
    let others = ["application/grpcx", "application/grpc-webx", "application/grpc-json"];
    for content_type in others {
        let response = client.post(&site).header(CONTENT_TYPE, content_type).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{content_type}");
    }
}

/// Only gRPC calls end with a status. A `GET` response of this content type is a download.
#[tokio::test]
async fn cut_download_of_grpc_type_is_an_error() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice"]).await;
    // One complete message and then nothing, where a gRPC stream would be cut cleanly.
    let message = async || {
        let first = stream::once(async { Ok::<_, Infallible>([0, 0, 0, 0, 1, 7].to_vec()) });
        ([(CONTENT_TYPE, "application/grpc")], Body::from_stream(first.chain(stream::pending())))
    };
    let app = Router::new().route("/", get(message)).layer(ac.layer()).nest("/auth", ac.routes());
    let browser = Browser::new(&serve(app).await);
    let session = browser.log_in(&emulator, "alice").await;
    let mut download = browser.api("/").await;
    assert_eq!(download.status(), StatusCode::OK);
    assert!(download.chunk().await.unwrap().is_some());
    emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    assert!(download.chunk().await.is_err(), "the download fails");
}
