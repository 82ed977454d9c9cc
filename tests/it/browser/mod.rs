//! Tests in real browsers: pages, cookies, navigation.

#[cfg(feature = "ws")]
mod allowed_origin;
mod back_button;
#[cfg(feature = "ws")]
mod cross_site;
mod emulated_phone;
mod example_blog;
mod guard_script;
mod journeys;
mod partial_pages;
mod tabs;
mod webkit;
