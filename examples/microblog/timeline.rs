//! The timeline, and writing to it. Both are behind the gate, so there is always a user.

use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use tower_activeconnect::ActiveSession;

use crate::app::Blog;
use crate::pages::{self, TimelinePage};

/// The longest post, in characters.
const LIMIT: usize = 500;

#[derive(Deserialize)]
pub(crate) struct Draft {
    #[serde(default)]
    body: String,
}

pub(crate) async fn show(State(blog): State<Blog>, session: ActiveSession) -> Response {
    page(&blog, &session, StatusCode::OK, "", None).await
}

pub(crate) async fn write(
    State(blog): State<Blog>,
    session: ActiveSession,
    form: Result<Form<Draft>, FormRejection>,
) -> Response {
    let draft = match form {
        // Forms are sent with the line ends of the Internet; each counts as one character.
        Ok(Form(draft)) => draft.body.replace("\r\n", "\n"),
        Err(rejection) => return pages::refused(rejection.status(), &rejection.body_text()),
    };
    let user = session.user();
    let message = if draft.trim().is_empty() {
        "The post is empty; write something."
    } else if draft.chars().count() > LIMIT {
        "The post is too long; 500 characters is the most."
    } else {
        match blog.database.write(user.as_str(), draft.trim_end()).await {
            Ok(()) => return Redirect::to("/").into_response(),
            Err(error) => {
                eprintln!("microblog: a post was not stored: {error}");
                let message = "The blog could not store the post. Try again in a minute.";
                let status = StatusCode::SERVICE_UNAVAILABLE;
                return page(&blog, &session, status, &draft, Some(message)).await;
            }
        }
    };
    page(&blog, &session, StatusCode::UNPROCESSABLE_ENTITY, &draft, Some(message)).await
}

async fn page(
    blog: &Blog,
    session: &ActiveSession,
    status: StatusCode,
    draft: &str,
    message: Option<&str>,
) -> Response {
    match blog.database.posts().await {
        Ok(posts) => {
            let (user, owner) = (session.user(), session.owner_id());
            let page = TimelinePage { user, owner, posts: &posts, draft, limit: LIMIT, message };
            pages::show(status, &page)
        }
        Err(error) => {
            eprintln!("microblog: the posts could not be read: {error}");
            let message = "The blog could not read its posts. Try again in a minute.";
            pages::refused(StatusCode::SERVICE_UNAVAILABLE, message)
        }
    }
}
