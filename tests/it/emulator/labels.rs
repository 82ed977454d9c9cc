//! Labels that the emulated phone shows for users.

use activeconnect_emulator::{ControlError, Emulator};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tower_activeconnect::UserToken;
use tower_activeconnect::client::Client;

use crate::support::credentials;

/// The user's token, percent-encoded.
const ENCODED: &str = "a%2Fb%20%C3%A9";

/// A user without a label, whose token needs percent-encoding.
async fn with_user(emulator: &Emulator) -> UserToken {
    let user = UserToken::new("a/b é").unwrap();
    let client = Client::new(credentials(emulator)).unwrap();
    client.add_users(std::slice::from_ref(&user)).await.unwrap();
    user
}

async fn post(emulator: &Emulator, user: &str, body: &str) -> (StatusCode, Value) {
    let url = format!("{}/emulator/users/{user}/label", emulator.url());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = http.post(url).body(body.to_owned()).send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

#[tokio::test]
async fn label_appears_in_state() {
    let emulator = Emulator::start().await.unwrap();
    let user = with_user(&emulator).await;
    let users = || serde_json::to_value(emulator.state().users).unwrap();
    assert_eq!(users(), json!([{"user_id": "a/b é", "devices": 0}]));

    let done = (StatusCode::OK, json!({"status": true}));
    assert_eq!(post(&emulator, ENCODED, r#"{"label":"Alice <3"}"#).await, done);
    assert_eq!(users(), json!([{"user_id": "a/b é", "devices": 0, "label": "Alice <3"}]));
    assert_eq!(emulator.set_label(user.as_str(), "Bob"), Ok(()));
    assert_eq!(users(), json!([{"user_id": "a/b é", "devices": 0, "label": "Bob"}]));
    assert_eq!(emulator.set_label("nobody", "Bob"), Err(ControlError::UnknownUser));
    assert_eq!(emulator.set_label(user.as_str(), ""), Err(ControlError::InvalidLabel));
}

#[tokio::test]
async fn bad_label_is_explained() {
    let emulator = Emulator::start().await.unwrap();
    with_user(&emulator).await;
    emulator.set_label("a/b é", "Alice").unwrap();
    let too_long = json!({"label": "x".repeat(65)}).to_string();
    for (user, body, status, expected_text) in [
        (ENCODED, "", StatusCode::BAD_REQUEST, "EOF"),
        (ENCODED, "[\"Alice\"]", StatusCode::BAD_REQUEST, "expected"),
        (ENCODED, "{}", StatusCode::BAD_REQUEST, "missing field `label`"),
        (ENCODED, r#"{"label":7}"#, StatusCode::BAD_REQUEST, "expected a string"),
        (ENCODED, r#"{"label":"A","name":"A"}"#, StatusCode::BAD_REQUEST, "unknown field `name`"),
        (ENCODED, r#"{"label":""}"#, StatusCode::BAD_REQUEST, "1 to 64 characters"),
        (ENCODED, r#"{"label":"  "}"#, StatusCode::BAD_REQUEST, "white space"),
        (ENCODED, r#"{"label":"A\nB"}"#, StatusCode::BAD_REQUEST, "control characters"),
        (ENCODED, &too_long, StatusCode::BAD_REQUEST, "1 to 64 characters"),
        ("nobody", r#"{"label":"A"}"#, StatusCode::NOT_FOUND, "unknown user"),
        ("%FF", r#"{"label":"A"}"#, StatusCode::NOT_FOUND, "unknown user"),
    ] {
        let (answered, json) = post(&emulator, user, body).await;
        assert_eq!((answered, &json["status"]), (status, &json!(false)), "{user} {body}");
        assert!(json["reason"].as_str().unwrap().contains(expected_text), "{user} {body}: {json}");
    }
    assert_eq!(emulator.state().users[0].label.as_deref(), Some("Alice"));
}

/// A page of another site could otherwise write text on the phone.
#[tokio::test]
async fn other_site_cannot_set_label() {
    let emulator = Emulator::start().await.unwrap();
    with_user(&emulator).await;
    let url = format!("{}/emulator/users/{ENCODED}/label", emulator.url());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = http.post(url).header("origin", "http://evil.example").body(r#"{"label":"A"}"#);
    assert_eq!(response.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(emulator.state().users[0].label, None);
}
