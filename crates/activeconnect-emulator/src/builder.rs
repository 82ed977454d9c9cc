use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tower_activeconnect::Secret;

use super::background_runtime::BackgroundRuntime;
use super::router::router;
use super::server::{AppState, Settings};
use super::{AcceptedDialects, Emulator, random};
use crate::clock::millis;

/// The settings of an [`Emulator`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct EmulatorBuilder {
    listen: String,
    application: Option<(String, Secret)>,
    dialects: AcceptedDialects,
    pending_timeout: Duration,
    clock_tolerance: Duration,
    flat_status: bool,
}

impl Default for EmulatorBuilder {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            application: None,
            dialects: AcceptedDialects::Any,
            pending_timeout: Duration::from_secs(60),
            clock_tolerance: Duration::from_secs(300),
            flat_status: false,
        }
    }
}

impl EmulatorBuilder {
    /// Sets the loopback address and port, such as `127.0.0.1:8099`. Port 0 picks a free one. The
    /// default is `127.0.0.1:0`.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// Sets the application that may call. The default is a random one.
    pub fn application(mut self, id: impl Into<String>, secret: impl Into<String>) -> Self {
        self.application = Some((id.into(), Secret::new(secret)));
        self
    }

    /// Sets the signature dialects to accept. The default is [`AcceptedDialects::Any`].
    pub fn dialect(mut self, accepted: AcceptedDialects) -> Self {
        self.dialects = accepted;
        self
    }

    /// Sets the time after which a pending session times out. The default is 60 s.
    pub fn pending_timeout(mut self, timeout: Duration) -> Self {
        self.pending_timeout = timeout;
        self
    }

    /// Sets the largest difference between the time of a signature and the emulator's clock, in whole
    /// seconds. The default is 300 s.
    pub fn clock_tolerance(mut self, tolerance: Duration) -> Self {
        self.clock_tolerance = tolerance;
        self
    }

    /// Sets whether `status_url` returns the documented flat form instead of the SDKs'.
    pub fn flat_status(mut self, flat: bool) -> Self {
        self.flat_status = flat;
        self
    }

    /// Starts the server on its own thread. It accepts connections when this returns.
    ///
    /// # Errors
    ///
    /// When the address is invalid, not loopback or in use, when the application's id or secret is
    /// invalid, or when the operating system provides no threads or random numbers.
    pub async fn start(self) -> Result<Emulator, StartError> {
        let address = loopback(&self.listen)?;
        let (application_id, application_secret) = match self.application {
            Some((id, secret)) if is_application_id(&id) && !secret.expose().is_empty() => {
                (id, secret)
            }
            Some(_) => return Err(StartError::Application),
            None => random_application().map_err(|error| StartError::System(error.into()))?,
        };
        let server = Arc::new(AppState::new(Settings {
            application_id,
            application_secret,
            dialects: self.dialects,
            pending_timeout_ms: millis(self.pending_timeout),
            clock_tolerance_s: self.clock_tolerance.as_secs(),
            flat_status: self.flat_status,
        }));

        let runtime = BackgroundRuntime::new().map_err(StartError::System)?;
        let bind_error = |source| StartError::Bind { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(bind_error)?;
        listener.set_nonblocking(true).map_err(bind_error)?;
        let url = format!("http://{}", listener.local_addr().map_err(bind_error)?);
        let entered = runtime.enter();
        let listener = TcpListener::from_std(listener).map_err(bind_error)?.tap_io(|connection| {
            // Responses are small and clients wait for them. A failure only delays them.
            let _ = connection.set_nodelay(true);
        });
        drop(entered);
        let app = router(Arc::clone(&server));
        runtime.spawn(async move { axum::serve(listener, app).await });
        tracing::warn!(
            "emulator is running: any caller of its control interface can log in as any user; never \
             use it in production"
        );
        Ok(Emulator { url, server, _runtime: runtime })
    }
}

fn loopback(listen: &str) -> Result<SocketAddr, StartError> {
    let address: SocketAddr = listen.parse().map_err(|_| StartError::Address(listen.to_owned()))?;
    if address.ip().is_loopback() { Ok(address) } else { Err(StartError::NotLoopback(address)) }
}

/// Whether the id can be part of a path and of a header with colons as separators.
fn is_application_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

fn random_application() -> Result<(String, Secret), getrandom::Error> {
    Ok((
        random::text(random::HEX_ALPHABET, 32)?,
        Secret::new(random::text(random::UPPERCASE_ALPHABET, 24)?),
    ))
}

/// The error of a start of the emulator. Its message says what to do.
#[non_exhaustive]
pub enum StartError {
    /// The text is not an address and port.
    Address(String),
    /// Other machines could reach the unsigned control interface at this address.
    NotLoopback(SocketAddr),
    /// The port cannot be opened.
    Bind {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The application's id or secret is empty, or the id has invalid characters.
    Application,
    /// The operating system provides no threads or random numbers.
    System(io::Error),
}

crate::error_debug::debug_as_message!(StartError);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(text) => {
                write!(f, "{text:?} is not an address and port; use one such as 127.0.0.1:8099")
            }
            Self::NotLoopback(address) => write!(
                f,
                "{address} is not a loopback address: any caller of the unsigned control interface \
                 can log in as any user; use a loopback address such as 127.0.0.1:{}",
                address.port()
            ),
            Self::Bind { address, source } if source.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "{address} is in use; stop the program that listens there, or choose another port \
                 (0 picks a free one)"
            ),
            Self::Bind { address, .. } => {
                write!(f, "cannot listen on {address}; choose another address or port")
            }
            Self::Application => f.write_str(
                "the application's id must be letters, digits or -._~ and its secret must not be \
                 empty",
            ),
            Self::System(_) => f.write_str("the operating system cannot start the emulator"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } | Self::System(source) => Some(source),
            Self::Address(_) | Self::NotLoopback(_) | Self::Application => None,
        }
    }
}
