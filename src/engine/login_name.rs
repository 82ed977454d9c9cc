use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::identity::UserId;
use crate::store::StoreError;

type Found = Pin<Box<dyn Future<Output = Result<Option<UserId>, StoreError>> + Send>>;

/// Whom a typed name means; by default the name is the user's id.
#[derive(Clone, Default)]
pub(crate) struct LoginName(Option<Arc<dyn Fn(String) -> Found + Send + Sync>>);

impl LoginName {
    pub(crate) fn new<F, E>(find: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Option<UserId>, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        Self(Some(Arc::new(move |name| {
            let found = find(name);
            Box::pin(async { found.await.map_err(StoreError::new) })
        })))
    }

    pub(crate) async fn user(&self, name: String) -> Result<Option<UserId>, StoreError> {
        match &self.0 {
            Some(find) => find(name).await,
            None => Ok(Some(name.into())),
        }
    }
}

impl fmt::Debug for LoginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginName").finish_non_exhaustive()
    }
}
