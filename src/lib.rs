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
pub mod client;
#[cfg(feature = "client")]
mod clock;
#[cfg(feature = "layer")]
#[cfg_attr(
    not(feature = "axum"),
    allow(dead_code, unused_imports, reason = "the routes of axum log browsers in")
)]
mod engine;
#[cfg(feature = "layer")]
pub mod enrollment;
mod error_debug;
#[cfg(feature = "layer")]
pub mod events;
#[cfg(all(any(doc, doctest), feature = "layer"))]
pub mod guides;
pub mod identity;
#[cfg(feature = "layer")]
pub mod layer;
#[cfg(feature = "layer")]
#[cfg_attr(
    not(feature = "axum"),
    allow(dead_code, unused_imports, reason = "the routes of axum log browsers in")
)]
pub mod login;
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
pub mod session;
#[cfg(feature = "layer")]
pub mod store;
#[cfg(feature = "layer")]
mod sync;
#[cfg(feature = "layer")]
mod verdict;
#[cfg(feature = "axum")]
pub mod web;

/// Settings that the builder takes, its errors, and the report of
/// [`Activeconnect::check`](crate::Activeconnect::check).
#[cfg(feature = "layer")]
pub mod setup {
    pub use crate::engine::{
        BuildError, ClockFinding, ForwardedHeader, RoutesFinding, ServiceFinding, SetupReport,
        TokenStoreFinding,
    };
    /// A network, for
    /// [`ActiveconnectBuilder::trusted_proxies`](crate::ActiveconnectBuilder::trusted_proxies).
    pub use ipnet::IpNet;
}

#[cfg(feature = "client")]
pub use client::credentials::Credentials;
#[cfg(feature = "layer")]
pub use engine::{ActiveSession, Activeconnect, ActiveconnectBuilder};
pub use identity::user::{UserId, UserToken};
#[cfg(feature = "layer")]
pub use layer::service::ActiveconnectLayer;
pub use secret::Secret;
#[cfg(feature = "layer")]
pub use store::memory::MemoryTokenStore;
#[cfg(feature = "layer")]
pub use store::token::TokenStore;
#[cfg(feature = "layer")]
pub use verdict::Denial;
