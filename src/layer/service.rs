use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::attach_session::attach_session;
use super::authorize::{Authorizer, Decision};
use super::body::{BoxError, GateBody};
use super::cache_control::CacheControl;
use super::future::ResponseFuture;
use super::response_format::ClientContext;
use crate::engine::{ActiveSession, Activeconnect, Walkaway};
use crate::protocol::AuthMethods;
use crate::verdict::Denial;

/// With a shorter age, a login would be too old before its page is loaded again.
const MIN_MAX_AGE: Duration = Duration::from_secs(1);

/// Gates every request of the service it wraps; made by [`Activeconnect::layer`].
///
/// Works in `Router::layer` and `route_layer`, `MethodRouter::layer` and tonic's `Server::layer`
/// alike. Closed by default: only an allowed session reaches the wrapped service.
///
/// | in axum | a request without a session |
/// | --- | --- |
/// | `.layer(ac.layer())` on the outermost router | is rejected whatever path it asks for, 404s included |
/// | `.nest("/api", inner.layer(ac.layer()))` | is rejected at the routes of `inner`; any other path under `/api` is handled by the fallback of the outer router, outside the gate |
/// | `.nest("/api", inner.fallback(handler).layer(ac.layer()))` | is rejected at `/api` and every path under it, but for `/api/`: axum leaves that to the outer router |
/// | `.route_layer(ac.layer())` | learns which paths exist; fallbacks stay open, those of nested routers too |
///
/// A nested router without a fallback of its own leaves unknown paths to the outer one, and axum does
/// not call the layer for them. So give it a fallback before the layer (one after the layer is open):
///
/// ```
/// # use tower_activeconnect::Activeconnect;
/// # fn example(ac: &Activeconnect) -> axum::Router {
/// use axum::Router;
/// use axum::http::StatusCode;
/// use axum::routing::get;
///
/// let inner = Router::new()
///     .route("/report", get(async || "numbers"))
///     .fallback(async || StatusCode::NOT_FOUND)
///     .layer(ac.layer());
/// Router::new().nest("/api", inner).nest("/auth", ac.routes())
/// # }
/// ```
///
/// **In axum the layer gates what the router has when it is added. A route that is added later is open**,
/// by intent (the login's) or by mistake: `Router::new().layer(ac.layer()).route("/secret", …)` gates
/// nothing; add the route before the layer. A login that is itself behind the layer (its routes were
/// forgotten, nested before the layer or under another path than
/// [`auth_path`](crate::ActiveconnectBuilder::auth_path)) gets 500 with the mistake in words, which is logged
/// as an error once a minute. Layers that are added later are outside. CORS belongs there,
/// as a preflight carries no session and gets 401, and a page of another origin can't read a 401 that
/// has no CORS headers; so does a trace that is to show rejected requests.
///
/// It does no path matching. A router's layer gates the routes that the router has when the layer is
/// added, and **none that are added after it**:
///
/// ```
/// # use tower_activeconnect::Activeconnect;
/// # fn example(ac: &Activeconnect) -> axum::Router {
/// use axum::{Router, routing::get};
///
/// let public = Router::new().route("/favicon.ico", get(async || "icon"));
/// Router::new()
///     .route("/", get(async || "gated")) // gated: above the layer
///     .layer(ac.layer())
///     .merge(public)                     // open: below it
///     .nest("/auth", ac.routes())        // open, or no user could log in
/// # }
/// ```
///
/// Around a whole router, whatever its routes and fallbacks are, the layer is the fallback of a router
/// that has the login's routes:
///
/// ```
/// # use tower_activeconnect::Activeconnect;
/// # fn example(ac: &Activeconnect, whole: axum::Router) -> axum::Router {
/// use axum::Router;
/// use tower_layer::Layer as _;
///
/// Router::new().nest("/auth", ac.routes()).fallback_service(ac.layer().layer(whole))
/// # }
/// ```
///
/// Where the login's routes are served elsewhere, `axum::serve` takes the gated service itself once its
/// body is axum's:
///
/// ```
/// # use tower_activeconnect::Activeconnect;
/// # async fn example(ac: Activeconnect, whole: axum::Router) -> std::io::Result<()> {
/// use axum::body::Body;
/// use axum::extract::Request;
/// use axum::response::Response;
/// use axum::ServiceExt;
/// use tower::ServiceBuilder;
/// use tower_activeconnect::layer::GateBody;
///
/// let gated = ServiceBuilder::new()
///     .map_response(|response: Response<GateBody<Body>>| response.map(Body::new))
///     .layer(ac.layer())
///     .service(whole);
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
/// axum::serve(listener, ServiceExt::<Request>::into_make_service(gated)).await
/// # }
/// ```
///
/// The response to a rejected request has the format that its client expects:
///
/// | client | response |
/// | --- | --- |
/// | a browser that loads a page | 303 to the page where the user goes on (login, waiting, locked, confirm or enrollment), which leads back; HTML where there is no such page |
/// | a browser that sends a form | 401, 403 or 503 and HTML |
/// | htmx (`HX-Request`) | 401, 403 or 503, with `HX-Redirect` to that same page; it leads back to the page of `HX-Current-URL`, or to a boosted link |
/// | Inertia (`X-Inertia`) | 409 with `X-Inertia-Location`, that same page |
/// | Turbo frames (`Turbo-Frame`), Unpoly (`X-Up-Version`), jQuery and others (`X-Requested-With: XMLHttpRequest`) | 401, 403 or 503 and problem details, which none of them puts into the open page |
/// | gRPC and grpc-web | `UNAUTHENTICATED`, `PERMISSION_DENIED` or `UNAVAILABLE` in trailers |
/// | any other script or program | 401, 403 or 503 and problem details (RFC 9457) |
///
/// A browser loads a page or sends a form where it says so (`Sec-Fetch-Mode: navigate`). Browsers
/// omit that on plain http; there a GET or HEAD that prefers HTML is a page load, and a POST that
/// prefers HTML and has the content type of a form is a form. htmx 2 does not follow `HX-Redirect`
/// when it restores a page that its history lacks; set `htmx.config.refreshOnHistoryMiss = true`.
///
/// The question that a proxy asks before it forwards a request (nginx's `auth_request`, Caddy's
/// `forward_auth`, Traefik's `forwardAuth`) must not be a gated route: a page load gets a redirect,
/// and a rejected gRPC call is HTTP 200 by gRPC's own rules, which such a proxy takes for yes. Only
/// a POST counts as a gRPC call, so leave the method of these questions at GET.
///
/// A handler learns the user from the extensions alone. The layer reads no header for it and
/// removes none: an application that trusts a header like `X-User` has to remove it, in every
/// spelling, from requests of clients.
#[derive(Clone, Debug)]
#[must_use]
pub struct ActiveconnectLayer {
    gate: Arc<Authorizer>,
}

impl Activeconnect {
    /// A layer that forwards requests of active sessions and rejects all others.
    ///
    /// The extractor [`ActiveSession`] and [`routes`](Activeconnect::routes), by which users log in,
    /// need the feature `axum`, which is on by default. With `default-features = false` name it:
    /// `features = ["axum"]`. Without it a handler finds its session by
    /// [`ActiveSession::from_extensions`], and there are no login routes.
    ///
    /// ```
    /// use tower_activeconnect::{ActiveSession, Activeconnect};
    /// # async fn example(ac: Activeconnect) {
    /// use axum::{Router, routing::get};
    ///
    /// let app: Router = Router::new()
    ///     .route("/", get(|s: ActiveSession| async move { format!("Hello {}", s.user()) }))
    ///     .layer(ac.layer())
    ///     .nest("/auth", ac.routes());
    /// # }
    /// ```
    pub fn layer(&self) -> ActiveconnectLayer {
        self.engine().route_placement.note_layer();
        ActiveconnectLayer { gate: Arc::new(Authorizer::new(self.clone())) }
    }
}

impl ActiveconnectLayer {
    /// Forwards everything: a handler finds an [`ActiveSession`] in the extensions only for an
    /// allowed session, the [`Denial`] otherwise.
    pub fn optional(self) -> Self {
        self.map_authorizer(|gate| gate.optional = true)
    }

    /// The treatment of a session whose phone walked away; [`Walkaway::Suspend`] by default.
    pub fn walkaway(self, walkaway: Walkaway) -> Self {
        self.map_authorizer(|gate| gate.policy.walkaway = walkaway.into())
    }

    /// How long a handler that still runs when its session ends may take to finish its work; its
    /// response does not leave even then. Default 5 s, at most 49 days; zero drops it at once.
    pub fn grace(self, grace: Duration) -> Self {
        self.map_authorizer(|gate| gate.policy.grace = grace.into())
    }

    /// How long responses in flight are held while the session's status is unknown, before they are
    /// cut; counted from the moment at which it became unknown, whatever the phone did before.
    /// Default 30 s, at most 49 days; zero cuts at once.
    pub fn hold_limit(self, limit: Duration) -> Self {
        self.map_authorizer(|gate| gate.policy.hold_limit = limit.into())
    }

    /// Allows requests as any layer does and counts none of them as a use of its session: for
    /// requests that pages send by themselves, so that a forgotten page does not keep its session
    /// from [`ActiveconnectBuilder::idle_timeout`](crate::ActiveconnectBuilder::idle_timeout).
    /// Without an idle timeout it changes nothing.
    ///
    /// A request that passes several layers is a use unless all are passive.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use tower_activeconnect::{ActiveSession, Activeconnect};
    ///
    /// fn app(ac: &Activeconnect) -> Router {
    ///     let polled = Router::new()
    ///         .route("/unread", get(async |_: ActiveSession| "3"))
    ///         .layer(ac.layer().passive());
    ///     Router::new()
    ///         .route("/", get(async |s: ActiveSession| format!("Hello {}", s.user())))
    ///         .layer(ac.layer())
    ///         .merge(polled)
    ///         .nest("/auth", ac.routes())
    /// }
    /// ```
    pub fn passive(self) -> Self {
        self.map_authorizer(|gate| gate.counts_as_use = false)
    }

    /// The `Cache-Control` of responses that have none; [`CacheControl::Private`] by default.
    ///
    /// With [`CacheControl::NoStore`], the Back button after a logout requests the page again. Yet
    /// a browser may restore a page as it was, with its scripts, from memory ("back/forward
    /// cache"): Chromium does so with `no-store` pages, too, even though the logout has removed a
    /// cookie. No header prevents that. A page that must not be seen after the logout has to reload
    /// itself:
    ///
    /// ```js
    /// addEventListener("pageshow", (event) => event.persisted && location.reload());
    /// ```
    ///
    /// The crate's own pages are `no-store` and do that. A page that loads `guard.js`
    /// (`docs/pages.md`) checks the status before it is visible and need not reload.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use tower_activeconnect::layer::CacheControl;
    /// use tower_activeconnect::{ActiveSession, Activeconnect};
    ///
    /// fn app(ac: &Activeconnect) -> Router {
    ///     Router::new()
    ///         .route("/", get(|s: ActiveSession| async move { format!("Hello {}", s.user()) }))
    ///         .layer(ac.layer().cache_control(CacheControl::NoStore))
    ///         .nest("/auth", ac.routes())
    /// }
    /// ```
    pub fn cache_control(self, cache_control: CacheControl) -> Self {
        self.map_authorizer(|gate| gate.cache_control = cache_control)
    }

    /// Requires a login with exactly these methods; a session whose login asked for others, for
    /// more, or for the service's choice is rejected with [`Denial::StepUp`]. Empty, the default,
    /// requires nothing.
    ///
    /// Checked at the start of a request only: a stream that has started goes on. A rejected client
    /// confirms: a page load is redirected to a page that sends a push to the user's phone, for
    /// these methods, and returns with a new credential; a program posts to the `confirm` that the
    /// problem details, or the metadata of gRPC's `ErrorInfo`, name.
    ///
    /// Inside another layer it guards operations that need more than a login:
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use axum::{Router, routing::{get, post}};
    /// use tower_activeconnect::Activeconnect;
    /// use tower_activeconnect::protocol::AuthMethod;
    ///
    /// fn app(ac: &Activeconnect) -> Router {
    ///     let transfers = ac.layer()
    ///         .require_methods([AuthMethod::Device, AuthMethod::Facial])
    ///         .max_age(Duration::from_secs(300));
    ///     Router::new()
    ///         .route("/transfer", post(|| async { "done" }))
    ///         .route_layer(transfers)
    ///         .route("/", get(|| async { "Hello" }))
    ///         .layer(ac.layer())
    ///         .nest("/auth", ac.routes())
    /// }
    /// ```
    pub fn require_methods(
        self,
        methods: impl IntoIterator<Item = crate::protocol::AuthMethod>,
    ) -> Self {
        let methods: AuthMethods = methods.into_iter().collect();
        self.map_authorizer(|gate| gate.require_methods(methods))
    }

    /// Requires that the login is no older than this at the start of a request: since its result
    /// was claimed, by the clock that says older. At least 1 s; by default the login may be as old
    /// as its session. The rejection is that of [`ActiveconnectLayer::require_methods`]; the user
    /// confirms with the same methods as before unless that sets others.
    pub fn max_age(self, age: Duration) -> Self {
        self.map_authorizer(|gate| gate.requirement.max_age = Some(age.max(MIN_MAX_AGE)))
    }

    /// How many connections were upgraded (to WebSockets, as a rule) by handlers that took no
    /// [guard](crate::ActiveSession::guard) of the session: they outlive it, for a layer can't
    /// reach into them. The first is warned about.
    #[must_use]
    pub fn unguarded_upgrades(&self) -> u64 {
        self.gate.upgrades.unguarded()
    }

    fn map_authorizer(mut self, change: impl FnOnce(&mut Authorizer)) -> Self {
        change(Arc::make_mut(&mut self.gate));
        self
    }

    /// Beside another login, for callers without cookies (services that log in with a client
    /// certificate): allows a request when *any* session of the resolved user is active.
    ///
    /// This drops the binding between browser and phone: a caller that passes the other login as
    /// this user is allowed while the user's phone keeps any session alive, also another caller's.
    /// The request is guarded by the session that allowed it. Without
    /// [`with_user_resolver`](Activeconnect::with_user_resolver) this changes nothing.
    ///
    /// A tonic server whose callers log in with a certificate while its owner's phone keeps a
    /// session:
    ///
    /// ```no_run
    /// use http::request::Parts;
    /// use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
    /// use tower_activeconnect::{Activeconnect, ActiveconnectLayer, UserId};
    ///
    /// # fn owner_of(certificate: &[u8]) -> Option<UserId> { None }
    /// fn layer(ac: &Activeconnect) -> ActiveconnectLayer {
    ///     let ac = ac.with_user_resolver(|parts: &Parts| {
    ///         let connection = parts.extensions.get::<TlsConnectInfo<TcpConnectInfo>>()?;
    ///         let certificates = connection.peer_certs()?;
    ///         owner_of(certificates.first()?)
    ///     });
    ///     ac.layer().allow_any_user_session()
    /// }
    /// ```
    pub fn allow_any_user_session(self) -> Self {
        self.map_authorizer(|gate| gate.allows_any_session = true)
    }
}

impl<S> Layer<S> for ActiveconnectLayer {
    type Service = ActiveconnectService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ActiveconnectService { inner, gate: self.gate.clone() }
    }
}

/// The service that [`ActiveconnectLayer`] makes.
#[derive(Clone, Debug)]
#[must_use]
pub struct ActiveconnectService<S> {
    inner: S,
    gate: Arc<Authorizer>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for ActiveconnectService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ResBody: Body<Data = Bytes> + 'static,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<GateBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let mut client = ClientContext::from_request(
            request.method(),
            request.uri(),
            request.headers(),
            request.extensions(),
            self.gate.config(),
        );
        let decision = if self.gate.has_resolver() {
            // The extension of another layer is not the other login's.
            request.extensions_mut().remove::<ActiveSession>();
            request.extensions_mut().remove::<Denial>();
            let (parts, body) = request.into_parts();
            let decision = self.gate.authorize_resolved_user(&parts, &mut client);
            request = Request::from_parts(parts, body);
            decision
        } else {
            self.gate.authorize(request.method(), request.uri(), request.headers(), &mut client)
        };
        match decision {
            Decision::Deferred(answer) => {
                // The service that is ready is this one; its clone need not be.
                let clone = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, clone);
                ResponseFuture::deciding(self.gate.clone(), client, answer, ready, request)
            }
            Decision::Deny(denial) if !self.gate.optional => {
                // The inner service may have reserved a permit for this request, which others may
                // use.
                let clone = self.inner.clone();
                drop(std::mem::replace(&mut self.inner, clone));
                let (uri, extensions) = (request.uri(), request.extensions());
                let is_login = self.gate.is_login_route(uri, extensions, &client);
                ResponseFuture::denied(self.gate.clone(), client, denial, is_login)
            }
            decision => {
                let guard = attach_session(&self.gate, decision, &client, &mut request);
                let future = self.inner.call(request);
                ResponseFuture::running(self.gate.clone(), client, future, guard)
            }
        }
    }
}
