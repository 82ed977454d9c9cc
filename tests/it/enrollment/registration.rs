//! Who gets a registration link: a user with an allowed session, or once the bearer of an
//! application's grant. A username is not enough.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use activeconnect_emulator::{Action, Emulator, Endpoint, Fault, FaultKind};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use reqwest::header::LOCATION;
use tower_activeconnect::enrollment::{EnrollmentError, EnrollmentGrant, RegistrationLink};
use tower_activeconnect::layer::Walkaway;
use tower_activeconnect::protocol::SessionStatus;
use tower_activeconnect::{ActiveSession, Activeconnect, Denial};
use tracing::Level;

use crate::support::log_capture::{LogCapture, capture};
use crate::support::{Browser, advance, builder, enroll_users, poll_until, serve};

fn into_response(link: Result<RegistrationLink, EnrollmentError>) -> Response {
    match link {
        Ok(link) => link.into_response(),
        Err(error) => (StatusCode::FORBIDDEN, error.to_string()).into_response(),
    }
}

async fn another_phone(State(ac): State<Activeconnect>, session: ActiveSession) -> Response {
    into_response(ac.registration_link(&session).await)
}

async fn redeem(State(ac): State<Activeconnect>, Path(grant): Path<String>) -> Response {
    let Some(grant) = EnrollmentGrant::parse(grant.as_bytes()) else {
        return into_response(Err(EnrollmentError::InvalidGrant));
    };
    into_response(ac.registration_link(&grant).await)
}

struct Site {
    emulator: Emulator,
    ac: Activeconnect,
    url: String,
    /// The session that the last handler received.
    grant: Arc<Mutex<Option<ActiveSession>>>,
}

async fn site() -> Site {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    enroll_users(&emulator, &ac, &["alice", "bob"]).await;
    let grant = Arc::new(Mutex::new(None));
    let keeps = grant.clone();
    let keep = async move |session: ActiveSession| _ = keeps.lock().unwrap().insert(session);
    let app = Router::new()
        .route("/phone", post(another_phone))
        .route("/keep", get(keep))
        .layer(ac.layer().walkaway(Walkaway::Allow))
        .route("/grants/{grant}", post(redeem))
        .nest("/auth", ac.routes())
        .with_state(ac.clone());
    let url = serve(app).await;
    Site { emulator, ac, url, grant }
}

impl Site {
    fn grant(&self, user: &str) -> EnrollmentGrant {
        self.ac.enrollment_grant(&user.into()).unwrap()
    }

    /// The session that a handler receives from this logged-in browser.
    async fn session(&self, browser: &Browser) -> ActiveSession {
        assert_eq!(browser.api("/keep").await.status(), 200);
        self.grant.lock().unwrap().take().unwrap()
    }

    /// Redeems a grant; returns the user whose phone the link registers.
    async fn redeem(&self, browser: &Browser, grant: &EnrollmentGrant) -> Option<String> {
        user_of_link(browser.form(&format!("/grants/{}", grant.expose()), &[]).await).await
    }

    /// The number of links requested from the service.
    fn link_count(&self) -> u64 {
        self.emulator.state().calls.device_registration_link
    }
}

/// The user of the link on the page. Asserts the page's headers.
async fn user_of_link(response: reqwest::Response) -> Option<String> {
    assert!(response.headers().get(LOCATION).is_none(), "the link is in no redirect");
    if response.status() != 200 {
        return None;
    }
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(response.headers()[name], value);
    }
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let page = response.text().await.unwrap();
    assert!(page.contains("<svg") && page.contains("rel=\"noopener noreferrer\""), "{page}");
    let (_, rest) = page.split_once("<bdi>").unwrap();
    Some(rest.split('<').next().unwrap().to_owned())
}

/// T133: a browser that knows a username, or that has another user's cookie, gets no link.
#[tokio::test]
async fn link_is_for_the_session_user_only() {
    let site = site().await;
    let (alice, bob) = (Browser::new(&site.url), Browser::new(&site.url));
    let naming = [("username", "alice"), ("user", "alice")];
    assert_eq!(alice.form("/phone?user=alice", &naming).await.status(), 401, "knows a name");
    bob.log_in(&site.emulator, "bob").await;
    let got = user_of_link(bob.form("/phone?user=alice", &naming).await).await;
    assert_eq!(got.as_deref(), Some("bob"), "another user's cookie");
    alice.log_in(&site.emulator, "alice").await;
    let got = user_of_link(alice.form("/phone", &naming).await).await;
    assert_eq!(got.as_deref(), Some("alice"));
    assert_eq!(site.link_count(), 2);
    alice.form("/auth/logout", &[]).await;
    assert_eq!(alice.form("/phone", &naming).await.status(), 401);
    assert_eq!(site.link_count(), 2);
}

/// T133: a grant is valid once, for ten minutes, until the next grant of its user; other texts are
/// invalid.
#[tokio::test]
async fn grant_is_valid_once_for_ten_minutes() {
    let site = site().await;
    let browser = Browser::new(&site.url);
    let grant = site.grant("alice");
    assert_eq!(site.redeem(&browser, &grant).await.as_deref(), Some("alice"));
    assert_eq!(site.redeem(&browser, &grant).await, None, "used");

    let (before, after) = (site.grant("alice"), site.grant("alice"));
    assert_eq!(site.redeem(&browser, &before).await, None, "withdrawn");
    assert_eq!(site.redeem(&browser, &after).await.as_deref(), Some("alice"));
    let nobodys = EnrollmentGrant::parse("A".repeat(43).as_bytes()).unwrap();
    assert_eq!(site.redeem(&browser, &nobodys).await, None);
    assert_eq!(user_of_link(browser.form("/grants/alice", &[]).await).await, None);

    let (alices, bobs) = (site.grant("alice"), site.grant("bob"));
    advance(Duration::from_secs(595), Duration::from_secs(595)).await;
    assert_eq!(site.redeem(&browser, &alices).await.as_deref(), Some("alice"), "almost");
    advance(Duration::from_secs(5), Duration::from_secs(5)).await;
    assert_eq!(site.redeem(&browser, &bobs).await, None, "expired");
    assert_eq!(site.link_count(), 3);
}

#[tokio::test]
async fn concurrent_redeem_gives_one_link() {
    let site = site().await;
    let grant = site.grant("alice");
    let (one, two) = (Browser::new(&site.url), Browser::new(&site.url));
    let both = tokio::join!(site.redeem(&one, &grant), site.redeem(&two, &grant));
    assert!(matches!(both, (Some(_), None) | (None, Some(_))), "{both:?}");
    assert_eq!(site.link_count(), 1);
}

/// A lost phone and unenrolling revoke the user's grant.
#[tokio::test]
async fn unenroll_revokes_grant() {
    let site = site().await;
    let browser = Browser::new(&site.url);
    browser.log_in(&site.emulator, "alice").await;
    let grant = site.grant("alice");
    let session = site.session(&browser).await;
    site.ac.lost_device(&session).await.unwrap();
    assert_eq!(site.redeem(&browser, &grant).await, None);
    let grant = site.grant("bob");
    site.ac.unenroll(&"bob".into()).await.unwrap();
    site.ac.enroll(&"bob".into()).await.unwrap();
    assert_eq!(site.redeem(&browser, &grant).await, None);
    assert_eq!(site.link_count(), 0);
}

fn denial<T>(result: &Result<T, EnrollmentError>) -> Option<Denial> {
    match result {
        Err(EnrollmentError::SessionDenied(denial)) => Some(*denial),
        _ => None,
    }
}

/// T133: the session must be allowed at the time of the call, whatever the layer allows.
#[tokio::test]
async fn denied_session_authorizes_nothing() {
    let site = site().await;
    let browser = Browser::new(&site.url);
    let remote = browser.log_in(&site.emulator, "alice").await;
    let session = site.session(&browser).await;
    site.emulator.act_on_session(&remote.session_token, Action::WalkAway).unwrap();
    let _guard = session.guard();
    poll_until("the phone is away", async || {
        (session.status() == SessionStatus::Walkaway).then_some(())
    })
    .await;
    assert_eq!(denial(&site.ac.registration_link(&session).await), Some(Denial::Suspended));
    assert_eq!(denial(&site.ac.lost_device(&session).await), Some(Denial::Suspended));
    let sent = site.ac.send_registration_sms(&session, "+15550001", None).await;
    assert_eq!(denial(&sent), Some(Denial::Suspended));
    let through = browser.form("/phone", &[]).await;
    assert_eq!(through.status(), 403, "the layer lets it through, the link is not given");

    site.ac.log_out(&session).await;
    assert_eq!(denial(&site.ac.registration_link(&session).await), Some(Denial::Ended));
    let calls = site.emulator.state().calls;
    assert_eq!((calls.device_registration_link, calls.lost_user_mobile_device), (0, 0));
    assert_eq!(calls.send_registration_sms, 0);
}

/// A session that ends during the call to the service gets no link.
#[tokio::test]
async fn session_ending_during_call_gets_no_link() {
    let site = site().await;
    let browser = Browser::new(&site.url);
    browser.log_in(&site.emulator, "alice").await;
    let session = site.session(&browser).await;
    let late = Duration::from_millis(500);
    site.emulator.inject_fault(
        Fault::new(Endpoint::DeviceRegistrationLink, FaultKind::Delay).with_delay(late),
    );
    let ending = async {
        poll_until("the call is in flight", async || (site.link_count() == 1).then_some(())).await;
        site.ac.log_out(&session).await;
    };
    let (link, ()) = tokio::join!(site.ac.registration_link(&session), ending);
    assert_eq!(denial(&link), Some(Denial::Ended));
}

/// Two applications in one process may have users of the same id.
#[tokio::test]
async fn session_of_other_engine_authorizes_nothing() {
    let (one, other) = (site().await, site().await);
    let browser = Browser::new(&one.url);
    browser.log_in(&one.emulator, "alice").await;
    let session = one.session(&browser).await;
    assert_eq!(denial(&other.ac.registration_link(&session).await), Some(Denial::NoSession));
    let grant = one.grant("alice");
    let redeemed = other.ac.registration_link(&grant).await;
    assert!(matches!(redeemed, Err(EnrollmentError::InvalidGrant)));
}

static RECORDED: Mutex<String> = Mutex::new(String::new());

/// T135: no log has the link, at any level.
#[tokio::test]
async fn link_is_in_no_log() {
    let record = |line: &str| {
        let mut recorded = RECORDED.lock().unwrap();
        recorded.push_str(line);
        recorded.push('\n');
    };
    let _capture = capture(LogCapture(Level::TRACE, record));
    let site = site().await;
    let browser = Browser::new(&site.url);
    let grant = site.grant("alice");
    let page = browser.form(&format!("/grants/{}", grant.expose()), &[]).await;
    let page = page.text().await.unwrap();
    let (_, rest) = page.split_once("<a href=\"").unwrap();
    let link = rest.split('"').next().unwrap();
    assert!(link.starts_with(site.emulator.url()), "{link}");
    let (_, secret) = link.rsplit_once('/').unwrap();
    browser.log_in(&site.emulator, "alice").await;
    let session = site.session(&browser).await;
    let link = site.ac.registration_link(&session).await.unwrap();
    tracing::info!(?link, ?grant, code = ?link.qr_svg(), "shown");
    let (_, another) = link.expose().rsplit_once('/').unwrap();
    let recorded = RECORDED.lock().unwrap();
    assert!(recorded.contains("shown") && recorded.contains("RegistrationLink"), "it listens");
    for secret in [secret, another, &grant.expose()] {
        // The query has only a part of the link.
        let secret = secret.split('?').next().unwrap();
        assert!(secret.len() >= 8, "{secret}");
        assert!(!recorded.contains(secret), "{secret}");
    }
}
