use std::fmt;
use std::str::FromStr;

/// A method by which a user proves their identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum AuthMethod {
    /// Confirm the request on the phone.
    Acceptance = 1,
    /// Unlock the phone.
    Device = 2,
    /// Face recognition.
    Facial = 4,
}

impl AuthMethod {
    /// Every method.
    pub const ALL: [Self; 3] = [Self::Acceptance, Self::Device, Self::Facial];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acceptance => "acceptance",
            Self::Device => "device",
            Self::Facial => "facial",
        }
    }
}

/// A set of [`AuthMethod`]s; empty means that the service chooses (preferred).
///
/// ```
/// use tower_activeconnect::protocol::{AuthMethod, AuthMethods};
///
/// let methods: AuthMethods = [AuthMethod::Facial, AuthMethod::Device].into_iter().collect();
/// assert_eq!(methods.to_string(), "device,facial");
/// assert_eq!("facial,device".parse(), Ok(methods));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AuthMethods(u8);

impl AuthMethods {
    /// The empty set.
    #[cfg(feature = "layer")]
    pub(crate) const NONE: Self = Self(0);

    /// Whether the service chooses.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the set has `method`.
    #[must_use]
    pub const fn contains(self, method: AuthMethod) -> bool {
        self.0 & method as u8 != 0
    }

    /// The methods of the set.
    pub fn iter(self) -> impl Iterator<Item = AuthMethod> {
        AuthMethod::ALL.into_iter().filter(move |method| self.contains(*method))
    }
}

impl FromIterator<AuthMethod> for AuthMethods {
    fn from_iter<I: IntoIterator<Item = AuthMethod>>(methods: I) -> Self {
        Self(methods.into_iter().fold(0, |set, method| set | method as u8))
    }
}

impl fmt::Display for AuthMethods {
    /// As the `methods` parameter of `authenticate_user` writes them: `acceptance,device`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, method) in self.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { "," }, method.as_str())?;
        }
        Ok(())
    }
}

/// The text names something that is no method.
#[derive(Clone, PartialEq, Eq)]
pub struct UnknownMethod(String);

crate::error_debug::debug_as_message!(UnknownMethod);

impl fmt::Display for UnknownMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown method {:?}; choose from acceptance, device, facial", self.0)
    }
}

impl std::error::Error for UnknownMethod {}

impl FromStr for AuthMethods {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',')
            .filter(|name| !name.is_empty())
            .map(|name| {
                AuthMethod::ALL
                    .into_iter()
                    .find(|method| method.as_str() == name)
                    .ok_or_else(|| UnknownMethod(name.chars().take(64).collect()))
            })
            .collect()
    }
}
