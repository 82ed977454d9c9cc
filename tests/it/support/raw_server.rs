//! A TCP server that sends scripted bytes and records the requests.
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
/// The path of the status URL in [`session`].
pub(crate) const STATUS_PATH: &str = "/authentication/session_status/x";
/// The path of the logout URL in [`session`].
pub(crate) const LOGOUT_PATH: &str = "/authentication/session_logout/x";

/// One step of a response.
#[derive(Clone)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// Sends byte by byte, with a pause before each.
    Drip(Vec<u8>, Duration),
    /// Sends the bytes repeatedly until the client disconnects.
    Endless(Vec<u8>),
    Pause(Duration),
    /// Resets the connection.
    Reset,
    Close,
}

/// A request as received.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedRequest {
    /// The number of the connection, from 1.
    pub(crate) connection: usize,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl ReceivedRequest {
    /// Reads one request; `None` if the connection ends first.
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

    pub(crate) fn authentication_header(&self) -> AuthenticationHeader<'_> {
        AuthenticationHeader::parse(self.header(AUTHENTICATION_HEADER).unwrap()).unwrap()
    }

    /// The Unix seconds that were signed.
    pub(crate) fn timestamp(&self, dialect: Dialect) -> &str {
        self.header(dialect.timestamp_header()).unwrap()
    }

    /// Whether the signature matches the received URL.
    pub(crate) fn is_signed(&self, dialect: Dialect, secret: &str) -> bool {
        let url = format!("http://{}{}", self.header("host").unwrap(), self.target);
        self.authentication_header().verify(
            &Secret::new(secret),
            dialect,
            &url,
            self.timestamp(dialect),
        )
    }

    pub(crate) fn is_authenticate_user(&self) -> bool {
        self.target.starts_with("/authentication/authenticate_user/")
    }
}

type Script = dyn Fn(&ReceivedRequest) -> Vec<Step> + Send + Sync;

#[derive(Default)]
struct Record {
    connections: AtomicUsize,
    sent: AtomicUsize,
    requests: Mutex<Vec<ReceivedRequest>>,
}

/// The server; it runs until the test's runtime ends.
pub(crate) struct RawServer {
    address: SocketAddr,
    record: Arc<Record>,
}

impl RawServer {
    /// Serves on a free port of the loopback. The script returns the steps of each response;
    /// without a [`Step::Close`] or [`Step::Reset`] the connection stays open for the next request.
    pub(crate) async fn start(
        script: impl Fn(&ReceivedRequest) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // A small buffer, so that few sent bytes are unread.
        socket.set_send_buffer_size(4 * 1024).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(64).unwrap();
        let server = Self { address: listener.local_addr().unwrap(), record: Arc::default() };
        tokio::spawn(accept(listener, Arc::clone(&server.record), Arc::new(script)));
        server
    }

    /// Replies to `authenticate_user` with a session, and to other requests with these steps.
    pub(crate) async fn with_session(steps: Vec<Step>) -> Self {
        Self::start(move |request| {
            if request.is_authenticate_user() {
                vec![Step::Send(session(&format!("http://{}", request.header("host").unwrap())))]
            } else {
                steps.clone()
            }
        })
        .await
    }

    /// A server that the test expects to receive nothing.
    pub(crate) async fn unused() -> Self {
        Self::start(|_| vec![Step::Send(response("200 OK", &[], STATUS_ACTIVE))]).await
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
        self.record.connections.load(SeqCst)
    }

    /// The number of bytes of the latest response that the kernel accepted.
    pub(crate) fn sent(&self) -> usize {
        self.record.sent.load(SeqCst)
    }

    pub(crate) fn requests(&self) -> Vec<ReceivedRequest> {
        self.record.requests.lock().unwrap().clone()
    }
}

async fn accept(listener: TcpListener, record: Arc<Record>, script: Arc<Script>) {
    while let Ok((stream, _)) = listener.accept().await {
        let number = record.connections.fetch_add(1, SeqCst) + 1;
        tokio::spawn(serve(stream, number, Arc::clone(&record), Arc::clone(&script)));
    }
}

/// Serves one connection; returns `None` when it ends.
async fn serve(
    mut stream: TcpStream,
    number: usize,
    record: Arc<Record>,
    script: Arc<Script>,
) -> Option<()> {
    stream.set_nodelay(true).unwrap();
    loop {
        let request = ReceivedRequest::read(&mut stream, number).await?;
        let steps = script(&request);
        record.requests.lock().unwrap().push(request);
        record.sent.store(0, SeqCst);
        for step in steps {
            match step {
                Step::Send(bytes) => send(&mut stream, &bytes, &record).await?,
                Step::Drip(bytes, pause) => {
                    for byte in bytes {
                        tokio::time::sleep(pause).await;
                        send(&mut stream, &[byte], &record).await?;
                    }
                }
                Step::Endless(bytes) => loop {
                    send(&mut stream, &bytes, &record).await?;
                },
                Step::Pause(pause) => tokio::time::sleep(pause).await,
                Step::Reset => {
                    stream.set_zero_linger().unwrap();
                    return None;
                }
                Step::Close => return None,
            }
        }
    }
}

async fn send(stream: &mut TcpStream, mut bytes: &[u8], record: &Record) -> Option<()> {
    while !bytes.is_empty() {
        let sent = stream.write(bytes).await.ok()?;
        record.sent.fetch_add(sent, SeqCst);
        bytes = &bytes[sent..];
    }
    Some(())
}

/// The body of an active session's status.
pub(crate) const STATUS_ACTIVE: &str =
    r#"{"authentication_status":{"authenticated":true,"session_status":"active"}}"#;

/// A response with its content length.
pub(crate) fn response(status: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes = head(status, headers);
    bytes.truncate(bytes.len() - 2);
    bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes());
    bytes.extend(body);
    bytes
}

/// A response head with only these headers.
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

/// The response of `authenticate_user`, with URLs below `base`.
pub(crate) fn session(base: &str) -> Vec<u8> {
    session_at(&format!("{base}{STATUS_PATH}"), &format!("{base}{LOGOUT_PATH}"))
}

/// The response of `authenticate_user`, with these URLs.
pub(crate) fn session_at(status_url: &str, logout_url: &str) -> Vec<u8> {
    let body = serde_json::json!({"authentication_status": {
        "authenticated": true, "session_status": "pending", "reason": null,
        "status_url": status_url, "logout_url": logout_url,
        "session_token": SESSION_TOKEN, "session_secret": SESSION_SECRET,
    }});
    response("202 Accepted", &[("content-type", "application/json")], body.to_string())
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

/// Authenticates [`alice`], which sends a push.
pub(crate) async fn authenticate(client: &Client) -> Result<RemoteSession, ClientError> {
    client.authenticate_user(&alice(), &AuthenticationRequest::default()).await
}

/// The result of a status call that these steps respond to.
pub(crate) async fn status_after(
    steps: Vec<Step>,
) -> (Result<StatusReading, ClientError>, RawServer) {
    let server = RawServer::with_session(steps).await;
    let client = server.client();
    let session = authenticate(&client).await.unwrap();
    (client.status(&session).await, server)
}
