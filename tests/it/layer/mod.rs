//! The Tower layer: stacks, responses, extractors.

#[cfg(feature = "ws")]
mod cross_origin;
mod denial_matrix;
#[cfg(feature = "ws")]
mod final_response;
mod foreign_credentials;
mod grpc_calls;
mod grpc_health;
mod impersonation;
mod log_injection;
mod outer_layers;
mod partial_requests;
mod second_factor;
mod tower_contract;
mod unread_cookies;
mod validation;
