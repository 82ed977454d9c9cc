//! A guarded WebSocket as a stream and a sink, split between two tasks.

use activeconnect_emulator::{Action, Emulator, Endpoint, Fault, FaultKind, SessionReport};
use axum::Router;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::any;
use futures_util::stream::FusedStream as _;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message as ClientMessage;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tower_activeconnect::ActiveSession;
use tower_activeconnect::identity::SessionCredential;
use tower_activeconnect::web::GuardedSocket;

use crate::support::{approve, builder, enroll_users, poll_until, serve};

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct Site {
    emulator: Emulator,
    credential: SessionCredential,
    session: SessionReport,
    url: String,
}

impl Site {
    /// An application that passes its socket to `handler`.
    async fn new<F>(handler: impl Fn(GuardedSocket) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let emulator = Emulator::start().await.unwrap();
        let ac = builder(&emulator).build().unwrap();
        enroll_users(&emulator, &ac, &["alice"]).await;
        let alice = "alice".into();
        let (credential, session) = tokio::join!(ac.log_in(&alice), approve(&emulator));
        let upgrade = async move |session: ActiveSession, upgrade: WebSocketUpgrade| -> Response {
            upgrade
                .protocols(["chat"])
                .on_upgrade(move |socket| handler(session.guard_socket(socket)))
        };
        let app = Router::new().route("/socket", any(upgrade)).layer(ac.layer());
        let url = serve(app).await.replace("http", "ws") + "/socket";
        Self { emulator, credential: credential.unwrap(), session, url }
    }

    async fn connect(&self) -> Client {
        let mut request = self.url.as_str().into_client_request().unwrap();
        let bearer = format!("Bearer {}", self.credential.expose());
        request.headers_mut().insert("authorization", bearer.parse().unwrap());
        request.headers_mut().insert("sec-websocket-protocol", "chat".parse().unwrap());
        tokio_tungstenite::connect_async(request).await.unwrap().0
    }

    fn end(&self) {
        self.emulator.act_on_session(&self.session.session_token, Action::Close).unwrap();
    }
}

fn text(message: &str) -> ClientMessage {
    ClientMessage::text(message)
}

/// The texts before the close frame, and its code.
async fn rest(client: &mut Client) -> (Vec<String>, Option<u16>) {
    let mut texts = Vec::new();
    while let Some(Ok(message)) = client.next().await {
        match message {
            ClientMessage::Text(text) => texts.push(text.to_string()),
            ClientMessage::Close(frame) => return (texts, frame.map(|frame| frame.code.into())),
            _ => {}
        }
    }
    (texts, None)
}

/// T164: both halves work concurrently in two tasks, and each sees the end.
#[tokio::test]
async fn both_socket_halves_end_with_session() {
    let (ended, mut reported) = mpsc::unbounded_channel();
    let site = Site::new(move |socket| {
        let ended = ended.clone();
        async move {
            let (mut sink, mut messages) = socket.split();
            let (queue, mut queued) = mpsc::unbounded_channel();
            let reading = ended.clone();
            tokio::spawn(async move {
                while let Some(Ok(message)) = messages.next().await {
                    queue.send(message).unwrap();
                }
                assert!(messages.next().await.is_none(), "the socket stays closed");
                reading.send("reader").unwrap();
            });
            while let Some(message) = queued.recv().await {
                sink.feed(message).await.unwrap();
                sink.send(Message::Text("more".into())).await.unwrap();
            }
            assert!(sink.send(Message::Text("late".into())).await.is_err());
            assert!(sink.close().await.is_err());
            ended.send("writer").unwrap();
        }
    })
    .await;
    let mut client = site.connect().await;
    client.send(text("hello")).await.unwrap();
    for expected in ["hello", "more"] {
        assert_eq!(client.next().await.unwrap().unwrap(), text(expected));
    }
    site.end();
    assert_eq!(rest(&mut client).await, (Vec::new(), Some(1008)));
    let mut halves = [reported.recv().await.unwrap(), reported.recv().await.unwrap()];
    halves.sort_unstable();
    assert_eq!(halves, ["reader", "writer"]);
}

/// T164: the polled half closes the socket, although the other half is not polled.
#[tokio::test]
async fn either_half_closes_the_socket() {
    let is_read = |socket: GuardedSocket| async move {
        let (_sink, mut messages) = socket.split();
        while messages.next().await.is_some() {}
    };
    let site = Site::new(is_read).await;
    let mut client = site.connect().await;
    site.end();
    assert_eq!(rest(&mut client).await, (Vec::new(), Some(1008)));

    let writes = |socket: GuardedSocket| async move {
        let (mut sink, _messages) = socket.split();
        while sink.send(Message::Text("tick".into())).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    let site = Site::new(writes).await;
    let mut client = site.connect().await;
    assert_eq!(client.next().await.unwrap().unwrap(), text("tick"));
    site.end();
    assert_eq!(rest(&mut client).await.1, Some(1008));
}

/// T164: combinators such as `forward` accept the socket.
#[tokio::test]
async fn forwarded_socket_ends_with_the_session() {
    let site = Site::new(|socket| async move {
        let (sink, messages) = socket.split();
        messages.forward(sink).await.ok();
    })
    .await;
    let mut client = site.connect().await;
    for message in ["one", "two"] {
        client.send(text(message)).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), text(message));
    }
    site.end();
    assert_eq!(rest(&mut client).await, (Vec::new(), Some(1008)));
}

/// T164: a message that is sent while the status is unknown leaves when it is known again.
#[tokio::test]
async fn queued_message_waits_for_known_status() {
    let (send, queued) = mpsc::unbounded_channel::<&str>();
    let queued = std::sync::Arc::new(tokio::sync::Mutex::new(queued));
    let site = Site::new(move |socket| {
        let queued = queued.clone();
        async move {
            let (mut sink, mut messages) = socket.split();
            let reader = tokio::spawn(async move { while messages.next().await.is_some() {} });
            while let Some(message) = queued.lock().await.recv().await {
                sink.send(Message::Text(message.into())).await.unwrap();
            }
            reader.await.unwrap();
        }
    })
    .await;
    let mut client = site.connect().await;
    send.send("before").unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), text("before"));
    site.emulator.inject_fault(Fault::new(Endpoint::Status, FaultKind::UnknownStatus));
    poll_until("the status is not known", async || {
        let request = reqwest::Client::new().get(site.url.replace("ws", "http"));
        let bearer = format!("Bearer {}", site.credential.expose());
        let response = request.header("authorization", bearer).send().await.unwrap();
        (response.status() == 503).then_some(())
    })
    .await;
    send.send("held").unwrap();
    let polls = || site.emulator.state().calls.status;
    let before = polls();
    poll_until("two more polls", async || (polls() >= before + 2).then_some(())).await;
    assert!(futures_util::FutureExt::now_or_never(client.next()).is_none(), "nothing leaves");
    site.emulator.clear_faults();
    assert_eq!(client.next().await.unwrap().unwrap(), text("held"));
}

/// T164: properties that libraries read from axum's socket.
#[tokio::test]
async fn socket_reports_protocol_and_close() {
    let (reported, mut tells) = mpsc::unbounded_channel();
    let site = Site::new(move |mut socket| {
        let reported = reported.clone();
        async move {
            let protocol = socket.protocol().map(|name| name.to_str().unwrap().to_owned());
            assert!(!socket.is_terminated());
            while socket.next().await.is_some() {}
            reported.send((protocol, socket.is_terminated())).unwrap();
        }
    })
    .await;
    let mut client = site.connect().await;
    site.end();
    assert_eq!(rest(&mut client).await, (Vec::new(), Some(1008)));
    assert_eq!(tells.recv().await.unwrap(), (Some("chat".to_owned()), true));
}
