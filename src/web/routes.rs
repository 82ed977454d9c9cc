use axum::Router;
use axum::extract::{DefaultBodyLimit, OriginalUri, Request, State};
use axum::middleware::{self, from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::{any, get, post};

use super::events::events;
use super::locked::locked;
use super::login_page::login_page;
use super::logout::logout;
use super::origin_checks::{
    reject_cross_origin, reject_cross_origin_parts, reject_cross_origin_writes,
};
use super::pages::asset;
use super::status::status;
use super::verify::verify;
use super::waiting::waiting;
use super::{confirm, cors, login, registration, sessions};
use crate::engine::{Activeconnect, Engine};
use crate::layer::{RequestCredentials, SitePaths, set_security_headers};

/// The longest path under which routes are noted to be nested, in bytes.
const MAX_NOTED_PATH_LEN: usize = 256;
/// A login needs no more than this.
const MAX_BODY_BYTES: usize = 16 * 1024;

impl Activeconnect {
    /// The routes through which browsers log in and out, to be nested outside the gate where
    /// [`auth_path`](crate::ActiveconnectBuilder::auth_path) says, `/auth` by default.
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
    /// | `GET registration` | `{"status":"…"}` of the page with a [`RegistrationLink`](crate::enrollment::RegistrationLink) that this browser was shown last: `pending`, `registered`, or `none` when no page waits; a page load once the phone has registered goes on (303) |
    /// | `GET verify` | for a proxy that asks whether to pass a request on: 200, 401, 403 or 503 with no redirect and no cookie, whatever `Accept` and the method say; the user in [a header](crate::ActiveconnectBuilder::verify_user_header), if one is set |
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
    /// refused (403), unless their origin [is allowed](crate::ActiveconnectBuilder::allow_origin). Too many logins
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

async fn login(State(ac): State<Activeconnect>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let user = ac.resolve(&parts);
    login::post_login(&ac, user, Request::from_parts(parts, body)).await
}
