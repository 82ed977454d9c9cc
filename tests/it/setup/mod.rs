//! Setups with a mistake, and what their developers and operators are told.

mod check;
mod errors;
mod faults;
mod fixture;
mod gated_login;
mod lost_cookie;
mod readme;
