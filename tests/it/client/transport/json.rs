//! Bodies that are nearly the right JSON.

use tower_activeconnect::client::ClientErrorKind;
use tower_activeconnect::protocol::SessionStatus;
use tower_activeconnect::protocol::StatusReading;

use crate::support::raw::{Raw, Step, answer, authenticate};

const ACTIVE: Option<StatusReading> = Some(StatusReading::Status(SessionStatus::Active));
const ODD: Option<StatusReading> = Some(StatusReading::Inconsistent);

/// What a status call makes of a body; `None` is not understood. One server answers all.
async fn read(bodies: Vec<(Vec<u8>, Option<StatusReading>)>) {
    let script: Vec<Vec<u8>> = bodies.iter().map(|(body, _)| body.clone()).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let raw = Raw::start(move |request| {
        let url = format!("http://{}", request.header("host").unwrap());
        if request.asks_for_a_session() {
            return vec![Step::Send(crate::support::raw::session(&url))];
        }
        let number = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        vec![Step::Send(answer("200 OK", &[("content-type", "application/json")], &script[number]))]
    })
    .await;
    let client = raw.client();
    let session = authenticate(&client).await.unwrap();
    for (body, expected) in bodies {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        match (client.status(&session).await, expected) {
            (Ok(reading), Some(expected)) => assert_eq!(reading, expected, "{shown}"),
            (Err(error), None) => {
                assert_eq!(error.kind(), ClientErrorKind::InvalidResponse, "{shown}: {error}");
            }
            (outcome, _) => panic!("{shown}: {outcome:?}"),
        }
    }
}

fn all(expected: Option<StatusReading>, bodies: &[&str]) -> Vec<(Vec<u8>, Option<StatusReading>)> {
    bodies.iter().map(|body| (body.as_bytes().to_vec(), expected)).collect()
}

#[tokio::test]
async fn text_that_is_no_json_is_not_understood() {
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
    // Latin-1 in what is not read: no JSON all the same.
    bodies.push((b"{\"name\":\"Andr\xe9\",\"session_status\":\"active\"}".to_vec(), None));
    bodies.push((b"{\"Andr\xe9\":1,\"session_status\":\"active\"}".to_vec(), None));
    read(bodies).await;
}

#[tokio::test]
async fn deep_nesting_is_not_understood_and_breaks_nothing() {
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
    // A hundred thousand levels are more than is read at all.
    bodies.push((b"[".repeat(100_000), None));
    read(bodies).await;
}

#[tokio::test]
async fn key_that_stands_twice_is_not_understood() {
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
async fn list_is_no_object() {
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
async fn only_an_exact_status_is_a_status() {
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
    bodies.extend(all(ODD, &odd));
    read(bodies).await;
}

#[tokio::test]
async fn contradictions_are_odd() {
    let odd = [
        r#"{"authenticated":false,"session_status":"active"}"#,
        r#"{"authentication_status":{"authenticated":false,"session_status":"active"}}"#,
        r#"{"authenticated":false,"authentication_status":{"session_status":"active"}}"#,
        r#"{"authenticated":true,"authentication_status":{"authenticated":false,"session_status":"active"}}"#,
        r#"{"session_status":"active","authentication_status":{"session_status":"closed"}}"#,
        r#"{"session_status":"closed","authentication_status":{"session_status":"active"}}"#,
        r#"{"session_status":"nonsense","authentication_status":{"session_status":"active"}}"#,
    ];
    read(all(ODD, &odd)).await;
}
