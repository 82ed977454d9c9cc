//! A relay between the client and a service: it forwards bytes, swallows them, or resets a
//! connection.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What the relay does with a connection's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Pass,
    Swallow,
    /// Resets the client's side at its next byte.
    Reset,
}

/// The mode of one connection, which can change.
struct Connection(AtomicU8);

impl Connection {
    fn set(&self, mode: Mode) {
        self.0.store(mode as u8, SeqCst);
    }

    fn is(&self, mode: Mode) -> bool {
        self.0.load(SeqCst) == mode as u8
    }
}

pub(crate) struct Relay {
    port: u16,
    state: Arc<State>,
}

struct State {
    /// In the order of their start.
    connections: Mutex<Vec<Arc<Connection>>>,
    treatment_of_new: AtomicU8,
    /// The age after which a connection swallows bytes.
    lifetime: Mutex<Option<Duration>>,
    /// The number of connections that the client closed.
    closed: AtomicUsize,
}

impl Relay {
    pub(crate) async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = Arc::new(State {
            connections: Mutex::default(),
            treatment_of_new: AtomicU8::new(Mode::Pass as u8),
            lifetime: Mutex::default(),
            closed: AtomicUsize::new(0),
        });
        let relay = Self { port: listener.local_addr().unwrap().port(), state: state.clone() };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(serve(client, server, state.clone()));
            }
        });
        relay
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The number of connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.lock().unwrap().len()
    }

    pub(crate) fn closed(&self) -> usize {
        self.state.closed.load(SeqCst)
    }

    /// Sets the mode of all existing connections.
    pub(crate) fn set_mode_of_all(&self, mode: Mode) {
        for connection in self.state.connections.lock().unwrap().iter() {
            connection.set(mode);
        }
    }

    /// Sets the mode of this connection, counted from 0.
    pub(crate) fn set_mode(&self, connection: usize, mode: Mode) {
        self.state.connections.lock().unwrap()[connection].set(mode);
    }

    /// Sets the mode of new connections.
    pub(crate) fn set_mode_of_new(&self, mode: Mode) {
        self.state.treatment_of_new.store(mode as u8, SeqCst);
    }

    /// New connections swallow bytes once they reach this age.
    pub(crate) fn limit_lifetime(&self, lifetime: Duration) {
        *self.state.lifetime.lock().unwrap() = Some(lifetime);
    }
}

async fn serve(client: TcpStream, server: TcpStream, state: Arc<State>) {
    let connection = Arc::new(Connection(state.treatment_of_new.load(SeqCst).into()));
    state.connections.lock().unwrap().push(connection.clone());
    if let Some(lifetime) = *state.lifetime.lock().unwrap() {
        let connection = connection.clone();
        tokio::spawn(async move {
            tokio::time::sleep(lifetime).await;
            connection.set(Mode::Swallow);
        });
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let back = tokio::spawn(pass(from_server, to_client, connection.clone()));
    let from_client = pass(from_client, to_server, connection.clone()).await;
    if connection.is(Mode::Reset) {
        from_client.as_ref().set_zero_linger().unwrap();
        back.abort();
    }
    state.closed.fetch_add(1, SeqCst);
}

/// Returns the reading side at its end, or when the connection must be reset.
async fn pass(
    mut from: OwnedReadHalf,
    mut start: OwnedWriteHalf,
    connection: Arc<Connection>,
) -> OwnedReadHalf {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        if connection.is(Mode::Swallow) && read > 0 {
            continue;
        }
        if !connection.is(Mode::Pass) {
            return from;
        }
        if read == 0 || start.write_all(&bytes[..read]).await.is_err() {
            start.shutdown().await.ok();
            return from;
        }
    }
}
