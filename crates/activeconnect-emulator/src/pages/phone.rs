//! The phone page: pending requests, live sessions and ended sessions.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::response::Response;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use tokio::time::{MissedTickBehavior, interval};
use tower_activeconnect::protocol::SessionStatus;

use crate::Action;
use crate::error_response::ErrorResponse;
use crate::report::{SessionReport, StateReport, UserReport};
use crate::server::AppState;
use crate::state::Message;

/// The most ended sessions that the page shows.
const MAX_HISTORY_LEN: usize = 20;
/// How often the event stream of an open page checks for changes. Some changes happen by time alone.
const CHANGE_CHECK_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Template)]
#[template(path = "phone.html")]
struct Page {
    phone: Phone,
    /// In Unix seconds.
    now: u64,
}

/// Everything that the page shows, except relative times.
#[derive(PartialEq)]
struct Phone {
    users: Vec<UserReport>,
    waiting: Vec<ShownSession>,
    live: Vec<ShownSession>,
    history: Vec<ShownSession>,
    messages: Vec<ShownMessage>,
}

/// A session, and the label of its user.
#[derive(PartialEq)]
struct ShownSession {
    session: SessionReport,
    label: Option<String>,
}

#[derive(PartialEq)]
struct ShownMessage {
    message: Message,
    /// The label or the token of the user.
    name: String,
}

impl ShownSession {
    fn name(&self) -> &str {
        self.label.as_ref().unwrap_or(&self.session.user_id)
    }

    /// In Unix seconds.
    fn ended_at(&self) -> u64 {
        self.session.ended_at.unwrap_or_default() / 1000
    }
}

impl Phone {
    fn from_state(server: &AppState) -> Self {
        let mut state = server.state();
        let messages = state.messages().to_vec();
        let StateReport { users, sessions, .. } = state.report(server.now());
        drop(state);
        let labels: HashMap<_, _> = users
            .iter()
            .filter_map(|user| Some((user.user_id.as_str(), user.label.as_deref()?)))
            .collect();
        let label = |user_id: &str| labels.get(user_id).copied().map(str::to_owned);
        let shown =
            |session: SessionReport| ShownSession { label: label(&session.user_id), session };
        let (mut ended, ongoing): (Vec<_>, Vec<_>) =
            sessions.into_iter().rev().partition(|session| session.status.is_terminal());
        ended.sort_by_key(|session| Reverse(session.ended_at));
        let (waiting, live) = ongoing.into_iter().map(shown).partition(|shown| {
            matches!(shown.session.status, SessionStatus::Pending | SessionStatus::Identifying)
        });
        let messages = messages
            .into_iter()
            .map(|message| ShownMessage {
                name: label(&message.user_id).unwrap_or_else(|| message.user_id.clone()),
                message,
            })
            .collect();
        let history = ended.into_iter().take(MAX_HISTORY_LEN).map(shown).collect();
        Self { waiting, live, history, messages, users }
    }
}

/// The actions that this session allows.
fn allowed(session: &SessionReport) -> impl Iterator<Item = Action> + use<> {
    let status = session.status;
    Action::ALL.into_iter().filter(move |action| action.apply(status).is_some())
}

/// The allowed actions that respond to a request, which have big buttons.
fn primary_actions(session: &SessionReport) -> impl Iterator<Item = Action> + use<> {
    allowed(session).filter(is_primary)
}

fn other_actions(session: &SessionReport) -> impl Iterator<Item = Action> + use<> {
    allowed(session).filter(|action| !is_primary(action))
}

fn is_primary(action: &Action) -> bool {
    matches!(action, Action::Approve | Action::Cancel)
}

/// The text of the action's button.
fn label(action: &Action) -> &'static str {
    match action {
        Action::Identify => "Identify",
        Action::Approve => "Approve",
        Action::Cancel => "Decline",
        Action::Fail => "Fail",
        Action::Timeout => "Time out",
        Action::WalkAway => "Walk away",
        Action::Return => "Return",
        Action::Close => "Close",
    }
}

/// The relative time, as the script shows it too.
fn ago(at: &u64, now: &u64) -> String {
    let seconds = now.saturating_sub(*at);
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// The time of day in UTC. The script shows it in local time.
fn utc(at: &u64) -> String {
    let of_the_day = at % 86_400;
    let (hours, minutes, seconds) = (of_the_day / 3_600, of_the_day / 60 % 60, of_the_day % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02} UTC")
}

pub(crate) async fn phone(
    Extract(server): Extract<Arc<AppState>>,
) -> Result<Response, ErrorResponse> {
    let page = Page { phone: Phone::from_state(&server), now: server.now() / 1000 };
    super::page(StatusCode::OK, &page)
}

/// An event stream that notifies the page at once and on each change. The page does not poll, because
/// browsers slow down timers of hidden tabs, and a request is pending for a minute only.
pub(crate) async fn changes(
    Extract(server): Extract<Arc<AppState>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut checks = interval(CHANGE_CHECK_INTERVAL);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let events =
        stream::unfold((server, checks, None), |(server, mut checks, mut shown)| async move {
            loop {
                checks.tick().await;
                let phone = Some(Phone::from_state(&server));
                if phone != shown {
                    shown = phone;
                    return Some((Ok(Event::default().data("changed")), (server, checks, shown)));
                }
            }
        });
    Sse::new(events).keep_alive(KeepAlive::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_time_uses_the_largest_unit() {
        for (seconds, expected) in [
            (0, "0 s ago"),
            (59, "59 s ago"),
            (60, "1 min ago"),
            (3_599, "59 min ago"),
            (3_600, "1 h ago"),
            (86_399, "23 h ago"),
            (200_000, "2 d ago"),
        ] {
            assert_eq!(ago(&1_700_000_000, &(1_700_000_000 + seconds)), expected);
        }
        assert_eq!(ago(&2, &1), "0 s ago");
        assert_eq!(utc(&1_700_000_000), "22:13:20 UTC");
    }
}
