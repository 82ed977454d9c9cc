//! The example blog as a program over sockets.

use std::net::TcpListener;
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use activeconnect_emulator::{AcceptedDialects, Action, Emulator, SessionReport};
use axum::Router;
use axum::http::{StatusCode, Uri};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower_activeconnect::protocol::SessionStatus;
use tower_activeconnect_sqlx::SqliteTokenStore;

use crate::support::blog::{Blog, blog_command, command_for_emulator, register, registration_link};
use crate::support::{Browser, approve, location, pending_session, poll_until, serve};

/// The poll interval, the poll timeout and one second.
const END_DEADLINE: Duration = Duration::from_secs(5 + 3 + 1);

impl Blog {
    async fn tables(&self) -> SqliteTokenStore {
        let file = self.folder.path().join("microblog.db");
        SqliteTokenStore::open(&format!("sqlite:{}", file.display())).await.unwrap()
    }

    async fn users(&self) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM users");
        count.fetch_one(self.tables().await.pool()).await.unwrap()
    }

    async fn execute(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(self.tables().await.pool()).await.unwrap();
    }
}

/// The event in `events` for a status.
fn event(status: &str) -> String {
    format!("id: {status}\ndata: {{\"status\":\"{status}\"}}\n\n")
}

/// A service that accepts every user, unless the test makes a call fail.
#[derive(Clone, Default)]
struct FaultyService(Arc<Mutex<Behavior>>);

#[derive(Default)]
struct Behavior {
    wrong: Option<(&'static str, u16, &'static str)>,
    calls: Vec<String>,
}

impl FaultyService {
    async fn start(&self) -> String {
        let this = self.clone();
        serve(Router::new().fallback(async move |uri: Uri| this.respond(&uri))).await
    }

    fn respond(&self, uri: &Uri) -> (StatusCode, String) {
        let call = uri.path().split('/').nth(2).unwrap().to_owned();
        let mut behavior = self.0.lock().unwrap();
        behavior.calls.push(call.clone());
        if let Some((route, status, body)) = behavior.wrong
            && route == call
        {
            return (StatusCode::from_u16(status).unwrap(), body.to_owned());
        }
        match call.as_str() {
            "add_users" => (StatusCode::CREATED, json!({"status": true, "users": {}}).to_string()),
            "device_registration_link" => (
                StatusCode::OK,
                json!({"status": true, "register_url": "javascript:1"}).to_string(),
            ),
            _ => (StatusCode::OK, json!({"status": true}).to_string()),
        }
    }

    fn fails(&self, wrong: Option<(&'static str, u16, &'static str)>) {
        self.0.lock().unwrap().wrong = wrong;
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }
}

fn since(unix_ms: u64) -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - Duration::from_millis(unix_ms)
}

fn ended_at(emulator: &Emulator, session: &SessionReport) -> u64 {
    let sessions = emulator.state().sessions;
    let ended = sessions.iter().find(|other| other.session_token == session.session_token);
    ended.unwrap().ended_at.unwrap()
}

/// T133: a link for another phone needs the user's session in that browser; the user name is not
/// enough.
#[tokio::test]
async fn another_link_is_for_logged_in_user() {
    let emulator = Emulator::start().await.unwrap();
    let blog = Blog::start(&emulator).await;
    blog.register("alice").await;
    let (bob, _) = blog.log_in(&emulator, "bob").await;
    let naming = [("username", "alice"), ("email", "someone@example.org")];
    let anonymous = blog.browser();
    assert_eq!(anonymous.form("/phone", &naming).await.status(), 401);
    let again = anonymous.form("/register", &naming).await;
    assert_eq!(again.status(), 409);
    assert!(!again.text().await.unwrap().contains("class=\"link\""));
    let links = emulator.state().calls.device_registration_link;
    let bobs = bob.form("/phone?username=alice", &naming).await;
    assert_eq!(
        (bobs.status().as_u16(), &bobs.headers()["cache-control"]),
        (200, &"no-store".parse().unwrap())
    );
    assert_eq!(bobs.headers()["referrer-policy"], "no-referrer");
    let page = bobs.text().await.unwrap();
    assert!(page.contains("<bdi>bob</bdi>") && page.contains("<svg") && !page.contains("alice"));
    assert!(registration_link(&page).starts_with(emulator.url()));
    assert_eq!(emulator.state().calls.device_registration_link, links + 1);
}

#[tokio::test]
async fn audit_log_has_last_events() {
    let emulator = Emulator::start().await.unwrap();
    let mut blog = Blog::start(&emulator).await;
    blog.log_in(&emulator, "alice").await;
    blog.signal("TERM").await;
    assert!(blog.child.wait().await.unwrap().success());
    let rows = "SELECT event, detail, user_id, address, length(session) FROM audit ORDER BY id";
    let rows: Vec<(String, String, String, String, i64)> =
        sqlx::query_as(rows).fetch_all(blog.tables().await.pool()).await.unwrap();
    let row = |event: &str, detail: &str| {
        (event.to_owned(), detail.to_owned(), "alice".to_owned(), "127.0.0.1".to_owned(), 22)
    };
    assert_eq!(rows, [row("started", ""), row("unknown_browser", ""), row("ended", "shutdown")]);
}

#[tokio::test]
async fn register_log_in_write_and_log_out() {
    let emulator = Emulator::start().await.unwrap();
    let blog = Blog::start(&emulator).await;
    let browser = blog.browser();
    let sent_away = browser.page("/").await;
    assert_eq!((sent_away.status().as_u16(), location(&sent_away)), (303, "/auth/login"));
    assert!(browser.page("/register").await.text().await.unwrap().contains("name=\"username\""));

    blog.register("alice").await;
    let started_at = browser.form("/auth/login", &[("username", "alice")]).await;
    assert_eq!((started_at.status().as_u16(), location(&started_at)), (303, "/auth/waiting"));
    approve(&emulator).await;
    let target = poll_until("the login is claimed", async || {
        let page = browser.page("/auth/waiting").await;
        (page.status() == 303).then_some(page)
    })
    .await;
    assert_eq!(location(&target), "/auth/waiting");
    assert_eq!(location(&browser.page("/auth/waiting").await), "/");
    let timeline = browser.page("/").await;
    assert_eq!(timeline.status(), 200);
    assert_eq!(timeline.headers()["cache-control"], "no-store");
    let policy = timeline.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let timeline = timeline.text().await.unwrap();
    assert!(timeline.contains("Logged in as <strong><bdi>alice</bdi></strong>"), "{timeline}");
    assert!(timeline.contains("<script src=\"/auth/assets/guard.js\" data-owner=\""));
    for (path, content_type) in
        [("/auth/assets/guard.js", "text/javascript; charset=utf-8"), ("/style.css", "text/css")]
    {
        let asset = blog.browser().api(path).await;
        assert_eq!(asset.status(), 200);
        assert_eq!(asset.headers()["content-type"], content_type);
    }

    let posted = browser.form("/posts", &[("body", "Hello <world>\r\nand \u{1f600}")]).await;
    assert_eq!((posted.status().as_u16(), location(&posted)), (303, "/"));
    let timeline = browser.page("/").await.text().await.unwrap();
    assert!(timeline.contains(">Hello &#60;world&#62;\nand \u{1f600}</p>"), "{timeline}");

    let cookie = browser.cookie(&blog.session_cookie()).unwrap();
    let out = browser.form("/auth/logout", &[]).await;
    assert_eq!((out.status().as_u16(), location(&out)), (303, "/auth/login"));
    assert_eq!(emulator.state().sessions[0].status, SessionStatus::Closed);
    assert_eq!(browser.page("/").await.status(), 303);
    browser.set_cookie(&blog.session_cookie(), &cookie);
    assert_eq!(browser.api("/").await.status(), 401);
    assert_eq!(browser.form("/posts", &[("body", "too late")]).await.status(), 401);
}

/// The blog keeps users and posts in a database of each server, over a restart.
#[tokio::test]
async fn every_database_keeps_users_and_posts() {
    for (variable, scheme) in [("TEST_POSTGRES_URL", "postgres"), ("TEST_MYSQL_URL", "mysql")] {
        let server = std::env::var(variable).unwrap_or_else(|_| {
            panic!("{variable} is not set; run scripts/databases cargo test …, or set it")
        });
        let name = format!("blog_{}", std::process::id());
        create_database(&server, scheme, &name).await;
        let (server, _) = server.rsplit_once('/').unwrap();
        let url = format!("{server}/{name}");
        let emulator = Emulator::start().await.unwrap();
        let start = async || {
            let folder = tempfile::tempdir().unwrap();
            let mut command = command_for_emulator(&emulator, &folder);
            command.args(["--database", &url]);
            Blog::spawn(command, folder).await
        };
        let blog = start().await;
        let (browser, _) = blog.log_in(&emulator, "alice").await;
        assert_eq!(browser.form("/posts", &[("body", "Hello")]).await.status(), 303);
        assert_eq!(register(&blog.browser(), "alice").await.status(), 409, "the name is taken");
        drop(blog);
        let blog = start().await;
        let browser = blog.browser();
        browser.log_in(&emulator, "alice").await;
        let timeline = browser.page("/").await.text().await.unwrap();
        assert!(timeline.contains(">Hello</p>"), "{timeline}");
    }
}

async fn create_database(server: &str, scheme: &str, name: &str) {
    let sql = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    if scheme == "postgres" {
        let pool = sqlx::PgPool::connect(server).await.unwrap();
        sqlx::raw_sql(sql).execute(&pool).await.unwrap();
    } else {
        let pool = sqlx::MySqlPool::connect(server).await.unwrap();
        sqlx::raw_sql(sql).execute(&pool).await.unwrap();
    }
}

#[tokio::test]
async fn remote_logout_takes_effect_in_time() {
    let emulator = Emulator::start().await.unwrap();
    let blog = Blog::start(&emulator).await;
    let (browser, session) = blog.log_in(&emulator, "alice").await;
    let cookie = browser.cookie(&blog.session_cookie()).unwrap();
    let mut open_page = browser.api("/auth/events").await;
    assert_eq!(open_page.chunk().await.unwrap().unwrap(), event("active"));
    assert_eq!(browser.api("/").await.status(), 200);

    emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    let ended_at = ended_at(&emulator, &session);
    let reported = tokio::spawn(async move {
        let mut reported = String::new();
        while let Some(chunk) = open_page.chunk().await.unwrap() {
            reported.push_str(&String::from_utf8_lossy(&chunk));
        }
        (reported, since(ended_at))
    });
    poll_until("the browser is denied", async || {
        (browser.api("/").await.status() == 401).then_some(())
    })
    .await;
    let took = since(ended_at);
    assert!(took <= END_DEADLINE, "denied {took:?} after the end");
    let (reported, took) = reported.await.unwrap();
    assert!(took <= END_DEADLINE, "the page got the event {took:?} after the end");
    assert_eq!(reported, event("closed"));

    // A new login is a new session; the old cookie stays invalid.
    browser.log_in(&emulator, "alice").await;
    assert_eq!(browser.api("/").await.status(), 200);
    browser.set_cookie(&blog.session_cookie(), &cookie);
    assert_eq!(browser.api("/").await.status(), 401);
}

#[tokio::test]
async fn walkaway_locks_and_return_unlocks() {
    let emulator = Emulator::start().await.unwrap();
    let blog = Blog::start(&emulator).await;
    let (browser, session) = blog.log_in(&emulator, "alice").await;
    let mut open_page = browser.api("/auth/events").await;
    assert_eq!(open_page.chunk().await.unwrap().unwrap(), event("active"));

    emulator.act_on_session(&session.session_token, Action::WalkAway).unwrap();
    assert_eq!(open_page.chunk().await.unwrap().unwrap(), event("walkaway"));
    assert_eq!(browser.api("/").await.status(), 403);
    assert_eq!(browser.form("/posts", &[("body", "from afar")]).await.status(), 403);
    let locked = browser.page("/").await;
    assert_eq!((locked.status().as_u16(), location(&locked)), (303, "/auth/locked"));
    assert!(browser.page("/auth/locked").await.text().await.unwrap().contains("Locked"));

    emulator.act_on_session(&session.session_token, Action::Return).unwrap();
    assert_eq!(open_page.chunk().await.unwrap().unwrap(), event("active"));
    let timeline = browser.page("/").await;
    assert_eq!(timeline.status(), 200);
    assert!(!timeline.text().await.unwrap().contains("from afar"));
    assert_eq!(emulator.state().calls.authenticate_user, 1);
}

#[tokio::test]
async fn declined_login_is_denied() {
    let emulator = Emulator::start().await.unwrap();
    let blog = Blog::start(&emulator).await;
    blog.register("alice").await;
    let browser = blog.browser();
    browser.form("/auth/login", &[("username", "alice")]).await;
    let session = pending_session(&emulator).await;
    emulator.act_on_session(&session.session_token, Action::Cancel).unwrap();
    let polls = emulator.state().calls.status;
    poll_until("the emulator reports the status", async || {
        (emulator.state().calls.status > polls).then_some(())
    })
    .await;
    for browser in [&browser, &blog.browser()] {
        assert_eq!(browser.api("/").await.status(), 401);
        assert_eq!(browser.page("/").await.status(), 303);
    }
    assert_eq!(browser.cookie(&blog.session_cookie()), None);
}

#[tokio::test]
async fn qr_page_is_shown_once() {
    let emulator = Emulator::start().await.unwrap();
    let blog = Blog::start(&emulator).await;
    let browser = blog.browser();
    let qr_page = register(&browser, "alice").await;
    assert_eq!(qr_page.status(), 200);
    assert_eq!(qr_page.headers()["cache-control"], "no-store");
    assert_eq!(qr_page.headers()["referrer-policy"], "no-referrer");
    let page = qr_page.text().await.unwrap();
    let registration_link = registration_link(&page);
    assert!(registration_link.starts_with(emulator.url()), "{registration_link}");
    assert!(page.contains(&format!(">{registration_link}</a>")) && page.contains("<svg"), "{page}");

    // Reloading the page sends the form again.
    for browser in [&browser, &blog.browser()] {
        let start_error = register(browser, "alice").await;
        assert_eq!(start_error.status(), 409);
        let start_error = start_error.text().await.unwrap();
        assert!(start_error.contains("The user name is taken; choose another."));
        assert!(
            start_error.contains("value=\"alice\"") && start_error.contains("someone@example.org")
        );
        for page in [start_error, browser.page("/register").await.text().await.unwrap()] {
            assert!(!page.contains(registration_link) && !page.contains("<svg"), "{page}");
        }
    }
    assert_eq!(emulator.state().users.len(), 1);
}

#[tokio::test]
async fn concurrent_registrations_claim_name_once() {
    let emulator = Emulator::start().await.unwrap();
    let blog = Blog::start(&emulator).await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let browser = blog.browser();
        asking.spawn(async move { register(&browser, "alice").await.status().as_u16() });
    }
    let mut responses = asking.join_all().await;
    responses.sort_unstable();
    assert_eq!(responses, [200, 409, 409, 409, 409, 409, 409, 409]);
    assert_eq!(emulator.state().users.len(), 1);
    assert_eq!(blog.users().await, 1);
}

#[tokio::test]
async fn invalid_registration_shows_form_again() {
    let emulator = Emulator::start().await.unwrap();
    let blog = Blog::start(&emulator).await;
    let browser = blog.browser();
    let long = "é".repeat(65);
    let long_email = format!("{}@example.org", "a".repeat(254));
    for (username, email, expected_text) in [
        ("", "a@example.org", "The user name is empty"),
        (&long, "a@example.org", "The user name is too long"),
        ("ali\u{7}ce", "a@example.org", "control characters"),
        ("ali\nce", "a@example.org", "control characters"),
        (" alice", "a@example.org", "starts or ends with a space"),
        ("alice\u{a0}", "a@example.org", "starts or ends with a space"),
        ("<alice>", "", "The e-mail address is invalid"),
        ("alice", "example.org", "The e-mail address is invalid"),
        ("alice", "@example.org", "The e-mail address is invalid"),
        ("alice", "a@", "The e-mail address is invalid"),
        ("alice", "a@b@c", "The e-mail address is invalid"),
        ("alice", "a b@example.org", "The e-mail address is invalid"),
        ("alice", "a@example.", "The e-mail address is invalid"),
        ("alice", &long_email, "The e-mail address is invalid"),
    ] {
        let response = browser.form("/register", &[("username", username), ("email", email)]).await;
        assert_eq!(response.status(), 422, "{username:?} {email:?}");
        let page = response.text().await.unwrap();
        let kept = username.replace('<', "&#60;").replace('>', "&#62;");
        assert!(page.contains(expected_text), "{username:?} {email:?}: {page}");
        assert!(page.contains(&format!("value=\"{kept}\"")), "{page}");
        assert!(page.contains(&format!("value=\"{email}\"")), "{page}");
    }
    assert_eq!(emulator.state().calls.add_users, 0);
    assert_eq!(blog.users().await, 0);
    // A post of maximum length, with special characters of HTML and SQL.
    for name in ["é".repeat(64), "Robert'); DROP TABLE users;--".to_owned(), "<b>&\"'".to_owned()]
    {
        assert_eq!(register(&browser, &name).await.status(), 200, "{name}");
    }
}

#[tokio::test]
async fn rejected_post_shows_form_again() {
    let emulator = Emulator::start().await.unwrap();
    let blog = Blog::start(&emulator).await;
    let (browser, _) = blog.log_in(&emulator, "alice").await;
    let long = format!("<{}", "é".repeat(500));
    for (body, expected_text) in [("", "empty"), (" \r\n ", "empty"), (&long, "too long")] {
        let response = browser.form("/posts", &[("body", body)]).await;
        assert_eq!(response.status(), 422, "{body:?}");
        let page = response.text().await.unwrap();
        let kept = body.replace("\r\n", "\n").replace('<', "&#60;");
        assert!(page.contains(&format!("The post is {expected_text}")), "{page}");
        assert!(page.contains(&format!(">\n{kept}</textarea>")), "{page}");
        assert!(page.contains("There are no posts yet."), "{page}");
    }
    // Each line end counts as one character, as CR LF or LF.
    let lines = "\r\n".repeat(498);
    let max = format!("a{lines}b");
    assert_eq!(browser.form("/posts", &[("body", &max)]).await.status(), 303);
}

#[tokio::test]
async fn malformed_form_gets_a_page() {
    let emulator = Emulator::start().await.unwrap();
    let blog = Blog::start(&emulator).await;
    let (browser, _) = blog.log_in(&emulator, "alice").await;
    let form = "application/x-www-form-urlencoded";
    let huge = format!("body={}", "a".repeat(300_000));
    for path in ["/register", "/posts"] {
        for (content_type, body, status) in [
            (form, "body=a&body=b&email=a&email=b", 422),
            (form, "", 422),
            (form, huge.as_str(), 413),
            ("application/json", "{\"username\":\"bob\"}", 415),
            ("multipart/form-data", "", 415),
        ] {
            let post = browser.post(path).header("content-type", content_type);
            let response = browser.send(post.body(body.to_owned())).await;
            assert_eq!(response.status(), status, "{path} {content_type}");
            assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
            assert!(response.text().await.unwrap().contains("</html>"));
        }
        let forged = browser.post(path).header("sec-fetch-site", "cross-site");
        let forged = forged.form(&[("body", "a"), ("username", "a"), ("email", "a@b.example")]);
        assert_eq!(browser.send(forged).await.status(), 403, "{path}");
    }
    assert_eq!(browser.page("/nowhere").await.status(), 404);
    assert_eq!(blog.browser().page("/nowhere").await.status(), 303);
    assert_eq!(blog.users().await, 1);
}

#[tokio::test]
async fn failed_registration_can_be_retried() {
    let service = FaultyService::default();
    let blog =
        Blog::start_with_service("ACTIVE_CONNECT", [&service.start().await, "id", "secret"]).await;
    let browser = blog.browser();
    for (call, answered, body, status) in [
        ("add_users", 503, "", 503),
        ("add_users", 429, "", 503),
        ("add_users", 401, "{}", 502),
        ("add_users", 200, "<html>", 502),
        ("add_users", 200, "{\"status\":false,\"reason\":\"no\"}", 502),
        ("device_registration_link", 500, "", 503),
        ("device_registration_link", 404, "{}", 502),
    ] {
        service.fails(Some((call, answered, body)));
        let response = register(&browser, "alice").await;
        assert_eq!(response.status(), status, "{call} {answered}");
        let page = response.text().await.unwrap();
        assert!(page.contains("you are not registered"), "{page}");
        assert!(page.contains("value=\"alice\"") && page.contains("someone@example.org"));
        assert_eq!(blog.users().await, 0, "{call} {answered}");
    }
    service.fails(None);

    // The token store fails after the user's row was inserted.
    blog.execute(
        "CREATE TRIGGER full BEFORE INSERT ON activeconnect_token
         BEGIN SELECT RAISE(ABORT, 'full'); END",
    )
    .await;
    service.calls();
    assert_eq!(register(&browser, "alice").await.status(), 503);
    assert_eq!(blog.users().await, 0);
    assert_eq!(service.calls(), ["add_users", "delete_users"]);
    blog.execute("DROP TRIGGER full").await;

    // The blog stopped in between and left the row, which may belong to a registration in progress.
    blog.execute("INSERT INTO users VALUES ('alice', 'a@example.org', unixepoch())").await;
    assert_eq!(register(&browser, "alice").await.status(), 409);
    blog.execute("UPDATE users SET created = created - 120").await;
    let page = register(&browser, "alice").await;
    assert_eq!(page.status(), 200);
    // The link is checked before it is put into the page.
    assert!(page.text().await.unwrap().contains("<p class=\"link\">javascript:1</p>"));
    blog.execute("UPDATE users SET created = created - 120").await;
    service.calls();
    assert_eq!(register(&browser, "alice").await.status(), 409);
    assert!(service.calls().is_empty(), "a taken name needs no call");
    assert_eq!(blog.users().await, 1);
}

#[tokio::test]
async fn outage_fails_registration() {
    let unreachable = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = format!("http://{unreachable}");
    let blog = Blog::start_with_service("ACTIVE_CONNECT", [&server, "id", "secret"]).await;
    let response = register(&blog.browser(), "alice").await;
    assert_eq!(response.status(), 503);
    assert!(response.text().await.unwrap().contains("you are not registered"));
    assert_eq!(blog.users().await, 0);
}

#[tokio::test]
async fn iampass_variables_select_dialect() {
    let emulator = Emulator::builder().dialect(AcceptedDialects::Iampass).start().await.unwrap();
    let secret = emulator.application_secret().expose();
    let values = [emulator.url(), emulator.application_id(), secret];
    let mut blog = Blog::start_with_service("IAMPASS", values).await;
    let (browser, _) = blog.log_in(&emulator, "alice").await;
    assert_eq!(browser.page("/").await.status(), 200);
    assert_eq!(
        blog.stdout.next_line().await.unwrap().unwrap(),
        format!("the blog:    {}", blog.url)
    );
    let service = blog.stdout.next_line().await.unwrap().unwrap();
    assert_eq!(service, format!("the service: {}/", emulator.url()));
}

#[tokio::test]
async fn own_emulator_users_survive_restart() {
    let mut folder = tempfile::tempdir().unwrap();
    for run in 1..=2 {
        let mut command = blog_command(&folder);
        command.args(["--emulator", "127.0.0.1:0"]);
        let mut blog = Blog::spawn(command, folder).await;
        let mut actual = String::new();
        let phone = loop {
            let line = blog.stdout.next_line().await.unwrap().unwrap();
            actual.push_str(&line);
            if let Some(phone) = line.strip_prefix("the phone: ") {
                break Browser::new(phone.strip_suffix("/emulator").unwrap());
            }
        };
        assert!(actual.contains(&blog.url));
        assert_eq!(phone.page("/emulator").await.status(), 200);

        let browser = blog.browser();
        if run == 1 {
            blog.register("alice").await;
        }
        // A new emulator knows only the users whom the blog enrolls, and no phones.
        let state: Value = phone.api("/emulator/state").await.json().await.unwrap();
        let [user] = &state["users"].as_array().unwrap()[..] else { panic!("one user: {state}") };
        assert_eq!((&user["label"], &user["devices"]), (&json!("alice"), &json!(2 - run)));
        let user = user["user_id"].as_str().unwrap();
        let act = async |action: &str| {
            phone.json(&format!("/emulator/users/{user}/{action}"), &json!({})).await.status()
        };
        assert_eq!(act("register_device").await, 200);
        let started = browser.json("/auth/login", &json!({"username": "alice"})).await;
        assert_eq!(started.status(), 202);
        poll_until("approved", async || (act("approve").await == 200).then_some(())).await;
        poll_until("taken", async || (browser.status().await == "active").then_some(())).await;
        if run == 1 {
            browser.form("/posts", &[("body", "before the restart")]).await;
        }
        assert!(browser.page("/").await.text().await.unwrap().contains("before the restart"));

        // An open page does not delay the shutdown.
        let _open_page = browser.api("/auth/events").await;
        blog.signal("TERM").await;
        let ended = tokio::time::timeout(Duration::from_secs(10), blog.child.wait()).await;
        assert!(ended.unwrap().unwrap().success());
        folder = blog.folder;
    }
}

/// The error on stderr when the blog cannot start.
async fn start_error(folder: &TempDir, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = blog_command(folder);
    command.args(arguments).envs(variables.iter().copied());
    let output = tokio::time::timeout(Duration::from_secs(20), command.output()).await;
    let Output { status, stdout, stderr } = output.expect("it ends").unwrap();
    let actual = String::from_utf8(stderr).unwrap();
    assert!(status.code().is_some_and(|code| code == 1 || code == 2), "{status} {actual}");
    assert!(stdout.is_empty(), "{arguments:?} {variables:?}");
    assert!(!actual.contains("panicked") && !actual.contains(" { "), "{actual}");
    actual
}

#[tokio::test]
async fn unusable_addresses_are_named() {
    let folder = tempfile::tempdir().unwrap();
    // All of these addresses are in use.
    let mut listeners: Vec<TcpListener> = Vec::new();
    listeners.extend(TcpListener::bind("127.0.0.1:3000").ok());
    listeners.extend(TcpListener::bind("127.0.0.1:8099").ok());
    let actual = start_error(&folder, &["--emulator", "127.0.0.1:0"], &[]).await;
    assert!(actual.contains("127.0.0.1:3000 is in use") && actual.contains("--listen"), "{actual}");
    let actual = start_error(&folder, &["--listen", "127.0.0.1:0"], &[]).await;
    assert!(
        actual.contains("127.0.0.1:8099 is in use") && actual.contains("--emulator"),
        "{actual}"
    );

    for (arguments, expected_text) in [
        (["--listen", "nonsense", "--emulator", "127.0.0.1:0"], "like 127.0.0.1:3000"),
        (["--listen", "127.0.0.1:0", "--emulator", "nonsense"], "such as 127.0.0.1:8099"),
        (["--listen", "127.0.0.1:0", "--emulator", "0.0.0.0:0"], "loopback"),
        (["--listen", "127.0.0.1:0", "--klingon", ""], "--klingon"),
    ] {
        let actual = start_error(&folder, &arguments, &[]).await;
        assert!(actual.contains(expected_text), "{arguments:?}: {actual}");
    }
}

#[tokio::test]
async fn read_only_database_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("junk.db"), "no database at all, but long enough").unwrap();
    // A database that has all tables, so that only writes can fail.
    {
        let mut command = blog_command(&folder);
        command.args(["--emulator", "127.0.0.1:0"]);
        let own = tempfile::tempdir().unwrap();
        drop(Blog::spawn(command, own).await);
    }
    for url in [
        "sqlite:no/such/folder/microblog.db",
        "sqlite:.",
        "sqlite:junk.db",
        "sqlite:microblog.db?mode=ro",
        "postgres://localhost/microblog",
        "microblog.db",
        "",
    ] {
        let arguments = ["--listen", "127.0.0.1:0", "--emulator", "127.0.0.1:0", "--database", url];
        let actual = start_error(&folder, &arguments, &[]).await;
        assert!(actual.contains(&format!("cannot use the database {url:?}")), "{actual}");
        assert!(actual.contains("give --database a file that can be written"), "{actual}");
    }
}

#[tokio::test]
async fn unusable_credentials_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let server = ("ACTIVE_CONNECT_SERVER", "http://127.0.0.1:1");
    let id = ("ACTIVE_CONNECT_APPLICATION_ID", "a4c123b1612dd272d1371c17149d4395");
    let secret = ("ACTIVE_CONNECT_APPLICATION_SECRET", "MXG9EDN581U33XTPLPFT75V2");
    let with_server = |server| vec![("ACTIVE_CONNECT_SERVER", server), id, secret];
    for (variables, expected_text) in [
        (vec![server], "ACTIVE_CONNECT_APPLICATION_ID is not set"),
        (vec![server, id], "ACTIVE_CONNECT_APPLICATION_SECRET is not set"),
        (vec![server, secret, ("ACTIVE_CONNECT_APPLICATION_ID", "a:b")], "split a header"),
        (vec![("IAMPASS_SERVER", "http://127.0.0.1:1")], "IAMPASS_APPLICATION_ID is not set"),
        (
            vec![("IAMPASS_SERVER", "http://127.0.0.1:1"), id, secret],
            "both ACTIVE_CONNECT_… and IAMPASS_… are set",
        ),
        (with_server("nonsense"), "write https://HOST"),
        (with_server("http://iam-api.com"), "plain http is for the loopback only"),
        (with_server("ftp://iam-api.com"), "use https"),
    ] {
        let actual = start_error(&folder, &["--listen", "127.0.0.1:0"], &variables).await;
        assert!(actual.contains(expected_text), "{variables:?}: {actual}");
        assert!(!actual.contains(secret.1), "{actual}");
    }
}
