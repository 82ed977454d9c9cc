//! The client: each call, transport, certificates, runtimes.

mod bearer_login;
mod calls;
mod certificates;
mod connections;
mod faults;
mod relay;
mod runtimes;
mod service;
mod session_urls;
mod signing;
mod transport;
