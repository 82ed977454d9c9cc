//! The JSON of both APIs, as the client sends it and the emulator returns it. Typed structs only:
//! serde then rejects a duplicate key, where a map would keep the last one.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// Parses one JSON object. serde would accept an array for a struct as well; the service never
/// sends one, so it is rejected.
///
/// serde skips unknown fields without checking them: text that is not UTF-8, or nested for ever. So
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
pub struct Users {
    /// Tokens of the lookup table.
    pub users: Vec<String>,
}

/// Response of `add_users`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AddUsersResponse {
    /// Whether the users exist now.
    pub status: bool,
    /// Why not, with `status: false`.
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
pub struct AddedUsers {
    /// Made by this call.
    #[serde(default)]
    pub created: Option<Vec<String>>,
    /// There before.
    #[serde(default)]
    pub existing: Option<Vec<String>>,
}

/// Response of `delete_users`, `send_registration_sms` and `logout`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutcomeResponse {
    /// Whether it was done.
    pub status: bool,
    /// Why not, with `status: false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Response of `device_registration_link` and `lost_user_mobile_device`.
#[derive(Clone, Serialize, Deserialize)]
#[expect(missing_debug_implementations, reason = "holds a secret")]
pub struct RegistrationLinkResponse {
    /// Whether there is a link.
    pub status: bool,
    /// Why not, with `status: false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The link: the phone that opens it becomes the user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register_url: Option<String>,
}

/// Response of `has_registered_mobile_device`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HasDeviceResponse {
    /// Whether the call succeeded.
    pub status: bool,
    /// Why not, with `status: false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the user has a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_registered: Option<bool>,
}

/// Body of `send_registration_sms`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RegistrationSms {
    /// With the country code, `+1XXXYYYZZZZ`.
    pub phone_number: String,
    /// Shown to the user on the phone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The link is appended to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Response of `authenticate_user`.
#[derive(Clone, Serialize, Deserialize)]
#[expect(missing_debug_implementations, reason = "holds a secret")]
pub struct AuthenticateResponse {
    /// The only key.
    #[serde(deserialize_with = "object")]
    pub authentication_status: AuthenticationStatus,
}

/// The session that `authenticate_user` made.
#[derive(Clone, Default, Serialize, Deserialize)]
#[expect(missing_debug_implementations, reason = "holds a secret")]
pub struct AuthenticationStatus {
    /// Whether the request was accepted; not whether the user is in.
    pub authenticated: bool,
    /// One of the eight, at first `pending`.
    #[serde(default)]
    pub session_status: Option<String>,
    /// Why not, with `authenticated: false`.
    #[serde(default)]
    pub reason: Option<String>,
    /// The URL of the status.
    #[serde(default)]
    pub status_url: Option<String>,
    /// Where to end the session.
    #[serde(default)]
    pub logout_url: Option<String>,
    /// Names the session; signs its calls.
    #[serde(default)]
    pub session_token: Option<String>,
    /// Signs the session's calls. A secret.
    #[serde(default)]
    pub session_secret: Option<String>,
}

/// Response of `status_url`, both shapes at once.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StatusResponse {
    /// The SDKs' shape.
    #[serde(
        default,
        deserialize_with = "optional_object",
        skip_serializing_if = "Option::is_none"
    )]
    pub authentication_status: Option<StatusFields>,
    /// The documented shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated: Option<bool>,
    /// The documented shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_status: Option<String>,
}

/// One shape of the status response.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StatusFields {
    /// Means nothing by itself, but contradicts `active` when false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated: Option<bool>,
    /// One of the eight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_status: Option<String>,
}
