use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, OriginalUri, Query, Request, State};
use axum::http::header::{CONTENT_TYPE, HOST, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{self, from_fn_with_state, map_response};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use problem_details::ProblemDetails;
use serde::Deserialize;

use super::pages::{asset, language_of, render};
use super::redirect;
use super::status_events::{StatusSource, is_final, status_str, status_stream};
use super::verify::verify;
use super::{confirm, cookies, cors, login, registration, sessions};
use crate::engine::{
    Activeconnect, Attempt, BrowserToRemember, ClaimedSession, EndReason, Engine, LogoutOutcome,
    NamedAttempt, Session,
};
use crate::identity::{AttemptCredential, UserId};
use crate::layer::{
    ClientContext, RequestCredentials, ResponseFormat, SitePaths, UNREAD_COOKIES,
    attempt_from_bearer, confirm_url, is_cross_origin, known_browser_cookie, set_security_headers,
    unread_cookies_detail,
};
use crate::pages::{LanguageChoice, LoginFacts, PageError, UnreadCookies, View};
use crate::verdict::Verdict;

/// The longest path under which routes are noted to be nested, in bytes.
const MAX_NOTED_PATH_LEN: usize = 256;
/// A login needs no more than this.
const MAX_BODY_BYTES: usize = 16 * 1024;

impl Activeconnect {
    /// The routes through which browsers log in and out, to be nested outside the gate where
    /// [`auth_path`](crate::Builder::auth_path) says, `/auth` by default.
    ///
    /// Needs the feature `axum`, which is on by default.
    ///
    /// | route | |
    /// | --- | --- |
    /// | `GET login` | a page that asks for the user name; a user who is logged in goes on to `next` (303), unless `switch` is in the query |
    /// | `POST login` | begins an attempt: a form (`username`, `next`) is answered 303 to `waiting`, JSON (`{"username","credential"?}`) 202 `{"status":"pending"}` |
    /// | `GET waiting` | a page that waits for the phone, claims the result, sees that its cookie came back and goes on to `next` |
    /// | `GET confirm` | a page on which the user of a session has their phone ring again, as a layer requires (`methods`, of those that layers require; `next`) |
    /// | `POST confirm` | begins that attempt: 303 to `waiting`, or 202 `{"status":"pending"}`; no body. The session is as it was until the result is claimed, which takes its place |
    /// | `GET locked` | a page that waits for the phone to come back |
    /// | `GET status` | `{"status":"…"}`: of the attempt, whose result it claims once approved, else of the session; `none` without either, `unavailable` when it is not known. Of a session also `"owner"`, by which pages tell [users apart](crate::ActiveSession::owner_id), and `"warning":"unknown-browser"` while a browser that was not known has a later session of the user, until they look at `sessions` |
    /// | `GET events` | the same as server-sent events, one for each change, whose id is the status. A browser's `EventSource` connects again after the last one; it gets 204, and stops |
    /// | `GET registration` | `{"status":"…"}` of the page with a [`RegistrationLink`](crate::RegistrationLink) that this browser was shown last: `pending`, `registered`, or `none` when no page waits; a page load once the phone has registered goes on (303) |
    /// | `GET verify` | for a proxy that asks whether to pass a request on: 200, 401, 403 or 503 with no redirect and no cookie, whatever `Accept` and the method say; the user in [a header](crate::Builder::verify_user_header), if one is set |
    /// | `POST logout` | ends the session here and at the service |
    /// | `GET sessions` | a page on which users see where they are logged in, and end what should not be; JSON for scripts |
    /// | `POST sessions/end` | ends one of the user's sessions, by its `id` in a form (303 to `sessions`) or JSON: 200 `{"status":"closed"}`, 202 if the service has not agreed yet, 404 if the user has no such session |
    /// | `POST sessions/end-others` | ends all of them but the one that asks; no body |
    /// | `GET assets/guard.js` | a script that hides the application's own pages while their user's session does not let them be seen, as `docs/pages.md` describes; its address has no hash, but an `ETag` |
    /// | `GET assets/…` | style sheets, scripts and the logo of the pages, for caches to keep |
    ///
    /// A result is claimed by the browser or client that started the login, within 60 s of its
    /// approval. As an answer can be lost, each further claim within 60 s of the first gets the same
    /// credential, until a request has carried that; then the attempt is over. A session whose
    /// credential no request carries in that time ends, here and at the service, and so it does when
    /// the same browser starts another login.
    ///
    /// Where to go on to, `next`, is a path of this site that each tab carries in its own address: of
    /// several tabs that wait, whichever claims the result, each goes on to its own. A script that
    /// begins a login and then shows the waiting page adds `next` to that page's address. What a
    /// browser prefetches or prerenders (`Sec-Purpose`) claims nothing.
    ///
    /// What pages of other origins send with unsafe methods, ask of `status`, `events` and
    /// `registration`, or load as parts of themselves (`Sec-Fetch-Dest` other than `document`), is
    /// refused (403), unless their origin [is allowed](crate::Builder::allow_origin). Too many logins
    /// are refused with 429 and `Retry-After`, the same for users who exist and who do not.
    ///
    /// Clients without cookies send `"credential":"bearer"` with the start and get an attempt secret,
    /// `{"status":"pending","attempt":"…"}`; they ask `GET status` with
    /// `authorization: Bearer` and that secret, until the answer is
    /// `{"status":"active","credential":"…"}`. That credential is their
    /// `authorization: Bearer` for everything behind the gate. Requests of a browser's page (with
    /// `Origin` or `Sec-Fetch-Site`) are refused such credentials (403).
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        self.engine().route_placement.note_routes();
        let told = Router::new()
            .route("/status", get(status))
            .route("/events", get(events))
            .route("/registration", get(registration::progress))
            .layer(from_fn_with_state(self.clone(), reject_cross_origin));
        let mut routes = Router::new()
            .route("/login", get(login_page).post(login))
            .route("/waiting", get(waiting))
            .route("/confirm", get(confirm::page).post(confirm::start))
            .route("/locked", get(locked))
            .merge(told)
            .route("/logout", post(logout))
            .route("/sessions", get(sessions::page))
            .route("/sessions/end", post(sessions::end))
            .route("/sessions/end-others", post(sessions::end_others))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(from_fn_with_state(self.clone(), reject_cross_origin_writes))
            .layer(from_fn_with_state(self.clone(), reject_cross_origin_parts))
            .layer(map_response(add_security_headers));
        if let Some(cors) = cors::cors(&self.engine().config.origins) {
            routes = routes.layer(cors);
        }
        routes
            // A proxy sends the method and the headers of whatever it asks for, a preflight's too.
            .route("/verify", any(verify).layer(map_response(add_security_headers)))
            .layer(from_fn_with_state(self.clone(), present_session))
            // The same for every browser: caches may keep it, and it is no sign of a session.
            .route("/assets/{file}", get(asset))
            .with_state(self.clone())
    }
}

/// Keeps forms and scripts of other origins from logging a browser in or out.
async fn reject_cross_origin_writes(
    State(ac): State<Activeconnect>,
    request: Request,
    next: middleware::Next,
) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !is_read && is_cross_origin_request(&ac, &request) {
        let detail = "Requests that change something must come from this site.";
        return problem_response(StatusCode::FORBIDDEN, detail);
    }
    next.run(request).await
}

/// A page of another origin may lead here, but an image or frame of it would tell it who is logged in:
/// the pages here lead on to others by that.
async fn reject_cross_origin_parts(
    State(ac): State<Activeconnect>,
    request: Request,
    next: middleware::Next,
) -> Response {
    let is_part = request.headers().get("sec-fetch-dest").is_some_and(|part| part != "document");
    if is_part && is_cross_origin_request(&ac, &request) {
        return problem_response(
            StatusCode::FORBIDDEN,
            "Pages of other sites can lead here, no more.",
        );
    }
    next.run(request).await
}

/// Who is logged in here is not for pages of other origins to know, nor to keep us busy with.
async fn reject_cross_origin(
    State(ac): State<Activeconnect>,
    request: Request,
    next: middleware::Next,
) -> Response {
    if is_cross_origin_request(&ac, &request) {
        return problem_response(
            StatusCode::FORBIDDEN,
            "This can be asked by pages of this site only.",
        );
    }
    next.run(request).await
}

fn is_cross_origin_request(ac: &Activeconnect, request: &Request) -> bool {
    is_cross_origin(request.uri(), request.headers(), &ac.engine().config.origins)
}

/// A request that carries a session's credential shows that its client has got that, whichever
/// route it asks for.
async fn present_session(
    State(ac): State<Activeconnect>,
    request: Request,
    next: middleware::Next,
) -> Response {
    let engine = ac.engine();
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    let borne =
        RequestCredentials::from_request(method, uri, headers, &engine.config, &engine.key_ring);
    if let Some(key) = borne.session() {
        engine.sessions.present(&key);
    }
    if !engine.route_placement.is_settled() {
        note_placement(engine, &request);
    }
    next.run(request).await
}

/// Notes under which path the application has nested the routes.
fn note_placement(engine: &Engine, request: &Request) {
    let (headers, extensions) = (request.headers(), request.extensions());
    let paths = SitePaths::from_request(headers, extensions, &engine.config);
    let asked = extensions.get::<OriginalUri>().map_or(request.uri(), |original| &original.0);
    let nested_at = asked.path().strip_suffix(request.uri().path());
    if let Some(nested_at) = nested_at.filter(|path| path.len() <= MAX_NOTED_PATH_LEN) {
        let is_auth_path = nested_at == paths.auth || paths.requested(nested_at) == paths.auth;
        engine.route_placement.note_request(nested_at, is_auth_path);
    }
}

async fn add_security_headers(mut response: Response) -> Response {
    set_security_headers(response.headers_mut());
    response
}

#[derive(Deserialize)]
struct LoginPageQuery {
    next: Option<String>,
    /// Another user wants to log in: a browser with a session gets the login page, too.
    switch: Option<String>,
}

/// What the query asks for, as far as that may be followed.
fn next_from_query(
    query: Result<Query<LoginPageQuery>, QueryRejection>,
    paths: &SitePaths,
) -> String {
    let wanted = query.ok().and_then(|Query(query)| query.next);
    redirect::sanitize_next(wanted.as_deref(), paths)
}

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
    credential_session: Option<Arc<Session>>,
    /// The same, if it is the user's.
    pub(super) session: Option<Arc<Session>>,
    client: ClientContext,
}

impl RequestContext {
    fn new(ac: Activeconnect, parts: &Parts) -> Self {
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
            let named = engine.attempts.find_named(credential?)?;
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
    fn unread_cookies(&self) -> Option<UnreadCookies> {
        if !self.client.has_unread_cookies {
            return None;
        }
        self.engine().warn_unread_cookies(&unread_cookies_detail());
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
    fn page_address(
        &self,
        paths: &SitePaths,
        route: &str,
        next: &str,
        language: LanguageChoice,
    ) -> String {
        let address = paths.with_next(route, next);
        self.engine().config.pages.with_language(address, language)
    }

    fn paths(&self) -> SitePaths {
        self.client.paths(&self.engine().config)
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        self.ac.engine()
    }

    fn attempt(&self) -> Option<&Arc<Attempt>> {
        self.attempt.as_ref().map(|named| &named.attempt)
    }

    /// What to tell about: the attempt while it runs, else the session, else how the attempt
    /// ended.
    fn status_source(&self) -> StatusSource {
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
    fn is_logged_in(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.verdict() == Verdict::Allow)
    }

    /// Whether it is a browser's request that names a bearer's attempt.
    fn is_browser_with_bearer_attempt(&self) -> bool {
        self.is_browser && self.attempt().is_some_and(|attempt| attempt.is_bearer())
    }

    /// Claims the attempt's result if it is approved, or once more if the answer to the last claim
    /// may be lost. The session that was there before is logged out.
    fn claim(&self) -> Option<ClaimedSession> {
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
    fn set_session_cookies(
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
            let proofs = engine.browser_proofs.issue(known, name, *proof, now.wall);
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

async fn login_page(
    State(ac): State<Activeconnect>,
    query: Result<Query<LoginPageQuery>, QueryRejection>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let visitor = RequestContext::refreshed(ac, &parts).await;
    let paths = visitor.paths();
    let switches = query.as_ref().is_ok_and(|Query(query)| query.switch.is_some());
    let next = next_from_query(query, &paths);
    if visitor.is_logged_in() && !switches {
        return Redirect::to(&next).into_response();
    }
    let user = visitor.user.as_ref().map(UserId::as_str);
    let view = visitor.view(&paths, visitor.language(&parts));
    render(StatusCode::OK, view.login(user, &next, visitor.unread_cookies()))
}

async fn login(State(ac): State<Activeconnect>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let user = ac.resolve(&parts);
    login::post_login(&ac, user, Request::from_parts(parts, body)).await
}

async fn waiting(
    State(ac): State<Activeconnect>,
    query: Result<Query<LoginPageQuery>, QueryRejection>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let visitor = RequestContext::refreshed(ac, &parts).await;
    let settings = &visitor.engine().config;
    let paths = visitor.paths();
    let next = next_from_query(query, &paths);
    let here = paths.route_with_next("waiting", &next);
    let language = visitor.language(&parts);
    let is_bearer = visitor.attempt().is_some_and(|attempt| attempt.is_bearer());
    let claimed = if is_bearer { None } else { visitor.claim() };
    if let Some(claimed) = claimed {
        // By way of this page once more, which sees whether the cookie came back.
        let here = settings.pages.with_language(here, language);
        return visitor.set_session_cookies(&parts, Redirect::to(&here).into_response(), &claimed);
    }
    let again = |attempt: &Attempt| match attempt.step_up_of() {
        // The session is what it was; the page that needs more still does.
        Some(methods) => confirm_url(&paths.page("confirm"), methods, Some(&next)),
        None if visitor.is_logged_in() => paths.login_form(&next),
        None => paths.with_next("login", &next),
    };
    let view = visitor.view(&paths, language);
    let page = |attempt: &Attempt, login| {
        render(StatusCode::OK, view.waiting(here, again(attempt), login))
    };
    if let Some(attempt) = visitor.attempt()
        && attempt.step_up_of().is_some()
        && attempt.failure().is_some()
    {
        return page(attempt, None);
    }
    match visitor.status_source() {
        StatusSource::Attempt(attempt) => {
            // Another tab may have got the session since this request was sent: the next one
            // carries its cookie.
            let is_claimed =
                attempt.session().is_some_and(|session| session.verdict() != Verdict::Ended);
            let now = visitor.engine().now();
            let over = attempt.is_over(now) && !is_claimed;
            let login = LoginFacts {
                name: attempt.shown_name(),
                site: settings.origins.display_host(request_host(&parts)),
                begun_unix_ms: attempt.started_at.wall,
                left_ms: attempt.deadline.mono.saturating_sub(now.mono),
            };
            page(&attempt, (!over).then_some(login))
        }
        // Claimed, here or in another tab.
        StatusSource::Session(session) if session.verdict() != Verdict::Ended => {
            Redirect::to(&next).into_response()
        }
        StatusSource::Session(_) => {
            Redirect::to(&visitor.page_address(&paths, "login", &next, language)).into_response()
        }
        // Sent on from here, a browser without cookies would go round and round.
        StatusSource::Nothing => {
            let unread = visitor.unread_cookies();
            let is_secure = settings.cookie_names.secure;
            let is_loopback = is_secure && is_loopback(request_host(&parts));
            if is_secure && !is_loopback && seems_plain_http(&parts, &visitor.client.format) {
                visitor.engine().warn_of_lost_cookie();
            }
            let refusal = PageError::NoLoginWaits { unread, is_loopback };
            let status = StatusCode::BAD_REQUEST;
            let login = paths.with_next("login", &next);
            render(status, view.error(status.as_u16(), refusal, Some(login)))
        }
    }
}

/// The host that the request names.
fn request_host(parts: &Parts) -> &str {
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    parts.uri.authority().map(Authority::as_str).or(host).unwrap_or_default()
}

/// Whether a browser seems to load this page by plain http: it leaves `Sec-Fetch-*` away then, and no
/// proxy says that it came by https.
fn seems_plain_http(parts: &Parts, format: &ResponseFormat) -> bool {
    let is_page_load = matches!(format, ResponseFormat::HtmlRedirect(_));
    is_page_load
        && !parts.headers.contains_key("sec-fetch-mode")
        && !["x-forwarded-proto", "forwarded"].iter().any(|name| parts.headers.contains_key(*name))
}

/// Whether the `Host` of a request is the browser's own machine.
fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

async fn locked(
    State(ac): State<Activeconnect>,
    query: Result<Query<LoginPageQuery>, QueryRejection>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let visitor = RequestContext::refreshed(ac, &parts).await;
    let paths = visitor.paths();
    let next = next_from_query(query, &paths);
    let language = visitor.language(&parts);
    match visitor.session.as_ref().map(|session| session.verdict()) {
        Some(verdict @ (Verdict::Suspended | Verdict::Unavailable)) => {
            let here = paths.route_with_next("locked", &next);
            let is_suspended = verdict == Verdict::Suspended;
            render(StatusCode::OK, visitor.view(&paths, language).locked(is_suspended, here))
        }
        // The gate may go by another session of the user, and would send the browser back here.
        None => {
            Redirect::to(&visitor.page_address(&paths, "login", &next, language)).into_response()
        }
        // Let in again, or to the login page: the gate there knows.
        Some(_) => Redirect::to(&next).into_response(),
    }
}

async fn status(State(ac): State<Activeconnect>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let visitor = RequestContext::refreshed(ac, &parts).await;
    if visitor.is_browser_with_bearer_attempt() {
        return problem_response(
            StatusCode::FORBIDDEN,
            "This secret is for clients that are no browsers.",
        );
    }
    if let Some(claimed) = visitor.claim() {
        if claimed.bearer {
            let status = status_str(&claimed.session);
            return json(&[("status", status), ("credential", &claimed.credential.expose())]);
        }
        return visitor.set_session_cookies(
            &parts,
            session_status(visitor.engine(), &claimed.session),
            &claimed,
        );
    }
    match visitor.status_source() {
        // A session of which the client holds no credential is none of its own.
        StatusSource::Attempt(attempt) if attempt.is_over(visitor.engine().now()) => {
            status_json("timeout")
        }
        StatusSource::Attempt(_) => status_json("pending"),
        StatusSource::Session(session) => session_status(visitor.engine(), &session),
        StatusSource::Nothing => status_json("none"),
    }
}

/// What the status of a session is, which user's, and whether that user is warned: for the one who
/// bears its credential.
fn session_status(engine: &Engine, session: &Session) -> Response {
    let owner = session.owner_id().to_string();
    let mut fields = vec![("status", status_str(session)), ("owner", &*owner)];
    if engine.warns_of_unknown_browser(session) {
        fields.push(("warning", "unknown-browser"));
    }
    json(&fields)
}

async fn events(State(ac): State<Activeconnect>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let last = parts.headers.get("last-event-id").map(|word| word.to_str().unwrap_or_default());
    if last.is_some_and(is_final) {
        return stop_reconnecting();
    }
    let visitor = RequestContext::refreshed(ac, &parts).await;
    let subject = visitor.status_source();
    if last.is_some() && matches!(subject, StatusSource::Nothing) {
        return stop_reconnecting();
    }
    let changes = status_stream(visitor.engine().clone(), subject);
    let events = Sse::new(changes).keep_alive(KeepAlive::default());
    // Proxies such as nginx hold a response back until a buffer is full, unless it says this.
    ([("x-accel-buffering", "no")], events).into_response()
}

/// To the event stream of a browser that has been told all: after any 200 it would connect again,
/// every few seconds.
fn stop_reconnecting() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

async fn logout(State(ac): State<Activeconnect>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let visitor = RequestContext::new(ac, &parts);
    // The answer that carries a session may still be on its way to this browser.
    let claimed = visitor.attempt().and_then(|attempt| visitor.engine().cancel_attempt(attempt));
    let mut logged_out = None;
    for session in claimed.iter().chain(&visitor.credential_session) {
        let here = visitor.engine().log_out(session).await;
        if logged_out != Some(LogoutOutcome::LocalOnly) {
            logged_out = Some(here);
        }
    }
    let mut response = if visitor.is_browser() {
        let paths = visitor.paths();
        let language = visitor.language(&parts);
        let login = visitor.page_address(&paths, "login", &paths.home(), language);
        Redirect::to(&login).into_response()
    } else {
        match logged_out {
            Some(LogoutOutcome::Confirmed) => status_json("closed"),
            // Over here; the service has not said yes, and is asked again.
            Some(LogoutOutcome::LocalOnly) => {
                (StatusCode::ACCEPTED, status_json("closed")).into_response()
            }
            None => status_json("none"),
        }
    };
    let names = &visitor.engine().config.cookie_names;
    response.headers_mut().append(SET_COOKIE, cookies::remove_session(names));
    response.headers_mut().append(SET_COOKIE, cookies::remove_attempt(names));
    response
}

/// `{"status":"…"}`.
pub(super) fn status_json(word: &'static str) -> Response {
    json(&[("status", word)])
}

pub(super) fn json(fields: &[(&str, &str)]) -> Response {
    Json(fields.iter().copied().collect::<BTreeMap<_, _>>()).into_response()
}

/// RFC 9457.
pub(super) fn problem_response(status: StatusCode, detail: &str) -> Response {
    let details = ProblemDetails::from_status_code(status).with_detail(detail);
    let body = serde_json::to_vec(&details).unwrap_or_default();
    let json = HeaderValue::from_static("application/problem+json");
    (status, [(CONTENT_TYPE, json)], Body::from(body)).into_response()
}
