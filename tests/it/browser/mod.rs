//! Real browsers: pages, cookies, navigation.
