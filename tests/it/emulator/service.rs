//! The emulator over sockets: the remote service, the control interface, the phone's pages.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use activeconnect_emulator::{
    AcceptedDialects, Action, ControlError, Emulator, SessionReport, StartError, StateReport,
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tower_activeconnect::Secret;
use tower_activeconnect::protocol::{Dialect, SessionStatus};
use tower_activeconnect::protocol::{Nonce, sign};

use crate::support::signed_client::{self, SignedClient, http_client};

const ODD_USER_IDS: [&str; 9] =
    ["a/b", "a b", "a+b", "a%b", "é", "%2F", "x?y#z", "a&b=c", "<b>\"x\""];

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    since.as_millis().try_into().expect("a moment of this age")
}

/// Calls `check` until it returns a value; panics if that takes too long.
async fn poll_until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), looking).await.expect("it in time")
}

async fn with_user(emulator: &Emulator) -> SignedClient {
    let caller = SignedClient::new(emulator, Dialect::Activeconnect);
    let added = caller.add_users(&["alice"]).await;
    assert_eq!(added.status, StatusCode::CREATED);
    emulator.register_device("alice").expect("alice exists");
    caller
}

fn session(state: &StateReport, token: &str) -> SessionReport {
    let mut sessions = state.sessions.iter();
    sessions.find(|session| session.session_token == token).expect("the session").clone()
}

#[tokio::test]
async fn every_call_works_in_all_dialects() {
    for dialect in Dialect::ALL {
        let emulator = Emulator::start().await.expect("a free port");
        let caller = SignedClient::new(&emulator, dialect);

        let added = caller.add_users(&["alice", "bob"]).await;
        assert_eq!(added.status, StatusCode::CREATED, "{dialect}");
        assert_eq!(
            added.json,
            json!({"status": true, "users": {"created": ["alice", "bob"], "existing": []}})
        );
        let again = caller.add_users(&["bob", "carol"]).await;
        assert_eq!(
            again.json,
            json!({"status": true, "users": {"created": ["carol"], "existing": ["bob"]}})
        );

        let has = caller.get(&caller.user_path("has_registered_mobile_device", "alice")).await;
        assert_eq!(has.json, json!({"status": true, "device_registered": false}));
        let link = caller.user_path("device_registration_link", "alice") + "?display_name=Al+Ice";
        let link = caller.get(&link).await;
        assert_eq!((link.status, &link.json["status"]), (StatusCode::OK, &json!(true)));
        let register = format!("{}/register/", emulator.url());
        assert!(link.json["register_url"].as_str().expect("a URL").starts_with(&register));
        let sms = caller.user_path("send_registration_sms", "alice");
        let sms = caller.post(&sms, &json!({"phone_number": "+15551234567"})).await;
        assert_eq!(sms.json, json!({"status": true}));

        let rejected = caller.authenticate("alice", "").await;
        assert_eq!(rejected.status, StatusCode::OK);
        let rejected = &rejected.json["authentication_status"];
        assert_eq!(rejected["authenticated"], false);
        assert_eq!(rejected["reason"], "NO_MOBILE_DEVICE");
        emulator.register_device("alice").expect("alice exists");

        let started_at = caller.authenticate("alice", "?methods=facial,device").await;
        assert_eq!(started_at.status, StatusCode::ACCEPTED);
        let session = caller.session(&started_at);
        assert_eq!(started_at.json["authentication_status"]["session_status"], "pending");
        assert_eq!(session.token.len(), 32);
        assert_eq!(session.secret.expose().len(), 32);
        assert_eq!(session.status(dialect).await, "pending");
        assert_eq!(emulator.act("alice", Action::Approve), Ok(SessionStatus::Active));
        assert_eq!(session.status(dialect).await, "active");
        assert_eq!(session.logout(dialect).await.json, json!({"status": true}));
        assert_eq!(session.status(dialect).await, "closed");
        assert_eq!(session.logout(dialect).await.json["status"], false);

        let lost = caller.get(&caller.user_path("lost_user_mobile_device", "alice")).await;
        assert!(lost.json["register_url"].as_str().expect("a URL").starts_with(&register));
        assert_eq!(emulator.state().users[0].devices, 0);
        let delete = caller.application_path("delete_users");
        let deleted = caller.post(&delete, &json!({"users": ["alice"]})).await;
        assert_eq!(deleted.json, json!({"status": true}));
        let none = caller.post(&delete, &json!({"users": ["alice"]})).await;
        assert_eq!((none.status, &none.json["status"]), (StatusCode::OK, &json!(false)));

        let calls = serde_json::to_value(emulator.state().calls).expect("JSON");
        assert_eq!(
            calls,
            json!({
                "add_users": 2, "delete_users": 2, "device_registration_link": 1,
                "has_registered_mobile_device": 1, "lost_user_mobile_device": 1,
                "send_registration_sms": 1, "authenticate_user": 2, "status": 3, "logout": 2,
            })
        );
        let methods: Vec<_> = emulator.state().sessions[0].methods.clone();
        assert_eq!(methods, ["device", "facial"]);
    }
}

#[tokio::test]
async fn restricted_emulator_rejects_other_dialects() {
    for accepted in AcceptedDialects::ALL {
        let emulator = Emulator::builder().dialect(accepted).start().await.expect("a free port");
        for dialect in Dialect::ALL {
            let response = SignedClient::new(&emulator, dialect).add_users(&["alice"]).await;
            let is_accepted = accepted.dialects().contains(&dialect);
            assert_eq!(
                response.status != StatusCode::UNAUTHORIZED,
                is_accepted,
                "{accepted} {dialect}"
            );
        }
    }
}

#[tokio::test]
async fn call_parameters_are_validated() {
    let emulator = Emulator::start().await.expect("a free port");
    let caller = with_user(&emulator).await;
    let add = caller.application_path("add_users");
    for body in [
        json!({"users": []}),
        json!({"users": ["bob", ""]}),
        json!({"users": "bob"}),
        json!({}),
        json!([["bob"]]),
    ] {
        let response = caller.post(&add, &body).await;
        assert_eq!(response.status, StatusCode::OK, "{body}");
        assert_eq!(response.json["status"], false, "{body}");
        assert!(response.json["reason"].is_string(), "{body}");
    }

    let sms = caller.user_path("send_registration_sms", "alice");
    for number in ["", "15551234567", "+12345", "+1234567890123456", "+1555123456x", "+١٢٣٤٥٦٧"]
    {
        let response = caller.post(&sms, &json!({"phone_number": number})).await;
        assert_eq!((response.status, &response.json["status"]), (StatusCode::OK, &json!(false)));
    }

    for query in [
        "?methods=smile",
        "?methods=device,Facial",
        "?methods=device&methods=facial",
        "?duration_seconds=0",
        "?duration_seconds=-1",
        "?duration_seconds=1.5",
        "?duration_seconds=",
        "?duration_seconds=1&duration_seconds=2",
    ] {
        let response = caller.authenticate("alice", query).await;
        assert_eq!(response.status, StatusCode::OK, "{query}");
        let actual = &response.json["authentication_status"];
        assert_eq!(actual["authenticated"], false, "{query}");
        assert!(actual["reason"].is_string(), "{query}");
    }
    assert!(emulator.state().sessions.is_empty());

    // The SDK Activeconnect 0.0.10 sends the first of these for requested methods.
    for (query, seconds) in [("?methods=", 3600), ("", 3600), ("?duration_seconds=7", 7)] {
        let token = caller.start_session("alice", query).await.token;
        let session = session(&emulator.state(), &token);
        assert_eq!(session.expires_at - session.created_at, seconds);
        assert!(session.methods.is_empty());
    }
}

#[tokio::test]
async fn unknown_names_are_404() {
    let emulator = Emulator::start().await.expect("a free port");
    let mut caller = SignedClient::new(&emulator, Dialect::Activeconnect);
    for call in
        ["device_registration_link", "has_registered_mobile_device", "lost_user_mobile_device"]
    {
        let response = caller.get(&caller.user_path(call, "nobody")).await;
        assert_eq!(
            (response.status, &response.json["status"]),
            (StatusCode::NOT_FOUND, &json!(false))
        );
    }
    let sms = caller.user_path("send_registration_sms", "nobody");
    let sms = caller.post(&sms, &json!({"phone_number": "+15551234567"})).await;
    assert_eq!(sms.status, StatusCode::NOT_FOUND);
    assert_eq!(caller.authenticate("nobody", "").await.status, StatusCode::NOT_FOUND);

    // Only signed requests learn whether a user is unknown.
    caller.secret = Secret::new("WRONG");
    assert_eq!(caller.authenticate("nobody", "").await.status, StatusCode::UNAUTHORIZED);
    caller.id = "0000".to_owned();
    let unknown = caller.authenticate("nobody", "").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(unknown.json["reason"], "unknown application");
    let unknown = caller.get("/authentication/session_status/NONE").await;
    assert_eq!(
        (unknown.status, &unknown.json["reason"]),
        (StatusCode::NOT_FOUND, &json!("unknown session"))
    );
}

#[tokio::test]
async fn replayed_request_is_rejected() {
    let emulator = Emulator::start().await.expect("a free port");
    let caller = with_user(&emulator).await;
    let url = caller.url(&caller.user_path("has_registered_mobile_device", "alice"));
    let send = async |signed: &[(&str, String)]| {
        let mut request = caller.http.get(url.clone());
        for (name, value) in signed {
            request = request.header(*name, value);
        }
        request.send().await.expect("the request gets a response").status()
    };

    let signed = caller.signed_headers(&url);
    assert_eq!(send(&signed).await, StatusCode::OK);
    assert_eq!(send(&signed).await, StatusCode::UNAUTHORIZED);
    let rejected = emulator.state().rejected;
    assert_eq!((rejected.signature, rejected.timestamp, rejected.nonce), (0, 0, 1));

    // A request with an invalid signature does not use up its nonce.
    let signed = caller.signed_headers(&url);
    let mut wrong = signed.clone();
    wrong[1].1 = (unix_ms() / 1000 + 1).to_string();
    assert_eq!(send(&wrong).await, StatusCode::UNAUTHORIZED);
    assert_eq!(send(&signed).await, StatusCode::OK);
}

#[tokio::test]
async fn stale_or_early_timestamp_is_rejected() {
    let emulator = Emulator::start().await.expect("a free port");
    let caller = with_user(&emulator).await;
    let url = caller.url(&caller.user_path("has_registered_mobile_device", "alice"));
    let now = unix_ms() / 1000;
    for (moment, status) in [
        (now - 310, StatusCode::UNAUTHORIZED),
        (now + 310, StatusCode::UNAUTHORIZED),
        (now - 290, StatusCode::OK),
        (now + 290, StatusCode::OK),
    ] {
        let nonce = Nonce::random().expect("randomness");
        let signed = sign(caller.dialect, &caller.id, &caller.secret, url.as_str(), nonce, moment);
        let mut request = caller.http.get(url.clone());
        for (name, value) in signed.headers() {
            request = request.header(name, value);
        }
        let response = request.send().await.expect("the request gets a response");
        assert_eq!(response.status(), status, "{moment}");
        if status == StatusCode::UNAUTHORIZED {
            let json: Value = response.json().await.expect("JSON");
            assert!(json["reason"].as_str().expect("a reason").contains("timestamp"));
        }
    }
    assert_eq!(emulator.state().rejected.timestamp, 2);
}

#[tokio::test]
async fn only_exact_signature_is_accepted() {
    let emulator = Emulator::start().await.expect("a free port");
    let caller = with_user(&emulator).await;
    let started_at = caller.start_session("alice", "").await;
    let url = caller.url(&caller.user_path("has_registered_mobile_device", "alice"));
    let other_url = caller.url(&caller.user_path("has_registered_mobile_device", "bob"));
    let is_accepted = caller.signed_headers(&url);

    let mut unsigned = is_accepted.clone();
    unsigned.remove(0);
    let mut untimed = is_accepted.clone();
    untimed.remove(1);
    let mut unversioned = is_accepted.clone();
    unversioned.remove(2);
    let mut other_version = is_accepted.clone();
    other_version[2].1 = "2".to_owned();
    let mut twice = is_accepted.clone();
    twice.push(is_accepted[0].clone());
    let mut two_dialects = is_accepted.clone();
    let mut iampass = caller.clone();
    iampass.dialect = Dialect::Iampass;
    two_dialects.extend(iampass.signed_headers(&url).into_iter().skip(1));
    let mut wrong_secret = caller.clone();
    wrong_secret.secret = Secret::new("WRONG");
    let mut by_session = caller.clone();
    (by_session.id, by_session.secret) = (started_at.token.clone(), started_at.secret.clone());

    let rejected = [
        vec![],
        unsigned,
        untimed,
        unversioned,
        other_version,
        twice,
        two_dialects,
        caller.signed_headers(&other_url),
        wrong_secret.signed_headers(&url),
        by_session.signed_headers(&url),
    ];
    let count = rejected.len() as u64;
    for (i, headers) in rejected.into_iter().enumerate() {
        let mut request = caller.http.get(url.clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = request.send().await.expect("the request gets a response");
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{i}");
        let json: Value = response.json().await.expect("JSON");
        assert!(json["reason"].as_str().expect("a reason").contains("signature"), "{i}");
    }
    assert_eq!(emulator.state().rejected.signature, count);

    // A session signs its own calls; neither the application nor another session can.
    let other = caller.start_session("alice", "").await;
    let mut crossed = started_at.clone();
    crossed.secret = other.secret.clone();
    assert_eq!(crossed.get_status(Dialect::Activeconnect).await.status, StatusCode::UNAUTHORIZED);
    crossed.token = other.token.clone();
    assert_eq!(crossed.get_status(Dialect::Activeconnect).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(caller.get(started_at.status_url.path()).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(started_at.status(Dialect::Activeconnect).await, "pending");
}

/// The transition table: from, action, to.
const MOVES: [(&str, &str, &str); 15] = [
    ("pending", "identify", "identifying"),
    ("pending", "approve", "active"),
    ("identifying", "approve", "active"),
    ("pending", "cancel", "cancelled"),
    ("identifying", "cancel", "cancelled"),
    ("pending", "fail", "failed"),
    ("identifying", "fail", "failed"),
    ("pending", "timeout", "timeout"),
    ("identifying", "timeout", "timeout"),
    ("active", "walk_away", "walkaway"),
    ("walkaway", "return", "active"),
    ("pending", "close", "closed"),
    ("identifying", "close", "closed"),
    ("active", "close", "closed"),
    ("walkaway", "close", "closed"),
];

#[tokio::test]
async fn every_action_follows_the_transition_table() {
    let emulator = Emulator::start().await.expect("a free port");
    let caller = with_user(&emulator).await;
    let ways: [(&str, &[Action]); 8] = [
        ("pending", &[]),
        ("identifying", &[Action::Identify]),
        ("active", &[Action::Approve]),
        ("walkaway", &[Action::Approve, Action::WalkAway]),
        ("closed", &[Action::Close]),
        ("timeout", &[Action::Timeout]),
        ("failed", &[Action::Fail]),
        ("cancelled", &[Action::Cancel]),
    ];
    for (i, (from, way)) in ways.into_iter().enumerate() {
        for action in Action::ALL {
            let started_at = caller.start_session("alice", "").await;
            for step in way {
                emulator.act_on_session(&started_at.token, *step).expect("the way there");
            }
            // Both addresses do the same, because this is the user's newest session.
            let path = if i % 2 == 0 {
                format!("/emulator/sessions/{}/{action}", started_at.token)
            } else {
                format!("/emulator/users/alice/{action}")
            };
            let response = caller
                .http
                .post(caller.url(&path))
                .send()
                .await
                .expect("the request gets a response");
            let status = response.status();
            let json: Value = response.json().await.expect("JSON");
            let expected_devices =
                MOVES.iter().find(|(f, a, _)| (*f, *a) == (from, action.as_str()));
            let now = expected_devices.map_or(from, |(_, _, to)| to);
            if expected_devices.is_some() {
                assert_eq!((status, &json), (StatusCode::OK, &json!({"status": now})));
            } else {
                assert_eq!(status, StatusCode::CONFLICT, "{from} {action}");
                assert!(json["reason"].is_string());
            }
            assert_eq!(json["status"], now, "{from} {action}");
            assert_eq!(started_at.status(Dialect::Activeconnect).await, now, "{from} {action}");
        }
    }
}

#[tokio::test]
async fn unanswered_request_times_out() {
    let emulator = Emulator::builder()
        .pending_timeout(Duration::from_millis(150))
        .start()
        .await
        .expect("a free port");
    let caller = with_user(&emulator).await;
    let before = unix_ms();
    let started_at = caller.start_session("alice", "").await;
    let after = unix_ms();
    poll_until(async || {
        (started_at.status(Dialect::Activeconnect).await == "timeout").then_some(())
    })
    .await;

    let ended = session(&emulator.state(), &started_at.token);
    let ended_at = ended.ended_at.expect("the session ended");
    assert!((before + 150..=after + 150).contains(&ended_at), "at its expiry");
    assert_eq!(ended.changed_at, ended.ended_at);
    assert_eq!(ended.told_at, ended.first_told_at);
    assert!(ended.first_told_at.expect("the end was reported") >= ended_at);
}

#[tokio::test]
async fn session_closes_when_it_expires() {
    let emulator = Emulator::start().await.expect("a free port");
    let caller = with_user(&emulator).await;
    let before = unix_ms();
    let started_at = caller.start_session("alice", "?duration_seconds=1").await;
    let after = unix_ms();
    emulator.act("alice", Action::Approve).expect("it waits");
    emulator.act("alice", Action::WalkAway).expect("the session is active");

    // No status call reported the change.
    let ended = poll_until(async || {
        Some(session(&emulator.state(), &started_at.token))
            .filter(|session| session.ended_at.is_some())
    })
    .await;
    assert_eq!(ended.status, SessionStatus::Closed);
    assert!((before + 1000..=after + 1000).contains(&ended.ended_at.expect("the session ended")));
    assert_eq!((ended.told_at, ended.first_told_at), (None, None));
    assert_eq!(started_at.status(Dialect::Activeconnect).await, "closed");
    assert!(session(&emulator.state(), &started_at.token).first_told_at.is_some());
}

#[tokio::test]
async fn deleting_user_closes_only_own_sessions() {
    let emulator = Emulator::start().await.expect("a free port");
    let caller = with_user(&emulator).await;
    caller.add_users(&["bob"]).await;
    emulator.register_device("bob").expect("bob exists");
    let alice = caller.start_session("alice", "").await;
    let bob = caller.start_session("bob", "").await;
    emulator.act("alice", Action::Approve).expect("it waits");

    let delete = caller.application_path("delete_users");
    caller.post(&delete, &json!({"users": ["alice", "nobody"]})).await;
    assert_eq!(alice.status(Dialect::Activeconnect).await, "closed");
    assert_eq!(bob.status(Dialect::Activeconnect).await, "pending");
    assert_eq!(emulator.act("alice", Action::Close), Err(ControlError::UnknownUser));
}

#[tokio::test]
async fn unusual_user_ids_are_distinct() {
    let emulator = Emulator::start().await.expect("a free port");
    let caller = SignedClient::new(&emulator, Dialect::Activeconnect);
    assert_eq!(caller.add_users(&ODD_USER_IDS).await.status, StatusCode::CREATED);
    for user_id in ODD_USER_IDS {
        let percent = signed_client::encode_segment(user_id);
        for written in [percent.replace("%20", "+"), percent] {
            let devices = |state: StateReport| -> Vec<(String, u32)> {
                state.users.into_iter().map(|user| (user.user_id, user.devices)).collect()
            };
            let mut expected_devices = devices(emulator.state());
            let path = format!("/emulator/users/{written}/register_device");
            let registered = caller
                .http
                .post(caller.url(&path))
                .send()
                .await
                .expect("the request gets a response");
            assert_eq!(registered.status(), StatusCode::OK, "{written}");
            expected_devices.iter_mut().find(|(id, _)| id == user_id).expect("the user").1 += 1;
            assert_eq!(devices(emulator.state()), expected_devices, "{written}");

            let path = format!("/authentication/authenticate_user/{}/{written}", caller.id);
            let started_at = caller.session(&caller.post(&path, &json!({})).await);
            assert_eq!(session(&emulator.state(), &started_at.token).user_id, user_id);
            let path = format!("/emulator/users/{written}/approve");
            let approved = caller
                .http
                .post(caller.url(&path))
                .send()
                .await
                .expect("the request gets a response");
            assert_eq!(approved.status(), StatusCode::OK, "{written}");
            assert_eq!(started_at.status(Dialect::Activeconnect).await, "active");
        }
    }
}

#[tokio::test]
async fn state_has_the_documented_shape_and_no_secrets() {
    let emulator = Emulator::start().await.expect("a free port");
    let caller = with_user(&emulator).await;
    let started_at = caller.start_session("alice", "?methods=device").await;
    let url = caller.url("/emulator/state");
    let text = caller
        .http
        .get(url)
        .send()
        .await
        .expect("the request gets a response")
        .text()
        .await
        .expect("a body");
    assert!(!text.contains(started_at.secret.expose()));
    assert!(!text.contains(caller.secret.expose()));
    let state: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(state, serde_json::to_value(emulator.state()).expect("JSON"));
    let created_at = state["sessions"][0]["created_at"].as_u64().expect("seconds");
    assert!(created_at.abs_diff(unix_ms() / 1000) < 60);
    assert_eq!(
        state,
        json!({
            "users": [{"user_id": "alice", "devices": 1}],
            "sessions": [{
                "session_token": started_at.token, "user_id": "alice", "status": "pending",
                "methods": ["device"], "created_at": created_at, "expires_at": created_at + 3600,
                "ended_at": null, "first_told_at": null, "changed_at": null, "told_at": null,
            }],
            "calls": {
                "add_users": 1, "delete_users": 0, "device_registration_link": 0,
                "has_registered_mobile_device": 0, "lost_user_mobile_device": 0,
                "send_registration_sms": 0, "authenticate_user": 1, "status": 0, "logout": 0,
            },
            "rejected": {"signature": 0, "timestamp": 0, "nonce": 0},
        })
    );
}

#[tokio::test]
async fn flat_status_is_supported() {
    let emulator = Emulator::builder().flat_status(true).start().await.expect("a free port");
    let caller = with_user(&emulator).await;
    let started_at = caller.start_session("alice", "").await;
    let status = started_at.get_status(Dialect::Activeconnect).await.json;
    assert_eq!(status, json!({"authenticated": false, "session_status": "pending"}));
    emulator.act("alice", Action::Approve).expect("it waits");
    let status = started_at.get_status(Dialect::Activeconnect).await.json;
    assert_eq!(status, json!({"authenticated": true, "session_status": "active"}));
}

#[tokio::test]
async fn control_routes_accept_only_local_clients() {
    let emulator = Emulator::start().await.expect("a free port");
    let caller = with_user(&emulator).await;
    let port = caller.url("/").port().expect("a port");
    let control = caller.url("/emulator/users/alice/register_device");
    let post = async |headers: &[(&str, &str)]| {
        let mut request = caller.http.post(control.clone());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("the request gets a response").status()
    };
    let own = emulator.url();
    let localhost = format!("localhost:{port}");
    for allowed in [
        &[][..],
        &[("origin", own)],
        &[("origin", own), ("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "none")],
        &[("host", &localhost), ("origin", &format!("http://{localhost}"))],
    ] {
        assert_eq!(post(allowed).await, StatusCode::OK, "{allowed:?}");
    }
    let devices = emulator.state().users[0].devices;
    for rejected in [
        &[("host", "evil.example")][..],
        &[("host", "localhost.evil.example:80")],
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
        &[("origin", "http://127.0.0.1")],
        &[("origin", own), ("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
    ] {
        assert_eq!(post(rejected).await, StatusCode::FORBIDDEN, "{rejected:?}");
    }
    assert_eq!(emulator.state().users[0].devices, devices);

    for path in ["/emulator", "/emulator/state"] {
        let read = caller.http.get(caller.url(path)).header("host", "evil.example");
        assert_eq!(
            read.send().await.expect("the request gets a response").status(),
            StatusCode::FORBIDDEN
        );
    }
}

#[tokio::test]
async fn unknown_routes_methods_and_actions_are_json() {
    let emulator = Emulator::start().await.expect("a free port");
    let caller = with_user(&emulator).await;
    let http = &caller.http;
    for (request, status) in [
        (http.get(caller.url("/")), StatusCode::NOT_FOUND),
        (http.get(caller.url("/emulator/nothing")), StatusCode::NOT_FOUND),
        (http.post(caller.url("/emulator/state")), StatusCode::METHOD_NOT_ALLOWED),
        (
            http.get(caller.url(&caller.application_path("add_users"))),
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (http.post(caller.url("/emulator/users/alice/dance")), StatusCode::NOT_FOUND),
        (http.post(caller.url("/emulator/users/nobody/approve")), StatusCode::NOT_FOUND),
        (http.post(caller.url("/emulator/users/alice/approve")), StatusCode::NOT_FOUND),
        (http.post(caller.url("/emulator/users/%FF/approve")), StatusCode::NOT_FOUND),
        (http.post(caller.url("/emulator/users/nobody/register_device")), StatusCode::NOT_FOUND),
        (http.post(caller.url("/emulator/sessions/NONE/approve")), StatusCode::NOT_FOUND),
        (
            http.post(caller.url(&caller.application_path("add_users"))).body(vec![b' '; 65_537]),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
    ] {
        let response = request.send().await.expect("the request gets a response");
        let url = response.url().clone();
        assert_eq!(response.status(), status, "{url}");
        let json: Value = response.json().await.expect("JSON");
        assert!(json["reason"].is_string(), "{url}");
    }
}

#[tokio::test]
async fn phone_works_as_plain_html() {
    let emulator = Emulator::start().await.expect("a free port");
    let caller = SignedClient::new(&emulator, Dialect::Activeconnect);
    let user_id = "<b>a/b";
    caller.add_users(&[user_id]).await;
    let page = async || {
        let response = caller
            .http
            .get(caller.url("/emulator"))
            .send()
            .await
            .expect("the request gets a response");
        assert_eq!(response.headers()["x-frame-options"], "DENY");
        response.text().await.expect("a page")
    };
    let press = async |action: &str| {
        let form = caller.http.post(caller.url(action)).header("accept", "text/html,*/*;q=0.8");
        let response = form.form(&[("", ""); 0]).send().await.expect("the request gets a response");
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        assert_eq!(response.headers()["location"], "/emulator");
    };

    let html = page().await;
    assert!(!html.contains("<b>a/b"));
    let button = "/emulator/users/%3Cb%3Ea%2Fb/register_device";
    assert!(html.contains(&format!("action=\"{button}\"")));
    press(button).await;
    assert_eq!(emulator.state().users[0].devices, 1);

    let started_at = caller.start_session(user_id, "?methods=facial").await;
    let action = |name: &str| format!("/emulator/sessions/{}/{name}", started_at.token);
    let html = page().await;
    for (name, shown) in [("approve", true), ("close", true), ("walk_away", false)] {
        assert_eq!(html.contains(&action(name)), shown, "{name}");
    }
    press(&action("approve")).await;
    let html = page().await;
    for (name, shown) in [("approve", false), ("close", true), ("walk_away", true)] {
        assert_eq!(html.contains(&action(name)), shown, "{name}");
    }
    // A late press changes nothing and shows the current state.
    press(&action("approve")).await;
    assert_eq!(started_at.status(Dialect::Activeconnect).await, "active");
}

#[tokio::test]
async fn registration_link_registers_one_device() {
    let emulator = Emulator::start().await.expect("a free port");
    let caller = SignedClient::new(&emulator, Dialect::Activeconnect);
    caller.add_users(&["alice"]).await;
    let path = caller.user_path("device_registration_link", "alice") + "?display_name=Al%3CIce";
    let link = caller.get(&path).await.json["register_url"].as_str().expect("a URL").to_owned();

    let offered = caller.http.get(&link).send().await.expect("the request gets a response");
    assert_eq!(offered.status(), StatusCode::OK);
    let html = offered.text().await.expect("a page");
    assert!(html.contains("Al&#60;Ice") && html.contains("<button"));
    assert_eq!(emulator.state().users[0].devices, 0, "looking registers nothing");
    let opened = caller.http.post(&link).send().await.expect("the request gets a response");
    assert_eq!(opened.status(), StatusCode::OK);
    assert_eq!(emulator.state().users[0].devices, 1);
    for request in [caller.http.get(&link), caller.http.post(&link)] {
        let again = request.send().await.expect("the request gets a response");
        assert_eq!(again.status(), StatusCode::GONE);
        assert!(again.text().await.expect("a page").contains("was used"));
    }
    assert_eq!(emulator.state().users[0].devices, 1);
    let unknown = caller
        .http
        .get(caller.url("/register/NONE"))
        .send()
        .await
        .expect("the request gets a response");
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);

    let sms = caller.user_path("send_registration_sms", "alice");
    let sent = json!({"phone_number": "+15551234567", "message": "Welcome!"});
    caller.post(&sms, &sent).await;
    let html =
        caller.http.get(caller.url("/emulator")).send().await.expect("the request gets a response");
    let html = html.text().await.expect("a page");
    assert!(html.contains("+15551234567") && html.contains("Welcome!"));
    let link = html.split("<a href=\"").nth(1).and_then(|rest| rest.split('"').next());
    let opened =
        caller.http.post(link.expect("a link")).send().await.expect("the request gets a response");
    assert_eq!(opened.status(), StatusCode::OK);
    assert_eq!(emulator.state().users[0].devices, 2);
}

#[tokio::test]
async fn drop_stops_server_and_cuts_connections() {
    let emulator = Emulator::start().await.expect("a free port");
    let http = http_client();
    let url = format!("{}/emulator/state", emulator.url());
    assert!(http.get(&url).send().await.is_ok());
    drop(emulator);
    poll_until(async || http.get(&url).send().await.is_err().then_some(())).await;
}

#[tokio::test]
async fn failed_start_explains_the_remedy() {
    let running = Emulator::start().await.expect("a free port");
    let address = running.url().trim_start_matches("http://").to_owned();
    let start = async |listen: &str| {
        let started = Emulator::builder().listen(listen).start().await;
        started.expect_err("it cannot start")
    };
    let error = start(&address).await;
    assert!(matches!(error, StartError::Bind { .. }));
    assert!(error.to_string().contains("choose another port"), "{error}");
    let error = start("0.0.0.0:0").await;
    assert!(matches!(error, StartError::NotLoopback(_)));
    assert!(error.to_string().contains("unsigned"), "{error}");
    assert!(matches!(start("nowhere").await, StartError::Address(_)));
    for (id, secret) in [("", "S"), ("a:b", "S"), ("a/b", "S"), ("a", "")] {
        let started = Emulator::builder().application(id, secret).start().await;
        assert!(matches!(started, Err(StartError::Application)), "{id:?} {secret:?}");
    }
}
