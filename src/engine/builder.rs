use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::runtime::Handle;

#[cfg(test)]
use crate::client::mock::ScriptedUpstream;
use crate::client::{self, Client, Credentials, POLL_TIMEOUT};
#[cfg(any(test, feature = "test-util"))]
use crate::clock::Clock;
use crate::engine::build_error::BuildError;
use crate::engine::config::Config;
use crate::engine::cookie_names::CookieNames;
use crate::engine::trusted_proxies::ForwardedHeader;
use crate::engine::{Activeconnect, Engine};
use crate::identity::UserId;
use crate::login::login_limits::LoginLimits;
use crate::login::username::{UsernameNormalizer, UsernameResolver};
#[cfg(feature = "axum")]
use crate::pages::{PageSetup, Pages, Theme};
use crate::protocol::AuthMethods;
use crate::runtime::missing_driver;
use crate::store::{DynTokenStore, TokenStore};

/// Configures an [`Activeconnect`]; made by [`Activeconnect::builder`].
#[derive(Debug)]
#[must_use]
pub struct ActiveconnectBuilder {
    credentials: Credentials,
    store: Option<DynTokenStore>,
    config: Config,
    #[cfg(feature = "axum")]
    pages: PageSetup,
    #[cfg(test)]
    script: Option<ScriptedUpstream>,
}

impl Activeconnect {
    /// Configures an engine for these credentials.
    pub fn builder(credentials: Credentials) -> ActiveconnectBuilder {
        ActiveconnectBuilder::new(credentials)
    }
}

impl ActiveconnectBuilder {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            store: None,
            config: Config::default(),
            #[cfg(feature = "axum")]
            pages: PageSetup::default(),
            #[cfg(test)]
            script: None,
        }
    }

    /// Lets a test receive and answer the calls, by its own clock.
    #[cfg(test)]
    pub(crate) fn script(mut self, script: ScriptedUpstream, clock: Clock) -> Self {
        self.script = Some(script);
        self.config.clock = Some(clock);
        self
    }

    /// The lookup table. Required.
    pub fn token_store(mut self, store: impl TokenStore) -> Self {
        self.store = Some(DynTokenStore::new(store));
        self
    }

    /// How often the status of a session in use is polled: 100 ms to 1 h, default 5 s. Shorter
    /// ends sessions sooner and costs more calls.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.config.poll_interval = interval;
        self
    }

    /// How long the last good status of a session allows without a newer one: up to 24 h, default
    /// 15 s. At least the poll interval, plus the 3 s a poll may take, plus 1 s.
    pub fn max_staleness(mut self, limit: Duration) -> Self {
        self.config.max_staleness = limit;
        self
    }

    /// How many polls may be sent in a second: 1 to 1,000,000, default 2,000; up to a tenth more in
    /// one second after a lull. The number of polls in flight follows from that and from the
    /// service's latency: up to three times as many, because a poll may take 3 s, and at most seven
    /// eighths of the calls for which there are connections (4,096 over HTTP/2; over HTTP/1.1 a
    /// quarter of the files that the process may open). More sessions than
    /// [`ActiveconnectBuilder::capacity`] are polled less often, those without streams first; a
    /// session whose status is older than `max_staleness` then allows no request until it is
    /// polled. Sessions that end by themselves are logged out at the service at a quarter of this
    /// rate, beside the polls.
    pub fn max_polls_per_second(mut self, ceiling: u32) -> Self {
        self.config.max_polls_per_second = ceiling;
        self
    }

    /// How many sessions in use can be kept within `max_staleness` even if each poll takes its full
    /// 3 s on a connection of its own (HTTP/1.1): the polls that can be sent and be in flight in
    /// that time, less the 3 s of the last one. [`Health::capacity`](crate::events::Health) tells what the
    /// present latency and protocol allow, usually more.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        let max_in_flight = self.config.max_polls_in_flight(client::max_http1_calls());
        self.config.capacity(max_in_flight, POLL_TIMEOUT)
    }

    /// The maximum number of sessions, counting those that ended within the last five minutes:
    /// default 1,000,000. A further login fails with
    /// [`LoginError::LimitReached`](crate::login::LoginError::LimitReached); its browser sees the same as
    /// when the phone does not respond.
    pub fn max_sessions(mut self, limit: usize) -> Self {
        self.config.max_sessions = limit;
        self
    }

    /// How many sessions one user may have: default 100. Rejected as by `max_sessions`.
    pub fn max_sessions_per_user(mut self, limit: usize) -> Self {
        self.config.max_sessions_per_user = limit;
        self
    }

    /// The maximum number of pending logins, counting those whose outcome can still be read:
    /// default 10,000. A further one is rejected with 429; no pending login is dropped for it. A
    /// tenth of the places (at least one, if there are several) is reserved for others than
    /// anonymous browsers, so that a flood of these does not keep [`Activeconnect::log_in`] out.
    /// Known browsers, in which the user has logged in before, and sessions that confirm are not
    /// counted here: their own limits are small.
    pub fn max_attempts(mut self, limit: usize) -> Self {
        self.config.max_attempts = limit;
        self
    }

    /// How long the phone may take to respond: 5 s to 10 min, default 60 s.
    pub fn login_timeout(mut self, deadline: Duration) -> Self {
        self.config.login_timeout = deadline;
        self
    }

    /// The longest life of a session: 1 s to 12 h, the default. The service is asked for the same
    /// where the dialect supports it.
    pub fn session_duration(mut self, duration: Duration) -> Self {
        self.config.session_duration = Some(duration);
        self
    }

    /// How long a session may go unused: 1 s to 12 h; by default as long as it lives. Then it ends, here
    /// and at the service, as [`EndReason::Idle`](crate::events::EndReason::Idle) (OWASP ASVS 5.0, 7.3.1).
    ///
    /// A use is a request that a layer allows, or that [`verify`](Activeconnect::routes) allows.
    /// Not uses: `status` and `events`, which pages request by themselves; what a stream, a
    /// WebSocket or an upload carries after its request; requests of a
    /// [passive](crate::ActiveconnectLayer::passive) layer; and rejected requests. The time counts
    /// from the login, by the clock that says longer. A session that is polled ends at that moment,
    /// and its open responses are cut. A parked one allows nothing from then on, and is logged out
    /// at the service within a minute. `docs/session-lifetimes.md` compares all clocks.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.config.idle_timeout = Some(timeout);
        self
    }

    /// Whether the session's cookie outlives the browser, for "remember this browser"; no by
    /// default. Its `Max-Age` is the rest of the session's life, at most 12 h, as
    /// [`session_duration`](ActiveconnectBuilder::session_duration) sets it. The session still ends
    /// on the server, remotely too.
    ///
    /// **The next person at that browser is that user**, also after the browser was closed, and the
    /// credential is stored on the disk. Use it for devices that people do not share, together with
    /// [`idle_timeout`](ActiveconnectBuilder::idle_timeout).
    pub fn persistent_cookie(mut self, persists: bool) -> Self {
        self.config.has_persistent_cookie = persists;
        self
    }

    /// The methods by which users prove their identity; by default the service chooses.
    pub fn methods(
        mut self,
        methods: impl IntoIterator<Item = crate::protocol::AuthMethod>,
    ) -> Self {
        self.config.methods = methods.into_iter().collect::<AuthMethods>();
        self
    }

    /// The methods of logins that an unknown browser, in which the user had not logged in before,
    /// or a program ([`BearerLogin`](crate::client::BearerLogin)) starts, in place of
    /// [`methods`](ActiveconnectBuilder::methods). By default the same.
    ///
    /// A phone can be set to accept requests by itself; an unattended one then approves the login
    /// of an anonymous client. `AuthMethod::Facial` and `AuthMethod::Device` need the person. A
    /// layer whose [`require_methods`](crate::ActiveconnectLayer::require_methods) names other
    /// methods has such a session confirm. See `docs/push-fatigue.md`.
    ///
    /// ```
    /// # use tower_activeconnect::ActiveconnectBuilder;
    /// # use tower_activeconnect::protocol::AuthMethod;
    /// # fn example(builder: ActiveconnectBuilder) -> ActiveconnectBuilder {
    /// builder.require_methods_of_unknown_browsers([AuthMethod::Facial])
    /// # }
    /// ```
    pub fn require_methods_of_unknown_browsers(
        mut self,
        methods: impl IntoIterator<Item = crate::protocol::AuthMethod>,
    ) -> Self {
        self.config.unknown_browser_methods = methods.into_iter().collect::<AuthMethods>();
        self
    }

    /// The maximum number of pushes for logins of unknown browsers and programs in a calendar month
    /// (UTC): 1 to 1,000,000,000; no limit by default. The service charges for each push.
    ///
    /// Names that do not exist count too, so that the budget reveals nothing about names. Once the
    /// budget is spent, such logins stay `pending` and send no push. Known browsers, sessions that
    /// confirm and [`log_in`](Activeconnect::log_in) go on.
    /// [`Health::pushes_left`](crate::events::Health::pushes_left) and
    /// [`EventKind::PushBudgetLow`](crate::events::EventKind::PushBudgetLow) report it in time.
    ///
    /// The count is in memory: a restart resets it, and each instance counts for itself.
    pub fn push_budget(mut self, per_month: u32) -> Self {
        self.config.push_budget = Some(per_month);
        self
    }

    /// Where the routes are nested, `/auth` by default; where browsers are sent to log in follows
    /// from it.
    pub fn auth_path(mut self, path: impl Into<String>) -> Self {
        self.config.auth_path = path.into();
        self
    }

    /// The prefix that a proxy strips from the paths that browsers request, such as `/app`: the
    /// application sees `/reports` where browsers request `/app/reports`. Redirects, links and
    /// `next` then have it, so that a login starts and ends under the prefix. It is put before
    /// [`ActiveconnectBuilder::auth_path`], [`ActiveconnectBuilder::enrollment_path`] and `next`,
    /// which are paths of the application, unless they have it already. Starts with `/` and does
    /// not end with `/`.
    ///
    /// Without it, a single `X-Forwarded-Prefix` of a [trusted proxy](ActiveconnectBuilder::trusted_proxies) is
    /// heeded. Recipes: `docs/behind-a-proxy.md`.
    pub fn mount_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.config.mount_prefix = Some(prefix.into());
        self
    }

    /// The application's page for known users without a token. Without such a page they get a plain
    /// 403.
    pub fn enrollment_path(mut self, path: impl Into<String>) -> Self {
        self.config.enrollment_path = Some(path.into());
        self
    }

    /// The application's own login page, such as `/signin`, in place of `login`: a user who has to
    /// log in is redirected there, with `next` in the query. Its form posts `username` and `next`
    /// to the route `login`, or a script posts JSON. The page must be outside the gate, as all
    /// pages set here; the routes stay where they are. See `docs/pages.md`.
    pub fn login_page(self, path: impl Into<String>) -> Self {
        self.own_page("login", path.into())
    }

    /// The application's own page in place of `waiting`. Its script polls `status` until it is
    /// `active`, and goes on to `next`.
    pub fn waiting_page(self, path: impl Into<String>) -> Self {
        self.own_page("waiting", path.into())
    }

    /// The application's own page in place of `locked`. Its script follows `events`, and returns to
    /// `next` at `active`.
    pub fn locked_page(self, path: impl Into<String>) -> Self {
        self.own_page("locked", path.into())
    }

    /// The application's own page in place of `confirm`. Its form posts to the route `confirm`, with
    /// the page's own query (`methods`, `next`).
    pub fn confirm_page(self, path: impl Into<String>) -> Self {
        self.own_page("confirm", path.into())
    }

    fn own_page(mut self, route: &'static str, path: String) -> Self {
        self.config.own_pages.retain(|(known, _)| *known != route);
        self.config.own_pages.push((route, path));
        self
    }

    /// The name of the cookies: `__Host-` and this; `activeconnect` by default. The cookie of a
    /// login attempt has the same name with `-attempt` after it, `-known` that of a browser in
    /// which a user has logged in, and `-registration` that of a page that waits for a phone. So a
    /// name that ends in one of these is rejected: two engines on one host would read each other's
    /// cookies. Give each engine on a host a name of its own.
    ///
    /// **Applications that share a host need a name each**, also on different ports or under
    /// different paths: browsers keep cookies by host alone, so that a login to one of two
    /// applications with the same name logs the browser out of the other.
    ///
    /// At most 64 cookies and 8 KiB of a request's cookies are read, those of the application
    /// included. A request with more has no session; its response names the limit, and the log
    /// warns of it once an hour.
    pub fn cookie_name(mut self, name: &str) -> Self {
        self.config.cookie_names = CookieNames::secure(name);
        self
    }

    /// Cookies for a site without TLS: this name, without `__Host-` and without `Secure`. **Others
    /// on the network can read them, and sibling sites can set them.** Only for a network that is
    /// the application's own; the engine warns of it at the start.
    ///
    /// On the loopback (`http://localhost`, `http://127.0.0.1`) Chromium and Firefox accept
    /// `__Host-` and `Secure` cookies, so this is not needed there. WebKit (Safari, GNOME Web)
    /// rejects them on every plain http address: a login there ends at "No login waits here". To
    /// develop with it, set an insecure name, or serve the loopback over TLS.
    ///
    /// Applications that share a host need a name each, as with [`cookie_name`](Self::cookie_name).
    pub fn insecure_cookie_name(mut self, name: impl Into<String>) -> Self {
        self.config.cookie_names = CookieNames::insecure(name.into());
        self
    }

    /// How often logins may start, for each user, each address and in all.
    pub fn login_limits(mut self, limits: LoginLimits) -> Self {
        self.config.login_limits = limits;
        self
    }

    /// Whether a session keeps the browser and the address that its login came from, so that its
    /// user recognizes it on the page `sessions` and by [`SessionInfo`](crate::session::session_info::SessionInfo); yes by
    /// default. Both are personal data (GDPR), kept in memory for as long as the session lives.
    pub fn record_client_details(mut self, records: bool) -> Self {
        self.config.records_client_details = records;
        self
    }

    /// The proxies whose statement of the client's address is trusted, so that logins are counted
    /// by the client's address and not by the proxy's; none by default. The client is the last
    /// address in the [forwarded header](ActiveconnectBuilder::forwarded_header) that is not a
    /// trusted proxy's. An IPv4 network may be given in its IPv4-mapped IPv6 form.
    ///
    /// ```
    /// # use tower_activeconnect::ActiveconnectBuilder;
    /// # fn example(builder: ActiveconnectBuilder) -> Result<ActiveconnectBuilder, Box<dyn std::error::Error>> {
    /// let builder = builder.trusted_proxies(["10.0.0.0/8".parse()?, "fd00::/8".parse()?]);
    /// # Ok(builder)
    /// # }
    /// ```
    pub fn trusted_proxies(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.config.trusted_proxies.set_networks(networks);
        self
    }

    /// The one header in which the trusted proxies name the client; `X-Forwarded-For` by default.
    /// The other one is never read. Choose the header that the proxy itself sets or appends to: a
    /// proxy passes the other on as the client sent it.
    pub fn forwarded_header(mut self, header: ForwardedHeader) -> Self {
        self.config.trusted_proxies.header = header;
        self
    }

    /// Maps a typed name to the text under which it is reserved, counted and proven: names with
    /// equal texts are one name, whether they exist or not. The function gets the text without
    /// white space around it (Unicode `White_Space`), in NFC, in the case that was typed; the
    /// default returns it in lower case. Where the lookup table accepts several spellings for one
    /// user, map them here: an e-mail address without its `+tag`, a telephone number to its digits.
    ///
    /// It runs before the response to a start. It must be fast and must look nothing up: a result
    /// that depends on whether a user exists reveals that.
    ///
    /// ```
    /// # use tower_activeconnect::ActiveconnectBuilder;
    /// # fn example(builder: ActiveconnectBuilder) -> ActiveconnectBuilder {
    /// builder.normalize_username(|typed| {
    ///     let address = typed.to_lowercase();
    ///     match address.split_once('@') {
    ///         Some((name, host)) => {
    ///             let name = name.split('+').next().unwrap_or_default();
    ///             format!("{name}@{host}")
    ///         }
    ///         None => address,
    ///     }
    /// })
    /// # }
    /// ```
    pub fn normalize_username(
        mut self,
        normalize: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self {
        self.config.username_normalizer = UsernameNormalizer::new(normalize);
        self
    }

    /// Finds the user of a name that is typed at the login, an e-mail address for example; by
    /// default the name is the user's id. The function gets the text without white space around it
    /// (Unicode `White_Space`), in NFC, in the case that was typed. It runs after the response to
    /// the browser, which is the same whether there is such a user or not, and may take 5 s.
    ///
    /// The id must be the one that the lookup table has, in one spelling for each user. Where
    /// several names lead to one user, [`ActiveconnectBuilder::normalize_username`] should make one name of
    /// them: of two browsers that start with different names of one user at the same time, neither
    /// gets in.
    ///
    /// ```
    /// # use tower_activeconnect::{ActiveconnectBuilder, UserId};
    /// # #[derive(Clone)] struct Database;
    /// # impl Database {
    /// #     async fn id_by_email(&self, _: &str) -> std::io::Result<Option<u64>> { Ok(None) }
    /// # }
    /// # fn example(builder: ActiveconnectBuilder, database: Database) -> ActiveconnectBuilder {
    /// builder.resolve_username(move |typed| {
    ///     let database = database.clone();
    ///     async move {
    ///         let id = database.id_by_email(&typed.to_lowercase()).await?;
    ///         Ok::<_, std::io::Error>(id.map(|id| UserId::from(id.to_string())))
    ///     }
    /// })
    /// # }
    /// ```
    pub fn resolve_username<F, E>(
        mut self,
        resolve: impl Fn(String) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Option<UserId>, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.config.username_resolver = UsernameResolver::new(resolve);
        self
    }

    /// Trusts the peer of each request of which this is true.
    #[cfg(all(feature = "axum", unix))]
    pub(crate) fn unix_peer(mut self, is_unix_peer: fn(&http::Extensions) -> bool) -> Self {
        self.config.trusted_proxies.unix_peer = Some(is_unix_peer);
        self
    }

    /// Allows pages of another origin to use this site with their browser's cookies. Written as
    /// browsers write it: `https://www.example.com`, with a port only if it is not the scheme's
    /// default. Call it once for each origin. By default only this site's own pages may.
    ///
    /// Such a page may log in and out, poll `status`, follow `events` and read the responses (CORS
    /// with credentials, `Vary: Origin`), and open WebSockets. [`ActiveconnectBuilder::build`]
    /// rejects `null`, which stands for sandboxed frames and local files. Responses behind the gate
    /// are the application's: put a CORS layer of its own around the gate.
    ///
    /// It helps pages of the *same site* only, such as `https://www.example.com` for
    /// `https://api.example.com`: browsers send no `SameSite=Lax` cookie with requests of a page of
    /// another site. The guide is `docs/single-page-application.md`.
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.config.origins.allowed.push(origin.into());
        self
    }

    /// An origin under which browsers reach this site, written as browsers write it:
    /// `https://app.example.com`, with a port only if it is not the scheme's default. Call it once
    /// for each origin. By default the host of each request is used, which is wrong behind a proxy
    /// that changes `Host`: pages of this site then open no WebSockets, and older browsers neither
    /// log in nor out.
    ///
    /// With public origins, only pages of these origins are this site's, for the routes and for
    /// WebSockets, whatever `Host` says; a page that the browser itself calls same-origin
    /// (`Sec-Fetch-Site`) still counts. The waiting page names the site by its origin. The first
    /// page with another origin causes a warning.
    pub fn public_origin(mut self, origin: impl Into<String>) -> Self {
        self.config.origins.public.push(origin.into());
        self
    }

    /// The response header in which `verify` names the user to a proxy, `x-auth-user` for example;
    /// by default it names no user. Letters, digits and `-`: to many services `_` is the same as `-`.
    ///
    /// The id is percent-encoded, all but letters, digits and `-._~`. An empty id, or one that is
    /// longer than 2,048 bytes in that form, gets 500: a proxy would pass on the client's header in
    /// its place. **The proxy has to delete the client's own header of that name first**, or
    /// clients choose their own name; recipes for nginx, Caddy and Traefik are in
    /// `docs/behind-a-proxy.md`. Nothing else in this crate puts a user into a header.
    pub fn verify_user_header(mut self, name: impl Into<String>) -> Self {
        self.config.verify_user_header = Some(name.into());
        self
    }

    /// The look of the pages: name, logo, color, links. [`ActiveconnectBuilder::build`] checks it.
    ///
    /// Name, logo, color and one text:
    ///
    /// ```
    /// use tower_activeconnect::pages::{Logo, Theme};
    ///
    /// # fn example(builder: tower_activeconnect::ActiveconnectBuilder) -> tower_activeconnect::ActiveconnectBuilder {
    /// let logo = Logo::path("/logo.svg");
    /// let theme = Theme::new().app_name("Acme").logo(logo).accent("#0a7");
    /// builder.theme(theme).texts("en", "login-heading = Sign in to Acme")
    /// # }
    /// ```
    #[cfg(feature = "axum")]
    pub fn theme(mut self, theme: Theme) -> Self {
        self.pages.theme = Some(theme);
        self
    }

    /// The language of pages whose readers accept none of the others: `en` by default. A page is in
    /// the language that `lang` in its address names, else in the best match of `Accept-Language`.
    /// Built in are `en`, `de`, `fr`, `es`, `pt-BR`, `ja`; [`ActiveconnectBuilder::texts`] adds
    /// others.
    #[cfg(feature = "axum")]
    pub fn language(mut self, language: impl Into<String>) -> Self {
        self.pages.language = Some(language.into());
        self
    }

    /// Texts of the pages, in [Fluent](https://projectfluent.org) syntax, in place of the crate's
    /// own; or another language, such as `nl`. A text that an added language lacks comes from
    /// English, or from the language that it is a variant of. The texts and their variables are
    /// those of `src/pages/locales/en.ftl`; [`ActiveconnectBuilder::build`] checks them.
    ///
    /// ```
    /// # fn example(builder: tower_activeconnect::ActiveconnectBuilder) -> tower_activeconnect::ActiveconnectBuilder {
    /// builder
    ///     .texts("en", "waiting-help-register = New phone? Call 0800 1234.")
    ///     .texts("nl", "login-heading = Inloggen\nlogin-username = Gebruikersnaam")
    /// # }
    /// ```
    #[cfg(feature = "axum")]
    pub fn texts(mut self, language: impl Into<String>, texts: impl Into<String>) -> Self {
        self.pages.texts.push((language.into(), texts.into()));
        self
    }

    /// The application's own pages in place of the crate's; see [`Pages`].
    #[cfg(feature = "axum")]
    pub fn pages(mut self, pages: impl Pages) -> Self {
        self.pages.pages = Some(Box::new(pages));
        self
    }

    /// For tests: the engine's clocks, the wall clock too, follow tokio's, so that
    /// `tokio::time::pause` and `advance` drive it. In production the clocks are the machine's.
    #[cfg(any(test, feature = "test-util"))]
    pub fn test_clock(mut self) -> Self {
        self.config.clock = Some(Clock::tokio());
        self
    }

    /// Checks the configuration and starts the poller on the current runtime, where all calls to
    /// the service and all other tasks of the engine run from then on. Build the engine on a
    /// runtime that is driven for as long as the engine is used: the one that serves the
    /// application. Once that runtime is shut down, no login starts (`POST login` responds 503),
    /// and no session is polled.
    ///
    /// On a runtime that is not driven (a current-thread runtime outside `block_on`) nothing is
    /// polled and no login proceeds. Futures that are awaited elsewhere then end by the timer of
    /// their own runtime, if it has one: [`Activeconnect::log_in`] at the attempt's deadline,
    /// [`Activeconnect::shutdown`] after 6 s, calls to the service after 5 s. Outside any runtime
    /// they wait.
    ///
    /// # Errors
    ///
    /// When a number or path is out of range, a theme or text cannot be used, no token store was
    /// given, there is no runtime, or it has no timer or no io. Also when the server is on https and
    /// there are no CA certificates, neither on this machine nor from [`Credentials::with_ca_file`].
    pub fn build(self) -> Result<Activeconnect, BuildError> {
        self.config.check()?;
        #[cfg(feature = "axum")]
        let settings = Config { pages: self.pages.renderer()?, ..self.config };
        #[cfg(not(feature = "axum"))]
        let settings = self.config;
        let store = self.store.ok_or(BuildError::NoTokenStore)?;
        let runtime = Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        #[cfg(test)]
        if let Some(script) = self.script {
            let client = Client::scripted(self.credentials, script);
            return Ok(Activeconnect::start(Engine::new(client, store, settings, runtime)));
        }
        if let Some(missing) = missing_driver() {
            return Err(BuildError::IncompleteRuntime { missing });
        }
        let client = Client::new(self.credentials)
            .map_err(|error| BuildError::Client(Arc::new(error)))?
            .on_runtime(runtime.clone());
        Ok(Activeconnect::start(Engine::new(client, store, settings, runtime)))
    }
}
