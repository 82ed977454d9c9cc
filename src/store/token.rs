use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use super::{StoreError, StoreErrorKind};
use crate::identity::{UserId, UserToken};

/// The lookup table: which token is the user's name at Activeconnect.
///
/// One method is required. Enrollment needs [`TokenStore::assign`] and [`TokenStore::remove`];
/// without them the store only reads. [`TokenStore::browser_epoch`] and
/// [`TokenStore::set_browser_epoch`] keep which browsers are forgotten; without them the process
/// keeps it in memory.
///
/// Give each user one id, in one spelling: where several lead to one user, map them to it by
/// [`ActiveconnectBuilder::resolve_username`](crate::ActiveconnectBuilder::resolve_username). If the table takes more spellings
/// all the same, as a column that ignores case does, users are told apart by their tokens: what lists,
/// counts or ends a user's sessions then means those of the token, under whatever spelling they were
/// begun. [`ActiveSession::user`](crate::ActiveSession::user) is the spelling of the login. `assign`,
/// `remove` and the epoch must know the same spellings as `token`.
///
/// ```
/// use tower_activeconnect::store::StoreError;
/// use tower_activeconnect::{TokenStore, UserId, UserToken};
///
/// struct Directory;
///
/// impl TokenStore for Directory {
///     async fn token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
///         match user.as_str() {
///             "alice" => UserToken::new("RLQ3W7HJ").map(Some).map_err(StoreError::new),
///             _ => Ok(None),
///         }
///     }
/// }
/// ```
pub trait TokenStore: Send + Sync + 'static {
    /// The user's token, `None` for a user who is unknown or not enrolled.
    fn token(
        &self,
        user: &UserId,
    ) -> impl Future<Output = Result<Option<UserToken>, StoreError>> + Send;

    /// Assigns this token to a user without one, and returns the user's token: the first writer
    /// wins. By default rejected as [`StoreErrorKind::ReadOnly`].
    fn assign(
        &self,
        user: &UserId,
        token: &UserToken,
    ) -> impl Future<Output = Result<UserToken, StoreError>> + Send {
        let _ = (user, token);
        async { Err(StoreError::from_kind(StoreErrorKind::ReadOnly)) }
    }

    /// Removes the user's token and returns it. By default rejected as
    /// [`StoreErrorKind::ReadOnly`].
    fn remove(
        &self,
        user: &UserId,
    ) -> impl Future<Output = Result<Option<UserToken>, StoreError>> + Send {
        let _ = user;
        async { Err(StoreError::from_kind(StoreErrorKind::ReadOnly)) }
    }

    /// The number that [`TokenStore::set_browser_epoch`] has set for the user; `None` if it has
    /// not. Each login reads it; it decides whether a browser is still known. By default `None`.
    fn browser_epoch(
        &self,
        user: &UserId,
    ) -> impl Future<Output = Result<Option<u64>, StoreError>> + Send {
        let _ = user;
        async { Ok(None) }
    }

    /// Stores this number for the user, unless it has a higher one already. It outlives
    /// [`TokenStore::remove`], or browsers would be known again once the user is enrolled again. By
    /// default rejected as [`StoreErrorKind::ReadOnly`]: the process then keeps it in memory.
    fn set_browser_epoch(
        &self,
        user: &UserId,
        epoch: u64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        let _ = (user, epoch);
        async { Err(StoreError::from_kind(StoreErrorKind::ReadOnly)) }
    }
}

impl<T: TokenStore> TokenStore for Arc<T> {
    async fn token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        T::token(self, user).await
    }

    async fn assign(&self, user: &UserId, token: &UserToken) -> Result<UserToken, StoreError> {
        T::assign(self, user, token).await
    }

    async fn remove(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        T::remove(self, user).await
    }

    async fn browser_epoch(&self, user: &UserId) -> Result<Option<u64>, StoreError> {
        T::browser_epoch(self, user).await
    }

    async fn set_browser_epoch(&self, user: &UserId, epoch: u64) -> Result<(), StoreError> {
        T::set_browser_epoch(self, user, epoch).await
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The same trait without `impl Future`, so that the engine needs no type parameter. The methods
/// have names of their own: equal ones would be ambiguous wherever both traits are in scope.
trait ErasedTokenStore: Send + Sync {
    fn token_boxed<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Option<UserToken>>;
    fn assign_boxed<'a>(
        &'a self,
        user: &'a UserId,
        token: &'a UserToken,
    ) -> BoxFuture<'a, UserToken>;
    fn remove_boxed<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Option<UserToken>>;
    fn browser_epoch_boxed<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Option<u64>>;
    fn set_browser_epoch_boxed<'a>(&'a self, user: &'a UserId, epoch: u64) -> BoxFuture<'a, ()>;
}

impl<T: TokenStore> ErasedTokenStore for T {
    fn token_boxed<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Option<UserToken>> {
        Box::pin(self.token(user))
    }

    fn assign_boxed<'a>(
        &'a self,
        user: &'a UserId,
        token: &'a UserToken,
    ) -> BoxFuture<'a, UserToken> {
        Box::pin(self.assign(user, token))
    }

    fn remove_boxed<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Option<UserToken>> {
        Box::pin(self.remove(user))
    }

    fn browser_epoch_boxed<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Option<u64>> {
        Box::pin(self.browser_epoch(user))
    }

    fn set_browser_epoch_boxed<'a>(&'a self, user: &'a UserId, epoch: u64) -> BoxFuture<'a, ()> {
        Box::pin(self.set_browser_epoch(user, epoch))
    }
}

/// Any [`TokenStore`], its type forgotten.
#[derive(Clone)]
pub(crate) struct DynTokenStore(Arc<dyn ErasedTokenStore>);

impl DynTokenStore {
    pub(crate) fn new(store: impl TokenStore) -> Self {
        Self(Arc::new(store))
    }

    pub(crate) async fn token(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        catch_panic(async { self.0.token_boxed(user).await }).await
    }

    pub(crate) async fn assign(
        &self,
        user: &UserId,
        token: &UserToken,
    ) -> Result<UserToken, StoreError> {
        catch_panic(async { self.0.assign_boxed(user, token).await }).await
    }

    pub(crate) async fn remove(&self, user: &UserId) -> Result<Option<UserToken>, StoreError> {
        catch_panic(async { self.0.remove_boxed(user).await }).await
    }

    pub(crate) async fn browser_epoch(&self, user: &UserId) -> Result<Option<u64>, StoreError> {
        catch_panic(async { self.0.browser_epoch_boxed(user).await }).await
    }

    pub(crate) async fn set_browser_epoch(
        &self,
        user: &UserId,
        epoch: u64,
    ) -> Result<(), StoreError> {
        catch_panic(async { self.0.set_browser_epoch_boxed(user, epoch).await }).await
    }
}

/// Runs a store's code: a panic in it becomes an error and ends nothing else.
async fn catch_panic<T>(
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let mut call = pin!(call);
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx)));
        polled.unwrap_or_else(|_| Poll::Ready(Err(StoreError::new("the store panicked"))))
    })
    .await
}

impl fmt::Debug for DynTokenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DynTokenStore")
    }
}
