//! Registration: a name, an e-mail address, and the link that makes a phone the user's.

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
/// RFC 5321 has no longer paths.
const EMAIL_LIMIT: usize = 254;

#[derive(Clone, Deserialize)]
pub(crate) struct Registration {
    // A field that is not there is answered like one that is empty: with the form.
    #[serde(default)]
    username: String,
    #[serde(default)]
    email: String,
}

pub(crate) async fn form() -> Response {
    let empty = RegisterPage { username: "", email: "", message: None };
    pages::show(StatusCode::OK, &empty)
}

/// Answers with the registration link itself, not with a redirect to it: there is no address at
/// which it could be had again, or by another browser. Its page goes on to the timeline, and so to the
/// login.
pub(crate) async fn register(
    State(blog): State<Blog>,
    request: Parts,
    form: Result<Form<Registration>, FormRejection>,
) -> Response {
    let registration = match form {
        Ok(Form(registration)) => registration,
        Err(rejection) => return pages::refused(rejection.status(), &rejection.body_text()),
    };
    let again = |status, message: &str| {
        let Registration { username, email } = &registration;
        pages::show(status, &RegisterPage { username, email, message: Some(message) })
    };
    if let Err(message) = registration.check() {
        return again(StatusCode::UNPROCESSABLE_ENTITY, message);
    }
    // A task of its own: were the browser to leave in between, half a user would stay.
    let enrolling = tokio::spawn(enroll(blog, registration.clone()));
    match enrolling.await {
        Ok(Ok(link)) => link.response_to(&request),
        Ok(Err(refusal)) => again(refusal.status(), &refusal.to_string()),
        Err(_) => again(StatusCode::INTERNAL_SERVER_ERROR, "Registering failed. Try again later."),
    }
}

/// Another phone, or the same one anew, for the user who is logged in: nobody else's name can be
/// asked for here.
pub(crate) async fn another_phone(
    State(blog): State<Blog>,
    session: ActiveSession,
    request: Parts,
) -> Response {
    match blog.ac.registration_link(&session).await {
        Ok(link) => link.response_to(&request),
        Err(error) => {
            eprintln!("microblog: a registration link: {error:?}");
            let message = "There is no link for your phone at the moment. Try again in a minute.";
            pages::refused(StatusCode::SERVICE_UNAVAILABLE, message)
        }
    }
}

impl Registration {
    /// The name is taken as it is typed, since the login takes it so too: nothing is trimmed.
    fn check(&self) -> Result<(), &'static str> {
        let (name, email) = (self.username.as_str(), self.email.as_str());
        if name.is_empty() {
            Err("The user name is empty; type one.")
        } else if name.chars().count() > MAX_USERNAME_CHARS {
            Err("The user name is too long; 64 characters is the most.")
        } else if name.chars().any(char::is_control) {
            Err("The user name has control characters; leave them out.")
        } else if name.trim() != name {
            Err("The user name begins or ends with a blank; leave it out.")
        } else if !is_plausible_email(email) {
            Err("The e-mail address is not one; type it like you@example.org.")
        } else {
            Ok(())
        }
    }
}

/// Whether it is one only a mail could tell; this finds what was obviously mistyped.
fn is_plausible_email(email: &str) -> bool {
    let Some((local, domain)) = email.split_once('@') else { return false };
    let well_formed = |part: &str| !part.is_empty() && !part.contains("..");
    email.len() <= EMAIL_LIMIT
        && !email.chars().any(|c| c.is_whitespace() || c.is_control())
        && well_formed(local)
        && well_formed(domain)
        && !domain.contains('@')
        && !domain.starts_with('.')
        && !domain.ends_with('.')
}

/// Why somebody was not registered. They are told what to do, the log is told what happened.
enum Refusal {
    Taken,
    Service(ClientErrorKind),
    Database,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Taken => StatusCode::CONFLICT,
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

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Taken => "The user name is taken; choose another.",
            Self::Service(_) => {
                "The login service did not answer as it should, so you are not registered. Try \
                 again in a minute."
            }
            Self::Database => {
                "The blog could not store anything, so you are not registered. Try again in a \
                 minute."
            }
        })
    }
}

impl From<EnrollmentError> for Refusal {
    fn from(error: EnrollmentError) -> Self {
        match error {
            EnrollmentError::Service(error) => {
                eprintln!("microblog: registering: {error:?}");
                Self::Service(error.kind())
            }
            error => {
                eprintln!("microblog: registering: {error:?}");
                Self::Database
            }
        }
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        eprintln!("microblog: registering: {error}");
        Self::Database
    }
}

impl From<EnrollNewError<Self>> for Refusal {
    fn from(error: EnrollNewError<Self>) -> Self {
        match error {
            EnrollNewError::Application(refusal) => refusal,
            EnrollNewError::Enrollment(error) => error.into(),
        }
    }
}

/// Registers the user at the service, then here, and fetches the link. Whatever fails, the name
/// can be registered again.
async fn enroll(blog: Blog, registration: Registration) -> Result<RegistrationLink, Refusal> {
    let Registration { username, email } = &registration;
    if blog.database.is_registered(username).await? {
        return Err(Refusal::Taken);
    }
    let insert = async || match blog.database.claim(username, email).await? {
        true => Ok(UserId::from(username)),
        false => Err(Refusal::Taken),
    };
    match blog.ac.enroll_new(insert).await {
        Ok(user) => match first_link(&blog, &user).await {
            Ok(link) => {
                blog.service.label(&blog.database, username).await;
                Ok(link)
            }
            // Without the link nobody could ever log in with this name.
            Err(error) => {
                if let Err(error) = blog.ac.unenroll(&user).await {
                    eprintln!("microblog: a token stays at the service: {error:?}");
                }
                release(&blog, username).await;
                Err(error.into())
            }
        },
        // The lookup table comes last: our row was there already.
        Err(error @ EnrollNewError::Enrollment(EnrollmentError::Store(_))) => {
            release(&blog, username).await;
            Err(error.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The name was free a moment ago, so who typed it is the user, and nobody else will get this far
/// with it.
async fn first_link(blog: &Blog, user: &UserId) -> Result<RegistrationLink, EnrollmentError> {
    let grant = blog.ac.enrollment_grant(user)?;
    blog.ac.registration_link(&grant).await
}

async fn release(blog: &Blog, name: &str) {
    if let Err(error) = blog.database.release(name).await {
        eprintln!("microblog: an unfinished registration stays: {error}");
    }
}
