//! A TCP server that sends the bytes it is told to, and remembers what it received.
#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tower_activeconnect::client::{AuthenticationRequest, Client, ClientError, RemoteSession};
use tower_activeconnect::protocol::Dialect;
use tower_activeconnect::protocol::{AUTHENTICATION_HEADER, AuthenticationHeader, StatusReading};
use tower_activeconnect::{Credentials, Secret, UserToken};

pub(crate) const APPLICATION: &str = "a4c123b1612dd272d1371c17149d4395";
pub(crate) const APPLICATION_SECRET: &str = "MXG9EDN581U33XTPLPFT75V2";
pub(crate) const SESSION_TOKEN: &str = "5DNSIPZZ5FK2Z9RI19R0WYOJFLJOOA5L";
pub(crate) const SESSION_SECRET: &str = "J0ZRXNHJV8NVEWPI0QLNQBNC";
/// Where the answers of [`remote_session`] send status calls.
pub(crate) const STATUS_PATH: &str = "/authentication/session_status/x";
/// Where the answers of [`remote_session`] send logouts.
pub(crate) const LOGOUT_PATH: &str = "/authentication/session_logout/x";

/// One thing to do to a connection after a request.
#[derive(Clone)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// Sends byte by byte, resting before each.
    Drip(Vec<u8>, Duration),
    /// Sends again and again until the other side goes away.
    Endless(Vec<u8>),
    Rest(Duration),
    /// Ends with a reset instead of an end.
    Reset,
    Close,
}

/// A request as it stood on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Which connection it came over, from 1.
    pub(crate) connection: usize,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    /// Reads one request; `None` when the connection ends before.
    pub(crate) async fn read(
        stream: &mut (impl AsyncRead + Unpin),
        connection: usize,
    ) -> Option<Self> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let mut first = lines.next()?.split(' ');
        let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut received = Self { connection, method, target, headers, body: Vec::new() };
        let length = received.header("content-length").map_or(0, |length| length.parse().unwrap());
        received.body = vec![0; length];
        stream.read_exact(&mut received.body).await.ok()?;
        Some(received)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        self.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn presented(&self) -> AuthenticationHeader<'_> {
        AuthenticationHeader::parse(self.header(AUTHENTICATION_HEADER).unwrap()).unwrap()
    }

    /// The Unix seconds that were signed.
    pub(crate) fn timestamp(&self, dialect: Dialect) -> &str {
        self.header(dialect.timestamp_header()).unwrap()
    }

    /// Whether what was received, and nothing else, is what was signed.
    pub(crate) fn is_signed(&self, dialect: Dialect, secret: &str) -> bool {
        let url = format!("http://{}{}", self.header("host").unwrap(), self.target);
        self.presented().verify(&Secret::new(secret), dialect, &url, self.timestamp(dialect))
    }

    pub(crate) fn asks_for_a_session(&self) -> bool {
        self.target.starts_with("/authentication/authenticate_user/")
    }
}

type Script = dyn Fn(&Received) -> Vec<Step> + Send + Sync;

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    sent: AtomicUsize,
    requests: Mutex<Vec<Received>>,
}

/// The server; it goes on until the test's runtime ends.
pub(crate) struct Raw {
    address: SocketAddr,
    seen: Arc<Seen>,
}

impl Raw {
    /// Serves on a free port of the loopback. The script says what each request is answered with;
    /// without a [`Step::Close`] or [`Step::Reset`] the connection stays open for the next one.
    pub(crate) async fn start(
        script: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Little room on the way, so that what was sent is near to what was read.
        socket.set_send_buffer_size(4 * 1024).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(64).unwrap();
        let raw = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        tokio::spawn(accept(listener, Arc::clone(&raw.seen), Arc::new(script)));
        raw
    }

    /// Answers every request for a session with one, and everything else by these steps.
    pub(crate) async fn with_session(steps: Vec<Step>) -> Self {
        Self::start(move |request| {
            if request.asks_for_a_session() {
                vec![Step::Send(session(&format!("http://{}", request.header("host").unwrap())))]
            } else {
                steps.clone()
            }
        })
        .await
    }

    /// A listener that must see nothing.
    pub(crate) async fn bystander() -> Self {
        Self::start(|_| vec![Step::Send(answer("200 OK", &[], STATUS_ACTIVE))]).await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn client(&self) -> Client {
        client(&self.url(), Dialect::default())
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(SeqCst)
    }

    /// Bytes that the kernel took from the last answer that was begun.
    pub(crate) fn sent(&self) -> usize {
        self.seen.sent.load(SeqCst)
    }

    pub(crate) fn requests(&self) -> Vec<Received> {
        self.seen.requests.lock().unwrap().clone()
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>, script: Arc<Script>) {
    while let Ok((stream, _)) = listener.accept().await {
        let number = seen.connections.fetch_add(1, SeqCst) + 1;
        tokio::spawn(serve(stream, number, Arc::clone(&seen), Arc::clone(&script)));
    }
}

/// `None` when the connection is over.
async fn serve(
    mut stream: TcpStream,
    number: usize,
    seen: Arc<Seen>,
    script: Arc<Script>,
) -> Option<()> {
    stream.set_nodelay(true).unwrap();
    loop {
        let request = Received::read(&mut stream, number).await?;
        let steps = script(&request);
        seen.requests.lock().unwrap().push(request);
        seen.sent.store(0, SeqCst);
        for step in steps {
            match step {
                Step::Send(bytes) => send(&mut stream, &bytes, &seen).await?,
                Step::Drip(bytes, pause) => {
                    for byte in bytes {
                        tokio::time::sleep(pause).await;
                        send(&mut stream, &[byte], &seen).await?;
                    }
                }
                Step::Endless(bytes) => loop {
                    send(&mut stream, &bytes, &seen).await?;
                },
                Step::Rest(pause) => tokio::time::sleep(pause).await,
                Step::Reset => {
                    stream.set_zero_linger().unwrap();
                    return None;
                }
                Step::Close => return None,
            }
        }
    }
}

async fn send(stream: &mut TcpStream, mut bytes: &[u8], seen: &Seen) -> Option<()> {
    while !bytes.is_empty() {
        let sent = stream.write(bytes).await.ok()?;
        seen.sent.fetch_add(sent, SeqCst);
        bytes = &bytes[sent..];
    }
    Some(())
}

/// A body that says that the session is active.
pub(crate) const STATUS_ACTIVE: &str =
    r#"{"authentication_status":{"authenticated":true,"session_status":"active"}}"#;

/// An answer with its length.
pub(crate) fn answer(status: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes = head(status, headers);
    bytes.truncate(bytes.len() - 2);
    bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes());
    bytes.extend(body);
    bytes
}

/// An answer's head, with nothing but these headers.
pub(crate) fn head(status: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// One chunk of a chunked body.
pub(crate) fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend(bytes);
    chunk.extend(b"\r\n");
    chunk
}

/// The answer to `authenticate_user`, with URLs below `base`.
pub(crate) fn session(base: &str) -> Vec<u8> {
    session_at(&format!("{base}{STATUS_PATH}"), &format!("{base}{LOGOUT_PATH}"))
}

/// The answer to `authenticate_user`, with these URLs.
pub(crate) fn session_at(status_url: &str, logout_url: &str) -> Vec<u8> {
    let body = serde_json::json!({"authentication_status": {
        "authenticated": true, "session_status": "pending", "reason": null,
        "status_url": status_url, "logout_url": logout_url,
        "session_token": SESSION_TOKEN, "session_secret": SESSION_SECRET,
    }});
    answer("202 Accepted", &[("content-type", "application/json")], body.to_string())
}

pub(crate) fn credentials(server: &str, dialect: Dialect) -> Credentials {
    let credentials = Credentials::new(APPLICATION, APPLICATION_SECRET).unwrap();
    credentials.with_dialect(dialect).with_server(server).unwrap()
}

pub(crate) fn client(server: &str, dialect: Dialect) -> Client {
    Client::new(credentials(server, dialect)).unwrap()
}

pub(crate) fn alice() -> UserToken {
    UserToken::new("ALICE").unwrap()
}

/// Rings the phone of [`alice`].
pub(crate) async fn authenticate(client: &Client) -> Result<RemoteSession, ClientError> {
    client.authenticate_user(&alice(), &AuthenticationRequest::default()).await
}

/// What a status call makes of these steps.
pub(crate) async fn status_of(steps: Vec<Step>) -> (Result<StatusReading, ClientError>, Raw) {
    let raw = Raw::with_session(steps).await;
    let client = raw.client();
    let session = authenticate(&client).await.unwrap();
    (client.status(&session).await, raw)
}
