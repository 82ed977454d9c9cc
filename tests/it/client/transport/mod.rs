//! The client against servers that misbehave at the byte level: each call ends in a typed error, in
//! time. A child process calls the servers with TLS or HTTP/2.

mod broken_responses;
mod clock_rejection;
mod deadline;
mod h2;
mod identity;
mod invalid_responses;
mod json;
mod no_resend;
mod origin;
mod pool;
mod properties;
mod proxy;
mod rate;
mod redirect;
mod size;
mod tls;

use crate::support::tls_server::run_child;

#[test]
#[ignore = "run by the others, with variables set"]
fn child_process() {
    run_child();
}
