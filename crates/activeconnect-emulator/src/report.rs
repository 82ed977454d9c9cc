use serde::Serialize;
use tower_activeconnect::protocol::SessionStatus;

use super::endpoint::Endpoint;

/// What `GET /emulator/state` answers: everything but secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StateReport {
    /// The users that exist, by name.
    pub users: Vec<UserReport>,
    /// All sessions there ever were, the oldest first.
    pub sessions: Vec<SessionReport>,
    /// How many calls were let in, by name.
    pub calls: CallCounts,
    /// How many calls were refused, by reason.
    pub rejected: RejectionCounts,
}

/// One user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UserReport {
    /// The application's token for the user.
    pub user_id: String,
    /// How many devices are registered.
    pub devices: u32,
    /// What the phone calls the user; see [`Emulator::set_label`](super::Emulator::set_label).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

impl UserReport {
    /// What the user is shown as.
    pub(super) fn name(&self) -> &str {
        self.label.as_ref().unwrap_or(&self.user_id)
    }
}

/// One session. Moments are Unix milliseconds, except for the first two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SessionReport {
    /// Names the session.
    pub session_token: String,
    /// Whose it is.
    pub user_id: String,
    /// What `status` would answer now.
    pub status: SessionStatus,
    /// The methods asked for; empty when the service chooses.
    pub methods: Vec<&'static str>,
    /// When it began, in Unix seconds.
    pub created_at: u64,
    /// When it closes by itself, in Unix seconds.
    pub expires_at: u64,
    /// When `status` began to answer with an end.
    pub ended_at: Option<u64>,
    /// When `status` first did answer with an end.
    pub first_told_at: Option<u64>,
    /// When the status last changed; `None` while it is what it began with.
    pub changed_at: Option<u64>,
    /// When `status` first answered with that change.
    pub told_at: Option<u64>,
}

/// Calls that were let in: signature, time and nonce were good, whatever the answer was then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "each field is named like the call that it counts")]
#[non_exhaustive]
pub struct CallCounts {
    pub add_users: u64,
    pub delete_users: u64,
    pub device_registration_link: u64,
    pub has_registered_mobile_device: u64,
    pub lost_user_mobile_device: u64,
    pub send_registration_sms: u64,
    pub authenticate_user: u64,
    pub status: u64,
    pub logout: u64,
}

impl CallCounts {
    pub(super) fn count(&mut self, call: Endpoint) {
        let counter = match call {
            Endpoint::AddUsers => &mut self.add_users,
            Endpoint::DeleteUsers => &mut self.delete_users,
            Endpoint::DeviceRegistrationLink => &mut self.device_registration_link,
            Endpoint::HasRegisteredMobileDevice => &mut self.has_registered_mobile_device,
            Endpoint::LostUserMobileDevice => &mut self.lost_user_mobile_device,
            Endpoint::SendRegistrationSms => &mut self.send_registration_sms,
            Endpoint::AuthenticateUser => &mut self.authenticate_user,
            Endpoint::Status => &mut self.status,
            Endpoint::Logout => &mut self.logout,
        };
        *counter += 1;
    }
}

/// Calls that were refused with 401, each counted once: the signature is judged first, then the
/// time, then the nonce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RejectionCounts {
    /// Headers missing or malformed, another client id, or a signature that does not fit.
    pub signature: u64,
    /// Signed too long ago or too far ahead.
    pub timestamp: u64,
    /// Signed and in time, but the nonce was used before.
    pub nonce: u64,
}
