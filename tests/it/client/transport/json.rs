//! Bodies that are almost the right JSON.

use tower_activeconnect::client::ClientErrorKind;
use tower_activeconnect::protocol::SessionStatus;
use tower_activeconnect::protocol::StatusReading;

use crate::support::raw_server::{RawServer, Step, authenticate, response};

const ACTIVE: Option<StatusReading> = Some(StatusReading::Status(SessionStatus::Active));
const INCONSISTENT: Option<StatusReading> = Some(StatusReading::Inconsistent);

/// The result of a status call for each body; `None` is invalid. One server sends all.
async fn read(bodies: Vec<(Vec<u8>, Option<StatusReading>)>) {
    let script: Vec<Vec<u8>> = bodies.iter().map(|(body, _)| body.clone()).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let raw = RawServer::start(move |request| {
        let url = format!("http://{}", request.header("host").unwrap());
        if request.is_authenticate_user() {
            return vec![Step::Send(crate::support::raw_server::session(&url))];
        }
        let number = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        vec![Step::Send(response(
            "200 OK",
            &[("content-type", "application/json")],
            &script[number],
        ))]
    })
    .await;
    let client = raw.client();
    let session = authenticate(&client).await.unwrap();
    for (body, expected) in bodies {
        let excerpt = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        match (client.status(&session).await, expected) {
            (Ok(reading), Some(expected)) => assert_eq!(reading, expected, "{excerpt}"),
            (Err(error), None) => {
                assert_eq!(error.kind(), ClientErrorKind::InvalidResponse, "{excerpt}: {error}");
            }
            (outcome, _) => panic!("{excerpt}: {outcome:?}"),
        }
    }
}

fn all(expected: Option<StatusReading>, bodies: &[&str]) -> Vec<(Vec<u8>, Option<StatusReading>)> {
    bodies.iter().map(|body| (body.as_bytes().to_vec(), expected)).collect()
}

#[tokio::test]
async fn non_json_text_is_invalid() {
    let mut bodies = all(
        None,
        &[
            "\u{feff}{\"session_status\":\"active\"}",
            "\0{\"session_status\":\"active\"}",
            "{\"session_status\":\"active\"}\0",
            "{\"session_status\":\"active\0\"}",
            "{\"session_status\":\"active\"} {}",
            "{\"session_status\":\"active\"},",
            "{\"session_status\":\"active\"}}",
            "{\"session_status\":\"active\",}",
            "{'session_status':'active'}",
            "{session_status:\"active\"}",
            "{\"session_status\":\"active\"",
            "{\"session_status\":active}",
            "{\"session_status\":\"active\"} // fine",
            "\"active\"",
            "active",
            "{\"session_status\":\"act\nive\"}",
            "{\"x\":01,\"session_status\":\"active\"}",
            "{\"x\":NaN,\"session_status\":\"active\"}",
        ],
    );
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    bodies.push((utf16("{\"session_status\":\"active\"}"), None));
    bodies.push((utf16("\u{feff}{\"session_status\":\"active\"}"), None));
    bodies.push((b"{\"session_status\":\"activ\xe9\"}".to_vec(), None));
    // Latin-1 in an ignored field is invalid JSON, too.
    bodies.push((b"{\"name\":\"Andr\xe9\",\"session_status\":\"active\"}".to_vec(), None));
    bodies.push((b"{\"Andr\xe9\":1,\"session_status\":\"active\"}".to_vec(), None));
    read(bodies).await;
}

#[tokio::test]
async fn deeply_nested_json_is_invalid() {
    let mut bodies = Vec::new();
    for depth in [200, 10_000, 30_000] {
        for (open, close) in [("[", "]"), ("{\"x\":", "}")] {
            if depth * (open.len() + close.len()) > 65_000 {
                continue;
            }
            let value = if open == "[" { "" } else { "1" };
            let deep = format!("{}{value}{}", open.repeat(depth), close.repeat(depth));
            for body in [
                deep.clone(),
                format!("{{\"x\":{deep},\"session_status\":\"active\"}}"),
                format!("{{\"session_status\":\"active\",\"x\":{deep}}}"),
                format!("{{\"session_status\":{deep}}}"),
                format!("{{\"authentication_status\":{deep},\"session_status\":\"active\"}}"),
                format!("{{\"session_status\":\"active\",\"x\":{}", open.repeat(depth)),
            ] {
                bodies.push((body.into_bytes(), None));
            }
        }
    }
    // A hundred thousand levels exceed the size limit.
    bodies.push((b"[".repeat(100_000), None));
    read(bodies).await;
}

#[tokio::test]
async fn duplicate_key_is_invalid() {
    let twice = [
        r#"{"session_status":"closed","session_status":"active"}"#,
        r#"{"session_status":"active","session_status":"active"}"#,
        r#"{"session_status":null,"session_status":"active"}"#,
        r#"{"session_status":"closed","session\u005fstatus":"active"}"#,
        r#"{"authenticated":false,"authenticated":true,"session_status":"active"}"#,
        r#"{"authentication_status":{"session_status":"closed","session_status":"active"}}"#,
        r#"{"authentication_status":{"session_status":"closed"},"authentication_status":{"session_status":"active"}}"#,
        r#"{"authentication_status":null,"authentication_status":{"session_status":"active"}}"#,
    ];
    read(all(None, &twice)).await;
}

#[tokio::test]
async fn list_instead_of_object_is_invalid() {
    let lists = [
        r#"[]"#,
        r#"[{"session_status":"active"}]"#,
        r#"[null,true,"active"]"#,
        r#"{"authentication_status":[true,"active"]}"#,
        r#"{"authentication_status":[null,"active"]}"#,
        r#"{"authentication_status":[{"session_status":"active"}]}"#,
        r#"{"authentication_status":[],"session_status":"active"}"#,
        r#"{"authentication_status":"active"}"#,
        r#"{"authentication_status":1,"session_status":"active"}"#,
    ];
    read(all(None, &lists)).await;
}

#[tokio::test]
async fn both_shapes_and_unknown_fields_are_read() {
    let active = [
        r#"{"session_status":"active"}"#,
        r#"{"authenticated":true,"session_status":"active"}"#,
        r#"{"authenticated":null,"session_status":"active"}"#,
        r#"{"authentication_status":null,"session_status":"active"}"#,
        r#"{"authentication_status":{"session_status":"active"}}"#,
        r#"{"authentication_status":{"authenticated":true,"session_status":"active"}}"#,
        r#"{"authentication_status":{"session_status":"active"},"session_status":"active"}"#,
        r#"{"new":[1,{"a":null}],"session_status":"active","later":"\ud83d\ude00"}"#,
        r#"{"authentication_status":{"session_status":"active","new":{"session_status":"closed"}}}"#,
        r#"{"status":{"session_status":"closed"},"session_status":"active"}"#,
        r#"{"session_status":"\u0061ctive"}"#,
        "\r\n\t {\"session_status\" : \"active\"} \r\n",
    ];
    read(all(ACTIVE, &active)).await;
}

#[tokio::test]
async fn only_exact_status_names_are_accepted() {
    let nothing = [
        r#"{"session_status":null}"#,
        r#"{"session_status":true}"#,
        r#"{"session_status":1}"#,
        r#"{"session_status":["active"]}"#,
        r#"{"session_status":{"active":true}}"#,
        r#"{"Session_Status":"active"}"#,
        r#"{"authenticated":true}"#,
        r#"{"authenticated":"true","session_status":"active"}"#,
        r#"{"authenticated":1,"session_status":"active"}"#,
    ];
    let odd = [
        r#"{"session_status":"Active"}"#,
        r#"{"session_status":"ACTIVE"}"#,
        r#"{"session_status":" active"}"#,
        r#"{"session_status":"active "}"#,
        r#"{"session_status":"active\n"}"#,
        r#"{"session_status":"active\u0000"}"#,
        r#"{"session_status":"аctive"}"#,
        r#"{"session_status":""}"#,
        r#"{"session_status":"unknown"}"#,
        r#"{"session_status":"true"}"#,
        r#"{"session_status":"walkaway,active"}"#,
    ];
    let mut bodies = all(None, &nothing);
    bodies.extend(all(INCONSISTENT, &odd));
    read(bodies).await;
}

#[tokio::test]
async fn contradictory_status_is_inconsistent() {
    let odd = [
        r#"{"authenticated":false,"session_status":"active"}"#,
        r#"{"authentication_status":{"authenticated":false,"session_status":"active"}}"#,
        r#"{"authenticated":false,"authentication_status":{"session_status":"active"}}"#,
        r#"{"authenticated":true,"authentication_status":{"authenticated":false,"session_status":"active"}}"#,
        r#"{"session_status":"active","authentication_status":{"session_status":"closed"}}"#,
        r#"{"session_status":"closed","authentication_status":{"session_status":"active"}}"#,
        r#"{"session_status":"nonsense","authentication_status":{"session_status":"active"}}"#,
    ];
    read(all(INCONSISTENT, &odd)).await;
}
