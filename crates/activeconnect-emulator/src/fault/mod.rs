mod apply;
mod json;
mod kind;
mod registry;
mod route;

use std::time::Duration;

use super::endpoint::Endpoint;
pub use kind::FaultKind;
pub(super) use registry::FaultRegistry;
pub use route::{FaultRoute, UnknownFaultRoute};

/// Calls that are to go wrong, and how. Its serde form is the body of `POST /emulator/faults`:
///
/// ```
/// use activeconnect_emulator::{Endpoint, Fault, FaultKind};
///
/// let fault: Fault = serde_json::from_str(r#"{"route":"status","kind":"hang","times":3}"#)?;
/// assert_eq!(fault, Fault::new(Endpoint::Status, FaultKind::Hang).times(3));
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// It strikes calls that are let in: their signature, time and nonce were good, and they count in
/// [`CallCounts`](super::CallCounts) as any other. When several faults fit a call, the one that was added
/// first strikes, alone. A fault that cannot change a call's answer (see [`FaultKind`]) does not
/// fit it.
///
/// [`Http`](FaultKind::Http) and [`Redirect`](FaultKind::Redirect) are answers of their own: the
/// service does nothing. With all others it does what was asked, though the client may never learn
/// of it: the user is added, the phone rings. A status counts as told only when the answer arrives
/// right, and then at the moment it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a fault strikes only once the emulator is given it"]
pub struct Fault {
    route: FaultRoute,
    kind: FaultKind,
    delay: Duration,
    /// `None`: until cleared.
    times: Option<u32>,
    /// `None`: all users.
    user_id: Option<String>,
}

impl Fault {
    /// Strikes every call of the route until cleared, at once.
    pub fn new(route: impl Into<FaultRoute>, kind: FaultKind) -> Self {
        Self { route: route.into(), kind, delay: Duration::ZERO, times: None, user_id: None }
    }

    /// Answers later by this, whatever the kind. What the answer says is decided when the call
    /// comes, so that it can be out of date when it arrives.
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Strikes this many calls only.
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Strikes only calls about this user, or about a session of this user.
    pub fn for_user(mut self, user_id: impl Into<String>) -> Self {
        self.user_id = Some(user_id.into());
        self
    }

    fn matches(&self, call: Endpoint, user_ids: &[String]) -> bool {
        self.route.includes(call)
            && self.kind.can_change(call)
            && self.user_id.as_ref().is_none_or(|user_id| user_ids.contains(user_id))
    }

    /// When what the service answers at `now` arrives; `None` when it does not arrive as it is.
    pub(super) fn arrives_at(&self, now: u64) -> Option<u64> {
        let delay_ms = crate::clock::millis(self.delay);
        matches!(self.kind, FaultKind::Delay | FaultKind::ForeignUrls)
            .then(|| now.saturating_add(delay_ms))
    }
}
