//! Calls to the remote service: connections, certificates, runtimes.
