//! An emulator of the remote service and the phone on the loopback, for tests and for evaluation.
//!
//! **Never use it in production:** any caller of its control interface can log in as any user, and it
//! loses all data when it stops.
//!
//! ```
//! use tower_activeconnect::protocol::SessionStatus;
//! use activeconnect_emulator::{Action, ControlError, Emulator};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let emulator = Emulator::start().await?;
//! // Connect a client to emulator.url(), with emulator.application_id() and
//! // emulator.application_secret(). Once it has added a user, register a phone for the user and
//! // approve the pending request:
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
//! A [`Fault`] makes calls fail, and the service's clock can be shifted:
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
//! The same emulator as a program, for scripts of any language: `activeconnect-emulator --listen
//! 127.0.0.1:8099 --application-id ID --application-secret SECRET`. The phone is a page at `/emulator`.
//! It shows users by their tokens. To show a name instead, call [`Emulator::set_label`] or `POST
//! /emulator/users/{user_id}/label` with `{"label":"Alice"}`.

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

/// A running emulator. Dropping it stops the server and closes all connections.
#[must_use = "dropping it stops the server"]
pub struct Emulator {
    url: String,
    server: Arc<AppState>,
    /// A separate runtime: dropping it closes the connections, and a test's paused clock or busy thread
    /// does not stop the service.
    _runtime: BackgroundRuntime,
}

impl Emulator {
    /// Starts with a free port of 127.0.0.1, a random application and the default settings.
    ///
    /// # Errors
    ///
    /// When the port cannot be opened, or the operating system provides no threads or random numbers.
    pub async fn start() -> Result<Self, StartError> {
        Self::builder().start().await
    }

    /// A builder with the default settings.
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

    /// The URL of the server, such as `http://127.0.0.1:8099`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The id of the application that may call.
    #[must_use]
    pub fn application_id(&self) -> &str {
        &self.server.settings.application_id
    }

    /// The secret with which the application signs.
    #[must_use]
    pub fn application_secret(&self) -> &Secret {
        &self.server.settings.application_secret
    }

    /// The state, as `GET /emulator/state` returns it.
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

    /// Sets the name of the user on the phone page, which shows the token otherwise. A new label
    /// replaces the old one, and deleting the user removes it. The service's calls do not use it.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownUser`] and [`ControlError::InvalidLabel`].
    pub fn set_label(&self, user_id: &str, label: impl Into<String>) -> Result<(), ControlError> {
        self.server.state().set_label(user_id, label.into())
    }

    /// Carries out the action on the user's newest session, and returns the new status.
    ///
    /// # Errors
    ///
    /// When the user or the session does not exist, or its status does not allow the action.
    pub fn act(&self, user_id: &str, action: Action) -> Result<SessionStatus, ControlError> {
        self.server.state().act_on_user(user_id, action, self.server.now())
    }

    /// Carries out the action on a session, and returns the new status.
    ///
    /// # Errors
    ///
    /// When the session does not exist, or its status does not allow the action.
    pub fn act_on_session(
        &self,
        session_token: &str,
        action: Action,
    ) -> Result<SessionStatus, ControlError> {
        self.server.state().act_on_session(session_token, action, self.server.now())
    }

    /// Adds a fault after the existing ones.
    pub fn inject_fault(&self, fault: Fault) {
        self.server.state().faults.add(fault);
    }

    /// Removes all faults. Faults that have taken effect on a call stay in effect.
    pub fn clear_faults(&self) {
        self.server.state().faults.clear();
    }

    /// Sets the service's clock, which its `Date` header and its check of timestamps use, this many
    /// seconds ahead of real time; behind it if negative. The times of [`SessionReport`] stay in real
    /// time.
    pub fn set_clock_offset(&self, offset_s: i64) {
        self.server.set_clock_offset(offset_s);
    }

    /// Runs until Ctrl-C.
    ///
    /// # Errors
    ///
    /// When the program cannot listen for Ctrl-C.
    pub async fn run(self) -> io::Result<()> {
        tokio::signal::ctrl_c().await
    }
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emulator").field("url", &self.url).finish_non_exhaustive()
    }
}
