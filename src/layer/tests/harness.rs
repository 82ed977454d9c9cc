//! Test harness for an engine in paused time. The test replies to each call of the service, and
//! configures the token store and the application behind the layer.

use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep, sleep_until, timeout};
use tower_layer::Layer as _;
use tower_service::Service;

use crate::client::mock::{ReceivedCall, ScriptedUpstream};
use crate::clock::{Clock, MonoTime};
use crate::engine::{AttemptTarget, ClientDetails, Initiator, Session, StartAttempt};
use crate::events::{EventKind, Events};
use crate::identity::{SessionCredential, UserId, UserToken};
use crate::layer::{GateBody, SessionRevoked};
use crate::protocol::SessionStatus;
use crate::store::{StoreError, StoreErrorKind};
use crate::verdict::Denial;
use crate::{Activeconnect, ActiveconnectBuilder, Credentials, TokenStore};

/// The time limit of each wait, in paused time.
const TEST_TIMEOUT: Duration = Duration::from_secs(3_600);

/// An event's kind and user.
pub(super) type KindAndUser = (EventKind, Option<UserId>);

/// Waits for the next event; `None` when the engine ended.
pub(super) async fn next_event(events: &mut Events) -> Option<KindAndUser> {
    events.next().await.map(|event| (event.kind, event.user))
}

/// An expected event of a user.
pub(super) fn user_event(user: &str, kind: EventKind) -> KindAndUser {
    (kind, Some(user.into()))
}

pub(super) struct Harness {
    pub(super) ac: Activeconnect,
    pub(super) clock: Clock,
    pub(super) token_store: FaultyTokenStore,
    calls: UnboundedReceiver<ReceivedCall>,
    session_count: usize,
}

impl Harness {
    pub(super) fn new() -> Self {
        Self::with_builder(|builder| builder)
    }

    pub(super) fn with_builder(
        configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder,
    ) -> Self {
        let (script, calls) = ScriptedUpstream::new();
        let (clock, token_store) = (Clock::tokio(), FaultyTokenStore::default());
        let builder = builder().token_store(token_store.clone()).script(script, clock.clone());
        let ac = configure(builder).build().unwrap();
        Self { ac, clock, token_store, calls, session_count: 0 }
    }

    pub(super) fn now(&self) -> u64 {
        self.clock.now().mono.as_millis()
    }

    /// Waits until this many milliseconds after the start.
    pub(super) async fn advance_to(&self, ms: u64) {
        sleep_until(self.clock.instant(MonoTime::from_millis(ms))).await;
    }

    /// The next call; asserts that its path starts with `path`.
    pub(super) async fn next_call(&mut self, path: &str) -> ReceivedCall {
        let call = timeout(TEST_TIMEOUT, self.calls.recv()).await;
        let call = call.expect("a call within the hour").unwrap();
        assert!(call.path.starts_with(path), "{} at {}", call.path, self.now());
        call
    }

    /// The next call; asserts that it is a poll sent at this time.
    pub(super) async fn next_poll_at(&mut self, ms: u64) -> ReceivedCall {
        let call = self.next_call("/s/").await;
        assert_eq!(self.now(), ms);
        call
    }

    /// Whether no call waits for a reply.
    pub(super) async fn has_no_calls(&mut self) -> bool {
        sleep(Duration::from_millis(1)).await;
        self.calls.is_empty()
    }

    /// Replies to the next `authenticate_user` with a new session.
    pub(super) async fn reply_next_start(&mut self) {
        let call = self.next_call("/authentication/authenticate_user").await;
        let session = self.session_count;
        self.session_count += 1;
        reply_started(call, session);
    }

    /// Logs a user in, with immediate approval.
    pub(super) async fn log_in(&mut self, user: &str) -> SessionCredential {
        let login = self.spawn_login(user);
        self.reply_next_start().await;
        reply_status(self.next_call("/s/").await, SessionStatus::Active);
        login.await.unwrap().unwrap()
    }

    /// Spawns a login.
    pub(super) fn spawn_login(
        &self,
        user: &str,
    ) -> JoinHandle<Result<SessionCredential, crate::login::LoginError>> {
        let (ac, user) = (self.ac.clone(), UserId::from(user));
        let login = async move { timeout(TEST_TIMEOUT, ac.log_in(&user)).await };
        tokio::spawn(async { login.await.expect("the login ends") })
    }

    pub(super) fn session(&self, credential: &SessionCredential) -> Arc<Session> {
        self.ac.engine().sessions.present(&credential.key()).unwrap()
    }

    /// Sends a request; returns `allowed` or the name of the denial.
    pub(super) fn send_request(
        &self,
        credential: &SessionCredential,
    ) -> impl Future<Output = String> + Send + use<> {
        let response = self.request("/0", credential);
        async { denial_name(response.await).await }
    }

    /// Sends a request to [`App`].
    pub(super) fn request(
        &self,
        path: &str,
        credential: &SessionCredential,
    ) -> impl Future<Output = Response<GateBody<TickBody>>> + Send + use<> {
        request(&self.ac, path, credential)
    }

    /// Opens a stream and spawns a task that reads it to its end.
    pub(super) async fn stream(&self, credential: &SessionCredential) -> Stream {
        let response = self.request("/stream", credential).await;
        assert_eq!(response.status(), StatusCode::OK);
        let (frames, clock) = (Arc::new(Mutex::new(Vec::new())), self.clock.clone());
        let reading = read_stream(response.into_body(), clock, frames.clone());
        Stream { frames, end: tokio::spawn(reading) }
    }

    /// From now on passes each call to `reply`, with the time in milliseconds. The returned task ends
    /// when the last client is dropped, and with it every task of the engine.
    pub(super) fn respond_with(
        &mut self,
        mut reply: impl FnMut(u64, ReceivedCall) + Send + 'static,
    ) -> JoinHandle<()> {
        let mut calls = std::mem::replace(&mut self.calls, unbounded_channel().1);
        let clock = self.clock.clone();
        tokio::spawn(async move {
            while let Some(call) = calls.recv().await {
                reply(clock.now().mono.as_millis(), call);
            }
        })
    }
}

pub(super) fn builder() -> ActiveconnectBuilder {
    let credentials = Credentials::new("APPLICATION", "MXG9EDN581U33XTPLPFT75V2").unwrap();
    Activeconnect::builder(credentials.with_server("http://127.0.0.1:9").unwrap())
}

/// Lets all ready tasks run.
pub(super) async fn run_ready_tasks() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// Replies to `authenticate_user`: polls go to `/s/{session}`, the logout goes to `/l/{session}`.
pub(super) fn reply_started(call: ReceivedCall, session: usize) {
    call.answer(
        202,
        format!(
            r#"{{"authentication_status":{{"authenticated":true,"session_status":"pending",
            "status_url":"http://127.0.0.1:9/s/{session}","logout_url":"http://127.0.0.1:9/l/{session}",
            "session_token":"S{session}","session_secret":"SECRET"}}}}"#
        ),
    );
}

/// Replies to a poll; returns false if the poller no longer waits.
pub(super) fn reply_status(call: ReceivedCall, status: SessionStatus) -> bool {
    call.answer(200, format!(r#"{{"authentication_status":{{"session_status":"{status}"}}}}"#))
}

/// Replies that the session is unknown, as the service does.
pub(super) fn reply_not_found(call: ReceivedCall) -> bool {
    call.answer(404, r#"{"status":false}"#)
}

/// Replies with success to any call.
pub(super) fn reply_ok(call: ReceivedCall) {
    if call.path.starts_with("/s/") {
        reply_status(call, SessionStatus::Active);
    } else {
        call.answer(200, r#"{"status":true,"users":{}}"#);
    }
}

pub(super) fn request(
    ac: &Activeconnect,
    path: &str,
    credential: &SessionCredential,
) -> impl Future<Output = Response<GateBody<TickBody>>> + Send + use<> {
    let request = Request::get(path)
        .header("authorization", format!("Bearer {}", credential.expose()))
        .body(())
        .unwrap();
    let response = ac.layer().layer(App).call(request);
    async { response.await.unwrap() }
}

/// `allowed`, or the name of the denial in a response.
pub(super) async fn denial_name(response: Response<GateBody<TickBody>>) -> String {
    if response.status() == StatusCode::OK {
        return "allowed".to_owned();
    }
    assert!(response.headers().get("set-cookie").is_none(), "the gate sets no cookies");
    let text = text(response).await;
    let (_, rest) = text.split_once(r#""denial":""#).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

pub(super) async fn text(response: Response<GateBody<TickBody>>) -> String {
    let mut body = std::pin::pin!(response.into_body());
    let mut text = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        text.extend_from_slice(frame.unwrap().data_ref().unwrap());
    }
    String::from_utf8(text).unwrap()
}

/// A stream that a task reads.
pub(super) struct Stream {
    frames: Arc<Mutex<Vec<u64>>>,
    /// The time and the denial when the stream was cut.
    pub(super) end: JoinHandle<(u64, Denial)>,
}

impl Stream {
    /// The time of the last frame, in milliseconds.
    pub(super) fn last_frame_at(&self) -> u64 {
        *self.frames.lock().unwrap().last().unwrap()
    }
}

async fn read_stream(
    body: GateBody<TickBody>,
    clock: Clock,
    frames: Arc<Mutex<Vec<u64>>>,
) -> (u64, Denial) {
    let mut body = std::pin::pin!(body);
    loop {
        match std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await.unwrap() {
            Ok(_) => frames.lock().unwrap().push(clock.now().mono.as_millis()),
            Err(error) => {
                let error: Box<SessionRevoked> = error.downcast().unwrap();
                return (clock.now().mono.as_millis(), error.denial());
            }
        }
    }
}

/// A token store with injected faults. Each user's token is the user's id.
#[derive(Clone, Default)]
pub(super) struct FaultyTokenStore {
    behavior: Arc<Mutex<StoreBehavior>>,
    lookups: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, Default)]
pub(super) enum StoreBehavior {
    #[default]
    ReturnsToken,
    ReturnsOtherToken,
    ReturnsNone,
    Fails,
    Hangs,
    Panics,
}

impl FaultyTokenStore {
    pub(super) fn set_behavior(&self, behavior: StoreBehavior) {
        *self.behavior.lock().unwrap() = behavior;
    }

    /// The number of lookups so far.
    pub(super) fn lookups(&self) -> usize {
        self.lookups.load(Ordering::Relaxed)
    }
}

impl TokenStore for FaultyTokenStore {
    async fn token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        let behavior = *self.behavior.lock().unwrap();
        match behavior {
            StoreBehavior::ReturnsToken => Ok(Some(UserToken::new(user.as_str()).unwrap())),
            StoreBehavior::ReturnsOtherToken => Ok(Some(UserToken::new("another").unwrap())),
            StoreBehavior::ReturnsNone => Ok(None),
            StoreBehavior::Fails => Err(StoreError::from_kind(StoreErrorKind::Unavailable)),
            StoreBehavior::Hangs => pending().await,
            StoreBehavior::Panics => panic!("injected panic of the token store"),
        }
    }
}

/// The application. `/<ms>` responds after that delay, `/panic` panics, and other paths respond with
/// an endless stream.
#[derive(Clone)]
pub(super) struct App;

impl Service<Request<()>> for App {
    type Response = Response<TickBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let path = request.uri().path()[1..].to_owned();
        Box::pin(async move {
            assert_ne!(path, "panic", "injected panic of the handler");
            let delay_ms = path.parse().ok();
            if let Some(delay_ms) = delay_ms {
                sleep(Duration::from_millis(delay_ms)).await;
            }
            let next = delay_ms.is_none().then(|| Box::pin(sleep(Duration::ZERO)));
            Ok(Response::new(TickBody { next }))
        })
    }
}

/// A body with a frame every 250 ms, or without frames.
pub(super) struct TickBody {
    next: Option<Pin<Box<Sleep>>>,
}

impl Body for TickBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        std::task::ready!(next.as_mut().poll(cx));
        *next = Box::pin(sleep(Duration::from_millis(250)));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"tick")))))
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_none()
    }
}

/// A login that the application starts for a user.
pub(crate) fn app_login(user: UserId) -> StartAttempt<'static> {
    StartAttempt {
        target: AttemptTarget::User(user),
        initiator: Initiator::Application,
        previous_attempt: None,
        deliver_in_body: false,
        client: ClientDetails::default(),
    }
}
