//! A minimal service: it reads only the first line of a request, checks nothing, and reports every
//! session as active.

use std::io::{Read as _, Write as _};
use std::net::TcpStream as Blocking;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Process;

/// A session token of typical length.
pub(crate) const TOKEN: &str = "5DNSIPZZ5FK2Z9RI19R0WYOJFLJOOA5L";
const ACTIVE: &str =
    r#"{"authentication_status":{"authenticated":true,"session_status":"active"}}"#;

pub(crate) struct Service {
    pub(crate) address: String,
    asks: Blocking,
    _process: Process,
}

impl Service {
    pub(crate) fn start() -> Self {
        let mut process = Process::start("service");
        let address = process.line();
        Self { asks: Blocking::connect(&address).unwrap(), address, _process: process }
    }

    /// The number of status calls so far.
    pub(crate) fn status_calls(&mut self) -> u64 {
        self.asks.write_all(b"GET /answered HTTP/1.1\r\n\r\n").unwrap();
        let mut buffer = [0; 1024];
        let length = self.asks.read(&mut buffer).unwrap();
        let text = str::from_utf8(&buffer[..length]).unwrap();
        text.split("\r\n\r\n").nth(1).unwrap().parse().unwrap()
    }
}

/// Serves until the process is killed.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn serve() -> ! {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    println!("{address}");
    let status_calls = Arc::new(AtomicU64::new(0));
    let session = session(&address.to_string());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(respond_to_client(stream, status_calls.clone(), session.clone()));
    }
}

/// Responds until the client disconnects.
async fn respond_to_client(mut stream: TcpStream, status_calls: Arc<AtomicU64>, session: String) {
    let active = response(ACTIVE);
    let mut buffer = [0; 2048];
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]).await {
            Ok(length) if length > 0 => filled += length,
            _ => return,
        }
        let request = &buffer[..filled];
        // A login has a body: two braces.
        let logs_in = request.starts_with(b"POST");
        if !request.ends_with(if logs_in { &b"{}"[..] } else { b"\r\n\r\n" }) {
            continue;
        }
        let written = if logs_in {
            stream.write_all(response(&session).as_bytes()).await
        } else if request.starts_with(b"GET /answered ") {
            let count = status_calls.load(Ordering::Relaxed).to_string();
            stream.write_all(response(&count).as_bytes()).await
        } else {
            status_calls.fetch_add(1, Ordering::Relaxed);
            stream.write_all(active.as_bytes()).await
        };
        if written.is_err() {
            return;
        }
        filled = 0;
    }
}

/// A response with typical headers.
fn response(body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nserver: service\r\ndate: Sun, 22 Nov 2026 05:00:00 GMT\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// The response to a login.
fn session(address: &str) -> String {
    let url = |call| format!("http://{address}/authentication/{call}/{TOKEN}");
    serde_json::json!({ "authentication_status": {
        "authenticated": true,
        "session_status": "pending",
        "status_url": url("session_status"),
        "logout_url": url("logout"),
        "session_token": TOKEN,
        "session_secret": "MXG9EDN581U33XTPLPFT75V2MXG9EDN5",
    }})
    .to_string()
}
