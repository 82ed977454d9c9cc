//! Misconfigured setups: what developers and operators learn.

mod check;
mod errors;
mod faults;
mod fixture;
mod gated_login;
mod lost_cookie;
mod readme;
