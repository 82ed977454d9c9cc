//! The router of the authentication routes.

use axum::Router;
use axum::extract::{DefaultBodyLimit, OriginalUri, Request, State};
use axum::middleware::{self, from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::{any, get, post};

use super::events::events;
use super::locked::locked;
use super::login::login;
use super::login_page::login_page;
use super::logout::logout;
use super::origin_checks::{
    reject_cross_origin, reject_cross_origin_subresources, reject_cross_origin_writes,
};
use super::pages::asset;
use super::status::status;
use super::verify::verify;
use super::waiting::waiting;
use super::{confirm, cors, registration, sessions};
use crate::engine::{Activeconnect, Engine};
use crate::layer::{RequestCredentials, SitePaths, set_security_headers};

/// The longest nesting path of the routes that is recorded, in bytes.
const MAX_RECORDED_PATH_LEN: usize = 256;
/// The largest body that the routes accept, in bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;

impl Activeconnect {
    /// The routes for login and logout. Nest them outside the gate at
    /// [`auth_path`](crate::ActiveconnectBuilder::auth_path), `/auth` by default.
    ///
    /// Requires the feature `axum`, which is enabled by default.
    ///
    /// | route | response |
    /// | --- | --- |
    /// | `GET login` | a page with a form for the user name; 303 to `next` if the user is logged in, unless `switch` is in the query |
    /// | `POST login` | starts an attempt: 303 to `waiting` for a form (`username`, `next`), 202 `{"status":"pending"}` for JSON (`{"username","credential"?}`) |
    /// | `GET waiting` | a page that waits for the phone, claims the result, checks that the browser returns its cookie and redirects to `next` |
    /// | `GET confirm` | a page on which the user of a session confirms again on the phone, as a layer requires (`methods`, one of the sets that layers require; `next`) |
    /// | `POST confirm` | starts that attempt: 303 to `waiting`, or 202 `{"status":"pending"}`; no request body. The session stays unchanged until the client claims the new session, which replaces it |
    /// | `GET locked` | a page that waits for the phone to return |
    /// | `GET status` | `{"status":"…"}` of the attempt, whose result the request claims once approved, else of the session; `none` without either, `unavailable` if the status is not known. For a session also `"owner"`, by which pages [distinguish users](crate::ActiveSession::owner_id), and `"warning":"unknown-browser"` while an unknown browser has a later session of the user, until the user opens `sessions` |
    /// | `GET events` | the same as server-sent events, one for each change; the id of an event is the status. A browser's `EventSource` reconnects after the last event, gets 204 and stops |
    /// | `GET registration` | `{"status":"…"}` of the newest page with a [`RegistrationLink`](crate::enrollment::RegistrationLink) in this browser: `pending`, `registered`, or `none` if no page waits; 303 for a page load once the phone has registered |
    /// | `GET verify` | for a proxy that authorizes its requests here: 200, 401, 403 or 503 without redirect or cookie, whatever `Accept` and the method are; the user in [a header](crate::ActiveconnectBuilder::verify_user_header), if one is set |
    /// | `POST logout` | ends the session here and at the service |
    /// | `GET sessions` | a page on which users see their sessions and end them; JSON for scripts |
    /// | `POST sessions/end` | ends one of the user's sessions, by its `id` in a form (303 to `sessions`) or JSON: 200 `{"status":"closed"}`, 202 if the service has not confirmed yet, 404 if the user has no such session |
    /// | `POST sessions/end-others` | ends all of the user's sessions but the one of the request; no request body |
    /// | `GET assets/guard.js` | a script that hides the application's own pages while the session is not active, as `docs/pages.md` describes; its address has no hash, its response has an `ETag` |
    /// | `GET assets/…` | style sheets, scripts and the logo of the pages, which caches may store |
    ///
    /// Only the browser or client that started a login can claim its result, within 60 s of the
    /// approval. As a response can be lost, each further claim within 60 s of the first returns the
    /// same credential, until a request carries it; then the attempt has ended. If no request carries
    /// the credential in that time, or the same browser starts another login, the session ends here
    /// and at the service.
    ///
    /// The redirect target `next` is a path of this site, which each tab keeps in its own address:
    /// when one of several waiting tabs claims the result, each tab redirects to its own target. A
    /// script that starts a login and then shows the waiting page adds `next` to that page's address.
    /// Prefetches and prerenders (`Sec-Purpose`) claim nothing.
    ///
    /// The routes reject (403) requests of other origins' pages with unsafe methods, to `status`,
    /// `events` and `registration`, and for subresources (`Sec-Fetch-Dest` other than `document`),
    /// unless the origin [is allowed](crate::ActiveconnectBuilder::allow_origin). They reject too many
    /// logins with 429 and `Retry-After`, alike for existing and unknown users.
    ///
    /// Clients without cookies send `"credential":"bearer"` in `POST login` and get an attempt secret,
    /// `{"status":"pending","attempt":"…"}`. They request `GET status` with `authorization: Bearer`
    /// and that secret until the response is `{"status":"active","credential":"…"}`. They then send
    /// that credential as `authorization: Bearer` to everything behind the gate. Browsers' requests
    /// (with `Origin` or `Sec-Fetch-Site`) get no such credentials (403).
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        self.engine().route_placement.note_routes();
        let status_routes = Router::new()
            .route("/status", get(status))
            .route("/events", get(events))
            .route("/registration", get(registration::progress))
            .layer(from_fn_with_state(self.clone(), reject_cross_origin));
        let mut routes = Router::new()
            .route("/login", get(login_page).post(login))
            .route("/waiting", get(waiting))
            .route("/confirm", get(confirm::page).post(confirm::start))
            .route("/locked", get(locked))
            .merge(status_routes)
            .route("/logout", post(logout))
            .route("/sessions", get(sessions::page))
            .route("/sessions/end", post(sessions::end))
            .route("/sessions/end-others", post(sessions::end_others))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(from_fn_with_state(self.clone(), reject_cross_origin_writes))
            .layer(from_fn_with_state(self.clone(), reject_cross_origin_subresources))
            .layer(map_response(add_security_headers));
        if let Some(cors) = cors::cors(&self.engine().config.origins) {
            routes = routes.layer(cors);
        }
        routes
            // A proxy forwards the method and the headers of every request, preflights included.
            .route("/verify", any(verify).layer(map_response(add_security_headers)))
            .layer(from_fn_with_state(self.clone(), present_session))
            // The response is the same for every browser, and reveals no session.
            .route("/assets/{file}", get(asset))
            .with_state(self.clone())
    }
}

/// Marks the session of the request as presented: its client has received the credential.
async fn present_session(
    State(ac): State<Activeconnect>,
    request: Request,
    next: middleware::Next,
) -> Response {
    let engine = ac.engine();
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    let credentials =
        RequestCredentials::from_request(method, uri, headers, &engine.config, &engine.key_ring);
    if let Some(key) = credentials.session() {
        engine.sessions.present(&key);
    }
    if !engine.route_placement.is_settled() {
        record_placement(engine, &request);
    }
    next.run(request).await
}

/// Records the path under which the application has nested the routes.
fn record_placement(engine: &Engine, request: &Request) {
    let (headers, extensions) = (request.headers(), request.extensions());
    let paths = SitePaths::from_request(headers, extensions, &engine.config);
    let original_uri =
        extensions.get::<OriginalUri>().map_or(request.uri(), |original| &original.0);
    let nested_at = original_uri.path().strip_suffix(request.uri().path());
    if let Some(nested_at) = nested_at.filter(|path| path.len() <= MAX_RECORDED_PATH_LEN) {
        let is_auth_path = nested_at == paths.auth || paths.requested(nested_at) == paths.auth;
        engine.route_placement.note_request(nested_at, is_auth_path);
    }
}

async fn add_security_headers(mut response: Response) -> Response {
    set_security_headers(response.headers_mut());
    response
}
