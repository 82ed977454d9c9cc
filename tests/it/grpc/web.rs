//! grpc-web, with the layer inside and outside of the grpc-web layer.

use tonic::service::Routes;
use tonic_web::GrpcWebLayer;

use super::*;

/// Sends a grpc-web call, as a browser's `fetch` does.
async fn fetch(site: &str, credential: Option<String>, method: &str) -> reqwest::Response {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http
        .post(format!("{site}/echo.Echo/{method}"))
        .header("content-type", "application/grpc-web+proto")
        .header("x-grpc-web", "1")
        .body(&b"\0\0\0\0\x05hello"[..]);
    match credential {
        Some(credential) => request.bearer_auth(credential).send().await.unwrap(),
        None => request.send().await.unwrap(),
    }
}

/// The messages of a grpc-web body, and its trailers as text.
fn read(mut body: &[u8]) -> (Vec<String>, String) {
    let (mut messages, mut trailers) = (Vec::new(), String::new());
    while let [flag, a, b, c, d, rest @ ..] = body {
        let (message, rest) = rest.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        let text = String::from_utf8(message.to_vec()).unwrap();
        if flag & 0x80 == 0 {
            messages.push(text);
        } else {
            assert!(rest.is_empty(), "trailers are the last");
            trailers = text;
        }
        body = rest;
    }
    assert!(body.is_empty(), "half a message: {body:?}");
    (messages, trailers)
}

/// The status of a response, from headers or trailers.
async fn status(response: reqwest::Response) -> String {
    if let Some(status) = response.headers().get("grpc-status") {
        return status.to_str().unwrap().to_owned();
    }
    let (_, trailers) = read(&response.bytes().await.unwrap());
    let status = trailers.lines().find_map(|line| line.strip_prefix("grpc-status:"));
    status.unwrap().trim().to_owned()
}

#[tokio::test]
async fn grpc_web_inside_or_outside_is_gated() {
    for outside in [true, false] {
        let fixture = Fixture::new().await;
        let routes = Routes::new(Echo).into_axum_router();
        let site = if outside {
            serve(routes.layer(GrpcWebLayer::new()).layer(fixture.ac.layer())).await
        } else {
            serve(routes.layer(fixture.ac.layer()).layer(GrpcWebLayer::new())).await
        };
        let rejected = fetch(&site, None, "Unary").await;
        assert_eq!(rejected.status(), 200);
        assert_eq!(rejected.headers()["content-type"], "application/grpc-web+proto");
        if outside {
            let exposed = &rejected.headers()["access-control-expose-headers"];
            assert!(exposed.to_str().unwrap().contains("grpc-status-details-bin"));
        }
        assert_eq!(status(rejected).await, "16", "outside: {outside}");

        let credential = Some(fixture.credential.expose());
        let response = fetch(&site, credential.clone(), "Unary").await.bytes().await.unwrap();
        let (messages, trailers) = read(&response);
        assert_eq!(messages, ["alice: hello"]);
        assert!(trailers.contains("grpc-status:0"), "{trailers}");

        let mut watch = fetch(&site, credential, "Watch").await;
        let first = watch.chunk().await.unwrap().unwrap();
        fixture.end();
        let mut body = first.to_vec();
        while let Some(chunk) = watch.chunk().await.unwrap() {
            body.extend_from_slice(&chunk);
        }
        let (messages, trailers) = read(&body);
        assert_eq!(messages[0], "alice: 0");
        assert!(trailers.replace(' ', "").contains("grpc-status:16"), "{outside}: {trailers}");
    }
}

/// An interceptor of the application finds the session, and may deny for its own reasons.
#[tokio::test]
async fn interceptors_find_the_session() {
    let fixture = Fixture::new().await;
    let only_bob = |request: Request<()>| {
        let session = ActiveSession::from_extensions(request.extensions())
            .ok_or_else(|| Status::internal("no Activeconnect layer"))?;
        if session.user().as_str() == "bob" {
            Ok(request)
        } else {
            Err(Status::permission_denied("for bob only"))
        }
    };
    let service = tonic::service::interceptor::InterceptedService::new(Echo, only_bob);
    let router = Routes::new(service).into_axum_router().layer(fixture.ac.layer());
    let site = serve(router).await;
    let mut client = Client::connect(site.strip_prefix("http://").unwrap()).await;
    let rejected = client.unary(fixture.request(Bytes::new())).await.unwrap_err();
    assert_eq!((rejected.code(), rejected.message()), (Code::PermissionDenied, "for bob only"));
    let rejected = client.unary(Request::new(Bytes::new())).await.unwrap_err();
    assert_eq!(rejected.code(), Code::Unauthenticated);
}
