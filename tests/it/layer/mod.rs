//! The Tower layer: stacks, responses, extractors.

mod partial_requests;
mod unread_cookies;
