//! The check of an application's setup.

use std::fmt;

use crate::client::{ClientError, ClientErrorKind};
use crate::engine::handle::Activeconnect;
use crate::engine::route_placement::SeenRoutes;
use crate::identity::UserId;
use crate::store::StoreError;

/// The user whose token is looked up; no application should have a user with this id.
const PROBE_USER_ID: &str = "activeconnect-setup-check";
/// The largest clock skew that the client tolerates, in seconds.
const MAX_CLOCK_OFFSET_SECS: u64 = 300;

/// The findings of [`Activeconnect::check`]. `Display` writes a line for each finding, and for each
/// fault what to do about it.
#[derive(Debug)]
#[non_exhaustive]
pub struct SetupReport {
    /// The origin of the service, such as `https://main.iam-api.com`.
    pub server: String,
    /// Whether the service responds and accepts the application's id and secret.
    pub service: ServiceFinding,
    /// How far the service's clock and this machine's are apart.
    pub clock: ClockFinding,
    /// Whether the token store responds.
    pub token_store: TokenStoreFinding,
    /// The path at which the routes have to be nested:
    /// [`ActiveconnectBuilder::auth_path`](crate::ActiveconnectBuilder::auth_path).
    pub auth_path: String,
    /// Whether the routes are there, as far as requests have shown.
    pub routes: RoutesFinding,
}

/// The service's response to a signed call that changes nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServiceFinding {
    /// The service accepts the application's id and secret.
    Accepted,
    /// The service rejects the signature or the application, or asks for a pause.
    Rejected(ClientError),
    /// The service is out of reach, or the response is not the service's.
    Unreachable(ClientError),
}

/// The clock skew between the service and this machine, by the `Date` of a response, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClockFinding {
    /// Small enough to sign calls.
    Accepted {
        /// How many seconds the service is ahead; negative if it is behind.
        ahead_secs: i64,
    },
    /// More than 300 s, so that the service rejects signatures.
    Off {
        /// How many seconds the service is ahead; negative if it is behind.
        ahead_secs: i64,
    },
    /// No response has a `Date`.
    Unknown,
}

/// The token store's response to the lookup of a user's token.
#[derive(Debug)]
#[non_exhaustive]
pub enum TokenStoreFinding {
    /// The token store responds.
    Answers,
    /// The token store fails, or takes longer than 5 s.
    Fails(StoreError),
}

/// Where the login routes are. An application may nest them anywhere, so this comes from the
/// requests that have reached them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoutesFinding {
    /// A request has reached the routes at `auth_path`.
    AtAuthPath,
    /// [`Activeconnect::routes`](crate::Activeconnect::routes) was called, and no request has
    /// reached the routes since.
    NotSeen,
    /// Requests have reached the routes only under another path.
    Elsewhere {
        /// That path.
        nested_at: String,
    },
    /// A layer exists, and `routes` was never called: no user can log in.
    Forgotten,
    /// Neither a layer nor routes exist so far.
    NotMade,
}

impl Activeconnect {
    /// Checks the setup: whether the service is reachable and accepts the application's id and
    /// secret, whether the clocks agree, whether the token store responds, and whether the routes
    /// are at [`ActiveconnectBuilder::auth_path`](crate::ActiveconnectBuilder::auth_path), as far
    /// as requests have shown.
    ///
    /// Sends one call to the service, which changes nothing there, and looks up the token of a user
    /// `activeconnect-setup-check`, who should not exist. Takes 5 s at most. Nothing is logged:
    /// print the report, or act on it. Call it when the router is built:
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
    /// With a wrong secret it prints:
    ///
    /// ```text
    /// FAULT    service: the service rejected the signature; check the application's id and secret and the dialect (https://main.iam-api.com)
    /// ok       clock: the service is 0 s ahead of this machine
    /// ok       token store: it answers
    /// unknown  routes: no request has reached them yet; they should be nested at /auth
    /// ```
    ///
    /// Cancel safe: no state remains.
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
                Ok(()) => ServiceFinding::Accepted,
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
            | ClientErrorKind::RateLimited(_) => Self::Rejected(error),
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
    /// Whether no finding is a fault. An unknown finding, such as routes that no request has
    /// reached, is not one.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        let Self { service, clock, token_store, routes, .. } = self;
        matches!(service, ServiceFinding::Accepted)
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
            ServiceFinding::Accepted => {
                writeln!(
                    f,
                    "{OK_LABEL}  service: {server} accepts the application's id and secret"
                )?;
            }
            ServiceFinding::Rejected(error) | ServiceFinding::Unreachable(error) => {
                let error = error.to_string();
                // Not every error means that the service is out of reach.
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
