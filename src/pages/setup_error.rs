//! Why pages cannot be set up.

/// Why the pages cannot be as the application wants them.
#[derive(Debug)]
pub(crate) enum SetupError {
    Theme { setting: &'static str, value: String, expected: &'static str },
    Texts { language: String, problem: String },
}
