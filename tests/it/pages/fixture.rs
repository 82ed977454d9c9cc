//! An application with configured pages, and helpers to read them.

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::routing::{any, get};
use reqwest::Response;
use tower_activeconnect::protocol::AuthMethod;
use tower_activeconnect::{ActiveSession, ActiveconnectBuilder};

use crate::support::{Browser, builder, enroll_users, serve};

pub(crate) struct Site {
    pub(crate) emulator: Emulator,
    pub(crate) url: String,
}

impl Site {
    pub(crate) async fn new(
        configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder,
    ) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = configure(builder(&emulator)).build().unwrap();
        enroll_users(&emulator, &ac, &["alice", "bob", "carol"]).await;
        let careful = Router::new()
            .route("/careful", get(async || "careful"))
            .layer(ac.layer().require_methods([AuthMethod::Facial]));
        let app = Router::new()
            .route("/", get(async |session: ActiveSession| session.user().to_string()))
            .route("/form", any(async || "sent"))
            .layer(ac.layer())
            .merge(careful)
            .nest("/auth", ac.routes());
        let url = serve(app).await;
        Self { emulator, url }
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser::new(&self.url)
    }
}

/// The values of an attribute, in page order.
pub(crate) fn attributes(page: &str, name: &str) -> Vec<String> {
    let start = format!(" {name}=\"");
    let values = page.split(&start).skip(1).filter_map(|rest| rest.split('"').next());
    values.map(|value| value.replace("&#38;", "&")).collect()
}

/// The files that a page loads.
pub(crate) fn files(page: &str) -> Vec<String> {
    let all = attributes(page, "href").into_iter().chain(attributes(page, "src"));
    all.filter(|path| path.contains("/assets/")).collect()
}

pub(crate) fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}
