//! The decision: which session a request names and whether it may pass.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, HeaderMap, Method, Response, Uri};

use super::cache_control::CacheControl;
use super::credential::{RequestCredentials, unread_cookies_detail};
use super::gated_login::is_login_route;
use super::respond;
use super::response_format::ClientContext;
use crate::engine::{
    Activeconnect, Arrival, Config, Engine, Phase, Policy, Session, SessionWatcher, Snapshot,
    StreamGuard, UpgradeStats,
};
use crate::identity::UserId;
use crate::protocol::AuthMethods;
use crate::store::StoreError;
use crate::verdict::{Denial, Requirement, Verdict};

/// How long the token store may take to say whether a user is enrolled.
const TOKEN_LOOKUP_TIMEOUT: Duration = Duration::from_millis(3_500);

/// What a layer and all its services share.
#[derive(Clone)]
pub(crate) struct Authorizer {
    handle: Activeconnect,
    pub(crate) optional: bool,
    /// Any session of the resolved user will do, not only this caller's.
    pub(crate) allows_any_session: bool,
    /// Requests that are let in are a use of their session, which keeps it from being idle.
    pub(crate) is_use: bool,
    pub(crate) policy: Policy,
    pub(crate) cache_control: CacheControl,
    pub(crate) requirement: Requirement,
    pub(crate) upgrades: Arc<UpgradeStats>,
}

pub(crate) enum Decision {
    /// May pass; the watch was there before the verdict was read.
    Allow(StreamGuard),
    Deny(Denial),
    /// Something has to be asked first.
    Deferred(Pin<Box<dyn Future<Output = Decision> + Send>>),
}

impl Authorizer {
    pub(crate) fn new(handle: Activeconnect) -> Self {
        let (policy, upgrades) = (Policy::default(), Arc::default());
        let (cache_control, requirement) = (CacheControl::default(), Requirement::NONE);
        let (optional, allows_any_session) = (false, false);
        // Without an idle timeout nothing is kept of it.
        let is_use = handle.engine().config.idle_timeout.is_some();
        Self {
            handle,
            optional,
            allows_any_session,
            is_use,
            policy,
            cache_control,
            requirement,
            upgrades,
        }
    }

    pub(crate) fn require_methods(&mut self, methods: AuthMethods) {
        self.requirement.methods = methods;
        self.handle.engine().required_method_sets.add(methods);
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        self.handle.engine()
    }

    pub(crate) fn has_resolver(&self) -> bool {
        self.handle.has_resolver()
    }

    /// The user that another login names.
    #[cfg(feature = "axum")]
    pub(crate) fn resolve(&self, parts: &Parts) -> Option<UserId> {
        self.handle.resolve(parts)
    }

    pub(crate) fn settings(&self) -> &Config {
        &self.handle.engine().config
    }

    pub(crate) fn credentials<'a>(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &'a HeaderMap,
    ) -> RequestCredentials<'a> {
        RequestCredentials::from_request(
            method,
            uri,
            headers,
            self.settings(),
            &self.handle.engine().key_ring,
        )
    }

    /// Decides in login use: the session names the user.
    pub(crate) fn authorize(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        client: &mut ClientContext,
    ) -> Decision {
        let credentials = self.credentials(method, uri, headers);
        let decision = self.authorize_session(&credentials, None);
        if !matches!(decision, Decision::Allow(_)) {
            self.note_misread_credentials(&credentials, None, client);
        }
        decision
    }

    /// Decides beside another login.
    pub(crate) fn authorize_resolved_user(
        &self,
        parts: &Parts,
        client: &mut ClientContext,
    ) -> Decision {
        match self.handle.resolve(parts) {
            None => Decision::Deny(Denial::NoIdentity),
            Some(user) => {
                let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
                let credentials = self.credentials(method, uri, headers);
                let decision = self.authorize_session(&credentials, Some(&user));
                if !matches!(decision, Decision::Allow(_)) {
                    self.note_misread_credentials(&credentials, Some(&user), client);
                }
                decision
            }
        }
    }

    /// Notes for the answer to a denied request whether its cookies were too many to be read, or its
    /// credentials name two sessions, or the session of another user than the resolved one.
    pub(crate) fn note_misread_credentials(
        &self,
        credentials: &RequestCredentials<'_>,
        user: Option<&UserId>,
        client: &mut ClientContext,
    ) {
        client.has_unread_cookies = credentials.has_unread_cookies();
        let is_other_users = |user: &UserId| {
            let named = credentials.session();
            let session = named.and_then(|named| self.handle.engine().sessions.present(&named));
            session.is_some_and(|session| session.user() != user.as_str())
        };
        client.needs_login_form = client.has_unread_cookies
            || credentials.is_ambiguous()
            || user.is_some_and(is_other_users);
    }

    /// Decides, and asks what has to be asked first.
    #[cfg(feature = "axum")]
    pub(crate) async fn authorize_and_wait(
        &self,
        parts: &Parts,
        client: &mut ClientContext,
    ) -> Decision {
        let mut decision = if self.has_resolver() {
            self.authorize_resolved_user(parts, client)
        } else {
            self.authorize(&parts.method, &parts.uri, &parts.headers, client)
        };
        while let Decision::Deferred(asking) = decision {
            decision = asking.await;
        }
        decision
    }

    /// The user is the other login's.
    fn authorize_session(
        &self,
        credentials: &RequestCredentials<'_>,
        user: Option<&UserId>,
    ) -> Decision {
        let sessions = &self.handle.engine().sessions;
        let mut session = credentials.session().and_then(|named| sessions.present(&named));
        if let Some(user) = user {
            session = session.filter(|session| session.user() == user.as_str());
            session = session.or_else(|| self.likeliest_session(user));
        }
        let Some(session) = session else { return self.deny_missing_session(credentials, user) };
        let Self { policy, requirement, is_use, .. } = *self;
        // The watch is there before the verdict is read: an end in between is seen by one of both.
        let (mut watch, arrival) = session.acquire_watch();
        // Most requests find a session that is in use and known: nothing else is asked then.
        if let Arrival::Known(word, verdict) = arrival {
            let verdict = watch.get().enforce_walkaway(verdict, &policy);
            if verdict == Verdict::Ended {
                let pending = self.is_pending(credentials, user);
                return Decision::Deny(if pending { Denial::Pending } else { Denial::Ended });
            }
            return decide(watch, word, verdict, policy, requirement, is_use);
        }
        let engine = self.handle.engine().clone();
        Decision::Deferred(Box::pin(async move {
            engine.wait_until_fresh(&mut watch).await;
            let (word, verdict) = watch.get().enforce(&policy);
            match watch.get().phase() {
                Phase::Running => decide(watch, word, verdict, policy, requirement, is_use),
                // No poll has said in time that it is still what it was.
                Phase::Parked | Phase::Resuming if verdict == Verdict::Ended => {
                    Decision::Deny(Denial::Ended)
                }
                Phase::Parked | Phase::Resuming => Decision::Deny(Denial::Unavailable),
            }
        }))
    }

    /// The session of the user that is most likely to be let in, if any will do.
    fn likeliest_session(&self, user: &UserId) -> Option<Arc<Session>> {
        if !self.allows_any_session {
            return None;
        }
        let sessions = self.handle.engine().sessions.of_user(user).into_iter();
        sessions.min_by_key(|session| match session.verdict() {
            Verdict::Ended => 5,
            _ if !session.satisfies(&self.requirement) => 4,
            Verdict::Allow => 0,
            // Perhaps only parked: one poll will tell.
            Verdict::Unavailable => 1,
            Verdict::Suspended => 2,
            Verdict::Pending => 3,
        })
    }

    fn is_pending(&self, credentials: &RequestCredentials<'_>, user: Option<&UserId>) -> bool {
        let engine = self.handle.engine();
        let Some(named) = credentials.attempt() else { return false };
        let attempt =
            engine.login.attempts.find(&named).filter(|attempt| attempt.is_allowed_for(user));
        attempt.is_some_and(|attempt| attempt.is_pending(engine.now()))
    }

    fn deny_missing_session(
        &self,
        credentials: &RequestCredentials<'_>,
        user: Option<&UserId>,
    ) -> Decision {
        if self.is_pending(credentials, user) {
            return Decision::Deny(Denial::Pending);
        }
        let Some(user) = user.cloned() else { return Decision::Deny(Denial::NoSession) };
        // The other login vouches for the user, so they may be told that they are not enrolled.
        let engine = self.handle.engine().clone();
        Decision::Deferred(Box::pin(async move {
            Decision::Deny(
                match tokio::time::timeout(TOKEN_LOOKUP_TIMEOUT, engine.store.token(&user)).await {
                    Ok(Ok(Some(_))) => Denial::NoSession,
                    Ok(Ok(None)) => Denial::NoToken,
                    Ok(Err(error)) => {
                        engine.report_store_fault(&error);
                        Denial::Unavailable
                    }
                    Err(_) => {
                        engine.report_store_fault(&StoreError::timed_out());
                        Denial::Unavailable
                    }
                },
            )
        }))
    }

    /// Whether a denied request asks for the login itself, which is behind the gate by mistake. Once
    /// a request has reached the login routes, there is no such mistake: a path that only looks like
    /// the login's, as `//auth/login`, must not let clients write errors into the log.
    #[cold]
    pub(super) fn is_login_route(
        &self,
        uri: &Uri,
        extensions: &Extensions,
        client: &ClientContext,
    ) -> bool {
        !self.handle.engine().route_placement.is_settled()
            && !client.is_grpc()
            && is_login_route(uri, extensions, &client.paths(self.settings()))
    }

    /// Answers a request for the login itself, which is behind the gate by mistake.
    pub(super) fn deny_gated_login(
        &self,
        denial: Denial,
        client: &ClientContext,
    ) -> Response<Bytes> {
        respond::gated_login_response(denial, client, self.handle.engine())
    }

    pub(crate) fn deny(&self, denial: Denial, client: &ClientContext) -> Response<Bytes> {
        if client.has_unread_cookies && denial == Denial::NoSession {
            let engine = self.handle.engine();
            engine.warnings.warn_unread_cookies(&unread_cookies_detail(), engine.now().mono);
        }
        respond::denial_response(denial, client, self.handle.engine(), &self.requirement)
    }
}

/// What a login must have been is asked here alone, at the start of a request: what has begun goes
/// on as long as its session is allowed.
fn decide(
    watch: SessionWatcher,
    word: Snapshot,
    verdict: Verdict,
    policy: Policy,
    requirement: Requirement,
    is_use: bool,
) -> Decision {
    match policy.denial(verdict) {
        None if watch.get().satisfies(&requirement) => {
            if is_use {
                watch.get().record_use();
            }
            Decision::Allow(StreamGuard::new(watch, policy, word))
        }
        None => Decision::Deny(Denial::StepUp),
        Some(denial) => Decision::Deny(denial),
    }
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("optional", &self.optional).finish_non_exhaustive()
    }
}
