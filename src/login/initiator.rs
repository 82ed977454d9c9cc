use std::net::IpAddr;

use crate::login::browser_proofs::BrowserProof;

/// The initiator of a login.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Initiator {
    /// An unknown browser or a program, with its address if that is known.
    Anonymous(Option<IpAddr>),
    /// A browser that has logged in under this name before, by its proof.
    KnownBrowser(BrowserProof),
    /// A browser that has a session of that user.
    Session,
    /// The application itself.
    Application,
}

impl Initiator {
    /// Whether its attempt may supersede one of `other`.
    pub(crate) fn may_supersede(self, other: Self) -> bool {
        match self {
            Self::Anonymous(_) => false,
            Self::KnownBrowser(_) | Self::Application => {
                matches!(other, Self::Anonymous(_) | Self::KnownBrowser(_))
            }
            Self::Session => true,
        }
    }

    /// Whether it has proven that it is the user's.
    pub(crate) fn is_known(self) -> bool {
        matches!(self, Self::KnownBrowser(_) | Self::Session)
    }

    pub(crate) fn is_known_browser(self) -> bool {
        matches!(self, Self::KnownBrowser(_))
    }

    pub(crate) fn is_anonymous(self) -> bool {
        matches!(self, Self::Anonymous(_))
    }
}
