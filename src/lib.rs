#![cfg_attr(all(feature = "axum", feature = "sqlite"), doc = include_str!("../README.md"))]
#![cfg_attr(
    not(all(feature = "axum", feature = "sqlite")),
    doc = "Session gating for Tower services whose users log in with their phone."
)]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
// The engine serves browsers through the routes of the `axum` feature; without it, and without
// the layer, parts of the lower floors are there for nobody.
#![cfg_attr(not(feature = "axum"), allow(dead_code, unused_imports))]

/// The recipes of the documentation, compiled.
#[cfg(all(doctest, feature = "ws"))]
#[doc = include_str!("../docs/in-flight.md")]
struct Recipes;

#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../docs/behind-a-proxy.md")]
struct ProxyDoctests;

#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../docs/pages.md")]
struct PageDoctests;

#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../docs/single-page-application.md")]
struct OtherOriginDoctests;

#[cfg(all(doctest, feature = "layer"))]
#[doc = include_str!("../docs/push-fatigue.md")]
struct PushFatigueDoctests;

#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../docs/session-lifetimes.md")]
struct SessionLifetimeDoctests;

#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../docs/audit-log.md")]
struct AuditLogDoctests;

#[cfg(all(doctest, feature = "layer"))]
#[doc = include_str!("../docs/grpc.md")]
struct GrpcDoctests;

#[cfg(feature = "layer")]
mod accept;
#[cfg(feature = "client")]
mod client;
#[cfg(any(feature = "client", feature = "emulator"))]
mod clock;
#[cfg(feature = "emulator")]
pub mod emulator;
#[cfg(feature = "layer")]
mod engine;
mod error_debug;
mod identity;
#[cfg(feature = "layer")]
mod layer;
#[cfg(feature = "axum")]
pub mod pages;
pub mod protocol;
#[cfg(feature = "client")]
mod runtime;
mod secret;
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
    AddedUsers, Authentication, BearerAttempt, BearerLogin, BearerLoginError, BearerLoginErrorKind,
    Client, ClientError, ClientErrorKind, Credentials, CredentialsError, LoginProgress,
    RemoteSession, SecretText,
};
#[cfg(feature = "layer")]
pub use engine::{
    ActiveSession, Activeconnect, BuildError, Builder, ClockFinding, EndAllSessions, EndReason,
    EndSessionError, EnrollNewError, EnrolmentError, EnrolmentGrant, Event, EventKind, Events,
    Fault, ForwardedHeader, Health, InvalidSessionId, Limit, LogInError, LoggedOut, LoginLimits,
    MakeRegistrationLink, OwnerId, Rate, RegistrationLink, RoutesFinding, SendRegistrationSms,
    ServiceFinding, SessionGuard, SessionId, SessionInfo, SetupReport, TokenStoreFinding,
    VouchedBy, Walkaway,
};
pub use identity::{InvalidToken, SessionCredential, SessionKey, UserId, UserToken};
/// A network, for [`Builder::trusted_proxies`].
#[cfg(feature = "layer")]
pub use ipnet::IpNet;
#[cfg(feature = "layer")]
pub use layer::{
    ActiveconnectLayer, ActiveconnectService, BoxError, CacheControl, GateBody, GateFuture,
    SessionEnded, UploadBody, UploadGuard, UploadGuardLayer,
};
#[cfg(feature = "axum")]
pub use pages::{Logo, Theme};
pub use protocol::{Dialect, Method, Methods, SessionStatus};
pub use secret::Secret;
#[cfg(feature = "layer")]
pub use store::{MemoryTokenStore, StoreError, StoreErrorKind, TokenStore};
#[cfg(feature = "sqlite")]
pub use store::{SqliteTokenStore, SqliteTokenStoreOptions};
#[cfg(feature = "layer")]
pub use verdict::{Denial, Verdict};
#[cfg(feature = "axum")]
pub use web::ActiveSessionRejection;
#[cfg(feature = "ws")]
pub use web::GuardedSocket;
#[cfg(all(feature = "axum", unix))]
pub use web::UnixPeer;
