//! The responses to rejected requests, in the format that each client expects.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use problem_details::ProblemDetails;
use serde::Serialize;

use super::credential::unread_cookies_detail;
#[cfg(feature = "axum")]
use super::denial_page::{denial_page, mistake_page};
use super::gated_login::{self, is_same_page, path_of};
use super::grpc;
#[cfg(not(feature = "axum"))]
use super::plain_denial_page::{denial_page, mistake_page};
use super::query::MAX_NEXT_LEN;
use super::response_format::{ClientContext, ResponseFormat};
use super::security_headers::set_security_headers;
use super::site_paths::SitePaths;
use super::step_up::{StepUp, confirm_url};
use crate::engine::{Config, Engine};
use crate::verdict::{Denial, Requirement};

const HX_REDIRECT: HeaderName = HeaderName::from_static("hx-redirect");
const HX_RESWAP: HeaderName = HeaderName::from_static("hx-reswap");
const X_INERTIA_LOCATION: HeaderName = HeaderName::from_static("x-inertia-location");

/// The extension member of the problem details: the name of the denial, for programs.
#[derive(Serialize)]
struct Extension {
    denial: &'static str,
    #[serde(flatten)]
    step_up: Option<StepUp>,
}

/// The response to a rejected request.
pub(crate) fn denial_response(
    denial: Denial,
    client: &ClientContext,
    engine: &Engine,
    requirement: &Requirement,
) -> Response<Bytes> {
    tracing::debug!(%denial, "request rejected");
    let settings = &engine.config;
    let unread = client.has_unread_cookies && denial == Denial::NoSession;
    let unread = unread.then(unread_cookies_detail);
    let paths = client.paths(settings);
    let step_up = (denial == Denial::StepUp).then(|| StepUp::new(requirement, &paths.auth));
    let redirect = |wanted: Option<String>| {
        let needs_form = client.needs_login_form;
        redirect_for(denial, wanted, needs_form, &paths, settings, requirement)
    };
    let requested =
        |page: &Option<PathAndQuery>| page.as_ref().map(|page| paths.requested(page.as_str()));
    let html_page = || {
        let remedy = remedy(denial, &paths, requirement);
        denial_page(denial, status_of(denial), remedy, client, &paths, settings)
    };
    let mut response = match &client.format {
        ResponseFormat::Grpc(content_type) => {
            grpc::denial_response(denial, content_type, settings.retry_after(), step_up)
        }
        ResponseFormat::HtmlRedirect(page) => match redirect(requested(page)) {
            Some(location) if is_same_page(&location, page.as_ref(), &paths) => {
                setup_mistake_response(denial, client, path_of(&location), &paths, engine)
            }
            Some(location) => see_other(&location),
            None => html_page(),
        },
        ResponseFormat::HtmlForm => html_page(),
        ResponseFormat::Htmx(page) => {
            let mut response =
                problem_response(status_of(denial), denial, step_up, unread.as_deref());
            match redirect(page.path_and_query(&settings.origins, &paths)) {
                Some(location) => insert(&mut response, HX_REDIRECT, &location),
                // Some versions of htmx insert the body of any status into the page.
                None => insert(&mut response, HX_RESWAP, "none"),
            }
            response
        }
        ResponseFormat::Inertia(page) => match redirect(requested(page)) {
            Some(location) => {
                let mut response =
                    problem_response(StatusCode::CONFLICT, denial, step_up, unread.as_deref());
                insert(&mut response, X_INERTIA_LOCATION, &location);
                response
            }
            None => problem_response(status_of(denial), denial, step_up, unread.as_deref()),
        },
        ResponseFormat::ProblemJson => {
            problem_response(status_of(denial), denial, step_up, unread.as_deref())
        }
    };
    if client.is_grpc() {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    } else {
        set_security_headers(response.headers_mut());
    }
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge = format!("Activeconnect login=\"{}/login\"", paths.auth);
        insert(&mut response, WWW_AUTHENTICATE, &challenge);
    }
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        let seconds = settings.retry_after().as_secs().to_string();
        insert(&mut response, RETRY_AFTER, &seconds);
    }
    finish_response(response, denial, client)
}

/// The response to a request for the login itself, which is behind the gate by mistake.
pub(crate) fn gated_login_response(
    denial: Denial,
    client: &ClientContext,
    engine: &Engine,
) -> Response<Bytes> {
    let paths = client.paths(&engine.config);
    let login = format!("{}/login", paths.auth);
    let mut response = setup_mistake_response(denial, client, &login, &paths, engine);
    set_security_headers(response.headers_mut());
    finish_response(response, denial, client)
}

fn finish_response(
    mut response: Response<Bytes>,
    denial: Denial,
    client: &ClientContext,
) -> Response<Bytes> {
    if client.is_head {
        *response.body_mut() = Bytes::new();
    }
    // For layers outside, which see only a status.
    response.extensions_mut().insert(denial);
    response
}

/// 500, with the mistake in words: neither the user nor the login can do anything about it.
fn setup_mistake_response(
    denial: Denial,
    client: &ClientContext,
    page: &str,
    paths: &SitePaths,
    engine: &Engine,
) -> Response<Bytes> {
    let mistake = gated_login::report_gated_login(page, paths, engine);
    match client.format {
        ResponseFormat::HtmlRedirect(_) | ResponseFormat::HtmlForm => {
            mistake_page(&mistake, client, paths, &engine.config)
        }
        _ => problem_response(StatusCode::INTERNAL_SERVER_ERROR, denial, None, Some(&mistake)),
    }
}

const fn status_of(denial: Denial) -> StatusCode {
    match denial {
        Denial::NoIdentity | Denial::NoSession | Denial::Ended | Denial::Pending => {
            StatusCode::UNAUTHORIZED
        }
        Denial::NoToken | Denial::Suspended | Denial::StepUp => StatusCode::FORBIDDEN,
        Denial::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The page on which the user can act, and which leads back to the requested page.
fn redirect_for(
    denial: Denial,
    wanted: Option<String>,
    needs_login_form: bool,
    paths: &SitePaths,
    settings: &Config,
    requirement: &Requirement,
) -> Option<String> {
    let wanted = wanted.filter(|wanted| wanted.len() <= MAX_NEXT_LEN);
    let next = wanted.unwrap_or_else(|| paths.home());
    match denial {
        Denial::NoSession if needs_login_form => Some(paths.login_form(&next)),
        Denial::NoSession | Denial::Ended => Some(paths.with_next("login", &next)),
        Denial::Pending => Some(paths.with_next("waiting", &next)),
        Denial::Suspended => Some(paths.with_next("locked", &next)),
        Denial::NoToken => settings.enrollment_path.as_deref().map(|page| paths.public(page)),
        Denial::StepUp => {
            let next = (next != paths.home()).then_some(next.as_str());
            Some(confirm_url(&paths.page("confirm"), requirement.methods, next))
        }
        // The other login decides who the user is.
        Denial::NoIdentity | Denial::Unavailable => None,
    }
}

fn see_other(location: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SEE_OTHER;
    insert(&mut response, LOCATION, location);
    response
}

/// The address at which the user can act on a denial.
fn remedy(denial: Denial, paths: &SitePaths, requirement: &Requirement) -> Option<String> {
    match denial {
        Denial::NoSession | Denial::Ended | Denial::Pending => Some(paths.page("login")),
        Denial::StepUp => Some(confirm_url(&paths.page("confirm"), requirement.methods, None)),
        _ => None,
    }
}

/// The problem details of a denial (RFC 9457).
fn problem_response(
    status: StatusCode,
    denial: Denial,
    step_up: Option<StepUp>,
    unread_cookies: Option<&str>,
) -> Response<Bytes> {
    let detail = match unread_cookies {
        Some(unread) => format!("{denial}. {unread}"),
        None => denial.to_string(),
    };
    let details = ProblemDetails::from_status_code(status)
        .with_detail(detail)
        .with_extensions(Extension { denial: denial.as_str(), step_up });
    let body = serde_json::to_vec(&details).unwrap_or_default();
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

fn insert(response: &mut Response<Bytes>, name: HeaderName, value: &str) {
    // The builder accepts only plain paths, and the rest is encoded: this never fails.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
