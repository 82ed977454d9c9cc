//! The lookup table from users to tokens.

#[cfg(feature = "sqlite")]
mod token_stores;
