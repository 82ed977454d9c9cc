use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::client::ClientError;
#[cfg(feature = "axum")]
use crate::pages::SetupError;

/// Why [`ActiveconnectBuilder::build`](crate::ActiveconnectBuilder::build) failed; the message says what to change.
#[derive(Clone)]
#[non_exhaustive]
pub enum BuildError {
    /// `build` was called outside a tokio runtime.
    NoRuntime,
    /// The tokio runtime lacks its timer or its sockets.
    IncompleteRuntime {
        /// The missing driver: `time` or `io`.
        missing: &'static str,
    },
    /// No token store was given.
    NoTokenStore,
    /// A number is outside its range.
    OutOfRange {
        /// The builder's method.
        name: &'static str,
        /// What was given.
        value: Duration,
        /// The smallest allowed.
        min: Duration,
        /// The largest allowed.
        max: Duration,
    },
    /// A count is outside its range.
    CountOutOfRange {
        /// The builder's method.
        name: &'static str,
        /// What was given.
        value: u64,
        /// The largest allowed; the smallest is 1.
        max: u64,
    },
    /// A path is not a plain absolute path.
    InvalidPath {
        /// What was given.
        path: String,
    },
    /// A header name is taken or malformed.
    InvalidHeaderName {
        /// What was given.
        name: String,
    },
    /// A cookie name is not allowed.
    InvalidCookieName {
        /// The given name, with its prefix.
        name: String,
    },
    /// An origin is not spelled as browsers spell it.
    InvalidOrigin {
        /// What was given.
        origin: String,
    },
    /// The theme cannot be used.
    InvalidTheme {
        /// The theme's method.
        setting: &'static str,
        /// What was given.
        value: String,
        /// The requirement that it fails.
        expected: &'static str,
    },
    /// Texts of the pages cannot be used.
    InvalidTexts {
        /// Their language.
        language: String,
        /// The fault.
        problem: String,
    },
    /// The HTTP client cannot be set up.
    Client(Arc<ClientError>),
}

crate::error_debug::debug_as_message!(BuildError);

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRuntime => f.write_str(
                "there is no tokio runtime here; call build() in async code or under \
                 Runtime::enter",
            ),
            Self::IncompleteRuntime { missing } => write!(
                f,
                "the tokio runtime has no {missing}, which the engine needs; make it with \
                 ActiveconnectBuilder::enable_all()"
            ),
            Self::NoTokenStore => f.write_str("no token store; give one with token_store(…)"),
            Self::OutOfRange { name, value, min, max } => {
                write!(f, "{name} is {value:?}; choose {min:?} to {max:?}")?;
                if *name == "max_staleness" {
                    f.write_str(" (it must cover poll_interval, the 3 s of a poll, and 1 s)")?;
                }
                Ok(())
            }
            Self::CountOutOfRange { name, value, max } => {
                write!(f, "{name} is {value}; choose 1 to {max}")
            }
            Self::InvalidPath { path } => write!(
                f,
                "{path:?} is no plain path; begin with one / and use letters, digits and -._~, \
                 without . and .. as segments; auth_path and mount_prefix end without /, and where nothing is stripped, \
                 mount_prefix is not set"
            ),
            Self::InvalidHeaderName { name } => write!(
                f,
                "{name:?} is no name for a header that says who the user is; use letters, digits \
                 and -, as in x-auth-user, and no header that means something else"
            ),
            Self::InvalidCookieName { name } => write!(
                f,
                "no cookie can be called {name:?}; use letters, digits and -._, and leave the \
                 prefixes __Host- and __Secure- and the endings -attempt, -known and -registration \
                 away"
            ),
            Self::InvalidOrigin { origin } => write!(
                f,
                "{origin:?} is no origin as browsers write it; use https://host or https://host:port, \
                 in lower case, without the scheme's own port and without a path"
            ),
            Self::InvalidTheme { setting, value, expected } => {
                write!(f, "the theme's {setting} is {value:?}; give {expected}")
            }
            Self::InvalidTexts { language, problem } => {
                write!(f, "the texts for {language:?} cannot be used: {problem}")
            }
            Self::Client(error) => error.fmt(f),
        }
    }
}

#[cfg(feature = "axum")]
impl From<SetupError> for BuildError {
    fn from(error: SetupError) -> Self {
        match error {
            SetupError::Theme { setting, value, expected } => {
                Self::InvalidTheme { setting, value, expected }
            }
            SetupError::Texts { language, problem } => Self::InvalidTexts { language, problem },
        }
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // The message is the client's own, and so is the source.
            Self::Client(error) => error.source(),
            _ => None,
        }
    }
}
