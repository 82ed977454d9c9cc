//! What a person sees: the phone, and the page behind a registration link.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State as Extract;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_FRAME_OPTIONS,
};
use axum::http::{StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use super::Action;
use super::problem::Problem;
use super::received::segment;
use super::report::{SessionReport, StateReport, UserReport};
use super::server::Server;
use super::state::Message;
use crate::SessionStatus;

pub(super) fn register_routes() -> Router<Arc<Server>> {
    Router::new().route("/register/{link}", get(show_link).post(open_link))
}

#[derive(Template)]
#[template(path = "phone.html")]
struct Phone {
    users: Vec<UserReport>,
    waiting: Vec<SessionReport>,
    live: Vec<SessionReport>,
    messages: Vec<Message>,
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

pub(super) async fn phone(Extract(server): Extract<Arc<Server>>) -> Result<Response, Problem> {
    let mut state = server.state();
    let messages = state.messages().to_vec();
    let StateReport { users, sessions, .. } = state.report(server.now());
    drop(state);
    let ongoing = sessions.into_iter().filter(|session| !session.status.is_terminal());
    let (waiting, live) = ongoing.rev().partition(|session| {
        matches!(session.status, SessionStatus::Pending | SessionStatus::Identifying)
    });
    page(StatusCode::OK, &Phone { users, waiting, live, messages })
}

#[derive(Template)]
#[template(path = "register_device.html")]
struct RegisterDevice {
    step: Step,
    name: String,
}

#[derive(PartialEq)]
enum Step {
    Offered,
    Done,
    Used,
    Unknown,
}

async fn show_link(Extract(server): Extract<Arc<Server>>, uri: Uri) -> Result<Response, Problem> {
    let (step, name) = look(&server, &uri);
    link_page(step, name)
}

async fn open_link(Extract(server): Extract<Arc<Server>>, uri: Uri) -> Result<Response, Problem> {
    let (mut step, name) = look(&server, &uri);
    if step == Step::Offered && server.state().use_link(&segment(&uri, 1).unwrap_or_default()) {
        step = Step::Done;
    }
    link_page(step, name)
}

/// What the link is good for, and for whom.
fn look(server: &Server, uri: &Uri) -> (Step, String) {
    let token = segment(uri, 1).unwrap_or_default();
    match server.state().link(&token) {
        Some(link) => {
            let name = link.display_name.as_ref().unwrap_or(&link.user_id).clone();
            (if link.used { Step::Used } else { Step::Offered }, name)
        }
        None => (Step::Unknown, String::new()),
    }
}

fn link_page(step: Step, name: String) -> Result<Response, Problem> {
    let status = match step {
        Step::Offered | Step::Done => StatusCode::OK,
        Step::Used => StatusCode::GONE,
        Step::Unknown => StatusCode::NOT_FOUND,
    };
    page(status, &RegisterDevice { step, name })
}

/// Not to be framed, so that no other site can borrow a click; without script; never cached.
fn page(status: StatusCode, template: &impl Template) -> Result<Response, Problem> {
    let html = template
        .render()
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let headers = [
        (CACHE_CONTROL, "no-store"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
        ),
        (REFERRER_POLICY, "same-origin"),
        (X_FRAME_OPTIONS, "DENY"),
    ];
    Ok((status, headers, Html(html)).into_response())
}
