//! The decision: which session a request names and whether it may pass.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Response, Uri};

use super::asker::Asker;
use super::credential::Credentials;
use super::denial;
use crate::engine::{Activeconnect, Activity, Attempt, Session, SessionWatch, Settings, Watch};
use crate::identity::UserId;
use crate::verdict::{Denial, Verdict};

/// How long the token store may take to say whether a user is enrolled.
const STORE: Duration = Duration::from_millis(3_500);

/// What a layer and all its services share.
pub(crate) struct Gate {
    ac: Activeconnect,
    pub(crate) optional: bool,
}

pub(crate) enum Decision {
    /// May pass; the watch was there before the verdict was read.
    Allow(SessionWatch),
    Deny(Denial),
    /// Something has to be asked first.
    Ask(Pin<Box<dyn Future<Output = Decision> + Send>>),
}

/// Where a request came from, as far as it matters here: its user beside another login.
enum User {
    /// No other login: whoever the session is of.
    Any,
    /// The other login's user.
    Named(UserId),
}

impl Gate {
    pub(crate) fn new(ac: Activeconnect) -> Self {
        Self { ac, optional: false }
    }

    pub(crate) fn optional(&self) -> Self {
        Self { ac: self.ac.clone(), optional: true }
    }

    pub(crate) fn has_resolver(&self) -> bool {
        self.ac.has_resolver()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.ac.engine().settings
    }

    /// Decides in login use.
    pub(crate) fn decide(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Decision {
        self.admit(&Credentials::read(method, uri, headers), &User::Any)
    }

    /// Decides beside another login.
    pub(crate) fn decide_presence(&self, parts: &Parts) -> Decision {
        match self.ac.resolve(parts) {
            None => Decision::Deny(Denial::NoIdentity),
            Some(user) => {
                let credentials = Credentials::read(&parts.method, &parts.uri, &parts.headers);
                self.admit(&credentials, &User::Named(user))
            }
        }
    }

    fn admit(&self, credentials: &Credentials, user: &User) -> Decision {
        let engine = self.ac.engine();
        let session =
            credentials.session.as_ref().and_then(|named| engine.sessions.find(&named.key()));
        let session = session.filter(|session| match user {
            User::Any => true,
            User::Named(user) => session.user == *user,
        });
        let attempt = || credentials.attempt.as_ref().and_then(|named| engine.attempts.find(named));
        let Some(session) = session else { return self.without_session(attempt(), user) };
        let decision = match session.touch() {
            Activity::Running => judge(session),
            Activity::Parked | Activity::Waking => {
                let engine = engine.clone();
                return Decision::Ask(Box::pin(async move {
                    engine.wake(&session).await;
                    judge(session)
                }));
            }
        };
        match decision {
            Decision::Deny(Denial::Ended) if self.is_pending(attempt()) => {
                Decision::Deny(Denial::Pending)
            }
            decision => decision,
        }
    }

    fn is_pending(&self, attempt: Option<Arc<Attempt>>) -> bool {
        attempt.is_some_and(|attempt| attempt.is_pending(self.ac.engine().now()))
    }

    fn without_session(&self, attempt: Option<Arc<Attempt>>, user: &User) -> Decision {
        if self.is_pending(attempt) {
            return Decision::Deny(Denial::Pending);
        }
        let user = match user {
            User::Any => return Decision::Deny(Denial::NoSession),
            User::Named(user) => user.clone(),
        };
        // The other login vouches for the user, so they may be told that they are not enrolled.
        let store = self.ac.engine().store.clone();
        Decision::Ask(Box::pin(async move {
            Decision::Deny(match tokio::time::timeout(STORE, store.token(&user)).await {
                Ok(Ok(Some(_))) => Denial::NoSession,
                Ok(Ok(None)) => Denial::NoToken,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the token store failed");
                    Denial::Unavailable
                }
                Err(_) => Denial::Unavailable,
            })
        }))
    }

    pub(crate) fn turn_away(&self, denial: Denial, asker: &Asker) -> Response<Bytes> {
        denial::answer(denial, asker, self.settings(), self.has_resolver())
    }
}

/// The watch is registered before the verdict is read: an end in between is seen by one of both.
fn judge(session: Arc<Session>) -> Decision {
    let watch = Watch::new(session);
    match watch.get().verdict() {
        Verdict::Allow => Decision::Allow(watch),
        verdict => Decision::Deny(Denial::of(verdict).unwrap_or(Denial::Unavailable)),
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("optional", &self.optional).finish_non_exhaustive()
    }
}
