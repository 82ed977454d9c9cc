//! The client against a server that sends every byte wrong: each ends in a typed error, in time.
//! Servers that speak TLS or HTTP/2 are called by a child process.

mod answers;
mod broken;
mod deadline;
mod h2;
mod identity;
mod json;
mod once;
mod origin;
mod pool;
mod properties;
mod proxy;
mod rate;
mod redirect;
mod refusal;
mod size;
mod tls;

use crate::support::secure::be_the_child;

#[test]
#[ignore = "run by the others, with variables set"]
fn child_process() {
    be_the_child();
}
