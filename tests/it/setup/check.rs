//! `Activeconnect::check` for a setup with each mistake.

use activeconnect_emulator::Emulator;
use axum::Router;
use axum::routing::get;
use tower_activeconnect::Activeconnect;
use tower_activeconnect::client::ClientErrorKind;
use tower_activeconnect::setup::{ClockFinding, RoutesFinding, ServiceFinding, TokenStoreFinding};
use tower_activeconnect::store::StoreErrorKind;

use super::fixture::{HangingStore, StoppedStore, with_wrong_secret, without_service};
use crate::support::{Browser, builder, credentials, serve};

fn app(ac: &Activeconnect) -> Router {
    Router::new().route("/", get(async || "in")).layer(ac.layer())
}

fn found(report: &impl ToString, line: &str) -> bool {
    report.to_string().lines().any(|printed| printed.starts_with(line))
}

#[tokio::test]
async fn good_setup_is_ok() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    let browser = Browser::new(&serve(app(&ac).nest("/auth", ac.routes())).await);
    let report = ac.check().await;
    assert!(report.is_ok(), "{report}");
    assert_eq!(report.server, emulator.url());
    assert_eq!(report.routes, RoutesFinding::NotSeen);
    assert!(found(&report, "unknown  routes: no request has reached them yet"), "{report}");
    assert_eq!(browser.page("/auth/login").await.status(), 200);
    let report = ac.check().await;
    assert!(report.is_ok(), "{report}");
    assert!(matches!(report.service, ServiceFinding::Accepted));
    assert!(matches!(report.clock, ClockFinding::Accepted { ahead_secs: -1..=1 }));
    assert!(matches!(report.token_store, TokenStoreFinding::Answers));
    assert_eq!(report.routes, RoutesFinding::AtAuthPath);
    let printed = report.to_string();
    assert_eq!(printed.lines().count(), 4, "{printed}");
    assert!(printed.lines().all(|line| line.starts_with("ok       ")), "{printed}");
    assert!(printed.contains("routes: they are at /auth"), "{printed}");
    // The check changed nothing at the service.
    assert_eq!(emulator.state().users.len(), 0);
}

#[tokio::test]
async fn wrong_secret_is_found() {
    let emulator = Emulator::start().await.unwrap();
    let ac = with_wrong_secret(&emulator).await;
    let report = ac.check().await;
    assert!(!report.is_ok());
    let ServiceFinding::Rejected(error) = &report.service else { panic!("{report}") };
    assert_eq!(error.kind(), ClientErrorKind::SignatureRejected);
    assert!(matches!(report.clock, ClockFinding::Accepted { .. }), "{report}");
    assert!(found(&report, "FAULT    service: the service rejected the signature"), "{report}");
    assert!(!report.to_string().contains("wrong-secret"));
}

#[tokio::test]
async fn unreachable_service_is_found() {
    let (ac, url) = without_service().await;
    let report = ac.check().await;
    assert!(!report.is_ok());
    let ServiceFinding::Unreachable(error) = &report.service else { panic!("{report}") };
    assert_eq!(error.kind(), ClientErrorKind::Unreachable);
    let line = format!("FAULT    service: the service at {url} cannot be reached");
    assert!(found(&report, &line), "{report}");
    assert_eq!(report.clock, ClockFinding::Unknown);
    assert!(found(&report, "unknown  clock: no answer says the time"), "{report}");
}

#[tokio::test]
async fn clock_offset_is_found() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    emulator.set_clock_offset(120);
    let report = ac.check().await;
    assert!(report.is_ok(), "{report}");
    assert!(matches!(report.clock, ClockFinding::Accepted { ahead_secs: 119..=121 }), "{report}");
    emulator.set_clock_offset(-4_000);
    let report = ac.check().await;
    assert!(!report.is_ok());
    let ClockFinding::Off { ahead_secs: -4_001..=-3_999 } = report.clock else {
        panic!("{report}")
    };
    assert!(found(&report, "FAULT    clock: the service is -"), "{report}");
    assert!(report.to_string().contains("set this machine's clock"), "{report}");
}

#[tokio::test]
async fn failing_token_store_is_found() {
    let emulator = Emulator::start().await.unwrap();
    let stopped = Activeconnect::builder(credentials(&emulator)).token_store(StoppedStore);
    let hanging = Activeconnect::builder(credentials(&emulator)).token_store(HangingStore);
    for (builder, actual) in [(stopped, "connection refused"), (hanging, "did not answer in time")]
    {
        let report = builder.build().unwrap().check().await;
        assert!(!report.is_ok());
        let TokenStoreFinding::Fails(error) = &report.token_store else { panic!("{report}") };
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(found(&report, "FAULT    token store: the store cannot be reached"), "{report}");
        assert!(report.to_string().contains(actual), "{report}");
        assert!(matches!(report.service, ServiceFinding::Accepted), "{report}");
    }
}

#[tokio::test]
async fn misplaced_routes_are_found() {
    let emulator = Emulator::start().await.unwrap();
    let ac = builder(&emulator).build().unwrap();
    let report = ac.check().await;
    assert!(report.is_ok() && report.routes == RoutesFinding::NotMade, "{report}");

    let gated = app(&ac);
    let report = ac.check().await;
    assert!(!report.is_ok() && report.routes == RoutesFinding::Forgotten, "{report}");
    assert!(report.to_string().contains(r#"add .nest("/auth", ac.routes())"#), "{report}");

    let browser = Browser::new(&serve(gated.nest("/login", ac.routes())).await);
    assert_eq!(browser.page("/login/login").await.status(), 200);
    let report = ac.check().await;
    let elsewhere = RoutesFinding::Elsewhere { nested_at: "/login".to_owned() };
    assert!(!report.is_ok() && report.routes == elsewhere, "{report}");
    assert!(found(&report, r#"FAULT    routes: they are at "/login", and"#), "{report}");
}

/// A stripped prefix is not part of the nesting path.
#[tokio::test]
async fn routes_under_a_stripped_prefix_are_ok() {
    let emulator = Emulator::start().await.unwrap();
    for auth_path in ["/auth", "/app/auth"] {
        let builder = builder(&emulator).mount_prefix("/app").auth_path(auth_path);
        let ac = builder.build().unwrap();
        let browser = Browser::new(&serve(app(&ac).nest("/auth", ac.routes())).await);
        assert_eq!(browser.page("/auth/login").await.status(), 200);
        let report = ac.check().await;
        assert!(report.is_ok() && report.routes == RoutesFinding::AtAuthPath, "{report}");
    }
}
