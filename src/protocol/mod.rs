//! The wire of Activeconnect and IAMPASS: signing, dialects, statuses, JSON. Pure: no input or
//! output, no clock, nothing asynchronous.

mod dialect;
mod method;
mod signing;
mod statement;
mod status;
pub mod wire;

pub use dialect::{Dialect, UnknownDialect};
pub use method::{Method, Methods, UnknownMethod};
pub use signing::{AUTHENTICATION, Nonce, Presented, Signed, VERSION, sign};
pub use statement::Reading;
pub use status::SessionStatus;
