//! The JSON of both APIs, as the client sends it and the emulator returns it. The types are structs, not maps:
//! serde rejects a duplicate key of a struct, while a map would keep the last value.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::SessionStatus;

/// Parses one JSON object. serde would accept an array for a struct as well; the service never
/// sends one, so it is rejected.
///
/// serde skips unknown fields without checking them: text that is not UTF-8, or nested without bound. So
/// the whole text is parsed as any JSON first, and the result is dropped.
///
/// # Errors
///
/// When the text is anything but one JSON object of this type.
pub fn from_json<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice::<serde_json::Value>(text)?;
    serde_json::from_slice::<Object<T>>(text).map(|object| object.0)
}

struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyMap<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMap<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(OnlyMap(PhantomData)).map(Object)
    }
}

fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|object| object.0)
}

fn optional_object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|object| object.0))
}

/// Body of `add_users` and `delete_users`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Users {
    /// Tokens of the lookup table.
    pub users: Vec<String>,
}

/// Response of `add_users`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AddUsersResponse {
    /// Whether the users exist now.
    pub status: bool,
    /// The reason of `status: false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The users that were created and those that existed.
    #[serde(
        default,
        deserialize_with = "optional_object",
        skip_serializing_if = "Option::is_none"
    )]
    pub users: Option<AddedUsers>,
}

/// The users that were created and those that existed; either list can be absent or null.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AddedUsers {
    /// The users that this call created.
    #[serde(default)]
    pub created: Option<Vec<String>>,
    /// The users that existed before.
    #[serde(default)]
    pub existing: Option<Vec<String>>,
}

/// Response of `delete_users`, `send_registration_sms` and `logout`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OutcomeResponse {
    /// Whether the call took effect.
    pub status: bool,
    /// The reason of `status: false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Response of `device_registration_link` and `lost_user_mobile_device`.
#[derive(Clone, Serialize, Deserialize)]
#[expect(missing_debug_implementations, reason = "holds a secret")]
#[non_exhaustive]
pub struct RegistrationLinkResponse {
    /// Whether the response has a link.
    pub status: bool,
    /// The reason of `status: false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The registration link. A secret: the phone that opens it becomes the user's device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register_url: Option<String>,
}

/// Response of `has_registered_mobile_device`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HasDeviceResponse {
    /// Whether the call succeeded.
    pub status: bool,
    /// The reason of `status: false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the user has a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_registered: Option<bool>,
}

/// Body of `send_registration_sms`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RegistrationSms {
    /// The phone number with the country code, `+1XXXYYYZZZZ`.
    pub phone_number: String,
    /// The name that the phone shows to its user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The text of the message; the service appends the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Response of `authenticate_user`.
#[derive(Clone, Serialize, Deserialize)]
#[expect(missing_debug_implementations, reason = "holds a secret")]
#[non_exhaustive]
pub struct AuthenticateResponse {
    /// The session, or why there is none.
    #[serde(deserialize_with = "object")]
    pub authentication_status: AuthenticationStatus,
}

/// The session that `authenticate_user` made.
#[derive(Clone, Default, Serialize, Deserialize)]
#[expect(missing_debug_implementations, reason = "holds a secret")]
#[non_exhaustive]
pub struct AuthenticationStatus {
    /// Whether the service accepted the request. It does not say that the user has authenticated.
    pub authenticated: bool,
    /// The name of a [`SessionStatus`], at first `pending`.
    #[serde(default)]
    pub session_status: Option<String>,
    /// The reason of `authenticated: false`.
    #[serde(default)]
    pub reason: Option<String>,
    /// The URL that reports the status of the session.
    #[serde(default)]
    pub status_url: Option<String>,
    /// The URL that ends the session.
    #[serde(default)]
    pub logout_url: Option<String>,
    /// The session's name. It signs the calls of the session.
    #[serde(default)]
    pub session_token: Option<String>,
    /// The key that signs the calls of the session. A secret.
    #[serde(default)]
    pub session_secret: Option<String>,
}

/// Response of `status_url`, both shapes at once.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StatusResponse {
    /// The fields in the shape that the SDKs read.
    #[serde(
        default,
        deserialize_with = "optional_object",
        skip_serializing_if = "Option::is_none"
    )]
    pub authentication_status: Option<StatusFields>,
    /// `authenticated` in the documented shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated: Option<bool>,
    /// `session_status` in the documented shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_status: Option<String>,
}

/// One shape of the status response.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StatusFields {
    /// It has no meaning by itself, but `false` contradicts `active`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated: Option<bool>,
    /// The name of a [`SessionStatus`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_status: Option<String>,
}

impl Users {
    /// A body with these tokens.
    pub fn new(users: impl Into<Vec<String>>) -> Self {
        Self { users: users.into() }
    }
}

impl AddUsersResponse {
    /// A successful response.
    #[must_use]
    pub fn success(users: AddedUsers) -> Self {
        Self { status: true, reason: None, users: Some(users) }
    }
}

impl AddedUsers {
    /// The users that the call created, and those that existed before.
    #[must_use]
    pub fn new(created: Vec<String>, existing: Vec<String>) -> Self {
        Self { created: Some(created), existing: Some(existing) }
    }
}

impl OutcomeResponse {
    /// A successful response.
    #[must_use]
    pub fn success() -> Self {
        Self { status: true, reason: None }
    }

    /// An unsuccessful response with its reason.
    pub fn failure(reason: impl Into<String>) -> Self {
        Self { status: false, reason: Some(reason.into()) }
    }
}

impl RegistrationLinkResponse {
    /// A successful response with the link.
    pub fn success(register_url: impl Into<String>) -> Self {
        Self { status: true, reason: None, register_url: Some(register_url.into()) }
    }
}

impl HasDeviceResponse {
    /// A successful response.
    #[must_use]
    pub fn success(device_registered: bool) -> Self {
        Self { status: true, reason: None, device_registered: Some(device_registered) }
    }
}

impl RegistrationSms {
    /// A message to this number, which includes the country code, without further text.
    pub fn new(phone_number: impl Into<String>) -> Self {
        Self { phone_number: phone_number.into(), display_name: None, message: None }
    }
}

impl From<AuthenticationStatus> for AuthenticateResponse {
    fn from(authentication_status: AuthenticationStatus) -> Self {
        Self { authentication_status }
    }
}

impl StatusFields {
    /// The fields of a response with this status.
    #[must_use]
    pub fn new(status: SessionStatus) -> Self {
        Self {
            // `false` with `active` would be inconsistent.
            authenticated: Some(status == SessionStatus::Active),
            session_status: Some(status.as_str().to_owned()),
        }
    }
}

impl StatusResponse {
    /// A response in the shape that the SDKs read.
    #[must_use]
    pub fn nested(fields: StatusFields) -> Self {
        Self { authentication_status: Some(fields), authenticated: None, session_status: None }
    }

    /// A response in the documented shape.
    #[must_use]
    pub fn flat(fields: StatusFields) -> Self {
        Self {
            authentication_status: None,
            authenticated: fields.authenticated,
            session_status: fields.session_status,
        }
    }
}
