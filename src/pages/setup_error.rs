//! The error of invalid page settings.

/// An invalid setting of the pages.
#[derive(Debug)]
pub(crate) enum SetupError {
    Theme { setting: &'static str, value: String, expected: &'static str },
    Texts { language: String, problem: String },
}
