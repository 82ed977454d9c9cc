//! Properties for any path, query, token and response.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::Value;
use tower_activeconnect::client::{AuthenticationRequest, ClientErrorKind};
use tower_activeconnect::protocol::messages::{StatusResponse, from_json};
use tower_activeconnect::protocol::{
    AUTHENTICATION_HEADER, AuthenticationHeader, Nonce, StatusReading, sign,
};
use tower_activeconnect::protocol::{AuthMethod, AuthMethods, Dialect, SessionStatus};
use tower_activeconnect::{Secret, UserToken};

use crate::support::raw_server::{
    self, APPLICATION_SECRET, RawServer, SESSION_SECRET, STATUS_ACTIVE, Step, client, response,
    session_at,
};

fn check<S: Strategy>(
    cases: u32,
    strategy: &S,
    test: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(strategy, test).unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn dialects() -> impl Strategy<Value = Dialect> {
    prop::sample::select(Dialect::ALL.to_vec())
}

fn methods() -> impl Strategy<Value = AuthMethods> {
    prop::sample::subsequence(AuthMethod::ALL.to_vec(), 0..=3).prop_map(|m| m.into_iter().collect())
}

/// Tokens of any characters, including the special characters of URLs.
fn tokens() -> impl Strategy<Value = UserToken> {
    let special = "[ +%/?#:;@&=.,'\"<>\\\\^`{|}~!$()*\\[\\]é日\u{10ffff}a-zA-Z0-9_-]{1,40}";
    prop_oneof![special.boxed(), "\\PC{1,60}".boxed(), "(\\.|%2[eEfF]|/){1,9}".boxed()]
        .prop_filter_map("no token", |text| UserToken::new(&text).ok())
}

/// Any path and query that a service may use in a session's URLs.
fn paths() -> impl Strategy<Value = String> {
    let segment = "([a-zA-Z0-9._~!$&'()*+,;=:@-]|%[0-9a-fA-F]{2}|[|^`{}\\[\\]\"<>]){0,12}";
    let path = prop::collection::vec(segment, 1..5).prop_map(|s| format!("/{}", s.join("/")));
    (path, prop::option::of(segment)).prop_map(|(path, query)| match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    })
}

/// T066, T067: the service computes the same signature from the URL that it received.
#[test]
fn any_token_and_query_is_signed_as_it_is_received() {
    let runtime = runtime();
    let raw =
        runtime.block_on(RawServer::start(|_| vec![Step::Send(response("200 OK", &[], "{}"))]));
    let clients = Dialect::ALL.map(|dialect| client(&raw.url(), dialect));
    let observed = AtomicUsize::new(0);
    check(
        256,
        &(dialects(), tokens(), methods(), "\\PC{0,20}"),
        |(dialect, token, methods, name)| {
            let position = Dialect::ALL.iter().position(|other| *other == dialect).unwrap();
            let client = &clients[position];
            runtime.block_on(async {
                let mut options = AuthenticationRequest::default();
                options.methods = methods;
                options.duration = Some(std::time::Duration::from_secs(60));
                let _ = client.authenticate_user(&token, &options).await;
                let _ = client.device_registration_link(&token, Some(&name)).await;
            });
            let requests = raw.requests();
            let new = &requests[observed.swap(requests.len(), SeqCst)..];
            prop_assert_eq!(new.len(), 2);
            for request in new {
                prop_assert!(request.is_signed(dialect, APPLICATION_SECRET), "{}", request.target);
                // A service may decode `+` as a space.
                prop_assert!(!request.target.contains('+'), "{}", request.target);
                // One segment with any content, which decodes to the token.
                let path = request.target.split('?').next().unwrap();
                let last = path.split('/').nth(4).unwrap();
                prop_assert_eq!(path.split('/').count(), 5, "{}", path);
                let decoded = percent_encoding::percent_decode_str(last).decode_utf8().unwrap();
                prop_assert_eq!(decoded, token.as_str());
            }
            Ok(())
        },
    );
    assert!(raw.connections() <= Dialect::ALL.len(), "{} connections", raw.connections());
}

#[test]
fn any_status_url_is_signed_as_it_is_received() {
    let runtime = runtime();
    let next = Arc::new(Mutex::new(String::new()));
    let script = Arc::clone(&next);
    let raw = runtime.block_on(RawServer::start(move |request| {
        vec![Step::Send(if request.is_authenticate_user() {
            let url =
                format!("http://{}{}", request.header("host").unwrap(), script.lock().unwrap());
            session_at(&url, &url)
        } else {
            response("200 OK", &[], STATUS_ACTIVE)
        })]
    }));
    let clients = Dialect::ALL.map(|dialect| client(&raw.url(), dialect));
    let observed = AtomicUsize::new(0);
    check(256, &(dialects(), paths()), |(dialect, path)| {
        let position = Dialect::ALL.iter().position(|other| *other == dialect).unwrap();
        let client = &clients[position];
        *next.lock().unwrap() = path.clone();
        let read = runtime.block_on(async {
            let session = raw_server::authenticate(client).await.map_err(|error| error.kind())?;
            client.status(&session).await.map_err(|error| error.kind())
        });
        let requests = raw.requests();
        let new = &requests[observed.swap(requests.len(), SeqCst)..];
        match read {
            Ok(_) => {
                prop_assert_eq!(new.len(), 2);
                prop_assert!(new[1].is_signed(dialect, SESSION_SECRET), "{}", &new[1].target);
            }
            Err(kind) => {
                prop_assert_eq!(kind, ClientErrorKind::OriginMismatch, "{}", path);
                prop_assert_eq!(new.len(), 1);
            }
        }
        Ok(())
    });
}

/// T062: a million nonces from the operating system.
#[test]
fn million_nonces_are_unique() {
    let secret = Secret::new(APPLICATION_SECRET);
    // The number has no getter, so the test reads it from `Debug`.
    let mut observed = HashSet::with_capacity(1_000_000);
    let mut text = String::new();
    for _ in 0..1_000_000 {
        use std::fmt::Write as _;
        text.clear();
        write!(text, "{:?}", Nonce::random().unwrap()).unwrap();
        let number: u64 = text.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
        assert!(observed.insert(number));
    }
    // The drawn nonce is the sent nonce.
    for _ in 0..100 {
        let nonce = Nonce::random().unwrap();
        text = format!("{nonce:?}");
        let signed = sign(Dialect::default(), "a", &secret, "http://h/", nonce, 0);
        let [(name, value), ..] = signed.headers();
        assert_eq!(name, AUTHENTICATION_HEADER);
        assert_eq!(text, format!("Nonce({})", AuthenticationHeader::parse(value).unwrap().nonce));
    }
}

/// T062: calls and retries share no nonce, and thus no signature.
#[test]
fn each_retry_is_signed_again() {
    let runtime = runtime();
    let rejection = response("401 Unauthorized", &[("content-type", "application/json")], "{}");
    let raw = runtime.block_on(RawServer::start(move |_| vec![Step::Send(rejection.clone())]));
    let client = client(&raw.url(), Dialect::default());
    runtime.block_on(async {
        for _ in 0..500 {
            let _ = raw_server::authenticate(&client).await;
        }
    });
    let requests = raw.requests();
    assert_eq!(requests.len(), 1_000);
    let headers: HashSet<_> = requests.iter().map(|r| r.header(AUTHENTICATION_HEADER)).collect();
    let nonces: HashSet<_> = requests.iter().map(|r| r.authentication_header().nonce).collect();
    assert_eq!((headers.len(), nonces.len()), (1_000, 1_000));
}

/// A second implementation of the status reader by the rules of protocol.md, on a generic document.
/// It looks for reasons to deny; otherwise the status is active.
fn reference(text: &[u8]) -> bool {
    let Ok(Value::Object(top)) = serde_json::from_slice::<Value>(text) else { return false };
    let nested = match top.get("authentication_status") {
        None | Some(Value::Null) => None,
        Some(Value::Object(nested)) => Some(nested),
        Some(_) => return false,
    };
    let mut active = 0;
    for shape in [Some(&top), nested].into_iter().flatten() {
        match shape.get("authenticated") {
            None | Some(Value::Null | Value::Bool(true)) => {}
            Some(_) => return false,
        }
        match shape.get("session_status") {
            None | Some(Value::Null) => {}
            Some(Value::String(status)) if status == "active" => active += 1,
            Some(_) => return false,
        }
    }
    active > 0
}

/// Values that are almost valid.
fn values() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => Just(r#""active""#.to_owned()),
        2 => prop::sample::select(vec![
            r#""pending""#, r#""closed""#, r#""walkaway""#, r#""Active""#, r#"" active""#,
            r#""active ""#, r#""\u0061ctive""#, r#""active\u0000""#, r#""""#, r#""\ud800""#,
        ]).prop_map(str::to_owned),
        3 => prop::sample::select(vec!["true", "false", "null", "0", "1", "-1.5e3", "1e999"])
            .prop_map(str::to_owned),
        1 => prop::sample::select(vec!["", "nul", "tru", "'active'", "01", "\u{feff}1"])
            .prop_map(str::to_owned),
        1 => (1_usize..300).prop_map(|depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth))),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            3 => objects(inner.clone()),
            1 => prop::collection::vec(inner, 0..3).prop_map(|items| format!("[{}]", items.join(","))),
        ]
    })
}

fn objects(values: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "authentication_status",
        "authenticated",
        "session_status",
        "session_status",
        r"session\u005fstatus",
        "Session_status",
        "reason",
        "",
    ]);
    prop::collection::vec((key, values), 0..5).prop_map(|fields| {
        let fields: Vec<_> =
            fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    })
}

/// A document, sometimes with a byte added, removed or changed.
fn documents() -> impl Strategy<Value = Vec<u8>> {
    let document = prop_oneof![4 => objects(values()).boxed(), 1 => values().boxed()];
    let damage = prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>(), 0..3_u8));
    (document, damage).prop_map(|(text, damage)| {
        let mut bytes = text.into_bytes();
        if let Some((url_path, byte, kind)) = damage {
            let at = url_path.index(bytes.len() + 1);
            match (kind, bytes.get_mut(at)) {
                (0, Some(there)) => *there = byte,
                (1, Some(_)) => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}

/// T047-T049: the reader may reject what the reference accepts (a duplicate key), but not the
/// reverse.
#[test]
fn status_reader_is_as_strict_as_reference() {
    let (ours_said, reference_said) = (AtomicUsize::new(0), AtomicUsize::new(0));
    check(20_000, &documents(), |document| {
        let ours =
            from_json::<StatusResponse>(&document).ok().and_then(|response| response.reading());
        let reference = reference(&document);
        reference_said.fetch_add(usize::from(reference), SeqCst);
        if ours == Some(StatusReading::Status(SessionStatus::Active)) {
            ours_said.fetch_add(1, SeqCst);
            prop_assert!(reference, "{}", String::from_utf8_lossy(&document));
        }
        Ok(())
    });
    // Neither reader may reject everything, or the comparison would be empty.
    assert!(ours_said.load(SeqCst) > 100, "{ours_said:?} of {reference_said:?}");
    assert!(reference_said.load(SeqCst) > ours_said.load(SeqCst));
}
