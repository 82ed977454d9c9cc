//! Faults: calls that fail on purpose.

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

/// A fault of some calls. Its serde form is the body of `POST /emulator/faults`:
///
/// ```
/// use activeconnect_emulator::{Endpoint, Fault, FaultKind};
///
/// let fault: Fault = serde_json::from_str(r#"{"route":"status","kind":"hang","times":3}"#)?;
/// assert_eq!(fault, Fault::new(Endpoint::Status, FaultKind::Hang).times(3));
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// It applies to accepted calls, whose signature, time and nonce are valid. They count in
/// [`CallCounts`](super::CallCounts) like any other. If several faults match a call, only the first
/// one added applies. A fault that cannot change a call's response (see [`FaultKind`]) does not match
/// the call.
///
/// With [`Http`](FaultKind::Http) and [`Redirect`](FaultKind::Redirect) the service does nothing. With
/// all other kinds it carries out the call, though the client may not receive the result: it adds the
/// user, or sends the push. A status counts as reported only if the correct response arrives, and at
/// the time at which it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a fault has no effect until it is injected"]
pub struct Fault {
    route: FaultRoute,
    kind: FaultKind,
    delay: Duration,
    /// `None`: no limit.
    times: Option<u32>,
    /// `None`: all users.
    user_id: Option<String>,
}

impl Fault {
    /// A fault of every call of the route until it is cleared, without a delay.
    pub fn new(route: impl Into<FaultRoute>, kind: FaultKind) -> Self {
        Self { route: route.into(), kind, delay: Duration::ZERO, times: None, user_id: None }
    }

    /// Delays the response by this time, whatever the kind. The emulator computes the response when it
    /// receives the call, so it can be outdated when it arrives.
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Limits the fault to this number of calls.
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Limits the fault to calls that concern this user or a session of this user.
    pub fn for_user(mut self, user_id: impl Into<String>) -> Self {
        self.user_id = Some(user_id.into());
        self
    }

    fn matches(&self, call: Endpoint, user_ids: &[String]) -> bool {
        self.route.includes(call)
            && self.kind.can_change(call)
            && self.user_id.as_ref().is_none_or(|user_id| user_ids.contains(user_id))
    }

    /// When the response of time `now` arrives; `None` if it does not arrive or is changed.
    pub(super) fn arrives_at(&self, now: u64) -> Option<u64> {
        let delay_ms = crate::clock::millis(self.delay);
        matches!(self.kind, FaultKind::Delay | FaultKind::ForeignUrls)
            .then(|| now.saturating_add(delay_ms))
    }
}
