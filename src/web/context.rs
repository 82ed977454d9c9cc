//! What a request of the routes bears, looked up.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::response::Response;

use super::pages::language_of;
use super::status_events::StatusSource;
use super::{cookies, login};
use crate::engine::{
    Activeconnect, Attempt, BrowserToRemember, ClaimedSession, EndReason, Engine, NamedAttempt,
    Session,
};
use crate::identity::{AttemptCredential, UserId};
use crate::layer::{
    ClientContext, RequestCredentials, ResponseFormat, SitePaths, UNREAD_COOKIES,
    attempt_from_bearer, known_browser_cookie, unread_cookies_detail,
};
use crate::pages::{LanguageChoice, UnreadCookies, View};
use crate::verdict::Verdict;

/// What a browser bears, looked up.
pub(super) struct RequestContext {
    ac: Activeconnect,
    /// Beside another login, the user that it names.
    pub(super) user: Option<UserId>,
    attempt: Option<NamedAttempt>,
    /// The request is a browser's, as its page sends it.
    is_browser: bool,
    /// And so is the sender of a form.
    is_form_post: bool,
    /// The browser loads this before its user asks for it, and may throw it away.
    is_prefetch: bool,
    /// The session that the credential names, of any user. To end it, having the credential is enough.
    pub(super) credential_session: Option<Arc<Session>>,
    /// The same, if it is the user's.
    pub(super) session: Option<Arc<Session>>,
    pub(super) client: ClientContext,
}

impl RequestContext {
    pub(super) fn new(ac: Activeconnect, parts: &Parts) -> Self {
        let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
        let engine = ac.engine();
        let borne = RequestCredentials::from_request(
            method,
            uri,
            headers,
            &engine.config,
            &engine.key_ring,
        );
        let user = ac.resolve(parts);
        // A secret that came in a body is none for a cookie, and the other way round.
        let find = |credential: Option<AttemptCredential>, bearer| {
            let named = engine.login.attempts.find_named(credential?)?;
            let attempt = &named.attempt;
            (attempt.is_bearer() == bearer && attempt.is_allowed_for(user.as_ref()))
                .then_some(named)
        };
        let attempt = find(borne.attempt(), false);
        let attempt =
            attempt.or_else(|| find(attempt_from_bearer(headers, &engine.key_ring), true));
        let credential_session = borne.session().and_then(|named| engine.sessions.present(&named));
        let resolved = user.as_ref().map(UserId::as_str);
        let is_theirs =
            |session: &Arc<Session>| !ac.has_resolver() || resolved == Some(session.user());
        let session = credential_session.clone().filter(is_theirs);
        let mut client =
            ClientContext::from_request(method, uri, headers, &parts.extensions, &engine.config);
        client.has_unread_cookies = borne.has_unread_cookies();
        let is_browser = login::is_browser_request(headers);
        let is_form_post = login::is_form(headers);
        let is_prefetch = is_prefetch(headers);
        Self {
            user,
            attempt,
            is_browser,
            is_form_post,
            is_prefetch,
            credential_session,
            session,
            client,
            ac,
        }
    }

    /// The same, with the session's status known afresh if it was not used for a while.
    pub(super) async fn refreshed(ac: Activeconnect, parts: &Parts) -> Self {
        let visitor = Self::new(ac, parts);
        if let Some(session) = &visitor.session {
            let mut watch = session.watch();
            visitor.engine().wait_until_fresh(&mut watch).await;
        }
        visitor
    }

    /// What the user is told where the browser's cookies name nothing as there are too many.
    pub(super) fn unread_cookies(&self) -> Option<UnreadCookies> {
        if !self.client.has_unread_cookies {
            return None;
        }
        let engine = self.engine();
        engine.warnings.warn_unread_cookies(&unread_cookies_detail(), engine.now().mono);
        Some(UNREAD_COOKIES)
    }

    /// The language of a page for this request, which is the visitor's.
    pub(super) fn language(&self, parts: &Parts) -> LanguageChoice {
        language_of(parts, &self.engine().config)
    }

    pub(super) fn view<'a>(&'a self, paths: &'a SitePaths, language: LanguageChoice) -> View<'a> {
        self.engine().config.pages.view(paths, language)
    }

    /// The address of a route's page, which goes on to `next` and stays in the language.
    pub(super) fn page_address(
        &self,
        paths: &SitePaths,
        route: &str,
        next: &str,
        language: LanguageChoice,
    ) -> String {
        let address = paths.with_next(route, next);
        self.engine().config.pages.with_language(address, language)
    }

    pub(super) fn paths(&self) -> SitePaths {
        self.client.paths(&self.engine().config)
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        self.ac.engine()
    }

    pub(super) fn attempt(&self) -> Option<&Arc<Attempt>> {
        self.attempt.as_ref().map(|named| &named.attempt)
    }

    /// What to tell about: the attempt while it runs, else the session, else how the attempt
    /// ended.
    pub(super) fn status_source(&self) -> StatusSource {
        let now = self.engine().now();
        let session = self.session.clone().filter(|session| session.verdict() != Verdict::Ended);
        match (self.attempt(), session, &self.session) {
            (Some(attempt), _, _) if attempt.is_pending(now) => {
                StatusSource::Attempt(attempt.clone())
            }
            (_, Some(session), _) => StatusSource::Session(session),
            (Some(attempt), None, _) => StatusSource::Attempt(attempt.clone()),
            (None, None, Some(session)) => StatusSource::Session(session.clone()),
            (None, None, None) => StatusSource::Nothing,
        }
    }

    /// Whether the gate lets the user in at this moment. For any other user the page that is wanted
    /// may lead back to the login.
    pub(super) fn is_logged_in(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.verdict() == Verdict::Allow)
    }

    /// Whether it is a browser's request that names a bearer's attempt.
    pub(super) fn is_browser_with_bearer_attempt(&self) -> bool {
        self.is_browser && self.attempt().is_some_and(|attempt| attempt.is_bearer())
    }

    /// Claims the attempt's result if it is approved, or once more if the answer to the last claim
    /// may be lost. The session that was there before is logged out.
    pub(super) fn claim(&self) -> Option<ClaimedSession> {
        // An answer without a body, to the wrong client, or that its browser may throw away would
        // take the result along.
        if self.is_browser_with_bearer_attempt() || self.client.is_head || self.is_prefetch {
            return None;
        }
        let claimed = self.engine().claim(self.attempt.as_ref()?, self.user.as_ref())?;
        if let Some(before) = &self.credential_session {
            self.engine().end_session(before, EndReason::LoggedOut);
        }
        Some(claimed)
    }

    /// Gives the browser that sent `asked` its session, and a proof that it is known from now on.
    pub(super) fn set_session_cookies(
        &self,
        asked: &Parts,
        mut response: Response,
        claimed: &ClaimedSession,
    ) -> Response {
        let engine = self.engine();
        let (settings, now) = (&engine.config, engine.now());
        let names = &settings.cookie_names;
        let age = settings.has_persistent_cookie.then(|| claimed.session.life_left(now));
        let headers = response.headers_mut();
        headers.append(SET_COOKIE, cookies::set_session(names, &claimed.credential, age));
        headers.append(SET_COOKIE, cookies::remove_attempt(names));
        let known = known_browser_cookie(&asked.headers, names).unwrap_or_default();
        if let Some(BrowserToRemember { name, proof }) = &claimed.remember_as {
            let proofs = engine.login.browser_proofs.issue(known, name, *proof, now.wall);
            headers.append(SET_COOKIE, cookies::set_known(names, proofs));
        }
        response
    }

    /// Whether a person looks at the answer: a form is sent by a page, though not every browser
    /// says so.
    pub(super) fn is_browser(&self) -> bool {
        is_browser(self.is_form_post, &self.client.format)
    }
}

/// Whether a person looks at the answer.
pub(super) fn is_browser(sends_form: bool, format: &ResponseFormat) -> bool {
    sends_form || matches!(format, ResponseFormat::HtmlRedirect(_) | ResponseFormat::HtmlForm)
}

/// Whether a browser prefetches or prerenders this.
pub(super) fn is_prefetch(headers: &HeaderMap) -> bool {
    let purposes = headers.get_all("sec-purpose").iter().chain(headers.get_all("purpose"));
    purposes
        .filter_map(|purpose| purpose.to_str().ok())
        .any(|purpose| purpose.contains("prefetch") || purpose.contains("prerender"))
}
