use std::fmt;

/// The calls of the remote service, with the names of `calls` in the state report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is named like its route")]
#[non_exhaustive]
pub enum Endpoint {
    AddUsers,
    DeleteUsers,
    DeviceRegistrationLink,
    HasRegisteredMobileDevice,
    LostUserMobileDevice,
    SendRegistrationSms,
    AuthenticateUser,
    Status,
    Logout,
}

impl Endpoint {
    /// Every call.
    pub const ALL: [Self; 9] = [
        Self::AddUsers,
        Self::DeleteUsers,
        Self::DeviceRegistrationLink,
        Self::HasRegisteredMobileDevice,
        Self::LostUserMobileDevice,
        Self::SendRegistrationSms,
        Self::AuthenticateUser,
        Self::Status,
        Self::Logout,
    ];

    /// The name in the control interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AddUsers => "add_users",
            Self::DeleteUsers => "delete_users",
            Self::DeviceRegistrationLink => "device_registration_link",
            Self::HasRegisteredMobileDevice => "has_registered_mobile_device",
            Self::LostUserMobileDevice => "lost_user_mobile_device",
            Self::SendRegistrationSms => "send_registration_sms",
            Self::AuthenticateUser => "authenticate_user",
            Self::Status => "status",
            Self::Logout => "logout",
        }
    }

    /// Whether the call belongs to the management API.
    pub(super) const fn is_management(self) -> bool {
        !matches!(self, Self::AuthenticateUser | Self::Status | Self::Logout)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
