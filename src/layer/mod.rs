//! The Tower layer: it learns which session a request names, lets it through or answers in the
//! client's own tongue, and watches over what it let through.

mod asker;
mod body;
#[cfg(test)]
mod bounds_tests;
mod credential;
mod denial;
#[cfg(test)]
mod faults_tests;
mod framing;
mod future;
mod gate;
mod grpc;
mod header;
#[cfg(test)]
mod lifetime_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod outage_tests;
mod service;
#[cfg(test)]
mod stage;
mod upload;

#[cfg(feature = "axum")]
pub(crate) use asker::{Asker, Tongue};
pub use body::{BoxError, GateBody, SessionEnded};
#[cfg(feature = "axum")]
pub(crate) use credential::{ATTEMPT_COOKIE, Credentials as RequestCredentials, SESSION_COOKIE};
pub use future::GateFuture;
#[cfg(feature = "axum")]
pub(crate) use gate::Gate;
pub use service::{ActiveconnectLayer, ActiveconnectService};
pub use upload::{UploadBody, UploadGuard, UploadGuardLayer};
