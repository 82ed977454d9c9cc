//! Registration: a user name, an e-mail address, and the link that registers the user's phone.

use std::fmt;

use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Deserialize;
use tower_activeconnect::client::ClientErrorKind;
use tower_activeconnect::enrollment::{EnrollNewError, EnrollmentError, RegistrationLink};
use tower_activeconnect::{ActiveSession, UserId};

use crate::app::Blog;
use crate::pages::{self, RegisterPage};

const MAX_USERNAME_CHARS: usize = 64;
/// The longest path of RFC 5321, in bytes.
const MAX_EMAIL_BYTES: usize = 254;

#[derive(Clone, Deserialize)]
pub(crate) struct Registration {
    // A missing field counts as an empty one, so that the response is the form.
    #[serde(default)]
    username: String,
    #[serde(default)]
    email: String,
}

pub(crate) async fn show_form() -> Response {
    let page = RegisterPage { username: "", email: "", message: None };
    pages::render(StatusCode::OK, &page)
}

/// Registers a user. The response is the page with the registration link, not a redirect to it: the
/// link has no URL at which this or another browser could load it again. The page then goes to the
/// timeline, and so to the login.
pub(crate) async fn register(
    State(blog): State<Blog>,
    request: Parts,
    form: Result<Form<Registration>, FormRejection>,
) -> Response {
    let registration = match form {
        Ok(Form(registration)) => registration,
        Err(rejection) => return pages::error(rejection.status(), &rejection.body_text()),
    };
    let form_with_error = |status, message: &str| {
        let Registration { username, email } = &registration;
        pages::render(status, &RegisterPage { username, email, message: Some(message) })
    };
    if let Err(message) = registration.check() {
        return form_with_error(StatusCode::UNPROCESSABLE_ENTITY, message);
    }
    // A separate task: it completes even if the browser disconnects, so that no registration is left
    // half done.
    let registering = tokio::spawn(enroll(blog, registration.clone()));
    match registering.await {
        Ok(Ok(link)) => link.response_to(&request),
        Ok(Err(error)) => form_with_error(error.status(), &error.to_string()),
        Err(_) => form_with_error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The registration failed. Try again later.",
        ),
    }
}

/// Registers another phone, or the same phone again, for the logged-in user. The user comes from the
/// session, so the request cannot name another user.
pub(crate) async fn register_phone(
    State(blog): State<Blog>,
    session: ActiveSession,
    request: Parts,
) -> Response {
    match blog.ac.registration_link(&session).await {
        Ok(link) => link.response_to(&request),
        Err(error) => {
            eprintln!("microblog: cannot get a registration link: {error:?}");
            let message = "The blog could not get a link for your phone. Try again in a minute.";
            pages::error(StatusCode::SERVICE_UNAVAILABLE, message)
        }
    }
}

impl Registration {
    /// Checks the input. The name is not trimmed, because the login does not trim it either.
    fn check(&self) -> Result<(), &'static str> {
        let (name, email) = (self.username.as_str(), self.email.as_str());
        if name.is_empty() {
            Err("The user name is empty; type one.")
        } else if name.chars().count() > MAX_USERNAME_CHARS {
            Err("The user name is too long; use at most 64 characters.")
        } else if name.chars().any(char::is_control) {
            Err("The user name has control characters; leave them out.")
        } else if name.trim() != name {
            Err("The user name starts or ends with a space; leave it out.")
        } else if !is_plausible_email(email) {
            Err("The e-mail address is invalid; type it like you@example.org.")
        } else {
            Ok(())
        }
    }
}

/// Finds obvious typing errors. Only a mail to the address shows whether the address exists.
fn is_plausible_email(email: &str) -> bool {
    let Some((local, domain)) = email.split_once('@') else { return false };
    let well_formed = |part: &str| !part.is_empty() && !part.contains("..");
    email.len() <= MAX_EMAIL_BYTES
        && !email.chars().any(|c| c.is_whitespace() || c.is_control())
        && well_formed(local)
        && well_formed(domain)
        && !domain.contains('@')
        && !domain.starts_with('.')
        && !domain.ends_with('.')
}

/// The reason why a registration failed. The page shows what to do, and the log has the cause.
enum RegisterError {
    NameTaken,
    Service(ClientErrorKind),
    Database,
}

impl RegisterError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NameTaken => StatusCode::CONFLICT,
            Self::Database => StatusCode::SERVICE_UNAVAILABLE,
            Self::Service(
                ClientErrorKind::Unreachable
                | ClientErrorKind::TimedOut
                | ClientErrorKind::RateLimited(_)
                | ClientErrorKind::ServerError(_),
            ) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Service(_) => StatusCode::BAD_GATEWAY,
        }
    }
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NameTaken => "The user name is taken; choose another.",
            Self::Service(_) => {
                "The login service did not respond as expected, so you are not registered. Try \
                again in a minute."
            }
            Self::Database => {
                "The blog could not store anything, so you are not registered. Try again in a \
                 minute."
            }
        })
    }
}

impl From<EnrollmentError> for RegisterError {
    fn from(error: EnrollmentError) -> Self {
        match error {
            EnrollmentError::Service(error) => {
                eprintln!("microblog: cannot register a user: {error:?}");
                Self::Service(error.kind())
            }
            error => {
                eprintln!("microblog: cannot register a user: {error:?}");
                Self::Database
            }
        }
    }
}

impl From<sqlx::Error> for RegisterError {
    fn from(error: sqlx::Error) -> Self {
        eprintln!("microblog: cannot register a user: {error:?}");
        Self::Database
    }
}

impl From<EnrollNewError<Self>> for RegisterError {
    fn from(error: EnrollNewError<Self>) -> Self {
        match error {
            EnrollNewError::Application(error) => error,
            EnrollNewError::Enrollment(error) => error.into(),
        }
    }
}

/// Enrolls the user at the service, inserts the user's row, and gets the link. After any failure the
/// name is free again.
async fn enroll(blog: Blog, registration: Registration) -> Result<RegistrationLink, RegisterError> {
    let Registration { username, email } = &registration;
    if blog.database.is_registered(username).await? {
        return Err(RegisterError::NameTaken);
    }
    let insert = async || match blog.database.insert_user(username, email).await? {
        true => Ok(UserId::from(username)),
        false => Err(RegisterError::NameTaken),
    };
    match blog.ac.enroll_new(insert).await {
        Ok(user) => match first_link(&blog, &user).await {
            Ok(link) => {
                blog.service.set_phone_label(&blog.database, username).await;
                Ok(link)
            }
            // Without the link no user could log in with this name.
            Err(error) => {
                if let Err(error) = blog.ac.unenroll(&user).await {
                    eprintln!("microblog: cannot delete a user at the service: {error:?}");
                }
                delete_user(&blog, username).await;
                Err(error.into())
            }
        },
        // The token store is written last, so the user's row exists already.
        Err(error @ EnrollNewError::Enrollment(EnrollmentError::Store(_))) => {
            delete_user(&blog, username).await;
            Err(error.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The link for the first phone. It needs no login: this request has just created the user, and no
/// other request gets this far with the same name.
async fn first_link(blog: &Blog, user: &UserId) -> Result<RegistrationLink, EnrollmentError> {
    let grant = blog.ac.enrollment_grant(user)?;
    blog.ac.registration_link(&grant).await
}

async fn delete_user(blog: &Blog, name: &str) {
    if let Err(error) = blog.database.delete_user(name).await {
        eprintln!("microblog: cannot delete an unfinished registration: {error}");
    }
}
