//! The requirement that a session does not satisfy, and where to confirm.

use percent_encoding::utf8_percent_encode;
use serde::Serialize;

use super::query::QUERY_VALUE_ESCAPES;
use crate::protocol::{AuthMethod, AuthMethods};
use crate::verdict::Requirement;

/// The members of problem details, and the metadata of gRPC's `ErrorInfo`.
#[derive(Debug, Serialize)]
pub(super) struct StepUp {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    methods: Vec<&'static str>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<u64>,
    /// Where to post, without a body.
    pub(super) confirm: String,
}

impl StepUp {
    pub(super) fn new(requirement: &Requirement, auth_path: &str) -> Self {
        Self {
            methods: requirement.methods.iter().map(AuthMethod::as_str).collect(),
            max_age: requirement.max_age.map(|age| age.as_secs()),
            confirm: confirm_url(&format!("{auth_path}/confirm"), requirement.methods, None),
        }
    }

    pub(super) fn metadata(&self) -> Vec<(&'static str, String)> {
        let methods = (!self.methods.is_empty()).then(|| ("methods", self.methods.join(",")));
        let max_age = self.max_age.map(|age| ("max_age", age.to_string()));
        let confirm = Some(("confirm", self.confirm.clone()));
        [methods, max_age, confirm].into_iter().flatten().collect()
    }
}

/// The address at which a session's user confirms: with these methods, or with those of the login.
pub(crate) fn confirm_url(path: &str, methods: AuthMethods, next: Option<&str>) -> String {
    let methods = (!methods.is_empty()).then(|| ("methods", methods.to_string()));
    let next = next.map(|next| ("next", next.to_owned()));
    let query: Vec<String> = [methods, next]
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(&value, QUERY_VALUE_ESCAPES)))
        .collect();
    let separator = if query.is_empty() { "" } else { "?" };
    format!("{path}{separator}{}", query.join("&"))
}
