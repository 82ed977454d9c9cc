//! The remote service and the phone, played on the loopback, for tests and for trying things out.
//!
//! **Never for production:** it takes any caller of its control interface for the user's phone,
//! and forgets everything when it stops.
//!
//! ```
//! use tower_activeconnect::protocol::SessionStatus;
//! use activeconnect_emulator::{Action, ControlError, Emulator};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let emulator = Emulator::start().await?;
//! // Point a client at emulator.url(), with emulator.application_id() and
//! // emulator.application_secret(). Once it added a user, give that user a phone and, when a
//! // request waits, approve it:
//! assert_eq!(emulator.register_device("alice"), Err(ControlError::UnknownUser));
//! assert_eq!(emulator.act("alice", Action::Approve), Err(ControlError::UnknownUser));
//!
//! assert!(emulator.url().starts_with("http://127.0.0.1:"));
//! assert_eq!(emulator.state().calls.authenticate_user, 0);
//! assert_eq!(Action::Approve.apply(SessionStatus::Pending), Some(SessionStatus::Active));
//! # Ok(())
//! # }
//! ```
//!
//! Calls can be made to go wrong with a [`Fault`], and the service's clock can be moved:
//!
//! ```
//! use activeconnect_emulator::{Emulator, Endpoint, Fault, FaultKind};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let emulator = Emulator::start().await?;
//! emulator.inject_fault(Fault::new(Endpoint::Status, FaultKind::Hang).times(3).for_user("alice"));
//! emulator.clear_faults();
//! emulator.set_clock_offset(-600);
//! # Ok(())
//! # }
//! ```
//!
//! The same as a program, for scripts of any language: `activeconnect-emulator --listen
//! 127.0.0.1:8099 --application-id ID --application-secret SECRET`. The phone is then a page at
//! `/emulator`. It shows the tokens that the application has given its users; `POST
//! /emulator/users/{user_id}/label` with `{"label":"Alice"}`, or [`Emulator::set_label`], lets it
//! show a name.

mod accepted_dialects;
mod action;
mod api;
mod background_runtime;
mod builder;
mod clock;
mod control;
mod control_error;
mod endpoint;
mod error_debug;
mod error_response;
mod fault;
mod nonces;
mod pages;
mod random;
mod report;
mod request;
mod router;
mod server;
mod session;
mod signature;
mod state;

use std::io;
use std::sync::Arc;

use background_runtime::BackgroundRuntime;
use server::AppState;
use tower_activeconnect::Secret;
use tower_activeconnect::protocol::SessionStatus;

pub use accepted_dialects::{AcceptedDialects, UnknownDialects};
pub use action::{Action, UnknownAction};
pub use builder::{EmulatorBuilder, StartError};
pub use control_error::ControlError;
pub use endpoint::Endpoint;
pub use fault::{Fault, FaultKind, FaultRoute, UnknownFaultRoute};
pub use report::{CallCounts, RejectionCounts, SessionReport, StateReport, UserReport};

/// A running emulator. Dropping it stops the server and cuts every connection.
#[must_use = "dropping it stops the server"]
pub struct Emulator {
    url: String,
    server: Arc<AppState>,
    /// Its own, because ending a task of another runtime would leave its connections open, and so
    /// that a test's paused clock or busy thread does not stop the service too.
    _runtime: BackgroundRuntime,
}

impl Emulator {
    /// Starts with a free port of 127.0.0.1, a random application and the default settings.
    ///
    /// # Errors
    ///
    /// When the port cannot be opened, or the operating system has no threads or randomness to
    /// give.
    pub async fn start() -> Result<Self, StartError> {
        Self::builder().start().await
    }

    /// Starts with settings.
    ///
    /// ```
    /// use std::time::Duration;
    /// use activeconnect_emulator::{AcceptedDialects, Emulator};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let emulator = Emulator::builder()
    ///     .listen("127.0.0.1:0")
    ///     .application("a4c123b1612dd272d1371c17149d4395", "MXG9EDN581U33XTPLPFT75V2")
    ///     .dialect(AcceptedDialects::Iampass)
    ///     .pending_timeout(Duration::from_secs(5))
    ///     .clock_tolerance(Duration::from_secs(30))
    ///     .flat_status(true)
    ///     .start()
    ///     .await?;
    /// assert_eq!(emulator.application_id(), "a4c123b1612dd272d1371c17149d4395");
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> EmulatorBuilder {
        EmulatorBuilder::default()
    }

    /// The server, as `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The application that may call.
    #[must_use]
    pub fn application_id(&self) -> &str {
        &self.server.settings.application_id
    }

    /// What the application signs with.
    #[must_use]
    pub fn application_secret(&self) -> &Secret {
        &self.server.settings.application_secret
    }

    /// What `GET /emulator/state` answers.
    #[must_use]
    pub fn state(&self) -> StateReport {
        self.server.state().report(self.server.now())
    }

    /// Registers a device, as opening the registration link on a phone does.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownUser`].
    pub fn register_device(&self, user_id: &str) -> Result<(), ControlError> {
        self.server.state().register_device(user_id)
    }

    /// Sets what the phone's page calls the user, who is only a token there otherwise. Another label
    /// takes its place; a user who is deleted takes it along. The calls of the service know nothing
    /// of it.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownUser`] and [`ControlError::InvalidLabel`].
    pub fn set_label(&self, user_id: &str, label: impl Into<String>) -> Result<(), ControlError> {
        self.server.state().set_label(user_id, label.into())
    }

    /// Acts on the user's newest session and returns its status.
    ///
    /// # Errors
    ///
    /// When there is no such user, no session, or its status does not allow that.
    pub fn act(&self, user_id: &str, action: Action) -> Result<SessionStatus, ControlError> {
        self.server.state().act_on_user(user_id, action, self.server.now())
    }

    /// Acts on one session and returns its status.
    ///
    /// # Errors
    ///
    /// When there is no such session or its status does not allow that.
    pub fn act_on_session(
        &self,
        session_token: &str,
        action: Action,
    ) -> Result<SessionStatus, ControlError> {
        self.server.state().act_on_session(session_token, action, self.server.now())
    }

    /// Makes calls go wrong from now on, after the faults that are there already.
    pub fn inject_fault(&self, fault: Fault) {
        self.server.state().faults.add(fault);
    }

    /// Forgets all faults. Calls that were struck stay struck.
    pub fn clear_faults(&self) {
        self.server.state().faults.clear();
    }

    /// Sets the service's own clock, its `Date` header and its judgement of timestamps, this many
    /// seconds ahead of the real time; behind it, if negative. What
    /// [`SessionReport`] says stays in real time.
    pub fn set_clock_offset(&self, offset_s: i64) {
        self.server.set_clock_offset(offset_s);
    }

    /// Goes on until Ctrl-C.
    ///
    /// # Errors
    ///
    /// When the operating system does not let the program listen for Ctrl-C.
    pub async fn run(self) -> io::Result<()> {
        tokio::signal::ctrl_c().await
    }
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emulator").field("url", &self.url).finish_non_exhaustive()
    }
}
