//! A gRPC service with byte messages, and a method of each kind.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt as _};
use http::Request as HttpRequest;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status, Streaming};
use tower::{Service, service_fn};
use tower_activeconnect::ActiveSession;

use crate::support::bytes_codec::BytesCodec;

/// `echo.Echo`: `Unary`, `Watch`, `Collect` and `Chat`.
#[derive(Clone)]
pub(crate) struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "echo.Echo";
}

type Messages = BoxStream<'static, Result<Bytes, Status>>;

/// The user of the session, put before the message.
fn user_of<T>(request: &Request<T>) -> Result<String, Status> {
    let session = ActiveSession::from_extensions(request.extensions())
        .ok_or_else(|| Status::internal("no Activeconnect layer"))?;
    Ok(format!("{}: ", session.user()))
}

async fn unary(request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    let response = [user_of(&request)?.as_bytes(), request.get_ref()].concat();
    if request.get_ref().as_ref() == b"slow" {
        std::future::pending::<()>().await;
    }
    Ok(Response::new(response.into()))
}

async fn watch(request: Request<Bytes>) -> Result<Response<Messages>, Status> {
    let name = user_of(&request)?;
    let ticks = futures_util::stream::unfold(0_u32, |i| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Some((i, i + 1))
    });
    let messages = ticks.map(move |i| Ok(Bytes::from(format!("{name}{i}"))));
    Ok(Response::new(messages.boxed()))
}

async fn collect(request: Request<Streaming<Bytes>>) -> Result<Response<Bytes>, Status> {
    let mut response = user_of(&request)?.into_bytes();
    let mut messages = request.into_inner();
    while let Some(message) = messages.message().await? {
        response.extend_from_slice(&message);
    }
    Ok(Response::new(response.into()))
}

async fn chat(request: Request<Streaming<Bytes>>) -> Result<Response<Messages>, Status> {
    let name = user_of(&request)?;
    let messages = request.into_inner().map(move |message| {
        message.map(|message| Bytes::from([name.as_bytes(), &message].concat()))
    });
    Ok(Response::new(messages.boxed()))
}

impl Service<HttpRequest<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = Grpc::new(BytesCodec);
            Ok(match request.uri().path() {
                "/echo.Echo/Unary" => grpc.unary(service_fn(unary), request).await,
                "/echo.Echo/Watch" => grpc.server_streaming(service_fn(watch), request).await,
                "/echo.Echo/Collect" => grpc.client_streaming(service_fn(collect), request).await,
                "/echo.Echo/Chat" => grpc.streaming(service_fn(chat), request).await,
                other => Status::unimplemented(other.to_owned()).into_http(),
            })
        })
    }
}

/// Sends one message, and stays connected.
pub(crate) fn once(message: &'static str) -> impl Stream<Item = Bytes> + Send + 'static {
    futures_util::stream::iter([Bytes::from(message)]).chain(futures_util::stream::pending())
}
