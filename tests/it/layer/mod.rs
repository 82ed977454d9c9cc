//! The Tower layer: stacks, responses, extractors.

mod foreign_credentials;
mod grpc_calls;
mod partial_requests;
mod unread_cookies;
