/// Implements `Debug` for errors as their message and the messages of their sources, because Rust
/// prints the error that `main` returns with `Debug`.
macro_rules! debug_as_message {
    ($($error:ty),+) => {$(
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)?;
                let mut cause = std::error::Error::source(self);
                while let Some(error) = cause {
                    write!(f, ": {error}")?;
                    cause = error.source();
                }
                Ok(())
            }
        }
    )+};
}

pub(crate) use debug_as_message;
