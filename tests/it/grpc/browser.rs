//! grpc-web in a page in Chromium, from the same and from another origin.

use std::collections::BTreeMap;

use axum::response::Html;
use axum::routing::post;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::sync::mpsc;
use tonic_web::GrpcWebLayer;
use tower_http::cors::CorsLayer;

use super::*;
use crate::support::chromium::Chromium;

/// Calls without and with a credential, and reports each status.
const PAGE: &str = r#"<!doctype html><title>page</title><script type="module">
const sites = { here: location.origin, elsewhere: "ELSEWHERE" };
const names = ["grpc-status", "grpc-message", "grpc-status-details-bin"];
const report = (...lines) => fetch("/report", { method: "POST", body: lines.join("\n") });
const call = (site, method, headers) => fetch(`${site}/echo.Echo/${method}`, {
    method: "POST",
    headers: { "content-type": "application/grpc-web+proto", "x-grpc-web": "1", ...headers },
    body: new Uint8Array(5),
});
// The messages of a body: flag and text.
async function* messages(body) {
    let bytes = [];
    for (const reader = body.getReader();;) {
        const { value, done } = await reader.read();
        if (done) return;
        bytes.push(...value);
        while (bytes.length >= 5) {
            const end = 5 + new DataView(Uint8Array.from(bytes.slice(1, 5)).buffer).getUint32(0);
            if (bytes.length < end) break;
            yield [bytes[0], new TextDecoder().decode(Uint8Array.from(bytes.slice(5, end)))];
            bytes = bytes.slice(end);
        }
    }
}
for (const [where, site] of Object.entries(sites)) {
    const denied = await call(site, "Unary", {});
    await report(`${where} denied`, ...names.map(name => denied.headers.get(name)));
    const watched = await call(site, "Watch", { authorization: "Bearer CREDENTIAL" });
    (async () => {
        let open = false, ended = [];
        for await (const [flag, text] of messages(watched.body)) {
            if (!open) await report(`${where} open`);
            open = true;
            const trailers = Object.fromEntries(text.split("\r\n").map(line => line.split(": ")));
            ended = flag === 0x80 ? names.map(name => trailers[name]) : [];
        }
        await report(`${where} ended`, ...ended);
    })();
}
</script>"#;

/// T090, T124: the page reads the reason of a denial and of a stream's end. For another origin, the
/// CORS layer allows the call but no response headers; the gate's layer adds them.
#[tokio::test]
async fn page_reads_denial_and_stream_end() {
    let fixture = Fixture::new().await;
    let app = || {
        let routes = Routes::new(Echo).into_axum_router();
        routes.layer(GrpcWebLayer::new()).layer(fixture.ac.layer())
    };
    let (report, mut reports) = mpsc::unbounded_channel::<String>();
    let cors = CorsLayer::new()
        .allow_origin(tower_http::cors::Any)
        .allow_methods([Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, HeaderName::from_static("x-grpc-web")]);
    let elsewhere = serve(app().layer(cors)).await;
    let page = PAGE.replace("ELSEWHERE", &elsewhere);
    let page = page.replace("CREDENTIAL", &fixture.credential.expose());
    let site = app()
        .route("/", get(async || Html(page)))
        .route("/report", post(async move |text: String| report.send(text).unwrap()));
    let Some(_chromium) = Chromium::open(&serve(site).await).await else { return };

    let mut next = async || {
        let patience = Duration::from_secs(30);
        let report = tokio::time::timeout(patience, reports.recv()).await;
        let report = report.expect("no report").unwrap();
        let mut lines = report.lines().map(str::to_owned);
        (lines.next().unwrap(), lines.collect::<Vec<_>>())
    };
    let mut observed = BTreeMap::new();
    for _ in 0..4 {
        observed.extend([next().await]);
    }
    assert!(
        observed.contains_key("here open") && observed.contains_key("elsewhere open"),
        "{observed:?}"
    );
    fixture.end();
    for _ in 0..2 {
        observed.extend([next().await]);
    }
    for (context, reason) in [("denied", "NO_SESSION"), ("ended", "ENDED")] {
        for origin in ["here", "elsewhere"] {
            let read = &observed[&format!("{origin} {context}")];
            assert_eq!(
                code_and_reason(&status(read)),
                denial(Code::Unauthenticated, reason),
                "{origin}"
            );
        }
    }
}

/// The status of a gRPC client, from status, message and details.
fn status(read: &[String]) -> Status {
    let names = ["grpc-status", "grpc-message", "grpc-status-details-bin"];
    let fields = names.map(HeaderName::from_static).into_iter().zip(read);
    let headers: HeaderMap =
        fields.map(|(name, value)| (name, HeaderValue::from_str(value).unwrap())).collect();
    Status::from_header_map(&headers).unwrap_or_else(|| panic!("no status: {read:?}"))
}
