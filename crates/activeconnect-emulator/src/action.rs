use std::fmt;
use std::str::FromStr;

use tower_activeconnect::protocol::SessionStatus;

/// An action of the phone, or of an administrator of the service, on a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// The phone starts to identify the user.
    Identify,
    /// The user is authenticated.
    Approve,
    /// The user declines.
    Cancel,
    /// Authentication fails.
    Fail,
    /// The user does not respond in time.
    Timeout,
    /// The phone moves away from the computer.
    WalkAway,
    /// The phone returns.
    Return,
    /// The user on the phone, or an administrator, ends the session.
    Close,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 8] = [
        Self::Identify,
        Self::Approve,
        Self::Cancel,
        Self::Fail,
        Self::Timeout,
        Self::WalkAway,
        Self::Return,
        Self::Close,
    ];

    /// The name in the control interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Approve => "approve",
            Self::Cancel => "cancel",
            Self::Fail => "fail",
            Self::Timeout => "timeout",
            Self::WalkAway => "walk_away",
            Self::Return => "return",
            Self::Close => "close",
        }
    }

    /// The new status of a session in status `from`; `None` if that status does not allow the action.
    #[must_use]
    pub const fn apply(self, from: SessionStatus) -> Option<SessionStatus> {
        use SessionStatus::{
            Active, Cancelled, Closed, Failed, Identifying, Pending, Timeout, Walkaway,
        };
        match (self, from) {
            (Self::Identify, Pending) => Some(Identifying),
            (Self::Approve, Pending | Identifying) | (Self::Return, Walkaway) => Some(Active),
            (Self::Cancel, Pending | Identifying) => Some(Cancelled),
            (Self::Fail, Pending | Identifying) => Some(Failed),
            (Self::Timeout, Pending | Identifying) => Some(Timeout),
            (Self::WalkAway, Active) => Some(Walkaway),
            (Self::Close, Pending | Identifying | Active | Walkaway) => Some(Closed),
            _ => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error of an unknown action name. Its message lists the names.
#[derive(Clone, PartialEq, Eq)]
pub struct UnknownAction(String);

crate::error_debug::debug_as_message!(UnknownAction);

impl fmt::Display for UnknownAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Action::ALL.map(Action::as_str).join(", ");
        write!(f, "unknown action {:?}; choose one of {names}", self.0)
    }
}

impl std::error::Error for UnknownAction {}

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|action| action.as_str() == name)
            .ok_or_else(|| UnknownAction(name.chars().take(64).collect()))
    }
}
