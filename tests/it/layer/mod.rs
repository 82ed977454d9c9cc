//! The Tower layer: stacks, responses, extractors.

mod grpc_calls;
mod partial_requests;
mod unread_cookies;
