//! Calls to the remote service: connections, certificates, runtimes.

mod bearer_login;
mod certificates;
mod connections;
mod relay;
mod runtimes;
mod service;
mod session_urls;
