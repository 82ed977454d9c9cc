//! The credential that a tonic client sends with each call.

use std::fmt;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::identity::SessionCredential;

/// Adds a session's credential to every call of a tonic client, as `authorization: Bearer`.
///
/// ```no_run
/// use tonic::transport::Channel;
/// use tonic_health::pb::health_client::HealthClient;
/// use tower_activeconnect::client::{BearerInterceptor, BearerLogin};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let login = BearerLogin::new("https://app.example/auth")?;
/// let credential = login.start("alice").await?.wait().await?;
/// let channel = Channel::from_static("https://app.example").connect().await?;
/// let client = HealthClient::with_interceptor(channel, BearerInterceptor::new(&credential));
/// # let _ = client;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct BearerInterceptor {
    authorization: MetadataValue<Ascii>,
}

impl BearerInterceptor {
    /// For this session.
    ///
    /// # Panics
    ///
    /// Never: a credential is base64url.
    #[must_use]
    pub fn new(credential: &SessionCredential) -> Self {
        let bearer = format!("Bearer {}", credential.expose());
        #[expect(clippy::unwrap_used, reason = "base64url is ASCII without control characters")]
        let mut authorization = MetadataValue::try_from(bearer).unwrap();
        authorization.set_sensitive(true);
        Self { authorization }
    }
}

impl Interceptor for BearerInterceptor {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.authorization.clone());
        Ok(request)
    }
}

impl fmt::Debug for BearerInterceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerInterceptor").finish_non_exhaustive()
    }
}
