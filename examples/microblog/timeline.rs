//! The timeline and its posts. Both routes are behind the gate, so each request has a session.

use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use tower_activeconnect::ActiveSession;

use crate::app::Blog;
use crate::pages::{self, TimelinePage};

const MAX_POST_CHARS: usize = 500;

#[derive(Deserialize)]
pub(crate) struct Draft {
    #[serde(default)]
    body: String,
}

pub(crate) async fn show_timeline(State(blog): State<Blog>, session: ActiveSession) -> Response {
    timeline_page(&blog, &session, StatusCode::OK, "", None).await
}

pub(crate) async fn create_post(
    State(blog): State<Blog>,
    session: ActiveSession,
    form: Result<Form<Draft>, FormRejection>,
) -> Response {
    let draft = match form {
        // Browsers send line ends as CR LF; each counts as one character.
        Ok(Form(draft)) => draft.body.replace("\r\n", "\n"),
        Err(rejection) => return pages::error(rejection.status(), &rejection.body_text()),
    };
    let user = session.user();
    let message = if draft.trim().is_empty() {
        "The post is empty; write something."
    } else if draft.chars().count() > MAX_POST_CHARS {
        "The post is too long; use at most 500 characters."
    } else {
        match blog.database.insert_post(user.as_str(), draft.trim_end()).await {
            Ok(()) => return Redirect::to("/").into_response(),
            Err(error) => {
                eprintln!("microblog: cannot store a post: {error}");
                let message = "The blog could not store the post. Try again in a minute.";
                let status = StatusCode::SERVICE_UNAVAILABLE;
                return timeline_page(&blog, &session, status, &draft, Some(message)).await;
            }
        }
    };
    timeline_page(&blog, &session, StatusCode::UNPROCESSABLE_ENTITY, &draft, Some(message)).await
}

async fn timeline_page(
    blog: &Blog,
    session: &ActiveSession,
    status: StatusCode,
    draft: &str,
    message: Option<&str>,
) -> Response {
    match blog.database.latest_posts().await {
        Ok(posts) => {
            let (user, owner) = (session.user(), session.owner_id());
            let max_chars = MAX_POST_CHARS;
            let page = TimelinePage { user, owner, posts: &posts, draft, max_chars, message };
            pages::render(status, &page)
        }
        Err(error) => {
            eprintln!("microblog: cannot read the posts: {error}");
            let message = "The blog could not read its posts. Try again in a minute.";
            pages::error(StatusCode::SERVICE_UNAVAILABLE, message)
        }
    }
}
