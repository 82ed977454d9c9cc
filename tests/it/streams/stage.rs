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

use crate::support::plain::Plain;
use crate::support::{approve, builder, serve, until, with_phones};

pub(crate) const INTERVAL: Duration = Duration::from_millis(500);
/// Interval, the longest a poll may take, and a second.
pub(crate) const BOUND: Duration = Duration::from_millis(500 + 3_000 + 1_000);
const TICK: Duration = Duration::from_millis(10);
/// How many bytes the download with a length has.
const LENGTH: usize = 1_000_000;

pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// What tells the handlers to go on, and what they tell.
#[derive(Clone)]
pub(crate) struct Signals {
    /// How far apart the pieces of a stream are.
    tick: Duration,
    /// Who waits to answer may.
    answer: watch::Receiver<bool>,
    /// Whatever streams comes to its end.
    finish: watch::Receiver<bool>,
    /// How many pieces of uploads have reached a handler.
    uploaded: Arc<AtomicU64>,
}

async fn told(mut signal: watch::Receiver<bool>) {
    // Without the stage there is nobody left to tell anything.
    signal.wait_for(|told| *told).await.ok();
}

impl Signals {
    /// A tick at a time until the finish, then a last one.
    fn ticks(&self) -> impl Stream<Item = &'static str> + Send + use<> {
        let clock = tokio::time::interval(self.tick);
        let ticks = stream::unfold(clock, |mut clock| async move {
            clock.tick().await;
            Some(("tick", clock))
        });
        let finish = Box::pin(told(self.finish.clone()));
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

    /// A service of one method of each kind, as tonic's generated code would call it.
    async fn grpc<B>(self, request: http::Request<B>) -> http::Response<tonic::body::Body>
    where
        B: http_body::Body + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        type Incoming = tonic::Request<tonic::Streaming<Bytes>>;
        let mut grpc = tonic::server::Grpc::new(Plain);
        let message = |tick: &'static str| Ok::<_, Status>(Bytes::from_static(tick.as_bytes()));
        let messages = self.ticks().map(message).boxed();
        let whole = || Ok::<_, Status>(tonic::Response::new(Bytes::from_static(b"whole")));
        match request.uri().path() {
            "/grpc/unary" => {
                let unary = service_fn(|_: tonic::Request<Bytes>| async {
                    told(self.answer.clone()).await;
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
                    // What the client says is heard for as long as it is spoken to.
                    let heard = request.into_inner().filter_map(async |_| None);
                    async { Ok(tonic::Response::new(stream::select(messages, heard))) }
                });
                grpc.streaming(both, request).await
            }
        }
    }

    fn routes(self) -> Router {
        let grpc = self.clone();
        let grpc = service_fn(move |request: Request| {
            let answer = grpc.clone().grpc(request);
            async { Ok::<_, Infallible>(answer.await) }
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
                    told(s.answer).await;
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

/// The gRPC routes, as a service of tonic's own server.
#[derive(Clone)]
struct OfTonic(Signals);

impl NamedService for OfTonic {
    const NAME: &'static str = "grpc";
}

impl Service<http::Request<tonic::body::Body>> for OfTonic {
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

/// What a client sees in the end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// All there was to see.
    Whole,
    /// An orderly end after this event: its name and data.
    Event(&'static str, &'static str),
    /// An orderly end that nobody announced.
    Short,
    /// An error in the middle.
    Broken,
    /// Another answer than 200.
    Denied(u16),
    /// A gRPC status.
    Status(Code),
    /// A WebSocket's close frame.
    Closed(u16, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
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
pub(crate) enum Over {
    Http1,
    Http2,
    /// HTTP/2, to tonic's own server; only gRPC is served there.
    Tonic,
}

impl Kind {
    /// Every kind, over what it goes over.
    pub(crate) fn all() -> Vec<(Self, Over)> {
        use Kind::{Both, Chunked, Client, Download, LongPoll, Server, Socket, Sse, Unary, Upload};
        let http = [Sse, Chunked, Download, LongPoll, Upload];
        let on_both = http.into_iter().flat_map(|kind| [(kind, Over::Http1), (kind, Over::Http2)]);
        let grpc = [Unary, Server, Client, Both];
        let grpc = grpc.into_iter().flat_map(|kind| [(kind, Over::Http2), (kind, Over::Tonic)]);
        on_both.chain([(Socket, Over::Http1)]).chain(grpc).collect()
    }

    /// Whether frames come until the end; else an answer does.
    pub(crate) fn streams(self) -> bool {
        !matches!(self, Self::LongPoll | Self::Upload | Self::Unary | Self::Client)
    }
}

/// How much a client has seen, and when last.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    frames: AtomicU64,
    at: AtomicU64,
}

impl Seen {
    fn more(&self) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.at.store(unix_ms(), Ordering::Relaxed);
    }

    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// When the last frame, or the end, arrived.
    pub(crate) fn at(&self) -> u64 {
        self.at.load(Ordering::Relaxed)
    }
}

/// A client in the middle of something.
pub(crate) struct Held {
    pub(crate) kind: Kind,
    pub(crate) over: Over,
    pub(crate) seen: Arc<Seen>,
    pub(crate) outcome: JoinHandle<Outcome>,
}

pub(crate) struct Stage {
    pub(crate) emulator: Emulator,
    pub(crate) ac: Activeconnect,
    pub(crate) layer: ActiveconnectLayer,
    pub(crate) url: String,
    tonic_url: String,
    clients: [reqwest::Client; 2],
    answer: watch::Sender<bool>,
    finish: watch::Sender<bool>,
    pub(crate) uploaded: Arc<AtomicU64>,
}

/// Somebody who is logged in.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) url: String,
    pub(crate) bearer: String,
    pub(crate) session: SessionReport,
    axum: Channel,
    tonic: Channel,
    http1: reqwest::Client,
    http2: reqwest::Client,
}

impl Stage {
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
        let (answer, answers) = watch::channel(false);
        let (finish, finishes) = watch::channel(false);
        let uploaded = Arc::default();
        let signals =
            Signals { tick, answer: answers, finish: finishes, uploaded: Arc::clone(&uploaded) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tonic_url = format!("http://{}", listener.local_addr().unwrap());
        let server = tonic::transport::Server::builder()
            .layer(layer.clone())
            .layer(UploadGuardLayer::new(tonic::body::Body::new))
            .add_service(OfTonic(signals.clone()));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        let app = signals.routes().layer(UploadGuardLayer::new(Body::new)).layer(layer.clone());
        let url = serve(app).await;
        let client = || reqwest::Client::builder().no_proxy();
        let clients = [client().http1_only(), client().http2_prior_knowledge()];
        let clients = clients.map(|client| client.build().unwrap());
        Self { emulator, ac, layer, url, tonic_url, clients, answer, finish, uploaded }
    }

    /// Enrolls the user and logs them in.
    pub(crate) async fn log_in(&self, user: &str) -> Caller {
        with_phones(&self.emulator, &self.ac, &[user]).await;
        let user = user.into();
        let (credential, session) = tokio::join!(self.ac.log_in(&user), approve(&self.emulator));
        self.caller(&credential.unwrap().expose(), session)
    }

    pub(crate) fn caller(&self, credential: &str, session: SessionReport) -> Caller {
        let [http1, http2] = self.clients.clone();
        let channel = |url: &String| Channel::from_shared(url.clone()).unwrap().connect_lazy();
        Caller {
            url: self.url.clone(),
            bearer: format!("Bearer {credential}"),
            session,
            axum: channel(&self.url),
            tonic: channel(&self.tonic_url),
            http1,
            http2,
        }
    }

    /// Lets what waits be answered.
    pub(crate) fn answer(&self) {
        self.answer.send_replace(true);
    }

    /// Lets everything come to its end.
    pub(crate) fn finish(&self) {
        self.answer();
        self.finish.send_replace(true);
    }

    pub(crate) fn act(&self, caller: &Caller, action: Action) {
        self.emulator.act_on_session(&caller.session.session_token, action).unwrap();
    }

    pub(crate) fn report(&self, caller: &Caller) -> SessionReport {
        let sessions = self.emulator.state().sessions.into_iter();
        let token = &caller.session.session_token;
        sessions.into_iter().find(|session| session.session_token == *token).unwrap()
    }

    /// Waits until a request of this caller is answered so.
    pub(crate) async fn answers(&self, caller: &Caller, status: u16) {
        until("the answer", async || {
            let answer = caller.get(Over::Http1, "/now").send().await.unwrap();
            (answer.status() == status).then_some(())
        })
        .await;
    }

    /// Opens one.
    pub(crate) fn open(&self, caller: &Caller, kind: Kind, over: Over) -> Held {
        caller.open(kind, over, self.finish.subscribe())
    }

    /// Opens one of each kind and waits until all are in the middle of it.
    pub(crate) async fn open_all(&self, caller: &Caller) -> Vec<Held> {
        let held: Vec<Held> =
            (Kind::all().into_iter()).map(|(kind, over)| self.open(caller, kind, over)).collect();
        until("all run", async || {
            let run = held.iter().all(|held| !held.kind.streams() || held.seen.frames() > 2);
            (run && self.uploaded.load(Ordering::Relaxed) > 9).then_some(())
        })
        .await;
        held
    }
}

impl Caller {
    /// The same one, before another application of the same engine.
    pub(crate) fn at(&self, url: String) -> Self {
        Self { url, ..self.clone() }
    }

    fn client(&self, over: Over) -> &reqwest::Client {
        match over {
            Over::Http1 => &self.http1,
            Over::Http2 | Over::Tonic => &self.http2,
        }
    }

    pub(crate) fn request(
        &self,
        method: http::Method,
        over: Over,
        path: &str,
    ) -> reqwest::RequestBuilder {
        let request = self.client(over).request(method, format!("{}{path}", self.url));
        request.header("authorization", &self.bearer)
    }

    pub(crate) fn get(&self, over: Over, path: &str) -> reqwest::RequestBuilder {
        self.request(http::Method::GET, over, path)
    }

    /// Begins; what is uploaded comes to its end at the finish.
    fn open(&self, kind: Kind, over: Over, finish: watch::Receiver<bool>) -> Held {
        let (caller, seen) = (self.clone(), Arc::new(Seen::default()));
        let sees = seen.clone();
        let outcome = tokio::spawn(async move {
            let (answer, finished, uploaded) = (finish.clone(), finish.clone(), Arc::default());
            let ticks = Signals { tick: TICK, answer, finish, uploaded }.ticks();
            let outcome = match kind {
                Kind::Sse => caller.read(over, "/sse", &sees).await,
                Kind::Chunked => caller.read(over, "/chunked", &sees).await,
                Kind::Download => caller.read(over, "/download", &sees).await,
                Kind::LongPoll => caller.read(over, "/poll", &sees).await,
                Kind::Upload => {
                    // An answer that comes before the end of an upload may be overtaken by the
                    // reset for what was not read (RFC 9112, 9.6), unless all was.
                    let most = if over == Over::Http1 { 20 } else { usize::MAX };
                    let last = Box::pin(told(finished)).map(|()| "whole").into_stream();
                    let ticks = ticks.take_while(|tick| ready(*tick != "whole")).take(most);
                    let ticks = ticks.chain(last);
                    let body = reqwest::Body::wrap_stream(ticks.map(Ok::<_, Infallible>));
                    let post = caller.request(http::Method::POST, over, "/upload").body(body);
                    outcome(post.send().await, &sees).await
                }
                Kind::Socket => caller.socket(&sees).await,
                Kind::Unary | Kind::Server | Kind::Client | Kind::Both => {
                    match caller.grpc(kind, over, ticks, &sees).await {
                        Ok(outcome) => outcome,
                        Err(status) => Outcome::Status(status.code()),
                    }
                }
            };
            sees.more();
            outcome
        });
        Held { kind, over, seen, outcome }
    }

    async fn read(&self, over: Over, path: &str, seen: &Seen) -> Outcome {
        outcome(self.get(over, path).send().await, seen).await
    }

    async fn socket(&self, seen: &Seen) -> Outcome {
        let url = format!("{}/socket", self.url.replace("http", "ws"));
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("authorization", self.bearer.parse().unwrap());
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let mut last = None;
        while let Some(message) = socket.next().await {
            match message {
                Ok(tungstenite::Message::Text(text)) => last = Some(text),
                Ok(tungstenite::Message::Close(Some(close))) => {
                    return Outcome::Closed(close.code.into(), close.reason.as_str().to_owned());
                }
                Ok(_) => {}
                Err(_) if last.as_deref() == Some("whole") => return Outcome::Whole,
                Err(_) => return Outcome::Broken,
            }
            seen.more();
        }
        Outcome::Short
    }

    async fn grpc(
        &self,
        kind: Kind,
        over: Over,
        ticks: impl Stream<Item = &'static str> + Send + 'static,
        seen: &Seen,
    ) -> Result<Outcome, Status> {
        fn request<T>(message: T, bearer: &str) -> tonic::Request<T> {
            let mut request = tonic::Request::new(message);
            request.metadata_mut().insert("authorization", bearer.parse().unwrap());
            request
        }
        let channel = if over == Over::Tonic { &self.tonic } else { &self.axum };
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let path = |path| http::uri::PathAndQuery::from_static(path);
        let one = || request(Bytes::new(), &self.bearer);
        let ticks = ticks.map(|tick: &'static str| Bytes::from_static(tick.as_bytes())).boxed();
        let mut answers = match kind {
            Kind::Unary => {
                return grpc.unary(one(), path("/grpc/unary"), Plain).await.map(|_| Outcome::Whole);
            }
            Kind::Client => {
                let ticks = request(ticks, &self.bearer);
                let answer = grpc.client_streaming(ticks, path("/grpc/client"), Plain).await;
                return answer.map(|_| Outcome::Whole);
            }
            Kind::Server => grpc.server_streaming(one(), path("/grpc/server"), Plain).await?,
            _ => grpc.streaming(request(ticks, &self.bearer), path("/grpc/both"), Plain).await?,
        }
        .into_inner();
        let mut last = Bytes::new();
        while let Some(message) = answers.message().await? {
            seen.more();
            last = message;
        }
        Ok(if last == "whole" { Outcome::Whole } else { Outcome::Short })
    }
}

/// Reads an answer to its end, whatever that is.
pub(crate) async fn outcome(answer: reqwest::Result<reqwest::Response>, seen: &Seen) -> Outcome {
    let Ok(mut answer) = answer else { return Outcome::Broken };
    if answer.status() != 200 {
        return Outcome::Denied(answer.status().as_u16());
    }
    let mut bytes = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(_) => return Outcome::Broken,
        }
        seen.more();
    }
    let text = String::from_utf8(bytes).unwrap();
    let ends = |event: &str, status: &str| {
        text.ends_with(&format!("event: session-{event}\ndata: {{\"status\":\"{status}\"}}\n\n"))
    };
    if text.trim_end().ends_with("whole") || text.len() == LENGTH {
        return Outcome::Whole;
    }
    let events = [("ended", "closed"), ("suspended", "walkaway"), ("unavailable", "unavailable")];
    let event = events.into_iter().find(|(event, status)| ends(event, status));
    event.map_or(Outcome::Short, |(event, status)| Outcome::Event(event, status))
}
