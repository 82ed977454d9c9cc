use std::error::Error;
use std::fmt;

/// The operating system has no randomness to give.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RngError(getrandom::Error);

impl RngError {
    pub(crate) fn new(source: getrandom::Error) -> Self {
        Self(source)
    }
}

crate::error_debug::debug_as_message!(RngError);

impl fmt::Display for RngError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the operating system has no randomness to give; try again")
    }
}

impl Error for RngError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}
