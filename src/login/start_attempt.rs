use std::sync::Arc;

use crate::identity::{AttemptCredential, UserId};
use crate::login::initiator::Initiator;
use crate::login::username::{LoginKey, Username};
use crate::protocol::AuthMethods;
use crate::session::client_details::ClientDetails;
use crate::session::live::Session;

/// The request that starts an attempt.
#[derive(Debug)]
pub(crate) struct StartAttempt<'a> {
    pub(crate) target: AttemptTarget,
    pub(crate) initiator: Initiator,
    /// The previous attempt of the same browser.
    pub(crate) previous_attempt: Option<&'a AttemptCredential>,
    /// Whether the result is delivered in the body of a response instead of a cookie.
    pub(crate) deliver_in_body: bool,
    pub(crate) client: ClientDetails,
}

/// The target of an attempt.
#[derive(Debug)]
pub(crate) enum AttemptTarget {
    /// A typed name.
    Username(Username),
    /// A user that another login, or the application itself, vouches for.
    User(UserId),
    /// The user of a session, who has to confirm with these methods; and the user that another
    /// login names.
    StepUp(Arc<Session>, AuthMethods, Option<UserId>),
}

impl AttemptTarget {
    /// The key under which the attempt is reserved, counted and proven.
    pub(crate) fn key(&self) -> LoginKey {
        match self {
            Self::Username(name) => LoginKey::Username(name.normalized.clone()),
            Self::User(user) => LoginKey::User(user.clone()),
            Self::StepUp(session, ..) => LoginKey::User(session.user().into()),
        }
    }

    pub(crate) fn shown_name(&self) -> &str {
        match self {
            Self::Username(name) => &name.text,
            Self::User(user) => user.as_str(),
            Self::StepUp(session, ..) => session.user(),
        }
    }
}
