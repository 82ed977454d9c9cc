//! Errors as `main` prints them.

use std::error::Error;

use activeconnect_emulator::{Action, Emulator};
use tower_activeconnect::client::BearerLogin;
use tower_activeconnect::protocol::{AuthMethods, Dialect};
use tower_activeconnect::session::SessionId;
use tower_activeconnect::store::StoreError;
use tower_activeconnect::{Activeconnect, Credentials, UserToken};

use super::fixture::{StoppedStore, without_service};
use crate::support::credentials;

fn assert_message(error: &dyn Error) {
    let (debug, message) = (format!("{error:?}"), error.to_string());
    assert!(debug.starts_with(&message), "{debug} does not say: {message}");
    if let Some(source) = error.source() {
        assert!(!message.contains(&source.to_string()), "{message} repeats: {source}");
    }
}

#[tokio::test]
async fn debug_of_errors_has_the_message() {
    let emulator = Emulator::start().await.unwrap();
    let credentials = credentials(&emulator);
    let broken = Activeconnect::builder(credentials.clone()).token_store(StoppedStore).build();
    let broken = broken.unwrap();
    let (unreachable, url) = without_service().await;
    let alice = "alice".into();

    assert_message(&Credentials::new("", "secret").unwrap_err());
    assert_message(&Credentials::new("id", "secret").unwrap().with_server("no url").unwrap_err());
    assert_message(&Activeconnect::builder(credentials).build().unwrap_err());
    assert_message(&broken.log_in(&alice).await.unwrap_err());
    assert_message(&broken.enroll(&alice).await.unwrap_err());
    assert_message(&broken.sessions(&alice).await.unwrap_err());
    let id: SessionId = "-_v7-_v7-_v7-_v7-_v7-w".parse().unwrap();
    assert_message(&broken.end_session(&alice, &id).await.unwrap_err());
    assert_message(&unreachable.enroll(&"bob".into()).await.unwrap_err());
    assert_message(&BearerLogin::new("ftp://host/auth").unwrap_err());
    let login = BearerLogin::new(&format!("{url}/auth")).unwrap();
    assert_message(&login.start("alice").await.unwrap_err());
    assert_message(&StoreError::new("the disk is gone"));
    assert_message(&UserToken::new("").unwrap_err());
    assert_message(&"x".parse::<SessionId>().unwrap_err());
    assert_message(&"x".parse::<Dialect>().unwrap_err());
    assert_message(&"x".parse::<AuthMethods>().unwrap_err());
    assert_message(&"x".parse::<Action>().unwrap_err());
    assert_message(&emulator.act("nobody", Action::Approve).unwrap_err());
    let address = emulator.url().trim_start_matches("http://");
    let error = Emulator::builder().listen(address).start().await.unwrap_err();
    assert_message(&error);
    assert!(format!("{error:?}").contains(address), "{error:?}");

    // The causes are there, too, such as the message of the operating system.
    let error = format!("{:?}", unreachable.log_in(&alice).await.unwrap_err());
    assert!(error.contains(&url) && error.contains("refused"), "{error}");
}
#[tokio::test]
async fn database_that_cannot_be_opened_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("missing/app.db");
    let url = format!("sqlite:{}", file.display());
    let error = tower_activeconnect_sqlx::SqliteTokenStore::open(&url).await.unwrap_err();
    assert_eq!(error.kind(), tower_activeconnect::store::StoreErrorKind::Unavailable);
    assert!(format!("{error:?}").contains(&format!("{file:?} cannot be opened: ")), "{error:?}");
    assert_message(&error);
}
