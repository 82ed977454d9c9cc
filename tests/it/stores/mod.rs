//! Token stores: the lookup table from users to tokens.
mod token_stores;
