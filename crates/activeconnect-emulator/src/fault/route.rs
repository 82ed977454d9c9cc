use std::error::Error;
use std::fmt;
use std::str::FromStr;

use crate::Endpoint;

/// The calls to which a fault applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultRoute {
    /// All calls, `*`.
    All,
    /// The calls of the management API, `management`.
    Management,
    /// One call, by its name.
    Call(Endpoint),
}

impl FaultRoute {
    pub(super) fn includes(self, call: Endpoint) -> bool {
        match self {
            Self::All => true,
            Self::Management => call.is_management(),
            Self::Call(own) => own == call,
        }
    }
}

impl From<Endpoint> for FaultRoute {
    fn from(call: Endpoint) -> Self {
        Self::Call(call)
    }
}

impl fmt::Display for FaultRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "*",
            Self::Management => "management",
            Self::Call(call) => call.as_str(),
        })
    }
}

/// The error of an unknown route name. Its message lists the names.
#[derive(Clone, PartialEq, Eq)]
pub struct UnknownFaultRoute(String);

crate::error_debug::debug_as_message!(UnknownFaultRoute);

impl fmt::Display for UnknownFaultRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = Endpoint::ALL.map(Endpoint::as_str).join(", ");
        write!(f, "unknown route {:?}; choose one of *, management, {calls}", self.0)
    }
}

impl Error for UnknownFaultRoute {}

impl FromStr for FaultRoute {
    type Err = UnknownFaultRoute;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "*" => Ok(Self::All),
            "management" => Ok(Self::Management),
            _ => Endpoint::ALL
                .into_iter()
                .find(|call| call.as_str() == name)
                .map(Self::Call)
                .ok_or_else(|| UnknownFaultRoute(name.chars().take(64).collect())),
        }
    }
}
