use std::fmt;
use std::str::FromStr;

use tower_activeconnect::protocol::Dialect;

/// The signature dialects that the emulator accepts. The headers of each request determine its
/// dialect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AcceptedDialects {
    /// All four forms. The default.
    #[default]
    Any,
    /// The SDK `Activeconnect`.
    Activeconnect,
    /// The SDK `IAMPASS`.
    Iampass,
    /// Both documented forms.
    Documented,
}

impl AcceptedDialects {
    /// Every choice.
    pub const ALL: [Self; 4] = [Self::Any, Self::Activeconnect, Self::Iampass, Self::Documented];

    /// The name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Activeconnect => "activeconnect",
            Self::Iampass => "iampass",
            Self::Documented => "documented",
        }
    }

    /// The dialects of this choice.
    #[must_use]
    pub const fn dialects(self) -> &'static [Dialect] {
        match self {
            Self::Any => &Dialect::ALL,
            Self::Activeconnect => &[Dialect::Activeconnect],
            Self::Iampass => &[Dialect::Iampass],
            Self::Documented => &[Dialect::ActiveconnectDocumented, Dialect::IampassDocumented],
        }
    }
}

impl fmt::Display for AcceptedDialects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error of an unknown name of dialects. Its message lists the names.
#[derive(Clone, PartialEq, Eq)]
pub struct UnknownDialects(String);

crate::error_debug::debug_as_message!(UnknownDialects);

impl fmt::Display for UnknownDialects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = AcceptedDialects::ALL.map(AcceptedDialects::as_str).join(", ");
        write!(f, "unknown dialect {:?}; choose one of {names}", self.0)
    }
}

impl std::error::Error for UnknownDialects {}

impl FromStr for AcceptedDialects {
    type Err = UnknownDialects;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|choice| choice.as_str() == name)
            .ok_or_else(|| UnknownDialects(name.chars().take(64).collect()))
    }
}
