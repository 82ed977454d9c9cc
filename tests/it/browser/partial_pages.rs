//! Libraries that load parts of pages, in Chromium on a plain HTTP site, where browsers send no
//! `Sec-Fetch-*`. A request without a session never loads a login page into the open page.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::{any, get};

use crate::support::chromium::{Chromium, Tab};
use crate::support::{builder, serve};

/// The folder that `scripts/test` installs with npm (see tests/it/browser/libraries.txt).
fn libraries_folder() -> Option<PathBuf> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/browser-libraries/node_modules");
    if !folder.exists() {
        println!("there is no {}; scripts/test installs it", folder.display());
        return None;
    }
    Some(folder)
}

/// A file of a library.
fn library_file(folder: &Path, uri: &Uri) -> Response {
    let path = folder.join(uri.path().trim_start_matches("/lib/"));
    let Ok(text) = std::fs::read(&path) else { return StatusCode::NOT_FOUND.into_response() };
    ([(CONTENT_TYPE, "text/javascript")], text).into_response()
}

/// A request to the gate and its response.
#[derive(Debug)]
struct Exchange {
    has_fetch_metadata: bool,
    status: u16,
}

struct Fixture {
    chromium: Chromium,
    site: String,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

impl Fixture {
    /// Serves open pages at `/open/NAME` for each body, and a gated `/part`.
    async fn start(bodies: &[(&'static str, &'static str)]) -> Option<Self> {
        let chromium = Chromium::start().await?;
        let emulator = Emulator::start().await.unwrap();
        let ac = builder(&emulator).insecure_cookie_name("partial").build().unwrap();
        let exchanges: Arc<Mutex<Vec<Exchange>>> = Arc::default();
        let recorded = exchanges.clone();
        let record = from_fn(move |request: Request, next: Next| {
            let recorded = recorded.clone();
            async move {
                let has_fetch_metadata = request.headers().contains_key("sec-fetch-mode");
                let response = next.run(request).await;
                let status = response.status().as_u16();
                recorded.lock().unwrap().push(Exchange { has_fetch_metadata, status });
                response
            }
        });
        let mut app = Router::new()
            .route("/part", any(async || Html("<p id=part>gated</p>")))
            .route_layer(ac.layer())
            .route_layer(record)
            .nest("/auth", ac.routes());
        if let Some(folder) = libraries_folder() {
            app = app.route("/lib/{*path}", get(async move |uri: Uri| library_file(&folder, &uri)));
        }
        for (name, body) in bodies {
            let page = format!("<!doctype html><title>open</title>{body}<p id=part>old</p>");
            app = app.route(&format!("/open/{name}"), get(async move || Html(page)));
        }
        let site = serve(app).await.replace("127.0.0.1", "app.example");
        Some(Self { chromium, site, exchanges })
    }

    async fn open(&self, name: &str) -> Tab {
        let tab = self.chromium.profile().await.tab().await;
        tab.navigate(&format!("{}/open/{name}?folder=in", self.site)).await;
        tab.wait_for("typeof isReady === 'boolean'").await;
        tab
    }

    /// The statuses of the gate's responses; asserts that the browser sent no fetch metadata.
    fn statuses(&self) -> Vec<u16> {
        let exchanges = std::mem::take(&mut *self.exchanges.lock().unwrap());
        assert!(exchanges.iter().all(|exchange| !exchange.has_fetch_metadata), "{exchanges:?}");
        exchanges.into_iter().map(|exchange| exchange.status).collect()
    }
}

/// htmx and Inertia navigate to the login page, and later return to the open page, or to the
/// requested page if it was a page request.
#[tokio::test]
async fn libraries_go_to_the_login_page() {
    let bodies = [
        (
            "htmx-1",
            r##"<button id=go hx-get=/part hx-target="#part">go</button>
            <script src=/lib/htmx-1/dist/htmx.js></script><script>isReady = true</script>"##,
        ),
        (
            "htmx-2",
            r##"<button id=go hx-get=/part hx-target="#part">go</button>
            <script src=/lib/htmx-2/dist/htmx.js></script><script>isReady = true</script>"##,
        ),
        (
            "htmx-2-post",
            r##"<form hx-post=/part hx-target="#part"><button id=go>go</button></form>
            <script src=/lib/htmx-2/dist/htmx.js></script><script>isReady = true</script>"##,
        ),
        (
            "htmx-2-boosted",
            r#"<a id=go hx-boost=true href=/part?a=b>go</a>
            <script src=/lib/htmx-2/dist/htmx.js></script><script>isReady = true</script>"#,
        ),
        (
            "htmx-4",
            r##"<button id=go hx-get=/part hx-target="#part">go</button>
            <script src=/lib/htmx-4/dist/htmx.js></script><script>isReady = true</script>"##,
        ),
        (
            "inertia",
            r#"<button id=go>go</button><script type=importmap>{ "imports": {
                "es-toolkit": "/lib/es-toolkit/dist/index.mjs",
                "es-toolkit/compat": "/lib/es-toolkit/dist/compat/index.mjs",
                "laravel-precognition": "/lib/laravel-precognition/dist/index.js"
            } }</script><script type=module>
            import { router } from "/lib/@inertiajs/core/dist/index.js";
            const initialPage = { component: "open", props: {}, url: location.pathname, version: "1" };
            const [resolveComponent, swapComponent] = [name => name, async () => {}];
            router.init({ initialPage, resolveComponent, swapComponent });
            go.onclick = () => router.visit("/part?a=b");
            window.isReady = true;
            </script>"#,
        ),
    ];
    if libraries_folder().is_none() {
        return;
    }
    let Some(fixture) = Fixture::start(&bodies).await else { return };
    for (name, _) in bodies {
        let tab = fixture.open(name).await;
        tab.eval("go.click()").await;
        tab.wait_for("location.pathname === '/auth/login'").await;
        tab.wait_for_load().await;
        let (status, next) = match name {
            "inertia" => (409, "/part?a=b".to_owned()),
            "htmx-2-boosted" => (401, "/part?a=b".to_owned()),
            _ => (401, format!("/open/{name}?folder=in")),
        };
        let next_field = tab.eval("document.querySelector('[name=next]').value").await;
        assert_eq!((fixture.statuses(), next_field), (vec![status], next.into()), "{name}");
    }
}

/// The other libraries get 401, and the open page stays.
#[tokio::test]
async fn libraries_keep_the_open_page() {
    let bodies = [
        (
            "turbo-frame",
            r#"<turbo-frame id=frame><a id=go href=/part>go</a></turbo-frame><script type=module>
            import "/lib/@hotwired/turbo/dist/turbo.es2017-esm.js";
            addEventListener("turbo:before-fetch-response", event => {
                window.reported = event.detail.fetchResponse.statusCode;
            });
            window.isReady = true;
            </script>"#,
        ),
        (
            "unpoly",
            r##"<a id=go href=/part up-target="#part">go</a>
            <script src=/lib/unpoly/unpoly.js></script><script>
            up.on("up:fragment:loaded", event => { reported = event.response.status; });
            isReady = true;
            </script>"##,
        ),
        (
            "jquery-3",
            r##"<button id=go onclick="$('#part').load('/part', (text, status, xhr) => { reported = xhr.status; })">go</button>
            <script src=/lib/jquery-3/dist/jquery.js></script><script>isReady = true</script>"##,
        ),
        (
            "jquery-4",
            r##"<button id=go onclick="$('#part').load('/part', (text, status, xhr) => { reported = xhr.status; })">go</button>
            <script src=/lib/jquery-4/dist/jquery.js></script><script>isReady = true</script>"##,
        ),
    ];
    if libraries_folder().is_none() {
        return;
    }
    let Some(fixture) = Fixture::start(&bodies).await else { return };
    for (name, _) in bodies {
        let tab = fixture.open(name).await;
        tab.eval("go.click()").await;
        tab.wait_for("window.reported === 401").await;
        // A library that handles the response does so before the next frame.
        tab.eval("new Promise(done => requestAnimationFrame(() => setTimeout(done)))").await;
        assert!(tab.url().await.ends_with(&format!("/open/{name}?folder=in")), "{name}");
        let text = tab.text().await;
        assert!(text.contains("go") && text.contains("old"), "{name}: {text}");
        assert_eq!(fixture.statuses(), [401], "{name}");
    }
}

/// A form on plain HTTP gets a page, with any encoding.
#[tokio::test]
async fn plain_http_form_gets_a_page() {
    let form = r#"<form method=post action=/part><input name=a value=b><button id=go>go</button>
        </form><script>isReady = true</script>"#;
    let Some(fixture) = Fixture::start(&[("form", form)]).await else { return };
    for encoding in ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"] {
        let tab = fixture.open("form").await;
        tab.eval(&format!("document.forms[0].enctype = '{encoding}'; go.click()")).await;
        tab.wait_for("location.pathname === '/part'").await;
        tab.wait_for_load().await;
        assert_eq!(fixture.statuses(), [401], "{encoding}");
        assert_eq!(tab.eval("document.contentType").await, "text/html", "{encoding}");
        tab.eval("document.querySelector('a').click()").await;
        tab.wait_for("location.pathname === '/auth/login'").await;
    }
}
