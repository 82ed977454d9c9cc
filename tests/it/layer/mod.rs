//! The Tower layer: stacks, responses, extractors.

mod farewell;
mod foreign_credentials;
mod grpc_calls;
mod grpc_health;
mod outer_layers;
mod partial_requests;
mod unread_cookies;
