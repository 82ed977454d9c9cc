//! Every fault of the service in every call: a typed error within the deadline, and no call to
//! another server.

use std::time::{Duration, Instant};

use activeconnect_emulator::{Emulator, Endpoint, Fault, FaultKind, FaultRoute};
use reqwest::StatusCode;
use tokio::net::TcpListener;
use tower_activeconnect::client::{
    AuthenticationRequest, Client, ClientError, ClientErrorKind, RemoteSession,
};
use tower_activeconnect::protocol::SessionStatus;
use tower_activeconnect::protocol::StatusReading;
use tower_activeconnect::{Credentials, UserToken};

const CALLS: [Endpoint; 9] = [
    Endpoint::AddUsers,
    Endpoint::DeleteUsers,
    Endpoint::DeviceRegistrationLink,
    Endpoint::HasRegisteredMobileDevice,
    Endpoint::LostUserMobileDevice,
    Endpoint::SendRegistrationSms,
    Endpoint::AuthenticateUser,
    Endpoint::Status,
    Endpoint::Logout,
];

struct Site {
    emulator: Emulator,
    client: Client,
    token: UserToken,
    session: RemoteSession,
    /// The other origin that a fault may name; it must receive nothing.
    elsewhere: TcpListener,
}

impl Site {
    async fn new() -> Self {
        let emulator = Emulator::start().await.unwrap();
        let (id, secret) = (emulator.application_id(), emulator.application_secret().clone());
        let credentials =
            Credentials::new(id, secret).unwrap().with_server(emulator.url()).unwrap();
        let client = Client::new(credentials).unwrap();
        let token = UserToken::random().unwrap();
        client.add_users(std::slice::from_ref(&token)).await.unwrap();
        emulator.register_device(token.as_str()).unwrap();
        let session =
            client.authenticate_user(&token, &AuthenticationRequest::default()).await.unwrap();
        let port = emulator.url().rsplit(':').next().unwrap();
        let elsewhere = TcpListener::bind(format!("127.0.0.2:{port}")).await.unwrap();
        Self { emulator, client, token, session, elsewhere }
    }

    async fn call(&self, call: Endpoint) -> Result<(), ClientError> {
        let Self { client, token, session, .. } = self;
        match call {
            Endpoint::AddUsers => client.add_users(std::slice::from_ref(token)).await.map(drop),
            // Another user, so that this one stays.
            Endpoint::DeleteUsers => {
                client.delete_users(&[UserToken::new("nobody").unwrap()]).await
            }
            Endpoint::DeviceRegistrationLink => {
                client.device_registration_link(token, Some("Alice")).await.map(drop)
            }
            Endpoint::HasRegisteredMobileDevice => {
                client.has_registered_mobile_device(token).await.map(drop)
            }
            Endpoint::LostUserMobileDevice => client.lost_user_mobile_device(token).await.map(drop),
            Endpoint::SendRegistrationSms => {
                client.send_registration_sms(token, "+15551234567", None, None).await
            }
            Endpoint::AuthenticateUser => {
                client.authenticate_user(token, &AuthenticationRequest::default()).await.map(drop)
            }
            Endpoint::Status => client.status(session).await.map(drop),
            Endpoint::Logout => client.logout(session).await,
            other => unreachable!("{other:?}"),
        }
    }

    /// The kind of the error that the fault causes, within the call's deadline.
    async fn call_with_fault(&self, call: Endpoint, kind: FaultKind) -> ClientErrorKind {
        self.emulator.clear_faults();
        self.emulator.inject_fault(Fault::new(call, kind));
        let deadline = Duration::from_secs(if call == Endpoint::Status { 3 } else { 5 });
        let started_at = Instant::now();
        let error = self.call(call).await.unwrap_err();
        assert!(started_at.elapsed() < deadline + Duration::from_secs(1), "{call:?} {kind:?}");
        error.kind()
    }
}

#[tokio::test]
async fn each_fault_of_each_call_is_a_typed_error() {
    let site = Site::new().await;
    for call in CALLS {
        for (kind, expected) in [
            (FaultKind::Reset, ClientErrorKind::Unreachable),
            (FaultKind::Truncate, ClientErrorKind::Unreachable),
            (FaultKind::Garbage, ClientErrorKind::InvalidResponse),
            (FaultKind::Oversize, ClientErrorKind::InvalidResponse),
            (FaultKind::Redirect, ClientErrorKind::InvalidResponse),
        ] {
            assert_eq!(site.call_with_fault(call, kind).await, expected, "{call:?} {kind:?}");
        }
        let of_404 = match call {
            Endpoint::AddUsers | Endpoint::DeleteUsers => ClientErrorKind::UnknownApplication,
            Endpoint::Status | Endpoint::Logout => ClientErrorKind::UnknownSession,
            _ => ClientErrorKind::UnknownUser,
        };
        let pause = Some(Duration::from_secs(7));
        for (status, retry_after_s, expected) in [
            (400, None, ClientErrorKind::InvalidResponse),
            (401, None, ClientErrorKind::SignatureRejected),
            (403, None, ClientErrorKind::SignatureRejected),
            (404, None, of_404),
            (410, None, of_404),
            (429, Some(7), ClientErrorKind::RateLimited(pause)),
            (429, None, ClientErrorKind::RateLimited(None)),
            (500, None, ClientErrorKind::ServerError(500)),
            (503, Some(1), ClientErrorKind::ServerError(503)),
            (204, None, ClientErrorKind::InvalidResponse),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let kind = FaultKind::Http { status, retry_after_s };
            assert_eq!(site.call_with_fault(call, kind).await, expected, "{call:?} {status}");
        }
    }
    let connection = tokio::time::timeout(Duration::ZERO, site.elsewhere.accept()).await;
    assert!(connection.is_err(), "a redirect was followed");
}

#[tokio::test]
async fn hanging_service_times_out() {
    let site = Site::new().await;
    site.emulator.inject_fault(Fault::new(FaultRoute::All, FaultKind::Hang));
    let call_with_fault = CALLS.map(|call| {
        let site = &site;
        async move {
            let started_at = Instant::now();
            let error = site.call(call).await.unwrap_err();
            assert_eq!(error.kind(), ClientErrorKind::TimedOut, "{call:?}");
            let deadline = if call == Endpoint::Status { 3.0 } else { 5.0 };
            let took = started_at.elapsed().as_secs_f64();
            assert!((deadline..deadline + 1.0).contains(&took), "{call:?} took {took} s");
        }
    });
    futures_util::future::join_all(call_with_fault).await;
}

#[tokio::test]
async fn urls_of_another_origin_are_never_called() {
    let site = Site::new().await;
    let rejected = site.call_with_fault(Endpoint::AuthenticateUser, FaultKind::ForeignUrls).await;
    assert_eq!(rejected, ClientErrorKind::OriginMismatch);
    let connection = tokio::time::timeout(Duration::ZERO, site.elsewhere.accept()).await;
    assert!(connection.is_err());
}

#[tokio::test]
async fn unknown_status_is_inconsistent() {
    let site = Site::new().await;
    site.emulator.inject_fault(Fault::new(Endpoint::Status, FaultKind::UnknownStatus));
    assert_eq!(site.client.status(&site.session).await.unwrap(), StatusReading::Inconsistent);
    site.emulator.clear_faults();
    let late =
        Fault::new(Endpoint::Status, FaultKind::Delay).with_delay(Duration::from_millis(300));
    site.emulator.inject_fault(late);
    let reading = site.client.status(&site.session).await.unwrap();
    assert_eq!(reading, StatusReading::Status(SessionStatus::Pending));
}

#[tokio::test]
async fn clock_offset_is_corrected_or_reported() {
    let site = Site::new().await;
    let rejected = || site.emulator.state().rejected.timestamp;
    for offset in [250, -250] {
        // The service does not accept such an offset from other clients.
        let strict = Emulator::builder().clock_tolerance(Duration::from_secs(5));
        let emulator = strict.start().await.unwrap();
        emulator.set_clock_offset(offset);
        let (id, secret) = (emulator.application_id(), emulator.application_secret().clone());
        let credentials =
            Credentials::new(id, secret).unwrap().with_server(emulator.url()).unwrap();
        let client = Client::new(credentials).unwrap();
        let token = UserToken::random().unwrap();
        client.add_users(std::slice::from_ref(&token)).await.unwrap();
        assert_eq!(emulator.state().rejected.timestamp, 1);
        // The client keeps the learned offset.
        client.has_registered_mobile_device(&token).await.unwrap();
        assert_eq!(emulator.state().rejected.timestamp, 1);
    }
    for offset in [3_600, -3_600] {
        site.emulator.set_clock_offset(offset);
        let before = rejected();
        let error = site.call(Endpoint::AddUsers).await.unwrap_err();
        let ClientErrorKind::ClockSkew(ahead) = error.kind() else { panic!("{error}") };
        assert!((ahead - offset).abs() <= 1, "{ahead} s for {offset} s");
        assert_eq!(rejected(), before + 1, "no second try with a clock that is not believed");
    }
}
