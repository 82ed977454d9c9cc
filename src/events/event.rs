use std::fmt;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use tokio::sync::broadcast;
use tokio_stream::Stream;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use crate::clock::{Clock, Timestamp};
use crate::events::fault::Fault;
use crate::identity::UserId;
use crate::protocol::SessionStatus;
use crate::session::session_id::SessionId;

/// As many events wait for a reader; an older one is then missed.
const CHANNEL_CAPACITY: usize = 1_024;

/// Something that happened in the engine; [`Activeconnect::events`](crate::Activeconnect::events) tells. Fit for an audit log:
/// `docs/audit-log.md` writes one by SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// When, by the wall clock.
    pub time: SystemTime,
    /// Whose session or login it is; `None` if it is about no user.
    pub user: Option<UserId>,
    /// The session, as [`SessionInfo::id`](crate::session::SessionInfo::id) names it: the same in all its
    /// events. `None` if it is about no session.
    pub session: Option<SessionId>,
    /// The address that the session's login came from, as
    /// [`SessionInfo::address`](crate::session::SessionInfo::address) tells it.
    pub address: Option<IpAddr>,
    /// The user agent that the session's login came from, as
    /// [`SessionInfo::browser`](crate::session::SessionInfo::browser) tells it: "Firefox on Windows". Any client
    /// can say anything.
    pub user_agent: Option<String>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A browser or caller has claimed the result of a login: a session has started. If its
    /// credential is then never presented, the session ends as [`EndReason::Unclaimed`].
    Started,
    /// The session that has just started was begun by a browser in which the user had not logged in
    /// before, or by a program. Their other sessions are warned: see `docs/push-fatigue.md`.
    UnknownBrowser,
    /// The phone did not let a login through: by `cancelled` the user said that it was not them.
    LoginRefused {
        /// How the service says it.
        status: SessionStatus,
    },
    /// The phone walked away.
    Suspended,
    /// The phone is back.
    Resumed,
    /// A session that had started is over.
    Ended {
        /// Why.
        reason: EndReason,
    },
    /// A poll came to nothing, the first after one that was answered. Sessions keep what is known
    /// of them until `max_staleness`. Polls of a session that fail while the service answers
    /// others do not count.
    PollFailed,
    /// Too many calls in a row came to nothing, or the service asked for a pause: it is left alone
    /// for a while.
    BreakerOpened,
    /// The service answers again.
    BreakerClosed,
    /// A login, or the check of a session that was not used for a minute, came to nothing through a
    /// fault of the service or of the token store. Told once a minute for each kind of fault.
    Fault(Fault),
    /// Four fifths of this month's [`push_budget`](crate::ActiveconnectBuilder::push_budget) are spent.
    PushBudgetLow,
    /// This month's [`push_budget`](crate::ActiveconnectBuilder::push_budget) is spent, and a login rang no phone.
    /// Told once, until it is reset or the month is over.
    PushBudgetSpent,
    /// A login was refused because a limit of the builder is reached.
    LimitReached(Limit),
    /// The reader was too slow: so many events are lost to it.
    Lagged(u64),
}

impl EventKind {
    /// A name for logs and tables, which stays the same: `started`, `login_refused`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::UnknownBrowser => "unknown_browser",
            Self::LoginRefused { .. } => "login_refused",
            Self::Suspended => "suspended",
            Self::Resumed => "resumed",
            Self::Ended { .. } => "ended",
            Self::PollFailed => "poll_failed",
            Self::BreakerOpened => "breaker_opened",
            Self::BreakerClosed => "breaker_closed",
            Self::Fault(_) => "fault",
            Self::PushBudgetLow => "push_budget_low",
            Self::PushBudgetSpent => "push_budget_spent",
            Self::LimitReached(_) => "limit_reached",
            Self::Lagged(_) => "lagged",
        }
    }

    /// What there is to say beside the name: the status or the reason of an end, the fault, the limit,
    /// how many were missed. Empty for the others.
    #[must_use]
    pub fn detail(self) -> String {
        match self {
            Self::LoginRefused { status } => status.to_string(),
            Self::Ended { reason } => reason.to_string(),
            Self::Fault(fault) => fault.to_string(),
            Self::LimitReached(limit) => limit.to_string(),
            Self::Lagged(events) => events.to_string(),
            Self::Started
            | Self::UnknownBrowser
            | Self::Suspended
            | Self::Resumed
            | Self::PollFailed
            | Self::BreakerOpened
            | Self::BreakerClosed
            | Self::PushBudgetLow
            | Self::PushBudgetSpent => String::new(),
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// The service stated this status: ended remotely, or by its own expiry.
    Upstream(SessionStatus),
    /// Logged out here.
    LoggedOut,
    /// It lived as long as a session may, here.
    Expired,
    /// No request used it for [`ActiveconnectBuilder::idle_timeout`](crate::ActiveconnectBuilder::idle_timeout).
    Idle,
    /// The phone walked away, and a layer ends sessions then.
    Walkaway,
    /// The lookup table no longer names the token that the session was made with.
    TokenChanged,
    /// No browser claimed the result of the login within 60 s, or no request carried its credential
    /// within 60 s of the claim, or the login was given up.
    Unclaimed,
    /// The service no longer knows the session, or made no sense about it for five minutes.
    UnknownUpstream,
    /// The engine was shut down.
    Shutdown,
}

impl EndReason {
    /// The status that is told from then on.
    #[must_use]
    pub const fn status(self) -> SessionStatus {
        match self {
            Self::Upstream(status) => status,
            Self::Unclaimed => SessionStatus::Timeout,
            Self::LoggedOut
            | Self::Walkaway
            | Self::Expired
            | Self::Idle
            | Self::TokenChanged
            | Self::UnknownUpstream
            | Self::Shutdown => SessionStatus::Closed,
        }
    }
}

impl fmt::Display for EndReason {
    /// A name for logs and tables, which stays the same: `logged_out`, or the status that the service
    /// stated.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream(status) => status.fmt(f),
            Self::LoggedOut => f.write_str("logged_out"),
            Self::Expired => f.write_str("expired"),
            Self::Idle => f.write_str("idle"),
            Self::Walkaway => f.write_str("walkaway"),
            Self::TokenChanged => f.write_str("token_changed"),
            Self::Unclaimed => f.write_str("unclaimed"),
            Self::UnknownUpstream => f.write_str("unknown_upstream"),
            Self::Shutdown => f.write_str("shutdown"),
        }
    }
}

/// A limit of the builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// `max_sessions`.
    Sessions,
    /// `max_sessions_per_user`.
    SessionsPerUser,
    /// `max_attempts`.
    Attempts,
    /// `login_limits`.
    Logins,
}

impl Limit {
    /// How many there are.
    pub(crate) const ALL: usize = 4;

    /// The builder's method that sets it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sessions => "max_sessions",
            Self::SessionsPerUser => "max_sessions_per_user",
            Self::Attempts => "max_attempts",
            Self::Logins => "login_limits",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Events from the time on when it was made by [`Activeconnect::events`](crate::Activeconnect::events): a [`Stream`] that ends with
/// the engine.
#[derive(Debug)]
pub struct Events {
    pub(crate) stream: BroadcastStream<Event>,
    pub(crate) clock: Clock,
}

impl Events {
    /// The next one; `None` when the engine is gone.
    ///
    /// Cancel safe: no event is lost by dropping the future.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let next = ready!(Pin::new(&mut self.stream).poll_next(cx));
        Poll::Ready(next.map(|event| {
            event.unwrap_or_else(|BroadcastStreamRecvError::Lagged(missed)| {
                Event::new(EventKind::Lagged(missed), self.clock.now())
            })
        }))
    }
}

impl Event {
    /// One that is about no user.
    pub(crate) fn new(kind: EventKind, now: Timestamp) -> Self {
        let time = SystemTime::from(now.wall);
        Self { kind, time, user: None, session: None, address: None, user_agent: None }
    }
}

/// Where events come from, until the engine is over.
#[derive(Debug)]
pub(crate) struct EventSender(Mutex<Option<broadcast::Sender<Event>>>);

impl EventSender {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Some(broadcast::Sender::new(CHANNEL_CAPACITY))))
    }

    /// Tells the listeners, and waits for none of them. Where there is none, nothing is made.
    pub(crate) fn send(&self, make: impl FnOnce() -> Event) {
        let sender = self.sender().clone();
        if let Some(sender) = sender.filter(|sender| sender.receiver_count() > 0) {
            sender.send(make()).ok();
        }
    }

    /// There is no more to tell.
    pub(crate) fn close(&self) {
        *self.sender() = None;
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        match &*self.sender() {
            Some(sender) => sender.subscribe(),
            None => broadcast::channel(1).1,
        }
    }

    fn sender(&self) -> MutexGuard<'_, Option<broadcast::Sender<Event>>> {
        // What a poisoned one holds is whole: it is replaced at once or not at all.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of an engine at one moment; [`Activeconnect::health`](crate::Activeconnect::health) tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Sessions whose credential a client holds and that are not over, or ended within the
    /// last five minutes.
    pub sessions: usize,
    /// Logins that wait, and those whose outcome is still told.
    pub attempts: usize,
    /// How often a session in use is polled in effect: the poll interval, and the longest that a
    /// poll had to wait for its turn within the last two intervals, of sessions with streams and
    /// without. Polls that failed and are repeated do not count.
    pub effective_interval: Duration,
    /// Sessions that are over here, and that the service has not confirmed to be over yet. At most 64
    /// calls for them are in flight; each session is given up after six tries, in a quarter of an
    /// hour as a rule.
    pub logouts_pending: usize,
    /// How many pushes strangers may still cause this month; `None` without
    /// [`ActiveconnectBuilder::push_budget`](crate::ActiveconnectBuilder::push_budget).
    pub pushes_left: Option<u32>,
    /// Whether the service is left alone but for one call now and then: from when it failed, or
    /// asked for a pause, until the next call that it answers.
    pub breaker_open: bool,
    /// How long a poll takes, in the mean of those that ended within the last two intervals, to the
    /// millisecond. One that was not answered in time counts with the 3 s that it may take; one that
    /// failed otherwise does not count. Zero before the first.
    pub poll_latency: Duration,
    /// How many polls are in flight.
    pub polls_in_flight: usize,
    /// How many may be at this moment. It grows while they are all used and the service answers,
    /// and is halved when polls are not answered in time.
    pub max_polls_in_flight: usize,
    /// How many sessions in use can be kept within `max_staleness` while polls take
    /// `poll_latency`. Sessions above that are polled less often, and what is too old allows
    /// nothing until its turn comes. [`ActiveconnectBuilder::capacity`](crate::ActiveconnectBuilder::capacity) is what holds
    /// at any latency.
    pub capacity: u64,
}
