use serde::Serialize;
use tower_activeconnect::protocol::SessionStatus;

use super::endpoint::Endpoint;

/// The response of `GET /emulator/state`: the whole state without secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StateReport {
    /// The existing users, sorted by id.
    pub users: Vec<UserReport>,
    /// All sessions since the start, the oldest first.
    pub sessions: Vec<SessionReport>,
    /// The number of accepted calls, by name.
    pub calls: CallCounts,
    /// The number of rejected calls, by reason.
    pub rejected: RejectionCounts,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UserReport {
    /// The application's token for the user.
    pub user_id: String,
    /// The number of registered devices.
    pub devices: u32,
    /// The name of the user on the phone page; see [`Emulator::set_label`](super::Emulator::set_label).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

impl UserReport {
    /// The label, or the id if there is none.
    pub(super) fn name(&self) -> &str {
        self.label.as_ref().unwrap_or(&self.user_id)
    }
}

/// A session. Times are Unix milliseconds, except for `created_at` and `expires_at`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SessionReport {
    /// The token of the session.
    pub session_token: String,
    /// The id of the user.
    pub user_id: String,
    /// The status that `status` would return now.
    pub status: SessionStatus,
    /// The requested methods; empty if the service chooses.
    pub methods: Vec<&'static str>,
    /// The start of the session, in Unix seconds.
    pub created_at: u64,
    /// The time at which the session closes by itself, in Unix seconds.
    pub expires_at: u64,
    /// The time at which the session ended.
    pub ended_at: Option<u64>,
    /// The time at which `status` first reported the end.
    pub first_told_at: Option<u64>,
    /// The time of the last change of the status; `None` before the first change.
    pub changed_at: Option<u64>,
    /// The time at which `status` first reported that change.
    pub told_at: Option<u64>,
}

/// The number of accepted calls, whose signature, time and nonce were valid, whatever the response.
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

/// The number of calls rejected with 401, each counted once: the emulator checks the signature first,
/// then the time, then the nonce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RejectionCounts {
    /// Missing or malformed headers, another client id, or an invalid signature.
    pub signature: u64,
    /// A timestamp too far from the service's clock.
    pub timestamp: u64,
    /// A valid signature and timestamp, but a used nonce.
    pub nonce: u64,
}
