use std::fmt;
use std::str::FromStr;

/// A dialect of the protocol: the names of two headers, whether the scheme is part of the signed
/// text, and the default server.
///
/// The service was renamed in 2022, and its documentation never agreed with its SDKs; the SDK forms
/// were run against the live service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// As the vendor's Python SDK `Activeconnect` signs. The default.
    #[default]
    Activeconnect,
    /// As the vendor's Python SDK `IAMPASS` signs.
    Iampass,
    /// As the REST documentation of Activeconnect says.
    ActiveconnectDocumented,
    /// As the REST documentation of IAMPASS says.
    IampassDocumented,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 4] = [
        Self::Activeconnect,
        Self::Iampass,
        Self::ActiveconnectDocumented,
        Self::IampassDocumented,
    ];

    /// The name that [`FromStr`] reads.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Activeconnect => "activeconnect",
            Self::Iampass => "iampass",
            Self::ActiveconnectDocumented => "activeconnect-documented",
            Self::IampassDocumented => "iampass-documented",
        }
    }

    /// The header that carries the time of signing, in Unix seconds. "Authentiaction" is how the
    /// documentation spells it.
    #[must_use]
    pub const fn timestamp_header(self) -> &'static str {
        match self {
            Self::Activeconnect => "X-Sonikpass-Authentication-Timestamp",
            Self::Iampass => "X-IAMPASS-Authentication-Timestamp",
            Self::ActiveconnectDocumented => "X-Activeconnect-Authentiaction-Timestamp",
            Self::IampassDocumented => "X-IAMPASS-Authentiaction-Timestamp",
        }
    }

    /// The header that carries the version of the signature, always `1`. "IAMOASS" is how the SDK
    /// spells it.
    #[must_use]
    pub const fn version_header(self) -> &'static str {
        match self {
            Self::Activeconnect => "X-Sonikpass-Authentication-Version",
            Self::Iampass => "X-IAMOASS-Authentication-Version",
            Self::ActiveconnectDocumented => "X-Activeconnect-Authentiaction-Version",
            Self::IampassDocumented => "X-IAMPASS-Authentiaction-Version",
        }
    }

    /// The server if none is configured.
    #[must_use]
    pub const fn default_server(self) -> &'static str {
        match self {
            Self::Activeconnect => "https://activeconnect.activeapi.ninja",
            Self::Iampass => "https://iam-api.com",
            Self::ActiveconnectDocumented => "https://activeapi.ninja",
            Self::IampassDocumented => "https://main.iam-api.com",
        }
    }

    /// Whether `authenticate_user` accepts `duration_seconds`.
    #[must_use]
    pub const fn takes_duration(self) -> bool {
        matches!(self, Self::Iampass)
    }

    /// The part of a full URL that is signed: all of it as documented, without `scheme://` in the
    /// SDKs.
    #[must_use]
    pub fn signed_part(self, url: &str) -> &str {
        match self {
            Self::Activeconnect | Self::Iampass => {
                url.split_once("://").map_or(url, |(_, rest)| rest)
            }
            Self::ActiveconnectDocumented | Self::IampassDocumented => url,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no dialect; its message lists them.
#[derive(Clone, PartialEq, Eq)]
pub struct UnknownDialect(String);

crate::error_debug::debug_as_message!(UnknownDialect);

impl fmt::Display for UnknownDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown dialect {:?}; choose one of", self.0)?;
        for (i, dialect) in Dialect::ALL.iter().enumerate() {
            write!(f, "{} {dialect}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownDialect {}

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|dialect| dialect.name() == name)
            .ok_or_else(|| UnknownDialect(name.chars().take(64).collect()))
    }
}
