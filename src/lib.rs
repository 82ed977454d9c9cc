//! Session gating for Tower services whose users log in with their phone.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "emulator")]
pub mod emulator;
pub mod protocol;
mod secret;

pub use protocol::{Dialect, Method, Methods, SessionStatus};
pub use secret::Secret;
