//! Answers to those who are turned away, each in its own tongue.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use problem_details::ProblemDetails;
use serde::Serialize;

use super::asker::{Asker, Tongue};
use super::grpc;
use super::headers::protect;
use super::step_up::{StepUp, confirm_path};
use crate::engine::Settings;
use crate::verdict::{Denial, Requirement};

/// What stands for itself in the value of a query parameter; `/` for readability.
pub(super) const QUERY_VALUE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
/// `next` longer than this is not worth keeping.
pub(crate) const NEXT_LIMIT: usize = 2 * 1024;

/// The extension member of our problem details: the denial's own word, for programs.
#[derive(Serialize)]
struct Extension {
    denial: &'static str,
    #[serde(flatten)]
    step_up: Option<StepUp>,
}

/// The answer to a request that is turned away.
pub(crate) fn answer(
    denial: Denial,
    asker: &Asker,
    settings: &Settings,
    requirement: &Requirement,
) -> Response<Bytes> {
    tracing::debug!(%denial, "turned away");
    let step_up = (denial == Denial::StepUp).then(|| StepUp::new(requirement, settings));
    let mut response = match &asker.tongue {
        Tongue::Grpc(content_type) => {
            grpc::answer(denial, content_type, settings.retry_after(), step_up)
        }
        Tongue::Page(asked) if step_up.is_some() => {
            see_other(&confirm_path(settings, requirement.methods, wanted(asked.as_ref())))
        }
        Tongue::Page(asked) => page(denial, asked.as_ref(), settings),
        Tongue::Form => html(denial, settings, step_up),
        Tongue::Api => problem(denial, step_up),
    };
    if let Tongue::Grpc(_) = asker.tongue {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    } else {
        protect(response.headers_mut());
    }
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge = format!("Activeconnect login=\"{}/login\"", settings.auth_path);
        insert(&mut response, WWW_AUTHENTICATE, &challenge);
    }
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        let seconds = settings.retry_after().as_secs().to_string();
        insert(&mut response, RETRY_AFTER, &seconds);
    }
    if asker.is_head {
        *response.body_mut() = Bytes::new();
    }
    // For layers outside, which see only a status.
    response.extensions_mut().insert(denial);
    response
}

const fn status(denial: Denial) -> StatusCode {
    match denial {
        Denial::NoIdentity | Denial::NoSession | Denial::Ended | Denial::Pending => {
            StatusCode::UNAUTHORIZED
        }
        Denial::NoToken | Denial::Suspended | Denial::StepUp => StatusCode::FORBIDDEN,
        Denial::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// A page load goes where the user can do something about it.
fn page(denial: Denial, asked: Option<&PathAndQuery>, settings: &Settings) -> Response<Bytes> {
    let page = match denial {
        Denial::NoSession | Denial::Ended => Some("login"),
        Denial::Pending => Some("waiting"),
        Denial::Suspended => Some("locked"),
        // Who the user is, is the other login's business.
        Denial::NoIdentity | Denial::NoToken | Denial::StepUp | Denial::Unavailable => None,
    };
    let location = match (page, denial, &settings.enrolment_page) {
        (Some("waiting"), _, _) => format!("{}/waiting", settings.auth_path),
        (Some(page), _, _) => format!("{}/{page}{}", settings.auth_path, next(asked)),
        (None, Denial::NoToken, Some(enrolment)) => enrolment.clone(),
        (None, _, _) => return html(denial, settings, None),
    };
    see_other(&location)
}

fn see_other(location: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SEE_OTHER;
    insert(&mut response, LOCATION, location);
    response
}

/// `?next=…` with the page that was asked for.
fn next(asked: Option<&PathAndQuery>) -> String {
    wanted(asked).map_or_else(String::new, next_query)
}

/// `?next=…` with a path and query; nothing where the default will do.
pub(crate) fn next_query(wanted: &str) -> String {
    if wanted == "/" {
        return String::new();
    }
    format!("?next={}", utf8_percent_encode(wanted, QUERY_VALUE))
}

/// The page that was asked for, if it is worth coming back to: path and query only.
fn wanted(asked: Option<&PathAndQuery>) -> Option<&str> {
    let wanted = asked?.as_str();
    (wanted != "/" && wanted.len() <= NEXT_LIMIT).then_some(wanted)
}

fn html(denial: Denial, settings: &Settings, step_up: Option<StepUp>) -> Response<Bytes> {
    let status = status(denial);
    let login = match (denial, step_up) {
        (Denial::NoSession | Denial::Ended | Denial::Pending, _) => {
            format!("<p><a href=\"{}/login\">Log in</a></p>", settings.auth_path)
        }
        (_, Some(StepUp { confirm, .. })) => {
            format!("<p><a href=\"{confirm}\">Confirm with your phone</a></p>")
        }
        (_, None) => String::new(),
    };
    // Nothing in here comes from the request.
    let body = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{status}</title>\
         <h1>{status}</h1><p>This page cannot be shown: {denial}.</p>{login}</html>"
    );
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, html);
    response
}

/// RFC 9457.
fn problem(denial: Denial, step_up: Option<StepUp>) -> Response<Bytes> {
    let details = ProblemDetails::from_status_code(status(denial))
        .with_detail(denial.to_string())
        .with_extensions(Extension { denial: denial.name(), step_up });
    let body = serde_json::to_vec(&details).unwrap_or_default();
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status(denial);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

fn insert(response: &mut Response<Bytes>, name: HeaderName, value: &str) {
    // The builder lets only plain paths in, and the rest is encoded: this never fails.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
