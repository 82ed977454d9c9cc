// What docs/rustdoc defines comes first, so that it takes the place of the relative links.
#![cfg_attr(all(doc, feature = "axum"), doc = include_str!("../docs/rustdoc/links.md"))]
#![cfg_attr(all(doc, feature = "axum"), doc = include_str!("../docs/rustdoc/images.md"))]
#![cfg_attr(feature = "axum", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "axum"),
    doc = "Session gating for Tower services whose users log in with their phone."
)]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "layer")]
mod accept;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "client")]
mod clock;
#[cfg(feature = "layer")]
#[cfg_attr(
    not(feature = "axum"),
    allow(dead_code, unused_imports, reason = "the routes of axum log browsers in")
)]
mod engine;
#[cfg(feature = "layer")]
mod enrollment;
mod error_debug;
#[cfg(feature = "layer")]
mod events;
#[cfg(all(any(doc, doctest), feature = "layer"))]
pub mod guides;
mod identity;
#[cfg(feature = "layer")]
mod layer;
#[cfg(feature = "layer")]
#[cfg_attr(
    not(feature = "axum"),
    allow(dead_code, unused_imports, reason = "the routes of axum log browsers in")
)]
mod login;
#[cfg(feature = "layer")]
mod moments;
#[cfg(feature = "axum")]
pub mod pages;
#[cfg(feature = "layer")]
mod polling;
pub mod protocol;
mod rng_error;
#[cfg(feature = "client")]
mod runtime;
mod secret;
#[cfg(feature = "layer")]
#[cfg_attr(
    not(feature = "axum"),
    allow(dead_code, unused_imports, reason = "the routes of axum log browsers in")
)]
mod session;
#[cfg(feature = "layer")]
mod store;
#[cfg(feature = "layer")]
mod sync;
#[cfg(feature = "layer")]
mod verdict;
#[cfg(feature = "axum")]
mod web;

#[cfg(feature = "tonic")]
pub use client::BearerInterceptor;
#[cfg(feature = "client")]
pub use client::{
    AddedUsers, AuthenticationRequest, BearerAttempt, BearerLogin, BearerLoginError,
    BearerLoginErrorKind, Client, ClientError, ClientErrorKind, Credentials, CredentialsError,
    LoginProgress, RemoteSession, SecretText,
};
#[cfg(feature = "layer")]
pub use engine::{
    ActiveSession, Activeconnect, ActiveconnectBuilder, Authorization, BuildError, ClockFinding,
    EndAllSessions, EndReason, EndSessionError, EnrollNewError, EnrollmentError, EnrollmentGrant,
    Event, EventKind, Events, Fault, ForwardedHeader, Health, InvalidSessionIdError, Limit,
    LoginError, LoginLimits, LogoutOutcome, MakeRegistrationLink, OwnerId, RateLimit,
    RegistrationLink, RoutesFinding, SendRegistrationSms, ServiceFinding, SessionGuard, SessionId,
    SessionInfo, SetupReport, TokenStoreFinding, Walkaway,
};
pub use identity::{InvalidUserTokenError, SessionCredential, SessionKey, UserId, UserToken};
/// A network, for [`ActiveconnectBuilder::trusted_proxies`].
#[cfg(feature = "layer")]
pub use ipnet::IpNet;
#[cfg(feature = "layer")]
pub use layer::{
    ActiveconnectLayer, ActiveconnectService, BoxError, CacheControl, GateBody, GateFuture,
    SessionRevoked, UploadBody, UploadGuard, UploadGuardLayer,
};
#[cfg(feature = "axum")]
pub use pages::{Logo, Theme};
pub use protocol::{AuthMethod, AuthMethods, Dialect, SessionStatus};
pub use rng_error::RngError;
pub use secret::Secret;
#[cfg(feature = "layer")]
pub use store::{MemoryTokenStore, StoreError, StoreErrorKind, TokenStore};
#[cfg(feature = "layer")]
pub use verdict::{Denial, Verdict};
#[cfg(feature = "axum")]
pub use web::ActiveSessionRejection;
#[cfg(feature = "ws")]
pub use web::GuardedSocket;
#[cfg(all(feature = "axum", unix))]
pub use web::UnixPeer;
