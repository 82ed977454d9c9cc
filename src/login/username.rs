//! Typed names: the text that is looked up, the text that is counted, and the user that is meant.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization as _;

use crate::identity::UserId;
use crate::store::StoreError;

/// The key under which a login attempt is reserved, counted and proven. A typed name never equals a
/// user id, so that a user whose name is another user's id does not get in that user's way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LoginKey {
    /// A normalized name.
    Username(Arc<str>),
    /// A user that another login, a session or the application names.
    User(UserId),
}

/// A typed name.
#[derive(Clone, Debug)]
pub(crate) struct Username {
    /// The text that is looked up: trimmed, in NFC, in the case that was typed.
    pub(crate) text: String,
    /// The text that is reserved, counted and proven.
    pub(crate) normalized: Arc<str>,
}

/// The text of a typed name: without white space around it (Unicode `White_Space`), in NFC, in the
/// case that was typed.
pub(crate) fn trim_username(typed: &str) -> String {
    typed.trim().nfc().collect()
}

type NormalizeFn = dyn Fn(&str) -> String + Send + Sync;

/// Makes one name of the spellings of a name; by default by its lower case.
#[derive(Clone, Default)]
pub(crate) struct UsernameNormalizer(Option<Arc<NormalizeFn>>);

impl UsernameNormalizer {
    pub(crate) fn new(normalize: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(normalize)))
    }

    /// Takes a name as it was typed.
    pub(crate) fn username(&self, typed: &str) -> Username {
        let text = trim_username(typed);
        let normalized = match &self.0 {
            Some(normalize) => normalize(&text),
            // The lower case of a text in NFC may not be in NFC.
            None => text.to_lowercase().nfc().collect(),
        };
        Username { text, normalized: normalized.into() }
    }
}

impl fmt::Debug for UsernameNormalizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsernameNormalizer").finish_non_exhaustive()
    }
}

type ResolveFuture = Pin<Box<dyn Future<Output = Result<Option<UserId>, StoreError>> + Send>>;

/// Finds the user that a typed name means; by default the name is the user's id.
#[derive(Clone, Default)]
pub(crate) struct UsernameResolver(Option<Arc<dyn Fn(String) -> ResolveFuture + Send + Sync>>);

impl UsernameResolver {
    pub(crate) fn new<F, E>(resolve: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Option<UserId>, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        Self(Some(Arc::new(move |name| {
            let found = resolve(name);
            Box::pin(async { found.await.map_err(StoreError::new) })
        })))
    }

    /// The user that this text means.
    pub(crate) async fn user(&self, text: String) -> Result<Option<UserId>, StoreError> {
        match &self.0 {
            Some(resolve) => resolve(text).await,
            None => Ok(Some(text.into())),
        }
    }
}

impl fmt::Debug for UsernameResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsernameResolver").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(typed: &str) -> (String, String) {
        let Username { text, normalized } = UsernameNormalizer::default().username(typed);
        (text, normalized.to_string())
    }

    #[test]
    fn spellings_of_a_name_are_one_name() {
        for (typed, text) in [
            ("Alice", "Alice"),
            ("alice ", "alice"),
            ("\u{a0}ALICE\u{3000}\t", "ALICE"),
            ("\u{2003}alice\u{85}", "alice"),
        ] {
            assert_eq!(read(typed), (text.to_owned(), "alice".to_owned()), "{typed:?}");
        }
        let composed = ("Zo\u{eb}".to_owned(), "zo\u{eb}".to_owned());
        assert_eq!(read("Zoe\u{308}"), composed);
        assert_eq!(read("Zo\u{eb}"), composed);
        assert_eq!(read("ZOE\u{308}").1, composed.1);
        // White space within a name is a part of it.
        assert_eq!(read(" Alice  B ").0, "Alice  B");
    }

    #[test]
    fn lower_case_text_is_in_nfc() {
        for typed in ["\u{130}\u{323}", "\u{1e9e}\u{307}\u{323}", "\u{212b}", "\u{3a3}\u{314}"] {
            let (text, normalized) = read(typed);
            assert!(unicode_normalization::is_nfc(&text), "{typed:?}");
            assert!(unicode_normalization::is_nfc(&normalized), "{typed:?}");
        }
    }

    #[test]
    fn own_normalizer_gets_the_trimmed_text() {
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect();
        let read = UsernameNormalizer::new(digits).username(" +49 (0) 171 ");
        assert_eq!((read.text.as_str(), &*read.normalized), ("+49 (0) 171", "490171"));
    }
}
