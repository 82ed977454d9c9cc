/// The calls of the remote service, as `calls` of the state report names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
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
