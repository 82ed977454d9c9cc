//! Whether the application is set up as a login needs it.

use std::fmt;

use crate::client::{ClientError, ClientErrorKind};
use crate::engine::handle::Activeconnect;
use crate::engine::route_placement::SeenRoutes;
use crate::identity::UserId;
use crate::store::StoreError;

/// The token of this user is asked for; no application should have a user of this id.
const PROBE_USER_ID: &str = "activeconnect-setup-check";
/// As far as the client puts up with a clock that is off, in seconds.
const MAX_CLOCK_OFFSET_SECS: u64 = 300;

/// What [`Activeconnect::check`] has found. Its `Display` has a line for each finding, and what to do
/// about those that are faults.
#[derive(Debug)]
#[non_exhaustive]
pub struct SetupReport {
    /// The origin of the service, such as `https://main.iam-api.com`.
    pub server: String,
    /// Whether the service answers, and accepts the application's id and secret.
    pub service: ServiceFinding,
    /// How far the service's clock and this machine's are apart.
    pub clock: ClockFinding,
    /// Whether the token store answers.
    pub token_store: TokenStoreFinding,
    /// Where [`ActiveconnectBuilder::auth_path`](crate::ActiveconnectBuilder::auth_path) says that the routes are nested.
    pub auth_path: String,
    /// Whether they are, as far as that can be known.
    pub routes: RoutesFinding,
}

/// How the service answers a signed call that changes nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServiceFinding {
    /// It accepts the application's id and secret.
    Accepts,
    /// It answers, and refuses the signature or the application, or asks for a pause.
    Refuses(ClientError),
    /// It is out of reach, or its answer is none of the service.
    Unreachable(ClientError),
}

/// How far the service's clock and this machine's are apart, by the `Date` of an answer, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClockFinding {
    /// Near enough to sign calls.
    Accepted {
        /// How many seconds the service is ahead; negative if it is behind.
        ahead_secs: i64,
    },
    /// More than 300 s apart, so that signatures are refused.
    Off {
        /// How many seconds the service is ahead; negative if it is behind.
        ahead_secs: i64,
    },
    /// No answer says.
    Unknown,
}

/// Whether the token store answers when it is asked for a user's token.
#[derive(Debug)]
#[non_exhaustive]
pub enum TokenStoreFinding {
    /// It does.
    Answers,
    /// It fails, or takes longer than 5 s.
    Fails(StoreError),
}

/// Where the login routes are. An application may nest them anywhere, so what is known comes from the
/// requests that have reached them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoutesFinding {
    /// A request has reached them where `auth_path` says.
    AtAuthPath,
    /// [`Activeconnect::routes`](crate::Activeconnect::routes) was called. No request has come since.
    NotSeen,
    /// Requests have reached them only under another path.
    Elsewhere {
        /// That path.
        nested_at: String,
    },
    /// There is a layer, and `routes` was never called: no user can log in.
    Forgotten,
    /// There are neither a layer nor routes so far.
    NotMade,
}

impl Activeconnect {
    /// Checks the setup: whether the service is reached and accepts the application's id and secret,
    /// whether the clocks agree, whether the token store answers, and whether the routes are where
    /// [`ActiveconnectBuilder::auth_path`](crate::ActiveconnectBuilder::auth_path) says, as far as that can be known.
    ///
    /// One call goes to the service, which changes nothing there. The token store is asked for the
    /// token of a user `activeconnect-setup-check`, of which there should be none. It takes 5 s at most.
    /// Nothing is logged: print the report, or act on it. Call it when the router is made:
    ///
    /// ```no_run
    /// # use tower_activeconnect::{Activeconnect, Credentials, MemoryTokenStore};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ac = Activeconnect::builder(Credentials::from_env()?)
    /// #     .token_store(MemoryTokenStore::new())
    /// #     .build()?;
    /// let report = ac.check().await;
    /// println!("{report}");
    /// if !report.is_ok() {
    ///     return Err("the setup has faults".into());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// It prints, when the secret is wrong:
    ///
    /// ```text
    /// FAULT    service: the service refused the signature; check the application's id and secret and the dialect (https://main.iam-api.com)
    /// ok       clock: the service is 0 s ahead of this machine
    /// ok       token store: it answers
    /// unknown  routes: no request has reached them yet; they should be nested at /auth
    /// ```
    ///
    /// Cancel safe: nothing is left behind.
    pub async fn check(&self) -> SetupReport {
        let engine = self.engine();
        let user = UserId::from(PROBE_USER_ID);
        let (service, token) = tokio::join!(engine.client.check(), engine.find_token(&user));
        let (outcome, ahead_secs) = service;
        let clock = match (ahead_secs, &outcome) {
            (Some(ahead_secs), _) => ClockFinding::from_offset(ahead_secs),
            (None, Err(error)) => match error.kind() {
                ClientErrorKind::ClockSkew(ahead_secs) => ClockFinding::Off { ahead_secs },
                _ => ClockFinding::Unknown,
            },
            (None, Ok(())) => ClockFinding::Unknown,
        };
        SetupReport {
            server: engine.client.server_origin(),
            service: match outcome {
                Ok(()) => ServiceFinding::Accepts,
                Err(error) => ServiceFinding::from_error(error),
            },
            clock,
            token_store: match token {
                Ok(_) => TokenStoreFinding::Answers,
                Err(error) => TokenStoreFinding::Fails(error),
            },
            auth_path: engine.config.auth_path.clone(),
            routes: match engine.route_placement.seen() {
                SeenRoutes::AtAuthPath => RoutesFinding::AtAuthPath,
                SeenRoutes::NotSeen => RoutesFinding::NotSeen,
                SeenRoutes::Elsewhere(path) => {
                    RoutesFinding::Elsewhere { nested_at: path.to_owned() }
                }
                SeenRoutes::NotMade { has_layer: true } => RoutesFinding::Forgotten,
                SeenRoutes::NotMade { has_layer: false } => RoutesFinding::NotMade,
            },
        }
    }
}

impl ServiceFinding {
    fn from_error(error: ClientError) -> Self {
        match error.kind() {
            ClientErrorKind::SignatureRejected
            | ClientErrorKind::ClockSkew(_)
            | ClientErrorKind::UnknownApplication
            | ClientErrorKind::RateLimited(_) => Self::Refuses(error),
            _ => Self::Unreachable(error),
        }
    }
}

impl ClockFinding {
    fn from_offset(ahead_secs: i64) -> Self {
        if ahead_secs.unsigned_abs() <= MAX_CLOCK_OFFSET_SECS {
            Self::Accepted { ahead_secs }
        } else {
            Self::Off { ahead_secs }
        }
    }
}

impl SetupReport {
    /// Whether no finding is a fault. What is not known, such as routes that no request has reached,
    /// is none.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        let Self { service, clock, token_store, routes, .. } = self;
        matches!(service, ServiceFinding::Accepts)
            && !matches!(clock, ClockFinding::Off { .. })
            && matches!(token_store, TokenStoreFinding::Answers)
            && !matches!(routes, RoutesFinding::Elsewhere { .. } | RoutesFinding::Forgotten)
    }
}

const OK_LABEL: &str = "ok     ";
const FAULT_LABEL: &str = "FAULT  ";
const UNKNOWN_LABEL: &str = "unknown";

impl fmt::Display for SetupReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, service, clock, token_store, auth_path, routes } = self;
        match service {
            ServiceFinding::Accepts => {
                writeln!(
                    f,
                    "{OK_LABEL}  service: {server} accepts the application's id and secret"
                )?;
            }
            ServiceFinding::Refuses(error) | ServiceFinding::Unreachable(error) => {
                let error = error.to_string();
                // Not every error is one of reaching it.
                let place = if error.contains(server) { "" } else { &format!(" ({server})") };
                writeln!(f, "{FAULT_LABEL}  service: {error}{place}")?;
            }
        }
        match clock {
            ClockFinding::Accepted { ahead_secs } => {
                writeln!(
                    f,
                    "{OK_LABEL}  clock: the service is {ahead_secs} s ahead of this machine"
                )?;
            }
            ClockFinding::Off { ahead_secs } => writeln!(
                f,
                "{FAULT_LABEL}  clock: the service is {ahead_secs} s ahead of this machine; set this \
                 machine's clock"
            )?,
            ClockFinding::Unknown => {
                writeln!(f, "{UNKNOWN_LABEL}  clock: no answer says the time")?;
            }
        }
        match token_store {
            TokenStoreFinding::Answers => writeln!(f, "{OK_LABEL}  token store: it answers")?,
            TokenStoreFinding::Fails(error) => {
                writeln!(
                    f,
                    "{FAULT_LABEL}  token store: {error:?}; check the database that it asks"
                )?;
            }
        }
        match routes {
            RoutesFinding::AtAuthPath => write!(f, "{OK_LABEL}  routes: they are at {auth_path}"),
            RoutesFinding::NotSeen => write!(
                f,
                "{UNKNOWN_LABEL}  routes: no request has reached them yet; they should be nested at \
                 {auth_path}"
            ),
            RoutesFinding::Elsewhere { nested_at } => write!(
                f,
                "{FAULT_LABEL}  routes: they are at {nested_at:?}, and users are sent to {auth_path}; nest \
                 them there, or set ActiveconnectBuilder::auth_path"
            ),
            RoutesFinding::Forgotten => write!(
                f,
                "{FAULT_LABEL}  routes: there are none, so that no user can log in; add .nest(\
                 {auth_path:?}, ac.routes()) after .layer(ac.layer())"
            ),
            RoutesFinding::NotMade => write!(
                f,
                "{UNKNOWN_LABEL}  routes: there are none yet; check again when the router is made"
            ),
        }
    }
}
