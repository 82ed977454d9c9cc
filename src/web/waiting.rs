//! `GET waiting`.

use std::net::IpAddr;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::response::{IntoResponse, Redirect, Response};

use super::context::RequestContext;
use super::login_page::{LoginPageQuery, next_from_query};
use super::pages::render;
use super::status_events::StatusSource;
use crate::engine::{Activeconnect, Attempt};
use crate::layer::{ResponseFormat, confirm_url};
use crate::pages::{LoginFacts, PageError};
use crate::verdict::Verdict;

pub(super) async fn waiting(
    State(ac): State<Activeconnect>,
    query: Result<Query<LoginPageQuery>, QueryRejection>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let context = RequestContext::refreshed(ac, &parts).await;
    let settings = &context.engine().config;
    let paths = context.paths();
    let next = next_from_query(query, &paths);
    let here = paths.route_with_next("waiting", &next);
    let language = context.language(&parts);
    let is_bearer = context.attempt().is_some_and(|attempt| attempt.is_bearer());
    let claimed = if is_bearer { None } else { context.claim() };
    if let Some(claimed) = claimed {
        // The redirect to this page checks that the browser returns the cookie.
        let here = settings.pages.with_language(here, language);
        return context.set_session_cookies(&parts, Redirect::to(&here).into_response(), &claimed);
    }
    let restart_url = |attempt: &Attempt| match attempt.step_up_of() {
        // The session is unchanged, and the layer of `next` still requires the methods.
        Some(methods) => confirm_url(&paths.page("confirm"), methods, Some(&next)),
        None if context.is_logged_in() => paths.login_form(&next),
        None => paths.with_next("login", &next),
    };
    let view = context.view(&paths, language);
    let page = |attempt: &Attempt, login| {
        render(StatusCode::OK, view.waiting(here, restart_url(attempt), login))
    };
    if let Some(attempt) = context.attempt()
        && attempt.step_up_of().is_some()
        && attempt.failure().is_some()
    {
        return page(attempt, None);
    }
    match context.status_source() {
        StatusSource::Attempt(attempt) => {
            // Another tab may have claimed the session since this request was sent: the next
            // request carries its cookie.
            let is_claimed =
                attempt.session().is_some_and(|session| session.verdict() != Verdict::Ended);
            let now = context.engine().now();
            let has_ended = attempt.is_over(now) && !is_claimed;
            let login = LoginFacts {
                name: attempt.shown_name(),
                site: settings.origins.display_host(request_host(&parts)),
                started_unix_ms: attempt.started_at.wall.as_millis(),
                left_ms: attempt.deadline.mono.since(now.mono).as_millis(),
            };
            page(&attempt, (!has_ended).then_some(login))
        }
        // Claimed, here or in another tab.
        StatusSource::Session(session) if session.verdict() != Verdict::Ended => {
            Redirect::to(&next).into_response()
        }
        StatusSource::Session(_) => {
            Redirect::to(&context.page_address(&paths, "login", &next, language)).into_response()
        }
        // A redirect would loop in a browser without cookies.
        StatusSource::Nothing => {
            let unread = context.unread_cookies();
            let is_secure = settings.cookie_names.secure;
            let is_loopback = is_secure && is_loopback(request_host(&parts));
            if is_secure && !is_loopback && seems_plain_http(&parts, &context.client.format) {
                context.engine().warnings.warn_lost_cookie();
            }
            let error = PageError::NoPendingLogin { unread, is_loopback };
            let status = StatusCode::BAD_REQUEST;
            let login = paths.with_next("login", &next);
            render(status, view.error(status.as_u16(), error, Some(login)))
        }
    }
}

/// The host of the request.
fn request_host(parts: &Parts) -> &str {
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    parts.uri.authority().map(Authority::as_str).or(host).unwrap_or_default()
}

/// Whether a browser probably loads this page over plain HTTP: it sends no `Sec-Fetch-*` headers then,
/// and no proxy reports HTTPS.
fn seems_plain_http(parts: &Parts, format: &ResponseFormat) -> bool {
    let is_page_load = matches!(format, ResponseFormat::HtmlRedirect(_));
    is_page_load
        && !parts.headers.contains_key("sec-fetch-mode")
        && !["x-forwarded-proto", "forwarded"].iter().any(|name| parts.headers.contains_key(*name))
}

/// Whether the `Host` of a request is a loopback name or address.
fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}
