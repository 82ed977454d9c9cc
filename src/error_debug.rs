//! `Debug` of the public errors. Rust prints an error that `main` returns with `Debug`, which
//! therefore writes the message and its causes.

use std::error::Error;
use std::fmt::{self, Write as _};

/// How much of a cause is written, in characters.
const MAX_CAUSE_CHARS: usize = 256;

/// Implements `Debug` for errors as their message and the messages of their causes.
macro_rules! debug_as_message {
    ($($error:ty),+) => {$(
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::error_debug::write_with_causes(self, f)
            }
        }
    )+};
}

pub(crate) use debug_as_message;

/// Writes the message of an error and of each cause that it does not quote itself, in one line.
pub(crate) fn write_with_causes(
    error: &(dyn Error + 'static),
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message: String = error.to_string().chars().take(MAX_CAUSE_CHARS).collect();
        if !text.contains(&message) {
            write!(text, ": {message}")?;
        }
        cause = error.source();
    }
    for character in text.chars() {
        // A cause may quote typed text, and this text goes into logs.
        if character.is_control() {
            write!(f, "{}", character.escape_default())?;
        } else {
            f.write_char(character)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failure(&'static str, Option<Box<Failure>>);

    debug_as_message!(Failure);

    impl fmt::Display for Failure {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Failure {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    #[test]
    fn debug_has_message_and_causes_once() {
        let cause = Failure("no route\nto host", None);
        let quoted = Failure("no call", Some(Box::new(cause)));
        let error = Failure("no call was made; check the network", Some(Box::new(quoted)));
        assert_eq!(format!("{error:?}"), "no call was made; check the network: no route\\nto host");
    }
}
