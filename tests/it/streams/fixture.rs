//! An application with every kind of stream, a session, and a client for each kind.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use activeconnect_emulator::{Action, Emulator, SessionReport};
use axum::Router;
use axum::body::Body;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::response::sse::{Event, Sse};
use axum::routing::{any, get, post};
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use futures_util::stream::{self, Stream, StreamExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tonic::server::NamedService;
use tonic::transport::Channel;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Status};
use tower::{BoxError, Service, service_fn};
use tower_activeconnect::layer::UploadGuardLayer;
use tower_activeconnect::{ActiveSession, Activeconnect, ActiveconnectBuilder, ActiveconnectLayer};

use crate::support::bytes_codec::BytesCodec;
use crate::support::{approve, builder, enroll_users, poll_until, serve};

pub(crate) const INTERVAL: Duration = Duration::from_millis(500);
/// The poll interval, the poll timeout and one second.
pub(crate) const BOUND: Duration = Duration::from_millis(500 + 3_000 + 1_000);
const TICK: Duration = Duration::from_millis(10);
/// The length in bytes of the download with a length.
const LENGTH: usize = 1_000_000;

pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// Signals to and from the handlers.
#[derive(Clone)]
pub(crate) struct Signals {
    /// The pause between the pieces of a stream.
    tick: Duration,
    /// Lets waiting handlers respond.
    respond: watch::Receiver<bool>,
    /// Lets all streams end.
    finish: watch::Receiver<bool>,
    /// The number of upload pieces that handlers received.
    uploaded: Arc<AtomicU64>,
}

async fn wait_for_signal(mut signal: watch::Receiver<bool>) {
    // The sender is gone when the fixture is dropped.
    signal.wait_for(|is_set| *is_set).await.ok();
}

impl Signals {
    /// A piece each tick until `finish`, then a last one.
    fn ticks(&self) -> impl Stream<Item = &'static str> + Send + use<> {
        let clock = tokio::time::interval(self.tick);
        let ticks = stream::unfold(clock, |mut clock| async move {
            clock.tick().await;
            Some(("tick", clock))
        });
        let finish = Box::pin(wait_for_signal(self.finish.clone()));
        ticks.take_until(finish).chain(stream::once(async { "whole" }))
    }

    fn download(&self) -> Response {
        let mut left = LENGTH;
        let ticks = self.ticks().map(move |tick| {
            let sent = if tick == "whole" { "x".repeat(left) } else { tick.to_owned() };
            left -= sent.len();
            Ok::<_, Infallible>(sent)
        });
        Response::builder().header("content-length", LENGTH).body(Body::from_stream(ticks)).unwrap()
    }

    async fn upload(self, body: Body) -> &'static str {
        let mut body = body.into_data_stream();
        while let Some(Ok(_)) = body.next().await {
            self.uploaded.fetch_add(1, Ordering::Relaxed);
        }
        "whole"
    }

    fn socket(self, session: ActiveSession, upgrade: WebSocketUpgrade) -> Response {
        upgrade.on_upgrade(|socket| async move {
            let mut socket = session.guard_socket(socket);
            let mut ticks = std::pin::pin!(self.ticks());
            while let Some(tick) = ticks.next().await {
                if socket.send(Message::Text(tick.into())).await.is_err() {
                    return;
                }
            }
        })
    }

    /// A service with a method of each kind, as tonic's generated code calls it.
    async fn grpc<B>(self, request: http::Request<B>) -> http::Response<tonic::body::Body>
    where
        B: http_body::Body + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        type Incoming = tonic::Request<tonic::Streaming<Bytes>>;
        let mut grpc = tonic::server::Grpc::new(BytesCodec);
        let message = |tick: &'static str| Ok::<_, Status>(Bytes::from_static(tick.as_bytes()));
        let messages = self.ticks().map(message).boxed();
        let whole = || Ok::<_, Status>(tonic::Response::new(Bytes::from_static(b"whole")));
        match request.uri().path() {
            "/grpc/unary" => {
                let unary = service_fn(|_: tonic::Request<Bytes>| async {
                    wait_for_signal(self.respond.clone()).await;
                    whole()
                });
                grpc.unary(unary, request).await
            }
            "/grpc/server" => {
                let mut messages = Some(messages);
                let server = service_fn(|_: tonic::Request<Bytes>| {
                    let messages = messages.take().unwrap();
                    async { Ok(tonic::Response::new(messages)) }
                });
                grpc.server_streaming(server, request).await
            }
            "/grpc/client" => {
                let client = service_fn(|request: Incoming| {
                    let uploaded = self.uploaded.clone();
                    async move {
                        let mut messages = request.into_inner();
                        while messages.message().await?.is_some() {
                            uploaded.fetch_add(1, Ordering::Relaxed);
                        }
                        whole()
                    }
                });
                grpc.client_streaming(client, request).await
            }
            _ => {
                let mut messages = Some(messages);
                let both = service_fn(|request: Incoming| {
                    let messages = messages.take().unwrap();
                    // Reads the client's messages until they end.
                    let received = request.into_inner().filter_map(async |_| None);
                    async { Ok(tonic::Response::new(stream::select(messages, received))) }
                });
                grpc.streaming(both, request).await
            }
        }
    }

    fn routes(self) -> Router {
        let grpc = self.clone();
        let grpc = service_fn(move |request: Request| {
            let response = grpc.clone().grpc(request);
            async { Ok::<_, Infallible>(response.await) }
        });
        type S = State<Signals>;
        let event = |tick: &'static str| Ok::<_, Infallible>(Event::default().data(tick));
        Router::new()
            .route("/sse", get(async move |State(s): S| Sse::new(s.ticks().map(event))))
            .route(
                "/chunked",
                get(async |State(s): S| Body::from_stream(s.ticks().map(Ok::<_, Infallible>))),
            )
            .route("/download", get(async |State(s): S| s.download()))
            .route(
                "/poll",
                get(async |State(s): S| {
                    wait_for_signal(s.respond).await;
                    "whole"
                }),
            )
            .route("/upload", post(async |State(s): S, body: Body| s.upload(body).await))
            .route("/socket", any(async |State(s): S, session, upgrade| s.socket(session, upgrade)))
            .route("/now", get(async || "now"))
            .route_service("/grpc/{method}", grpc)
            .with_state(self)
    }
}

/// The gRPC routes as a service of tonic's server.
#[derive(Clone)]
struct TonicService(Signals);

impl NamedService for TonicService {
    const NAME: &'static str = "grpc";
}

impl Service<http::Request<tonic::body::Body>> for TonicService {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        self.0.clone().grpc(request).map(Ok).boxed()
    }
}

/// The end of a stream as the client sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StreamEnd {
    /// The complete stream.
    Whole,
    /// A clean end after this event: name and data.
    Event(&'static str, &'static str),
    /// A clean end without an event.
    Short,
    /// An error in the middle.
    Broken,
    /// A status other than 200.
    Denied(u16),
    /// A gRPC status.
    Status(Code),
    /// A WebSocket close frame.
    Closed(u16, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamKind {
    Sse,
    Chunked,
    Download,
    LongPoll,
    Upload,
    Socket,
    Unary,
    Server,
    Client,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Http1,
    Http2,
    /// HTTP/2 to tonic's own server, which serves only gRPC.
    Tonic,
}

impl StreamKind {
    /// Every kind, with its transports.
    pub(crate) fn all() -> Vec<(Self, Transport)> {
        use StreamKind::{
            Both, Chunked, Client, Download, LongPoll, Server, Socket, Sse, Unary, Upload,
        };
        let http = [Sse, Chunked, Download, LongPoll, Upload];
        let on_both =
            http.into_iter().flat_map(|kind| [(kind, Transport::Http1), (kind, Transport::Http2)]);
        let grpc = [Unary, Server, Client, Both];
        let grpc =
            grpc.into_iter().flat_map(|kind| [(kind, Transport::Http2), (kind, Transport::Tonic)]);
        on_both.chain([(Socket, Transport::Http1)]).chain(grpc).collect()
    }

    /// Whether frames come until the end; otherwise one response does.
    pub(crate) fn streams(self) -> bool {
        !matches!(self, Self::LongPoll | Self::Upload | Self::Unary | Self::Client)
    }
}

/// The number of frames that a client received, and the time of the last.
#[derive(Debug, Default)]
pub(crate) struct FrameLog {
    frames: AtomicU64,
    at: AtomicU64,
}

impl FrameLog {
    fn more(&self) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.at.store(unix_ms(), Ordering::Relaxed);
    }

    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// The time of the last frame or of the end.
    pub(crate) fn at(&self) -> u64 {
        self.at.load(Ordering::Relaxed)
    }
}

/// A client with an open stream.
pub(crate) struct OpenStream {
    pub(crate) kind: StreamKind,
    pub(crate) transport: Transport,
    pub(crate) seen: Arc<FrameLog>,
    pub(crate) outcome: JoinHandle<StreamEnd>,
}

pub(crate) struct Fixture {
    pub(crate) emulator: Emulator,
    pub(crate) ac: Activeconnect,
    pub(crate) layer: ActiveconnectLayer,
    pub(crate) url: String,
    tonic_url: String,
    clients: [reqwest::Client; 2],
    respond: watch::Sender<bool>,
    finish: watch::Sender<bool>,
    pub(crate) uploaded: Arc<AtomicU64>,
}

/// A logged-in user.
#[derive(Clone)]
pub(crate) struct UserClient {
    pub(crate) url: String,
    pub(crate) bearer: String,
    pub(crate) session: SessionReport,
    axum: Channel,
    tonic: Channel,
    http1: reqwest::Client,
    http2: reqwest::Client,
}

impl Fixture {
    pub(crate) async fn of(
        engine: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder,
        layer: impl FnOnce(ActiveconnectLayer) -> ActiveconnectLayer,
    ) -> Self {
        Self::ticking(TICK, engine, layer).await
    }

    pub(crate) async fn ticking(
        tick: Duration,
        engine: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder,
        layer: impl FnOnce(ActiveconnectLayer) -> ActiveconnectLayer,
    ) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let ac = engine(builder(&emulator).poll_interval(INTERVAL)).build().unwrap();
        let layer = layer(ac.layer());
        let (respond, may_respond) = watch::channel(false);
        let (finish, finishes) = watch::channel(false);
        let uploaded = Arc::default();
        let signals = Signals {
            tick,
            respond: may_respond,
            finish: finishes,
            uploaded: Arc::clone(&uploaded),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tonic_url = format!("http://{}", listener.local_addr().unwrap());
        let server = tonic::transport::Server::builder()
            .layer(layer.clone())
            .layer(UploadGuardLayer::new(tonic::body::Body::new))
            .add_service(TonicService(signals.clone()));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        let app = signals.routes().layer(UploadGuardLayer::new(Body::new)).layer(layer.clone());
        let url = serve(app).await;
        let client = || reqwest::Client::builder().no_proxy();
        let clients = [client().http1_only(), client().http2_prior_knowledge()];
        let clients = clients.map(|client| client.build().unwrap());
        Self { emulator, ac, layer, url, tonic_url, clients, respond, finish, uploaded }
    }

    /// Enrolls the user and logs in.
    pub(crate) async fn log_in(&self, user: &str) -> UserClient {
        enroll_users(&self.emulator, &self.ac, &[user]).await;
        let user = user.into();
        let (credential, session) = tokio::join!(self.ac.log_in(&user), approve(&self.emulator));
        self.user_client(&credential.unwrap().expose(), session)
    }

    pub(crate) fn user_client(&self, credential: &str, session: SessionReport) -> UserClient {
        let [http1, http2] = self.clients.clone();
        let channel = |url: &String| Channel::from_shared(url.clone()).unwrap().connect_lazy();
        UserClient {
            url: self.url.clone(),
            bearer: format!("Bearer {credential}"),
            session,
            axum: channel(&self.url),
            tonic: channel(&self.tonic_url),
            http1,
            http2,
        }
    }

    /// Lets waiting handlers respond.
    pub(crate) fn let_handlers_respond(&self) {
        self.respond.send_replace(true);
    }

    /// Lets all streams end.
    pub(crate) fn finish(&self) {
        self.let_handlers_respond();
        self.finish.send_replace(true);
    }

    pub(crate) fn act(&self, user_client: &UserClient, action: Action) {
        self.emulator.act_on_session(&user_client.session.session_token, action).unwrap();
    }

    pub(crate) fn report(&self, user_client: &UserClient) -> SessionReport {
        let sessions = self.emulator.state().sessions.into_iter();
        let token = &user_client.session.session_token;
        sessions.into_iter().find(|session| session.session_token == *token).unwrap()
    }

    /// Waits until a request of this client gets this status.
    pub(crate) async fn responses(&self, user_client: &UserClient, status: u16) {
        poll_until("the status", async || {
            let response = user_client.get(Transport::Http1, "/now").send().await.unwrap();
            (response.status() == status).then_some(())
        })
        .await;
    }

    /// Opens a stream of this kind.
    pub(crate) fn open(
        &self,
        user_client: &UserClient,
        kind: StreamKind,
        transport: Transport,
    ) -> OpenStream {
        user_client.open(kind, transport, self.finish.subscribe())
    }

    /// Opens a stream of each kind, and waits until all have frames.
    pub(crate) async fn open_all(&self, user_client: &UserClient) -> Vec<OpenStream> {
        let open_streams: Vec<OpenStream> = (StreamKind::all().into_iter())
            .map(|(kind, transport)| self.open(user_client, kind, transport))
            .collect();
        poll_until("all run", async || {
            let run = open_streams
                .iter()
                .all(|open_streams| !open_streams.kind.streams() || open_streams.seen.frames() > 2);
            (run && self.uploaded.load(Ordering::Relaxed) > 9).then_some(())
        })
        .await;
        open_streams
    }
}

impl UserClient {
    /// The same client for another application of the engine.
    pub(crate) fn at(&self, url: String) -> Self {
        Self { url, ..self.clone() }
    }

    fn client(&self, transport: Transport) -> &reqwest::Client {
        match transport {
            Transport::Http1 => &self.http1,
            Transport::Http2 | Transport::Tonic => &self.http2,
        }
    }

    pub(crate) fn request(
        &self,
        method: http::Method,
        transport: Transport,
        path: &str,
    ) -> reqwest::RequestBuilder {
        let request = self.client(transport).request(method, format!("{}{path}", self.url));
        request.header("authorization", &self.bearer)
    }

    pub(crate) fn get(&self, transport: Transport, path: &str) -> reqwest::RequestBuilder {
        self.request(http::Method::GET, transport, path)
    }

    /// Starts the stream; an upload ends at `finish`.
    fn open(
        &self,
        kind: StreamKind,
        transport: Transport,
        finish: watch::Receiver<bool>,
    ) -> OpenStream {
        let (user_client, seen) = (self.clone(), Arc::new(FrameLog::default()));
        let sees = seen.clone();
        let outcome = tokio::spawn(async move {
            let (respond, finished, uploaded) = (finish.clone(), finish.clone(), Arc::default());
            let ticks = Signals { tick: TICK, respond, finish, uploaded }.ticks();
            let outcome = match kind {
                StreamKind::Sse => user_client.read(transport, "/sse", &sees).await,
                StreamKind::Chunked => user_client.read(transport, "/chunked", &sees).await,
                StreamKind::Download => user_client.read(transport, "/download", &sees).await,
                StreamKind::LongPoll => user_client.read(transport, "/poll", &sees).await,
                StreamKind::Upload => {
                    // A response before the end of an upload may be overtaken by the reset for
                    // unread bytes (RFC 9112, 9.6), so the handler reads everything.
                    let max = if transport == Transport::Http1 { 20 } else { usize::MAX };
                    let last = Box::pin(wait_for_signal(finished)).map(|()| "whole").into_stream();
                    let ticks = ticks.take_while(|tick| ready(*tick != "whole")).take(max);
                    let ticks = ticks.chain(last);
                    let body = reqwest::Body::wrap_stream(ticks.map(Ok::<_, Infallible>));
                    let post =
                        user_client.request(http::Method::POST, transport, "/upload").body(body);
                    outcome(post.send().await, &sees).await
                }
                StreamKind::Socket => user_client.socket(&sees).await,
                StreamKind::Unary | StreamKind::Server | StreamKind::Client | StreamKind::Both => {
                    match user_client.grpc(kind, transport, ticks, &sees).await {
                        Ok(outcome) => outcome,
                        Err(status) => StreamEnd::Status(status.code()),
                    }
                }
            };
            sees.more();
            outcome
        });
        OpenStream { kind, transport, seen, outcome }
    }

    async fn read(&self, transport: Transport, path: &str, seen: &FrameLog) -> StreamEnd {
        outcome(self.get(transport, path).send().await, seen).await
    }

    async fn socket(&self, seen: &FrameLog) -> StreamEnd {
        let url = format!("{}/socket", self.url.replace("http", "ws"));
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("authorization", self.bearer.parse().unwrap());
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let mut last = None;
        while let Some(message) = socket.next().await {
            match message {
                Ok(tungstenite::Message::Text(text)) => last = Some(text),
                Ok(tungstenite::Message::Close(Some(close))) => {
                    return StreamEnd::Closed(close.code.into(), close.reason.as_str().to_owned());
                }
                Ok(_) => {}
                Err(_) if last.as_deref() == Some("whole") => return StreamEnd::Whole,
                Err(_) => return StreamEnd::Broken,
            }
            seen.more();
        }
        StreamEnd::Short
    }

    async fn grpc(
        &self,
        kind: StreamKind,
        transport: Transport,
        ticks: impl Stream<Item = &'static str> + Send + 'static,
        seen: &FrameLog,
    ) -> Result<StreamEnd, Status> {
        fn request<T>(message: T, bearer: &str) -> tonic::Request<T> {
            let mut request = tonic::Request::new(message);
            request.metadata_mut().insert("authorization", bearer.parse().unwrap());
            request
        }
        let channel = if transport == Transport::Tonic { &self.tonic } else { &self.axum };
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let path = |path| http::uri::PathAndQuery::from_static(path);
        let one = || request(Bytes::new(), &self.bearer);
        let ticks = ticks.map(|tick: &'static str| Bytes::from_static(tick.as_bytes())).boxed();
        let mut responses = match kind {
            StreamKind::Unary => {
                return grpc
                    .unary(one(), path("/grpc/unary"), BytesCodec)
                    .await
                    .map(|_| StreamEnd::Whole);
            }
            StreamKind::Client => {
                let ticks = request(ticks, &self.bearer);
                let response = grpc.client_streaming(ticks, path("/grpc/client"), BytesCodec).await;
                return response.map(|_| StreamEnd::Whole);
            }
            StreamKind::Server => {
                grpc.server_streaming(one(), path("/grpc/server"), BytesCodec).await?
            }
            _ => {
                grpc.streaming(request(ticks, &self.bearer), path("/grpc/both"), BytesCodec).await?
            }
        }
        .into_inner();
        let mut last = Bytes::new();
        while let Some(message) = responses.message().await? {
            seen.more();
            last = message;
        }
        Ok(if last == "whole" { StreamEnd::Whole } else { StreamEnd::Short })
    }
}

/// Reads a response to its end.
pub(crate) async fn outcome(
    response: reqwest::Result<reqwest::Response>,
    seen: &FrameLog,
) -> StreamEnd {
    let Ok(mut response) = response else { return StreamEnd::Broken };
    if response.status() != 200 {
        return StreamEnd::Denied(response.status().as_u16());
    }
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(_) => return StreamEnd::Broken,
        }
        seen.more();
    }
    let text = String::from_utf8(bytes).unwrap();
    let ends = |event: &str, status: &str| {
        text.ends_with(&format!("event: session-{event}\ndata: {{\"status\":\"{status}\"}}\n\n"))
    };
    if text.trim_end().ends_with("whole") || text.len() == LENGTH {
        return StreamEnd::Whole;
    }
    let events = [("ended", "closed"), ("suspended", "walkaway"), ("unavailable", "unavailable")];
    let event = events.into_iter().find(|(event, status)| ends(event, status));
    event.map_or(StreamEnd::Short, |(event, status)| StreamEnd::Event(event, status))
}
