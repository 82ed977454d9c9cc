//! A middlebox between the client and a service: it passes bytes, takes them and passes nothing, or
//! resets a connection that is used.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What is done with the bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    Pass,
    Swallow,
    /// Ends the client's side with a reset at its next byte.
    Reset,
}

/// The treatment of one connection, which can change.
struct Connection(AtomicU8);

impl Connection {
    fn set(&self, treatment: Treatment) {
        self.0.store(treatment as u8, SeqCst);
    }

    fn is(&self, treatment: Treatment) -> bool {
        self.0.load(SeqCst) == treatment as u8
    }
}

pub(crate) struct Relay {
    port: u16,
    state: Arc<State>,
}

struct State {
    /// In the order they were begun.
    connections: Mutex<Vec<Arc<Connection>>>,
    treatment_of_new: AtomicU8,
    /// A connection passes nothing once it is this old.
    lifetime: Mutex<Option<Duration>>,
    /// How many connections the client has closed.
    closed: AtomicUsize,
}

impl Relay {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = Arc::new(State {
            connections: Mutex::default(),
            treatment_of_new: AtomicU8::new(Treatment::Pass as u8),
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

    /// How many connections were begun.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.lock().unwrap().len()
    }

    pub(crate) fn closed(&self) -> usize {
        self.state.closed.load(SeqCst)
    }

    /// Treats the connections that there are like this from now on.
    pub(crate) fn treat_all(&self, treatment: Treatment) {
        for connection in self.state.connections.lock().unwrap().iter() {
            connection.set(treatment);
        }
    }

    /// Treats this connection, counted from 0, like this from now on.
    pub(crate) fn treat(&self, connection: usize, treatment: Treatment) {
        self.state.connections.lock().unwrap()[connection].set(treatment);
    }

    /// Treats connections that are begun from now on like this.
    pub(crate) fn treat_new(&self, treatment: Treatment) {
        self.state.treatment_of_new.store(treatment as u8, SeqCst);
    }

    /// Connections that are begun from now on pass nothing once they are this old.
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
            connection.set(Treatment::Swallow);
        });
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let back = tokio::spawn(pass(from_server, to_client, connection.clone()));
    let from_client = pass(from_client, to_server, connection.clone()).await;
    if connection.is(Treatment::Reset) {
        from_client.as_ref().set_zero_linger().unwrap();
        back.abort();
    }
    state.closed.fetch_add(1, SeqCst);
}

/// Gives the reading side back at its end, or when the connection is to be reset.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    connection: Arc<Connection>,
) -> OwnedReadHalf {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        if connection.is(Treatment::Swallow) && read > 0 {
            continue;
        }
        if !connection.is(Treatment::Pass) {
            return from;
        }
        if read == 0 || to.write_all(&bytes[..read]).await.is_err() {
            to.shutdown().await.ok();
            return from;
        }
    }
}
