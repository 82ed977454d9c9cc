//! The client against the emulator: every call, in all dialects and both forms of the status.

use std::time::Duration;

use activeconnect_emulator::{AcceptedDialects, Action, Emulator};
use tower_activeconnect::client::{AuthenticationRequest, Client, ClientErrorKind};
use tower_activeconnect::protocol::StatusReading;
use tower_activeconnect::protocol::{AuthMethod, Dialect, SessionStatus};
use tower_activeconnect::{Credentials, Secret, UserToken};

fn client(emulator: &Emulator, dialect: Dialect) -> Client {
    let secret = emulator.application_secret().clone();
    client_as(emulator, dialect, emulator.application_id(), secret)
}

fn client_as(emulator: &Emulator, dialect: Dialect, id: &str, secret: Secret) -> Client {
    let credentials = Credentials::new(id, secret).unwrap().with_dialect(dialect);
    Client::new(credentials.with_server(emulator.url()).unwrap()).unwrap()
}

fn accepted(dialect: Dialect) -> AcceptedDialects {
    match dialect {
        Dialect::Activeconnect => AcceptedDialects::Activeconnect,
        Dialect::Iampass => AcceptedDialects::Iampass,
        _ => AcceptedDialects::Documented,
    }
}

#[tokio::test]
async fn every_call_in_all_dialects_and_both_shapes() {
    for dialect in Dialect::ALL {
        for flat in [false, true] {
            let builder = Emulator::builder().dialect(accepted(dialect)).flat_status(flat);
            let emulator = builder.start().await.unwrap();
            every_call(&emulator, &client(&emulator, dialect), dialect).await;
            let rejected = emulator.state().rejected;
            assert_eq!((rejected.signature, rejected.timestamp, rejected.nonce), (0, 0, 0));
        }
    }
}

async fn every_call(emulator: &Emulator, client: &Client, dialect: Dialect) {
    let (alice, bob) = (UserToken::random().unwrap(), UserToken::random().unwrap());
    let added = client.add_users(&[alice.clone(), bob.clone()]).await.unwrap();
    assert_eq!(added.created, [alice.as_str(), bob.as_str()]);
    let added = client.add_users(std::slice::from_ref(&alice)).await.unwrap();
    assert_eq!((added.created.len(), added.existing), (0, vec![alice.as_str().to_owned()]));

    assert!(!client.has_registered_mobile_device(&alice).await.unwrap());
    let options = AuthenticationRequest::default()
        .with_methods([AuthMethod::Device, AuthMethod::Facial])
        .with_duration(Duration::from_secs(600));
    let rejected = client.authenticate_user(&alice, &options).await.unwrap_err();
    assert_eq!(rejected.kind(), ClientErrorKind::NoMobileDevice);
    let link = client.device_registration_link(&alice, Some("Alice é+/ %&?#")).await.unwrap();
    assert!(link.expose().starts_with(emulator.url()));
    emulator.register_device(alice.as_str()).unwrap();
    assert!(client.has_registered_mobile_device(&alice).await.unwrap());
    client.send_registration_sms(&bob, "+15551234567", Some("Bob"), None).await.unwrap();
    let rejected = client.send_registration_sms(&bob, "nonsense", None, None).await.unwrap_err();
    assert_eq!(rejected.kind(), ClientErrorKind::Rejected);

    let session = client.authenticate_user(&alice, &options).await.unwrap();
    let report = emulator.state().sessions.remove(0);
    assert_eq!(report.methods.len(), 2);
    let lifetime = report.expires_at - report.created_at;
    assert_eq!(lifetime, if dialect.takes_duration() { 600 } else { 3600 });
    let is = async |status| {
        assert_eq!(client.status(&session).await.unwrap(), StatusReading::Status(status));
    };
    is(SessionStatus::Pending).await;
    for (action, status) in [
        (Action::Identify, SessionStatus::Identifying),
        (Action::Approve, SessionStatus::Active),
        (Action::WalkAway, SessionStatus::Walkaway),
        (Action::Return, SessionStatus::Active),
    ] {
        emulator.act(alice.as_str(), action).unwrap();
        is(status).await;
    }
    client.logout(&session).await.unwrap();
    is(SessionStatus::Closed).await;

    assert!(client.lost_user_mobile_device(&alice).await.is_ok());
    assert!(!client.has_registered_mobile_device(&alice).await.unwrap());
    client.delete_users(&[alice.clone(), bob]).await.unwrap();
    let error = client.has_registered_mobile_device(&alice).await.unwrap_err();
    assert_eq!(error.kind(), ClientErrorKind::UnknownUser);
}

#[tokio::test]
async fn special_characters_stay_in_one_path_segment() {
    let emulator = Emulator::start().await.unwrap();
    for dialect in Dialect::ALL {
        let client = client(&emulator, dialect);
        for odd in ["a/b", "a b", "a+b", "a%b", "%2F", "é", "x?y#z", "...", "a:b", "日本", "'\"<>"]
        {
            let odd = UserToken::new(odd).unwrap();
            client.add_users(std::slice::from_ref(&odd)).await.unwrap();
            client.device_registration_link(&odd, Some(odd.as_str())).await.unwrap();
            emulator.register_device(odd.as_str()).unwrap();
            let session =
                client.authenticate_user(&odd, &AuthenticationRequest::default()).await.unwrap();
            let newest = emulator.state().sessions.pop().unwrap();
            assert_eq!(
                (newest.user_id.as_str(), newest.session_token.as_str()),
                (odd.as_str(), session.token())
            );
            client.delete_users(&[odd]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn service_rejections_have_distinct_kinds() {
    let emulator = Emulator::start().await.unwrap();
    let token = UserToken::random().unwrap();
    let tokens = std::slice::from_ref(&token);
    let dialect = Dialect::default();
    let kind = async |client: Client| client.add_users(tokens).await.unwrap_err().kind();
    let wrong =
        client_as(&emulator, dialect, emulator.application_id(), Secret::new("x".repeat(24)));
    assert_eq!(kind(wrong).await, ClientErrorKind::SignatureRejected);
    let unknown = client_as(&emulator, dialect, "nobody", emulator.application_secret().clone());
    assert_eq!(kind(unknown.clone()).await, ClientErrorKind::UnknownApplication);
    let of_a_user = unknown.has_registered_mobile_device(&token).await.unwrap_err();
    assert_eq!(of_a_user.kind(), ClientErrorKind::UnknownApplication);
    let known = client(&emulator, dialect);
    let options = AuthenticationRequest::default();
    let unknown_user = known.authenticate_user(&token, &options).await.unwrap_err();
    assert_eq!(unknown_user.kind(), ClientErrorKind::UnknownUser);
    let (id, secret) =
        (emulator.application_id().to_owned(), emulator.application_secret().clone());
    let url = emulator.url().to_owned();
    drop(emulator);
    let credentials = Credentials::new(id, secret).unwrap().with_server(&url).unwrap();
    let unreachable = Client::new(credentials).unwrap();
    // The emulator stops in the background.
    loop {
        let error = unreachable.add_users(tokens).await;
        if error.is_err_and(|error| error.kind() == ClientErrorKind::Unreachable) {
            break;
        }
        tokio::task::yield_now().await;
    }
}
