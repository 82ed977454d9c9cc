//! What holds for any path, query, token and answer.

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

use crate::support::raw::{
    self, APPLICATION_SECRET, Raw, SESSION_SECRET, STATUS_ACTIVE, Step, answer, client, session_at,
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

/// Tokens of any characters, those that URLs treat specially among them.
fn tokens() -> impl Strategy<Value = UserToken> {
    let special = "[ +%/?#:;@&=.,'\"<>\\\\^`{|}~!$()*\\[\\]é日\u{10ffff}a-zA-Z0-9_-]{1,40}";
    prop_oneof![special.boxed(), "\\PC{1,60}".boxed(), "(\\.|%2[eEfF]|/){1,9}".boxed()]
        .prop_filter_map("no token", |text| UserToken::new(&text).ok())
}

/// Paths and queries in which a service may put a session's name; it may write what it likes.
fn paths() -> impl Strategy<Value = String> {
    let segment = "([a-zA-Z0-9._~!$&'()*+,;=:@-]|%[0-9a-fA-F]{2}|[|^`{}\\[\\]\"<>]){0,12}";
    let path = prop::collection::vec(segment, 1..5).prop_map(|s| format!("/{}", s.join("/")));
    (path, prop::option::of(segment)).prop_map(|(path, query)| match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    })
}

/// T066, T067: the service signs what it received, and comes to the same signature.
#[test]
fn any_token_and_query_is_signed_as_it_is_received() {
    let runtime = runtime();
    let raw = runtime.block_on(Raw::start(|_| vec![Step::Send(answer("200 OK", &[], "{}"))]));
    let clients = Dialect::ALL.map(|dialect| client(&raw.url(), dialect));
    let seen = AtomicUsize::new(0);
    check(
        256,
        &(dialects(), tokens(), methods(), "\\PC{0,20}"),
        |(dialect, token, methods, name)| {
            let position = Dialect::ALL.iter().position(|other| *other == dialect).unwrap();
            let client = &clients[position];
            let duration = Some(std::time::Duration::from_secs(60));
            runtime.block_on(async {
                let asked = AuthenticationRequest { methods, duration };
                let _ = client.authenticate_user(&token, &asked).await;
                let _ = client.device_registration_link(&token, Some(&name)).await;
            });
            let requests = raw.requests();
            let new = &requests[seen.swap(requests.len(), SeqCst)..];
            prop_assert_eq!(new.len(), 2);
            for request in new {
                prop_assert!(request.is_signed(dialect, APPLICATION_SECRET), "{}", request.target);
                // A service may read `+` as a space.
                prop_assert!(!request.target.contains('+'), "{}", request.target);
                // One segment, whatever it holds; and the token itself once decoded.
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
    let raw = runtime.block_on(Raw::start(move |request| {
        vec![Step::Send(if request.asks_for_a_session() {
            let url =
                format!("http://{}{}", request.header("host").unwrap(), script.lock().unwrap());
            session_at(&url, &url)
        } else {
            answer("200 OK", &[], STATUS_ACTIVE)
        })]
    }));
    let clients = Dialect::ALL.map(|dialect| client(&raw.url(), dialect));
    let seen = AtomicUsize::new(0);
    check(256, &(dialects(), paths()), |(dialect, path)| {
        let position = Dialect::ALL.iter().position(|other| *other == dialect).unwrap();
        let client = &clients[position];
        *next.lock().unwrap() = path.clone();
        let read = runtime.block_on(async {
            let session = raw::authenticate(client).await.map_err(|error| error.kind())?;
            client.status(&session).await.map_err(|error| error.kind())
        });
        let requests = raw.requests();
        let new = &requests[seen.swap(requests.len(), SeqCst)..];
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

/// T062: drawn from the operating system, a million times.
#[test]
fn million_nonces_are_unique() {
    let secret = Secret::new(APPLICATION_SECRET);
    // The number has no reader of its own: it is taken from what `Debug` shows.
    let mut seen = HashSet::with_capacity(1_000_000);
    let mut text = String::new();
    for _ in 0..1_000_000 {
        use std::fmt::Write as _;
        text.clear();
        write!(text, "{:?}", Nonce::random().unwrap()).unwrap();
        let number: u64 = text.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
        assert!(seen.insert(number));
    }
    // And what is drawn is what is sent.
    for _ in 0..100 {
        let nonce = Nonce::random().unwrap();
        text = format!("{nonce:?}");
        let signed = sign(Dialect::default(), "a", &secret, "http://h/", nonce, 0);
        let [(name, value), ..] = signed.headers();
        assert_eq!(name, AUTHENTICATION_HEADER);
        assert_eq!(text, format!("Nonce({})", AuthenticationHeader::parse(value).unwrap().nonce));
    }
}

/// T062: neither calls nor second tries share a nonce, and so no signature either.
#[test]
fn each_try_is_signed_anew() {
    let runtime = runtime();
    let refusal = answer("401 Unauthorized", &[("content-type", "application/json")], "{}");
    let raw = runtime.block_on(Raw::start(move |_| vec![Step::Send(refusal.clone())]));
    let client = client(&raw.url(), Dialect::default());
    runtime.block_on(async {
        for _ in 0..500 {
            let _ = raw::authenticate(&client).await;
        }
    });
    let requests = raw.requests();
    assert_eq!(requests.len(), 1_000);
    let headers: HashSet<_> = requests.iter().map(|r| r.header(AUTHENTICATION_HEADER)).collect();
    let nonces: HashSet<_> = requests.iter().map(|r| r.presented().nonce).collect();
    assert_eq!((headers.len(), nonces.len()), (1_000, 1_000));
}

/// The status reader once more, by the rules of protocol.md on a generic document. It looks for
/// reasons to deny; whatever is left is active.
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

/// Values that nearly are what belongs there.
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

/// A document, now and then with a byte too many, too few or another.
fn documents() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop_oneof![4 => objects(values()).boxed(), 1 => values().boxed()];
    let damage = prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>(), 0..3_u8));
    (whole, damage).prop_map(|(text, damage)| {
        let mut bytes = text.into_bytes();
        if let Some((place, byte, kind)) = damage {
            let at = place.index(bytes.len() + 1);
            match (kind, bytes.get_mut(at)) {
                (0, Some(there)) => *there = byte,
                (1, Some(_)) => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}

/// T047-T049: ours may refuse what the reference takes (a key that stands twice), never the other
/// way round.
#[test]
fn status_reader_is_as_strict_as_reference() {
    let (ours_said, reference_said) = (AtomicUsize::new(0), AtomicUsize::new(0));
    check(20_000, &documents(), |document| {
        let ours = from_json::<StatusResponse>(&document).ok().and_then(|answer| answer.reading());
        let reference = reference(&document);
        reference_said.fetch_add(usize::from(reference), SeqCst);
        if ours == Some(StatusReading::Status(SessionStatus::Active)) {
            ours_said.fetch_add(1, SeqCst);
            prop_assert!(reference, "{}", String::from_utf8_lossy(&document));
        }
        Ok(())
    });
    // Neither reader refuses all, or nothing would have been compared.
    assert!(ours_said.load(SeqCst) > 100, "{ours_said:?} of {reference_said:?}");
    assert!(reference_said.load(SeqCst) > ours_said.load(SeqCst));
}
