//! Real browsers: pages, cookies, navigation.

mod partial_pages;
