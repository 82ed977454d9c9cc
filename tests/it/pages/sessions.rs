//! The page `sessions`: a user's logins, and how to end them.

use std::convert::Infallible;
use std::net::SocketAddr;

use activeconnect_emulator::{Action, Emulator, SessionReport};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION, ORIGIN, USER_AGENT};
use reqwest::Response;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_activeconnect::session::{EndSessionError, SessionId};
use tower_activeconnect::{ActiveSession, Activeconnect, ActiveconnectBuilder, UserId};

use super::in_chromium::Fixture;
use crate::support::{
    Browser, approve, builder, enroll_users, location, pending_session, poll_until, session_of,
};

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
const EVIL: &str = "\"><script>alert(1)</script>";

struct Site {
    emulator: Emulator,
    ac: Activeconnect,
    url: String,
}

impl Site {
    async fn new(configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = configure(builder(&emulator)).build().unwrap();
        enroll_users(&emulator, &ac, &["alice", "bob"]).await;
        let open = async |_: ActiveSession| {
            let first = stream::iter([Ok::<_, Infallible>(Bytes::from("first"))]);
            Body::from_stream(first.chain(stream::pending()))
        };
        let app = Router::new()
            .route("/", get(async |session: ActiveSession| session.user().to_string()))
            .route("/open", get(open))
            .layer(ac.layer())
            .nest("/auth", ac.routes());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        // The client address comes from the connection.
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async { axum::serve(listener, app).await });
        Self { url, emulator, ac }
    }

    /// A browser with this user agent, in which the user logged in.
    async fn browser(&self, user: &str, user_agent: &str) -> Browser {
        let browser = Browser::new(&self.url);
        let start = browser.post("/auth/login").header(USER_AGENT, user_agent);
        let started_at = browser.send(start.form(&[("username", user)])).await;
        assert_eq!(started_at.status(), StatusCode::SEE_OTHER);
        approve(&self.emulator).await;
        poll_until("logged in", async || (browser.status().await == "active").then_some(())).await;
        browser
    }

    /// A program with a session of this user, by its header.
    async fn program(&self, user: &str) -> String {
        let user = user.into();
        let (credential, _) = tokio::join!(self.ac.log_in(&user), approve(&self.emulator));
        format!("Bearer {}", credential.unwrap().expose())
    }

    async fn ids(&self, user: &str) -> Vec<SessionId> {
        let sessions = self.ac.sessions(&user.into()).await.unwrap();
        sessions.iter().map(tower_activeconnect::session::SessionInfo::id).collect()
    }
}

async fn listed_sessions(browser: &Browser) -> Value {
    let response = browser.api("/auth/sessions").await;
    assert_eq!(response.status(), StatusCode::OK);
    response.json().await.unwrap()
}

/// The id of a session other than the requesting one.
fn other_user(listing: &Value) -> String {
    let mut sessions = listing["sessions"].as_array().unwrap().iter();
    let other_user = sessions.find(|session| session["current"] == false).unwrap();
    other_user["id"].as_str().unwrap().to_owned()
}

async fn end(browser: &Browser, id: &str) -> Response {
    browser.json("/auth/sessions/end", &json!({ "id": id })).await
}

#[tokio::test]
async fn sessions_are_listed_with_details() {
    let site = Site::new(|builder| builder).await;
    let browser = site.browser("alice", FIREFOX).await;
    let _program = site.program("alice").await;
    site.browser("bob", EVIL).await;
    let listing = listed_sessions(&browser).await;
    assert_eq!(listing["user"], "alice");
    let sessions = listing["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2, "{listing}");
    let own = &sessions[0];
    assert_eq!(own["current"], true, "{listing}");
    assert_eq!(own["browser"], "Firefox on Linux");
    assert_eq!(own["address"], "127.0.0.1");
    assert_eq!(own["status"], "active");
    let other_user = &sessions[1];
    assert_eq!((&other_user["current"], &other_user["browser"]), (&json!(false), &Value::Null));
    assert_eq!(other_user["address"], Value::Null);
    for session in sessions {
        let id: SessionId = session["id"].as_str().unwrap().parse().unwrap();
        assert!(site.ids("alice").await.contains(&id));
        for time in ["started_at", "last_used_at"] {
            assert!(session[time].as_str().unwrap().ends_with('Z'), "{session}");
        }
    }
}

/// T016: a session id is no credential.
#[tokio::test]
async fn session_ids_are_no_credentials() {
    let site = Site::new(|builder| builder).await;
    let browser = site.browser("alice", FIREFOX).await;
    let id = site.ids("alice").await.remove(0);
    let credential = browser.cookie("__Host-activeconnect").unwrap();
    assert!(!credential.contains(&id.to_string()));
    let request = reqwest::Client::new().get(&site.url).header(ACCEPT, "application/json");
    let response = request.header(AUTHORIZATION, format!("Bearer {id}")).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(site.ids("alice").await, [id], "the same each time");
}

/// When the response arrives, the streams of the other browser are cut.
#[tokio::test]
async fn ending_session_terminates_its_streams() {
    let site = Site::new(|builder| builder).await;
    let browser = site.browser("alice", FIREFOX).await;
    let program = site.program("alice").await;
    let request = reqwest::Client::new().get(format!("{}/open", site.url));
    let mut open = request.header(AUTHORIZATION, &program).send().await.unwrap();
    assert_eq!(open.chunk().await.unwrap().unwrap(), "first");
    let listing = listed_sessions(&browser).await;
    assert_eq!(listing["sessions"][1]["held_open"], 1);
    let response = end(&browser, &other_user(&listing)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(open.chunk().await.is_err());
    let sessions = listed_sessions(&browser).await;
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 1);
    let at_the_service = site.emulator.state().sessions;
    assert_eq!(at_the_service[1].status.to_string(), "closed");
}

/// T016: ids of other users, of other applications, unknown and invalid ids get the same response.
#[tokio::test]
async fn ids_of_other_users_are_unknown() {
    let (site, another) = (Site::new(|b| b).await, Site::new(|b| b).await);
    let browser = site.browser("alice", FIREFOX).await;
    site.program("bob").await;
    another.program("alice").await;
    let bobs = site.ids("bob").await.remove(0);
    let foreign = another.ids("alice").await.remove(0);
    let mut responses = Vec::new();
    for id in [&bobs.to_string(), &foreign.to_string(), "AAECAwQFBgcICQoLDA0ODw", "x", ""] {
        let response = end(&browser, id).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{id}");
        responses.push(response.text().await.unwrap());
    }
    responses.push(browser.json("/auth/sessions/end", &json!({})).await.text().await.unwrap());
    responses.dedup();
    assert_eq!(responses.len(), 1, "{responses:?}");
    let alice = UserId::from("alice");
    let ended = site.ac.end_session(&alice, &bobs).await;
    assert!(matches!(ended, Err(EndSessionError::Unknown)));
    assert_eq!(site.ids("bob").await, [bobs]);
    // For administrators, and only once.
    site.ac.end_session(&"bob".into(), &bobs).await.unwrap();
    assert!(site.ac.end_session(&"bob".into(), &bobs).await.is_err());
    assert!(site.ids("bob").await.is_empty());
}

#[tokio::test]
async fn other_sessions_end_and_this_one_stays() {
    let site = Site::new(|builder| builder).await;
    let browser = site.browser("alice", FIREFOX).await;
    for _ in 0..3 {
        site.program("alice").await;
    }
    site.program("bob").await;
    let current_id = listed_sessions(&browser).await["sessions"][0]["id"].clone();
    let response = browser.form("/auth/sessions/end-others", &[]).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(location(&response), "/auth/sessions?done=others-ended");
    let left = site.ids("alice").await;
    assert_eq!(left.iter().map(|id| json!(id.to_string())).collect::<Vec<_>>(), [current_id]);
    assert_eq!(site.ids("bob").await.len(), 1);
    assert_eq!(browser.api("/").await.status(), StatusCode::OK);
    // The same in the application's own handler.
    site.program("alice").await;
    let session = session_of(&site.ac, &browser.cookie("__Host-activeconnect").unwrap()).await;
    session.end_all_sessions().except(&session).await.unwrap();
    assert_eq!(site.ids("alice").await, left);
}

/// T017: forms and scripts of another origin can neither end sessions nor read the list.
#[tokio::test]
async fn other_origins_cannot_end_sessions() {
    let site = Site::new(|builder| builder).await;
    let browser = site.browser("alice", FIREFOX).await;
    let id = site.ids("alice").await.remove(0).to_string();
    for (path, form) in
        [("/auth/sessions/end", &[("id", id.as_str())][..]), ("/auth/sessions/end-others", &[])]
    {
        let request = browser.post(path).header(ORIGIN, "https://evil.example").form(form);
        assert_eq!(browser.send(request).await.status(), StatusCode::FORBIDDEN, "{path}");
    }
    let read = browser.get("/auth/sessions").header("sec-fetch-site", "cross-site");
    let read = browser.send(read.header("sec-fetch-dest", "empty")).await;
    assert_eq!(read.status(), StatusCode::FORBIDDEN);
    assert_eq!(site.ids("alice").await.len(), 1);
}

#[tokio::test]
async fn only_allowed_session_manages_sessions() {
    let site = Site::new(|builder| builder).await;
    let anonymous = Browser::new(&site.url);
    assert_eq!(anonymous.api("/auth/sessions").await.status(), StatusCode::UNAUTHORIZED);
    let page = anonymous.page("/auth/sessions").await;
    assert_eq!(page.status(), StatusCode::SEE_OTHER);
    assert_eq!(location(&page), "/auth/login?next=/auth/sessions");
    assert_eq!(anonymous.form("/auth/sessions/end-others", &[]).await.status(), 401);

    let browser = site.browser("alice", FIREFOX).await;
    let phone: SessionReport = site.emulator.state().sessions.pop().unwrap();
    site.emulator.act_on_session(&phone.session_token, Action::WalkAway).unwrap();
    poll_until("away", async || (browser.api("/").await.status() == 403).then_some(())).await;
    assert_eq!(browser.api("/auth/sessions").await.status(), StatusCode::FORBIDDEN);
    let id = site.ids("alice").await.remove(0);
    assert_eq!(end(&browser, &id.to_string()).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(site.ids("alice").await, [id]);
}

#[tokio::test]
async fn login_returns_to_sessions_page() {
    let site = Site::new(|builder| builder).await;
    let browser = Browser::new(&site.url);
    let to_login = browser.page("/auth/sessions").await;
    assert_eq!(location(&to_login), "/auth/login?next=/auth/sessions");
    let login = browser.post("/auth/login");
    let started_at =
        browser.send(login.form(&[("username", "alice"), ("next", "/auth/sessions")])).await;
    let waiting = location(&started_at).to_owned();
    approve(&site.emulator).await;
    poll_until("logged in", async || (browser.status().await == "active").then_some(())).await;
    assert_eq!(location(&browser.page(&waiting).await), "/auth/sessions");
    assert_eq!(browser.page("/auth/sessions").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn client_details_are_stored_only_on_request() {
    let site = Site::new(|builder| builder.record_client_details(false)).await;
    let browser = site.browser("alice", FIREFOX).await;
    let own = &listed_sessions(&browser).await["sessions"][0];
    assert_eq!((&own["browser"], &own["address"]), (&Value::Null, &Value::Null));
    let session = &site.ac.sessions(&"alice".into()).await.unwrap()[0];
    assert_eq!((session.browser(), session.address()), (None, None));
}

/// The query has the result of the form; the page shows no text from the query.
#[tokio::test]
async fn page_describes_completed_action() {
    let site = Site::new(|builder| builder).await;
    let browser = site.browser("alice", EVIL).await;
    for (done, text) in
        [("ended", "The session has ended."), ("over", "That session has already ended.")]
    {
        let page = browser.page(&format!("/auth/sessions?done={done}")).await;
        assert!(page.text().await.unwrap().contains(text), "{done}");
    }
    let page = browser.page("/auth/sessions?done=%3Cb%3E&next=//evil.example").await;
    let page = page.text().await.unwrap();
    assert!(!page.contains("<b>") && !page.contains("evil.example"), "{page}");
    assert!(!page.contains("<script>alert") && page.contains("&#60;script&#62;alert(1)"), "{page}");
    assert!(page.contains("href=\"/\""), "{page}");
    site.program("alice").await;
    let page = browser.page("/auth/sessions?next=/posts").await.text().await.unwrap();
    assert!(page.contains("href=\"/posts\""), "{page}");
    assert!(page.contains("action=\"/auth/sessions/end?next=/posts\""), "{page}");
}

/// In Chromium without scripts: the button ends another session.
#[tokio::test]
async fn sessions_end_without_scripts() {
    let Some(site) = Fixture::start(|builder| builder).await else { return };
    site.tab.disable_scripts().await;
    site.start_login("alice").await;
    approve(&site.emulator).await;
    site.wait_for_home().await;
    let alice = UserId::from("alice");
    let started_at = site.ac.log_in(&alice);
    let (credential, _) = tokio::join!(started_at, async {
        pending_session(&site.emulator).await;
        approve(&site.emulator).await
    });
    credential.unwrap();
    site.navigate("/auth/sessions").await;
    site.tab.wait_for("document.querySelectorAll('main li').length === 2").await;
    assert_eq!(
        site.tab.eval("document.querySelector('time').innerText.endsWith('UTC')").await,
        true
    );
    site.tab.eval("document.querySelector('form[action$=\"sessions/end\"] button').click()").await;
    site.tab
        .wait_for("document.querySelector('[role=status]')?.innerText === 'The session has ended.'")
        .await;
    assert_eq!(site.ac.sessions(&alice).await.unwrap().len(), 1);
    site.tab.eval("document.querySelector('form[action$=logout] button').click()").await;
    poll_until("logged out", async || {
        site.ac.sessions(&alice).await.unwrap().is_empty().then_some(())
    })
    .await;
}
