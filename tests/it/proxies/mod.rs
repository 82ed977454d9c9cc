//! Applications behind reverse proxies.
