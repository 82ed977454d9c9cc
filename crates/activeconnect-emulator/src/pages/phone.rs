//! The phone: what waits for an answer, what goes on, and what has ended.

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

/// How many of the sessions that have ended are shown.
const MAX_HISTORY_LEN: usize = 20;
/// How often an open page's connection looks for something new. Some changes come by time alone.
const CHANGE_CHECK_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Template)]
#[template(path = "phone.html")]
struct Page {
    phone: Phone,
    /// In Unix seconds.
    now: u64,
}

/// All that is shown, except how long ago it was.
#[derive(PartialEq)]
struct Phone {
    users: Vec<UserReport>,
    waiting: Vec<Shown>,
    live: Vec<Shown>,
    history: Vec<Shown>,
    messages: Vec<ShownMessage>,
}

/// A session, and what its user is called.
#[derive(PartialEq)]
struct Shown {
    session: SessionReport,
    label: Option<String>,
}

#[derive(PartialEq)]
struct ShownMessage {
    message: Message,
    /// What the user is called.
    name: String,
}

impl Shown {
    fn name(&self) -> &str {
        self.label.as_ref().unwrap_or(&self.session.user_id)
    }

    /// In Unix seconds.
    fn ended_at(&self) -> u64 {
        self.session.ended_at.unwrap_or_default() / 1000
    }
}

impl Phone {
    fn of(server: &AppState) -> Self {
        let mut state = server.state();
        let messages = state.messages().to_vec();
        let StateReport { users, sessions, .. } = state.report(server.now());
        drop(state);
        let labels: HashMap<_, _> = users
            .iter()
            .filter_map(|user| Some((user.user_id.as_str(), user.label.as_deref()?)))
            .collect();
        let label = |user_id: &str| labels.get(user_id).copied().map(str::to_owned);
        let shown = |session: SessionReport| Shown { label: label(&session.user_id), session };
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

/// Those with which a person answers a request: their buttons are big.
fn answers(session: &SessionReport) -> impl Iterator<Item = Action> + use<> {
    allowed(session).filter(is_answer)
}

fn others(session: &SessionReport) -> impl Iterator<Item = Action> + use<> {
    allowed(session).filter(|action| !is_answer(action))
}

fn is_answer(action: &Action) -> bool {
    matches!(action, Action::Approve | Action::Cancel)
}

/// What stands on the button.
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

/// How long ago a moment was, as the script says it too.
fn ago(at: &u64, now: &u64) -> String {
    let seconds = now.saturating_sub(*at);
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// The time of day. The script makes it the reader's own.
fn utc(at: &u64) -> String {
    let of_the_day = at % 86_400;
    let (hours, minutes, seconds) = (of_the_day / 3_600, of_the_day / 60 % 60, of_the_day % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02} UTC")
}

pub(crate) async fn phone(
    Extract(server): Extract<Arc<AppState>>,
) -> Result<Response, ErrorResponse> {
    let page = Page { phone: Phone::of(&server), now: server.now() / 1000 };
    super::page(StatusCode::OK, &page)
}

/// Tells the page, at once and at each change, that there is something new to load. A stream,
/// because browsers slow the timers of hidden tabs down, and a request waits a minute only.
pub(crate) async fn changes(
    Extract(server): Extract<Arc<AppState>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut looks = interval(CHANGE_CHECK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let told = stream::unfold((server, looks, None), |(server, mut looks, mut shown)| async move {
        loop {
            looks.tick().await;
            let phone = Some(Phone::of(&server));
            if phone != shown {
                shown = phone;
                return Some((Ok(Event::default().data("changed")), (server, looks, shown)));
            }
        }
    });
    Sse::new(told).keep_alive(KeepAlive::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_the_unit_that_fits() {
        for (seconds, said) in [
            (0, "0 s ago"),
            (59, "59 s ago"),
            (60, "1 min ago"),
            (3_599, "59 min ago"),
            (3_600, "1 h ago"),
            (86_399, "23 h ago"),
            (200_000, "2 d ago"),
        ] {
            assert_eq!(ago(&1_700_000_000, &(1_700_000_000 + seconds)), said);
        }
        assert_eq!(ago(&2, &1), "0 s ago");
        assert_eq!(utc(&1_700_000_000), "22:13:20 UTC");
    }
}
