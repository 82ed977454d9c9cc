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

/// An event of the engine, from [`Activeconnect::events`](crate::Activeconnect::events).
/// `docs/audit-log.md` writes an audit log of events with SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// When, by the wall clock.
    pub time: SystemTime,
    /// The user of the session or login; `None` for an event of the engine.
    pub user: Option<UserId>,
    /// The session, by its [`SessionInfo::id`](crate::session::SessionInfo::id), which is the same
    /// in all its events; `None` for an event without a session.
    pub session: Option<SessionId>,
    /// The client address of the session's login, as in
    /// [`SessionInfo::address`](crate::session::SessionInfo::address).
    pub address: Option<IpAddr>,
    /// The user agent of the session's login, as in
    /// [`SessionInfo::browser`](crate::session::SessionInfo::browser): "Firefox on Windows". Any
    /// client can send any text.
    pub user_agent: Option<String>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A browser or caller has claimed the result of a login: a session has started. If its
    /// credential is then never presented, the session ends as [`EndReason::Unclaimed`].
    Started,
    /// The session that has just started is of an unknown browser, in which the user had not logged
    /// in before, or of a program. The user's other sessions warn of it: see
    /// `docs/push-fatigue.md`.
    UnknownBrowser,
    /// The phone did not approve a login; `cancelled`: the user declined.
    LoginRejected {
        /// The status that the service reported.
        status: SessionStatus,
    },
    /// The phone walked away.
    Suspended,
    /// The phone is back.
    Resumed,
    /// A session that had started has ended.
    Ended {
        /// Why.
        reason: EndReason,
    },
    /// A poll failed, the first after a good one. Sessions keep their last status until
    /// `max_staleness`. Failures of a session while the service responds to others do not count.
    PollFailed,
    /// Too many calls failed in a row, or the service requested a pause: the breaker is open.
    BreakerOpened,
    /// The service responds again.
    BreakerClosed,
    /// A login, or the token check of a session that was not used for a minute, failed because of
    /// the service or the token store. At most once a minute for each kind of fault.
    Fault(Fault),
    /// Four fifths of this month's [`push_budget`](crate::ActiveconnectBuilder::push_budget) are spent.
    PushBudgetLow,
    /// This month's [`push_budget`](crate::ActiveconnectBuilder::push_budget) is spent, and a login
    /// sent no push. Once, until the budget is reset or the month ends.
    PushBudgetSpent,
    /// A login was rejected because a limit of the builder is reached.
    LimitReached(Limit),
    /// The reader was too slow and lost this many events.
    Lagged(u64),
}

impl EventKind {
    /// A name for logs and tables, which stays the same: `started`, `login_rejected`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::UnknownBrowser => "unknown_browser",
            Self::LoginRejected { .. } => "login_rejected",
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

    /// The details beside the name: the status or the reason of an end, the fault, the limit, the
    /// number of lost events. Empty for the others.
    #[must_use]
    pub fn detail(self) -> String {
        match self {
            Self::LoginRejected { status } => status.to_string(),
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
    /// The session reached the longest life that the engine allows.
    Expired,
    /// No request used it for [`ActiveconnectBuilder::idle_timeout`](crate::ActiveconnectBuilder::idle_timeout).
    Idle,
    /// The phone walked away, and a layer ends sessions then.
    Walkaway,
    /// The lookup table no longer names the token that the session was made with.
    TokenChanged,
    /// No browser claimed the result within 60 s, no request carried the credential within 60 s of
    /// the claim, or the login was cancelled.
    Unclaimed,
    /// The service no longer knows the session, or made no sense about it for five minutes.
    UnknownUpstream,
    /// The engine was shut down.
    Shutdown,
}

impl EndReason {
    /// The status of the session from then on.
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
    /// The number of limits.
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
    /// The next event; `None` when the engine has stopped.
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

/// The source of events, until the engine has stopped.
#[derive(Debug)]
pub(crate) struct EventSender(Mutex<Option<broadcast::Sender<Event>>>);

impl EventSender {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Some(broadcast::Sender::new(CHANNEL_CAPACITY))))
    }

    /// Sends an event to the readers and waits for none of them. Without a reader the event is not
    /// made.
    pub(crate) fn send(&self, make: impl FnOnce() -> Event) {
        let sender = self.sender().clone();
        if let Some(sender) = sender.filter(|sender| sender.receiver_count() > 0) {
            sender.send(make()).ok();
        }
    }

    /// Closes the channel.
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
        // A poisoned lock holds a whole value: it is replaced at once or not at all.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of an engine at one moment, from
/// [`Activeconnect::health`](crate::Activeconnect::health).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Sessions whose credential a client holds, counting those that ended within the last five
    /// minutes.
    pub sessions: usize,
    /// Pending logins, and those whose outcome can still be read.
    pub attempts: usize,
    /// The effective poll interval of a session in use: the configured interval plus the longest
    /// wait of a poll in the queue within the last two intervals. Retries do not count.
    pub effective_interval: Duration,
    /// Sessions that ended here and are not yet confirmed as ended by the service. At most 64
    /// logout calls are in flight; each session is tried six times, within a quarter of an hour as
    /// a rule.
    pub logouts_pending: usize,
    /// The pushes left for unknown browsers this month; `None` without
    /// [`ActiveconnectBuilder::push_budget`](crate::ActiveconnectBuilder::push_budget).
    pub pushes_left: Option<u32>,
    /// Whether the circuit breaker is open: from a row of failures, or a requested pause, until the
    /// next call that succeeds.
    pub breaker_open: bool,
    /// The mean latency of the polls that ended within the last two intervals, to the millisecond.
    /// A timeout counts with its 3 s; a poll that failed otherwise does not count. Zero before the
    /// first.
    pub poll_latency: Duration,
    /// How many polls are in flight.
    pub polls_in_flight: usize,
    /// The present limit of polls in flight. It grows while it is used up and the service responds,
    /// and is halved by timeouts.
    pub max_polls_in_flight: usize,
    /// How many sessions in use can be kept within `max_staleness` at the present `poll_latency`.
    /// Sessions above that are polled less often, and a session whose status is too old allows
    /// nothing until it is polled.
    /// [`ActiveconnectBuilder::capacity`](crate::ActiveconnectBuilder::capacity) holds at any
    /// latency.
    pub capacity: u64,
}
