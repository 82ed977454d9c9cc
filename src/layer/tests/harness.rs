//! A stage for the engine: time is paused, the service and the lookup table are played by a test,
//! call by call, and an application stands behind the layer.

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
use crate::clock::Clock;
use crate::engine::{AttemptTarget, ClientDetails, Initiator, Session, StartAttempt};
use crate::identity::{SessionCredential, UserId, UserToken};
use crate::layer::{GateBody, SessionRevoked};
use crate::protocol::SessionStatus;
use crate::verdict::Denial;
use crate::{
    Activeconnect, ActiveconnectBuilder, Credentials, EventKind, Events, StoreError,
    StoreErrorKind, TokenStore,
};

/// After so long in vain a test fails.
const TEST_TIMEOUT: Duration = Duration::from_secs(3_600);

/// What an event says, and of which user.
pub(super) type Told = (EventKind, Option<UserId>);

/// The next event, once it is there; `None` when the engine is over.
pub(super) async fn next_event(events: &mut Events) -> Option<Told> {
    events.next().await.map(|event| (event.kind, event.user))
}

/// What an event says of alice's session, or another user's.
pub(super) fn of(user: &str, kind: EventKind) -> Told {
    (kind, Some(user.into()))
}

pub(super) struct Harness {
    pub(super) ac: Activeconnect,
    pub(super) clock: Clock,
    pub(super) token_store: FaultyTokenStore,
    heard: UnboundedReceiver<ReceivedCall>,
    started: usize,
}

impl Harness {
    pub(super) fn new() -> Self {
        Self::with_builder(|builder| builder)
    }

    pub(super) fn with_builder(
        configure: impl FnOnce(ActiveconnectBuilder) -> ActiveconnectBuilder,
    ) -> Self {
        let (script, heard) = ScriptedUpstream::new();
        let (clock, token_store) = (Clock::tokio(), FaultyTokenStore::default());
        let builder = builder().token_store(token_store.clone()).script(script, clock.clone());
        let ac = configure(builder).build().unwrap();
        Self { ac, clock, token_store, heard, started: 0 }
    }

    pub(super) fn now(&self) -> u64 {
        self.clock.now().mono
    }

    /// Waits until so many milliseconds after the beginning.
    pub(super) async fn at(&self, ms: u64) {
        sleep_until(self.clock.instant(ms)).await;
    }

    /// The next call, which must be to this path.
    pub(super) async fn call(&mut self, path: &str) -> ReceivedCall {
        let heard = timeout(TEST_TIMEOUT, self.heard.recv()).await;
        let call = heard.expect("a call within the hour").unwrap();
        assert!(call.path.starts_with(path), "{} at {}", call.path, self.now());
        call
    }

    /// The next call, which must be a poll sent at this very moment.
    pub(super) async fn poll_at(&mut self, ms: u64) -> ReceivedCall {
        let call = self.call("/s/").await;
        assert_eq!(self.now(), ms);
        call
    }

    /// Whether nothing was called that has not been answered here.
    pub(super) async fn is_quiet(&mut self) -> bool {
        sleep(Duration::from_millis(1)).await;
        self.heard.is_empty()
    }

    /// Has the phone ring: the session is made at the service.
    pub(super) async fn start(&mut self) {
        let call = self.call("/authentication/authenticate_user").await;
        let which = self.started;
        self.started += 1;
        started(call, which);
    }

    /// A user logs in, and answers the phone at once.
    pub(super) async fn log_in(&mut self, user: &str) -> SessionCredential {
        let login = self.spawn_login(user);
        self.start().await;
        reply_status(self.call("/s/").await, SessionStatus::Active);
        login.await.unwrap().unwrap()
    }

    /// A login that goes on by itself.
    pub(super) fn spawn_login(
        &self,
        user: &str,
    ) -> JoinHandle<Result<SessionCredential, crate::LoginError>> {
        let (ac, user) = (self.ac.clone(), UserId::from(user));
        let login = async move { timeout(TEST_TIMEOUT, ac.log_in(&user)).await };
        tokio::spawn(async { login.await.expect("a login ends") })
    }

    pub(super) fn session(&self, credential: &SessionCredential) -> Arc<Session> {
        self.ac.engine().sessions.present(&credential.key()).unwrap()
    }

    /// A request: `allowed`, or the name of its denial.
    pub(super) fn send_request(
        &self,
        credential: &SessionCredential,
    ) -> impl Future<Output = String> + Send + use<> {
        let response = self.request("/0", credential);
        async { denial_name(response.await).await }
    }

    /// A request to `/ms`, answered after so long; to `/panic`; or to anything else, a stream.
    pub(super) fn request(
        &self,
        path: &str,
        credential: &SessionCredential,
    ) -> impl Future<Output = Response<GateBody<TickBody>>> + Send + use<> {
        request(&self.ac, path, credential)
    }

    /// Opens a stream, and reads it until it ends.
    pub(super) async fn stream(&self, credential: &SessionCredential) -> Stream {
        let response = self.request("/stream", credential).await;
        assert_eq!(response.status(), StatusCode::OK);
        let (frames, clock) = (Arc::new(Mutex::new(Vec::new())), self.clock.clone());
        let reading = read(response.into_body(), clock, frames.clone());
        Stream { frames, end: tokio::spawn(reading) }
    }

    /// From now on each call goes to `answer`, with its moment. The task is over when the last
    /// client is gone, and so every task of the engine.
    pub(super) fn respond_with(
        &mut self,
        mut answer: impl FnMut(u64, ReceivedCall) + Send + 'static,
    ) -> JoinHandle<()> {
        let mut heard = std::mem::replace(&mut self.heard, unbounded_channel().1);
        let clock = self.clock.clone();
        tokio::spawn(async move {
            while let Some(call) = heard.recv().await {
                answer(clock.now().mono, call);
            }
        })
    }
}

pub(super) fn builder() -> ActiveconnectBuilder {
    let credentials = Credentials::new("APPLICATION", "MXG9EDN581U33XTPLPFT75V2").unwrap();
    Activeconnect::builder(credentials.with_server("http://127.0.0.1:9").unwrap())
}

/// Answers the start of a login: its polls go to `/s/` and this number, its logout to `/l/`.
pub(super) fn started(call: ReceivedCall, which: usize) {
    call.answer(
        202,
        format!(
            r#"{{"authentication_status":{{"authenticated":true,"session_status":"pending",
            "status_url":"http://127.0.0.1:9/s/{which}","logout_url":"http://127.0.0.1:9/l/{which}",
            "session_token":"S{which}","session_secret":"SECRET"}}}}"#
        ),
    );
}

/// Answers a poll; false if the caller has gone.
pub(super) fn reply_status(call: ReceivedCall, status: SessionStatus) -> bool {
    call.answer(200, format!(r#"{{"authentication_status":{{"session_status":"{status}"}}}}"#))
}

/// Refuses a session as the service itself does.
pub(super) fn reply_not_found(call: ReceivedCall) -> bool {
    call.answer(404, r#"{"status":false}"#)
}

/// Answers well whatever it is.
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
    let answer = ac.layer().layer(App).call(request);
    async { answer.await.unwrap() }
}

/// What an answer says: `allowed`, or the name of its denial.
pub(super) async fn denial_name(response: Response<GateBody<TickBody>>) -> String {
    if response.status() == StatusCode::OK {
        return "allowed".to_owned();
    }
    assert!(response.headers().get("set-cookie").is_none(), "the gate writes no cookies");
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

/// A stream that is read.
pub(super) struct Stream {
    frames: Arc<Mutex<Vec<u64>>>,
    /// When it was cut, and why.
    pub(super) end: JoinHandle<(u64, Denial)>,
}

impl Stream {
    /// When the last frame came.
    pub(super) fn last(&self) -> u64 {
        *self.frames.lock().unwrap().last().unwrap()
    }
}

async fn read(
    body: GateBody<TickBody>,
    clock: Clock,
    frames: Arc<Mutex<Vec<u64>>>,
) -> (u64, Denial) {
    let mut body = std::pin::pin!(body);
    loop {
        match std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await.unwrap() {
            Ok(_) => frames.lock().unwrap().push(clock.now().mono),
            Err(error) => {
                let cut: Box<SessionRevoked> = error.downcast().unwrap();
                return (clock.now().mono, cut.denial());
            }
        }
    }
}

/// The lookup table: each user's token is their name, as long as it is in the mood.
#[derive(Clone, Default)]
pub(super) struct FaultyTokenStore {
    mood: Arc<Mutex<StoreBehavior>>,
    asked: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, Default)]
pub(super) enum StoreBehavior {
    #[default]
    Names,
    /// It has another token.
    Changes,
    /// It has no token.
    Forgets,
    Fails,
    Hangs,
    Panics,
}

impl FaultyTokenStore {
    pub(super) fn set_behavior(&self, mood: StoreBehavior) {
        *self.mood.lock().unwrap() = mood;
    }

    /// How often it was asked.
    pub(super) fn lookups(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl TokenStore for FaultyTokenStore {
    async fn token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mood = *self.mood.lock().unwrap();
        match mood {
            StoreBehavior::Names => Ok(Some(UserToken::new(user.as_str()).unwrap())),
            StoreBehavior::Changes => Ok(Some(UserToken::new("another").unwrap())),
            StoreBehavior::Forgets => Ok(None),
            StoreBehavior::Fails => Err(StoreError::from_kind(StoreErrorKind::Unavailable)),
            StoreBehavior::Hangs => pending().await,
            StoreBehavior::Panics => panic!("the lookup table panics"),
        }
    }
}

/// The application: an answer after a while, or a stream without end.
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
            assert_ne!(path, "panic", "the handler panics");
            let takes = path.parse().ok();
            if let Some(takes) = takes {
                sleep(Duration::from_millis(takes)).await;
            }
            let next = takes.is_none().then(|| Box::pin(sleep(Duration::ZERO)));
            Ok(Response::new(TickBody { next }))
        })
    }
}

/// A frame each quarter of a second, or no frame at all.
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

/// A login that the application begins for a user.
pub(crate) fn app_login(user: UserId) -> StartAttempt<'static> {
    StartAttempt {
        target: AttemptTarget::User(user),
        initiator: Initiator::Application,
        previous_attempt: None,
        deliver_in_body: false,
        client: ClientDetails::default(),
    }
}
