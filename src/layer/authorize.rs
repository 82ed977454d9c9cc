//! The decision whether a request may pass, from the session that it names.

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

/// Maximum duration of the token store's lookup that tells whether a user is enrolled.
const TOKEN_LOOKUP_TIMEOUT: Duration = Duration::from_millis(3_500);

/// Settings of a layer, and the engine's handle; shared by all services of the layer.
#[derive(Clone)]
pub(crate) struct Authorizer {
    handle: Activeconnect,
    pub(crate) optional: bool,
    /// Any session of the resolved user allows a request, not only the caller's own.
    pub(crate) allows_any_session: bool,
    /// Forwarded requests count as a use of their session, which keeps it from being idle.
    pub(crate) counts_as_use: bool,
    pub(crate) policy: Policy,
    pub(crate) cache_control: CacheControl,
    pub(crate) requirement: Requirement,
    pub(crate) upgrades: Arc<UpgradeStats>,
}

pub(crate) enum Decision {
    /// Forward. The guard was registered before the verdict was read.
    Allow(StreamGuard),
    Deny(Denial),
    /// A call to the service or to the token store comes first.
    Deferred(Pin<Box<dyn Future<Output = Decision> + Send>>),
}

impl Authorizer {
    pub(crate) fn new(handle: Activeconnect) -> Self {
        let (policy, upgrades) = (Policy::default(), Arc::default());
        let (cache_control, requirement) = (CacheControl::default(), Requirement::NONE);
        let (optional, allows_any_session) = (false, false);
        // Without an idle timeout the engine keeps no time of the last use.
        let counts_as_use = handle.engine().config.idle_timeout.is_some();
        Self {
            handle,
            optional,
            allows_any_session,
            counts_as_use,
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

    /// The user that the resolver of the other login names.
    #[cfg(feature = "axum")]
    pub(crate) fn resolve(&self, parts: &Parts) -> Option<UserId> {
        self.handle.resolve(parts)
    }

    pub(crate) fn config(&self) -> &Config {
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
            self.config(),
            &self.handle.engine().key_ring,
        )
    }

    /// Decides in login use, where the session names the user.
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
            self.flag_misread_credentials(&credentials, None, client);
        }
        decision
    }

    /// Decides beside another login, whose resolver names the user.
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
                    self.flag_misread_credentials(&credentials, Some(&user), client);
                }
                decision
            }
        }
    }

    /// Records in `client` why the credentials of a denied request named no usable session: too
    /// many cookies, credentials of two sessions, or the session of another user than the resolved
    /// one.
    pub(crate) fn flag_misread_credentials(
        &self,
        credentials: &RequestCredentials<'_>,
        user: Option<&UserId>,
        client: &mut ClientContext,
    ) {
        client.has_unread_cookies = credentials.has_unread_cookies();
        let belongs_to_other = |user: &UserId| {
            let key = credentials.session();
            let session = key.and_then(|key| self.handle.engine().sessions.present(&key));
            session.is_some_and(|session| session.user() != user.as_str())
        };
        client.needs_login_form = client.has_unread_cookies
            || credentials.is_ambiguous()
            || user.is_some_and(belongs_to_other);
    }

    /// Decides, and awaits the calls of a deferred decision.
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
        while let Decision::Deferred(deferred) = decision {
            decision = deferred.await;
        }
        decision
    }

    /// `user` is the user that the other login names.
    fn authorize_session(
        &self,
        credentials: &RequestCredentials<'_>,
        user: Option<&UserId>,
    ) -> Decision {
        let sessions = &self.handle.engine().sessions;
        let mut session = credentials.session().and_then(|key| sessions.present(&key));
        if let Some(user) = user {
            session = session.filter(|session| session.user() == user.as_str());
            session = session.or_else(|| self.best_session_of_user(user));
        }
        let Some(session) = session else { return self.deny_missing_session(credentials, user) };
        let Self { policy, requirement, counts_as_use, .. } = *self;
        // The watcher is registered before the verdict is read, so that one of the two sees an end
        // in between.
        let (mut watcher, arrival) = session.acquire_watch();
        // The usual case: the session is in use and its status is known, so that no call is needed.
        if let Arrival::Known(snapshot, verdict) = arrival {
            let verdict = watcher.get().enforce_walkaway(verdict, &policy);
            if verdict == Verdict::Ended {
                let pending = self.is_pending(credentials, user);
                return Decision::Deny(if pending { Denial::Pending } else { Denial::Ended });
            }
            return decide(watcher, snapshot, verdict, policy, requirement, counts_as_use);
        }
        let engine = self.handle.engine().clone();
        Decision::Deferred(Box::pin(async move {
            engine.wait_until_fresh(&mut watcher).await;
            let (snapshot, verdict) = watcher.get().enforce(&policy);
            match watcher.get().phase() {
                Phase::Running => {
                    decide(watcher, snapshot, verdict, policy, requirement, counts_as_use)
                }
                // No poll has confirmed the last status in time.
                Phase::Parked | Phase::Resuming if verdict == Verdict::Ended => {
                    Decision::Deny(Denial::Ended)
                }
                Phase::Parked | Phase::Resuming => Decision::Deny(Denial::Unavailable),
            }
        }))
    }

    /// The session of the user that most likely allows the request, if the layer accepts any of
    /// them.
    fn best_session_of_user(&self, user: &UserId) -> Option<Arc<Session>> {
        if !self.allows_any_session {
            return None;
        }
        let sessions = self.handle.engine().sessions.of_user(user).into_iter();
        sessions.min_by_key(|session| match session.verdict() {
            Verdict::Ended => 5,
            _ if !session.satisfies(&self.requirement) => 4,
            Verdict::Allow => 0,
            // It may only be parked, so that one poll resumes it.
            Verdict::Unavailable => 1,
            Verdict::Suspended => 2,
            Verdict::Pending => 3,
        })
    }

    fn is_pending(&self, credentials: &RequestCredentials<'_>, user: Option<&UserId>) -> bool {
        let engine = self.handle.engine();
        let Some(credential) = credentials.attempt() else { return false };
        let attempt =
            engine.login.attempts.find(&credential).filter(|attempt| attempt.is_allowed_for(user));
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
        // The other login has authenticated the user, so the response may say that they are not
        // enrolled.
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

    /// Whether a denied request is for the login itself, which is behind the gate by mistake.
    /// Always false once a request has reached the login routes: a path that only looks like one of
    /// them, such as `//auth/login`, must not let clients write errors into the log.
    #[cold]
    pub(super) fn is_login_route(
        &self,
        uri: &Uri,
        extensions: &Extensions,
        client: &ClientContext,
    ) -> bool {
        !self.handle.engine().route_placement.is_settled()
            && !client.is_grpc()
            && is_login_route(uri, extensions, &client.paths(self.config()))
    }

    /// The response to a request for the login itself, which is behind the gate by mistake.
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

/// Decides by the verdict, then by the layer's requirement. The requirement is checked here alone,
/// at the start of a request: a response that has started continues as long as its session is
/// allowed.
fn decide(
    watcher: SessionWatcher,
    snapshot: Snapshot,
    verdict: Verdict,
    policy: Policy,
    requirement: Requirement,
    counts_as_use: bool,
) -> Decision {
    match policy.denial(verdict) {
        None if watcher.get().satisfies(&requirement) => {
            if counts_as_use {
                watcher.get().record_use();
            }
            Decision::Allow(StreamGuard::new(watcher, policy, snapshot))
        }
        None => Decision::Deny(Denial::StepUp),
        Some(denial) => Decision::Deny(denial),
    }
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorizer").field("optional", &self.optional).finish_non_exhaustive()
    }
}
