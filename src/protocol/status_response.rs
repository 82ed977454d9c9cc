use super::SessionStatus;
use super::messages::{StatusFields, StatusResponse};

/// The reading of a well-formed response of `status_url`, before it is compared with the previous
/// state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusReading {
    /// An exact, uncontradicted status, never [`SessionStatus::Unknown`].
    Status(SessionStatus),
    /// Well formed, but unknown or contradictory: not a status to act on.
    Inconsistent,
}

impl StatusResponse {
    /// Reads both shapes; `None` when neither names a status.
    ///
    /// Only an exact value counts. `authenticated: false` beside `active`, and two shapes that
    /// disagree, are [`StatusReading::Inconsistent`]. `authenticated: true` alone means nothing.
    #[must_use]
    pub fn reading(&self) -> Option<StatusReading> {
        let flat = StatusFields {
            authenticated: self.authenticated,
            session_status: self.session_status.clone(),
        };
        let shapes = self.authentication_status.iter().chain([&flat]);
        let mut reported: Option<SessionStatus> = None;
        let mut denied = false;
        for shape in shapes {
            denied |= shape.authenticated == Some(false);
            let Some(text) = &shape.session_status else { continue };
            let status = SessionStatus::from(text.as_str());
            if status == SessionStatus::Unknown || reported.is_some_and(|other| other != status) {
                return Some(StatusReading::Inconsistent);
            }
            reported = Some(status);
        }
        match reported? {
            SessionStatus::Active if denied => Some(StatusReading::Inconsistent),
            status => Some(StatusReading::Status(status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::from_json;

    fn read(json: &str) -> Option<StatusReading> {
        from_json::<StatusResponse>(json.as_bytes()).ok()?.reading()
    }

    #[test]
    fn both_shapes_of_all_eight_values_are_read() {
        for status in SessionStatus::ALL {
            let nested =
                format!(r#"{{"authentication_status":{{"session_status":"{status}","more":1}}}}"#);
            let flat = format!(r#"{{"authenticated":true,"session_status":"{status}"}}"#);
            assert_eq!(read(&nested), Some(StatusReading::Status(status)));
            assert_eq!(read(&flat), Some(StatusReading::Status(status)));
        }
    }

    #[test]
    fn only_an_exact_uncontradicted_status_counts() {
        for odd in [
            r#"{"session_status":"Active"}"#,
            r#"{"session_status":" active"}"#,
            r#"{"session_status":"unknown"}"#,
            r#"{"authenticated":false,"session_status":"active"}"#,
            r#"{"authentication_status":{"authenticated":false,"session_status":"active"}}"#,
            r#"{"authenticated":false,"authentication_status":{"session_status":"active"}}"#,
            r#"{"authentication_status":{"session_status":"closed"},"session_status":"active"}"#,
        ] {
            assert_eq!(read(odd), Some(StatusReading::Inconsistent), "{odd}");
        }
        for nothing in [
            r#"{"authenticated":true}"#,
            r#"{"authentication_status":{"authenticated":true}}"#,
            r#"{"session_status":null}"#,
            r#"{"session_status":1}"#,
            r#"{"session_status":"closed","session_status":"active"}"#,
            r#"[{"session_status":"active"}]"#,
            r#"{"authentication_status":[null,"active"]}"#,
            "active",
            "",
        ] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
    }
}
