//! The JSON json of a fault.

use std::time::Duration;

use axum::http::StatusCode;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Fault, FaultKind};
use crate::clock::millis;

/// The JSON object of a fault. Unknown fields are rejected, because they would be restrictions without
/// effect. Known fields that the kind does not use are ignored, so that a script can send them all.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultJson {
    route: String,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
}

/// Every kind, in the order of the documentation.
fn kinds(http: FaultKind) -> [FaultKind; 10] {
    use FaultKind::{
        Delay, ForeignUrls, Garbage, Hang, Oversize, Redirect, Reset, Truncate, UnknownStatus,
    };
    [http, Delay, Hang, Reset, Truncate, Garbage, Oversize, UnknownStatus, Redirect, ForeignUrls]
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = FaultJson::deserialize(deserializer)?;
        let valid = json.status.filter(|status| (200..600).contains(status));
        let status = valid.and_then(|status| StatusCode::from_u16(status).ok());
        if json.kind == "http" && status.is_none() {
            return Err(D::Error::custom("http needs a status from 200 to 599"));
        }
        if json.times == Some(0) {
            return Err(D::Error::custom(
                "times must be at least 1; omit it for a fault until cleared",
            ));
        }
        let kinds = kinds(FaultKind::Http {
            status: status.unwrap_or_default(),
            retry_after_s: json.retry_after_s,
        });
        let kind = kinds.into_iter().find(|kind| kind.as_str() == json.kind).ok_or_else(|| {
            let names = kinds.map(FaultKind::as_str).join(", ");
            D::Error::custom(format!("unknown kind {:?}; choose one of {names}", json.kind))
        })?;
        Ok(Self {
            route: json.route.parse().map_err(D::Error::custom)?,
            kind,
            delay: Duration::from_millis(json.delay_ms.unwrap_or(0)),
            times: json.times,
            user_id: json.user_id,
        })
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (status, retry_after_s) = match self.kind {
            FaultKind::Http { status, retry_after_s } => (Some(status.as_u16()), retry_after_s),
            _ => (None, None),
        };
        let json = FaultJson {
            route: self.route.to_string(),
            kind: self.kind.as_str().to_owned(),
            status,
            retry_after_s,
            delay_ms: Some(millis(self.delay)).filter(|ms| *ms > 0),
            times: self.times,
            user_id: self.user_id.clone(),
        };
        json.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Endpoint, FaultRoute};

    fn read(json: &str) -> Result<Fault, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn documented_json_round_trips() {
        let json = r#"{"route":"status","kind":"http","status":503,"retry_after_s":2,"delay_ms":7,"times":3,"user_id":"u"}"#;
        let kind =
            FaultKind::Http { status: StatusCode::SERVICE_UNAVAILABLE, retry_after_s: Some(2) };
        let fault = Fault::new(Endpoint::Status, kind)
            .with_delay(Duration::from_millis(7))
            .times(3)
            .for_user("u");
        assert_eq!(read(json), Ok(fault.clone()));
        assert_eq!(serde_json::to_string(&fault).expect("JSON"), json);
    }

    #[test]
    fn every_kind_and_route_round_trips() {
        let http = FaultKind::Http { status: StatusCode::GONE, retry_after_s: None };
        let routes = Endpoint::ALL.map(FaultRoute::Call);
        for route in routes.into_iter().chain([FaultRoute::All, FaultRoute::Management]) {
            for kind in kinds(http) {
                let fault = Fault::new(route, kind);
                let json = serde_json::to_string(&fault).expect("JSON");
                assert_eq!(read(&json), Ok(fault), "{json}");
            }
        }
    }

    #[test]
    fn null_field_is_absent() {
        let json = r#"{"route":"*","kind":"hang","status":null,"retry_after_s":null,"delay_ms":null,"times":null,"user_id":null}"#;
        assert_eq!(read(json), Ok(Fault::new(FaultRoute::All, FaultKind::Hang)));
    }

    #[test]
    fn fault_errors_explain() {
        for (json, message) in [
            (r#"{"kind":"hang"}"#, "missing field `route`"),
            (r#"{"route":"status"}"#, "missing field `kind`"),
            (r#"{"route":"poll","kind":"hang"}"#, "choose one of *, management, add_users"),
            (r#"{"route":"*","kind":"explode"}"#, "choose one of http, delay, hang"),
            (r#"{"route":"*","kind":"http"}"#, "http needs a status"),
            (r#"{"route":"*","kind":"http","status":100}"#, "from 200 to 599"),
            (r#"{"route":"*","kind":"http","status":600}"#, "from 200 to 599"),
            (r#"{"route":"*","kind":"hang","times":0}"#, "at least 1"),
            (r#"{"route":"*","kind":"hang","times":-1}"#, "u32"),
            (r#"{"route":"*","kind":"hang","delay_ms":1.5}"#, "u64"),
            (r#"{"route":"*","kind":"hang","user":"u"}"#, "unknown field `user`"),
            (r#"{"route":"*","kind":"hang","kind":"delay"}"#, "duplicate field `kind`"),
        ] {
            let error = read(json).expect_err(json);
            assert!(error.contains(message), "{json}: {error}");
        }
    }
}
