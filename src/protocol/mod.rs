//! The wire of Activeconnect and IAMPASS: signing, dialects, statuses, JSON. Pure: no input or
//! output, no clock, nothing asynchronous.

mod dialect;
pub mod messages;
mod method;
mod signing;
mod status;
mod status_response;

pub use dialect::{Dialect, UnknownDialect};
pub use method::{AuthMethod, AuthMethods, UnknownMethod};
pub use signing::{
    API_VERSION, AUTHENTICATION_HEADER, AuthenticationHeader, Nonce, SignedHeaders, sign,
};
pub use status::SessionStatus;
pub use status_response::StatusReading;
