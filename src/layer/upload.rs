use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Request;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::body::{BoxError, SessionRevoked};
use crate::engine::{ActiveSession, GuardState, SessionGuard};

/// Ends uploads with their session: what a client sends after that does not reach the handler.
///
/// Goes inside an [`ActiveconnectLayer`](crate::ActiveconnectLayer), around handlers that read long
/// bodies. While the session's status is unknown, the upload waits; when the session ends, the
/// handler's next read fails with [`SessionRevoked`]. Requests without a session pass as they are.
///
/// The request body changes its type, so it has to be boxed again; the framework's own
/// constructor does that: `axum::body::Body::new`, `tonic::body::Body::new`.
///
/// ```
/// use axum::{Router, body::Body, routing::post};
/// use tower_activeconnect::Activeconnect;
/// use tower_activeconnect::layer::UploadGuardLayer;
///
/// # async fn upload() {}
/// # fn example(ac: Activeconnect) -> Router {
/// Router::new()
///     .route("/upload", post(upload))
///     .layer(UploadGuardLayer::new(Body::new))
///     .layer(ac.layer())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct UploadGuardLayer<F> {
    box_body: F,
}

impl<F> UploadGuardLayer<F> {
    /// A layer that boxes request bodies with this function.
    pub fn new(box_body: F) -> Self {
        Self { box_body }
    }
}

impl<F> fmt::Debug for UploadGuardLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadGuardLayer").finish_non_exhaustive()
    }
}

impl<S, F: Clone> Layer<S> for UploadGuardLayer<F> {
    type Service = UploadGuard<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        UploadGuard { inner, box_body: self.box_body.clone() }
    }
}

/// The service that [`UploadGuardLayer`] makes.
#[derive(Clone)]
#[must_use]
pub struct UploadGuard<S, F> {
    inner: S,
    box_body: F,
}

impl<S, F> fmt::Debug for UploadGuard<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadGuard").finish_non_exhaustive()
    }
}

impl<S, F, ReqBody, Boxed> Service<Request<ReqBody>> for UploadGuard<S, F>
where
    S: Service<Request<Boxed>>,
    F: Fn(UploadBody<ReqBody>) -> Boxed,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (parts, inner) = request.into_parts();
        let session = parts.extensions.get::<ActiveSession>();
        let body = UploadBody { inner, guard: session.map(ActiveSession::guard) };
        self.inner.call(Request::from_parts(parts, (self.box_body)(body)))
    }
}

pin_project! {
    /// A request body that ends with the session of its request.
    pub struct UploadBody<B> {
        #[pin]
        inner: B,
        guard: Option<SessionGuard>,
    }
}

impl<B> Body for UploadBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let this = self.project();
        if let Some(guard) = this.guard {
            match guard.poll_guard(cx) {
                GuardState::Forward => {}
                GuardState::Hold => return Poll::Pending,
                GuardState::Cut(denial) => {
                    return Poll::Ready(Some(Err(SessionRevoked::boxed(denial))));
                }
            }
        }
        this.inner.poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> fmt::Debug for UploadBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadBody").finish_non_exhaustive()
    }
}
