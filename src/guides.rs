//! The guides of the folder `docs`. Their examples are compiled as doc tests.
//!
//! The files have relative links and pictures. The definitions in `docs/rustdoc` replace them here.

macro_rules! guides {
    ($($(#[$cfg:meta])* $name:ident: $file:literal;)*) => {$(
        $(#[$cfg])*
        #[doc = include_str!("../docs/rustdoc/links.md")]
        #[doc = include_str!("../docs/rustdoc/images.md")]
        #[doc = include_str!(concat!("../docs/", $file))]
        pub mod $name {}
    )*};
}

guides! {
    #[cfg(feature = "axum")] pages: "pages.md";
    #[cfg(feature = "axum")] behind_a_proxy: "behind-a-proxy.md";
    #[cfg(feature = "axum")] session_lifetimes: "session-lifetimes.md";
    push_fatigue: "push-fatigue.md";
    #[cfg(feature = "axum")] single_page_application: "single-page-application.md";
    #[cfg(feature = "ws")] in_flight: "in-flight.md";
    grpc: "grpc.md";
    audit_log: "audit-log.md";
    token_stores: "token-stores.md";
}
