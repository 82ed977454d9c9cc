//! The rules of [`TokenStore`], as functions that a store's tests call (feature `test-util`).
//!
//! Each function checks one rule, and panics if the store breaks it. It needs users who exist in the
//! application's users table and have no token, and leaves them without one. [`check_all`] checks
//! every rule of a store that writes; call the others where a store promises more or less:
//!
//! | store | functions |
//! | --- | --- |
//! | writes tokens and epochs | [`check_all`] |
//! | only reads | [`read_only`] |
//! | keeps no epochs | all but [`epoch_never_falls`] and [`epoch_outlives_token`] |
//! | refers to a users table | also [`missing_user_is_reported`] |
//! | takes an id in one spelling only | also [`similar_ids_are_other_users`] |
//!
//! ```
//! use tower_activeconnect::store::conformance;
//! use tower_activeconnect::MemoryTokenStore; // your store
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let store = MemoryTokenStore::new();
//! conformance::check_all(&store, &["alice".into(), "bob".into()]).await;
//! conformance::similar_ids_are_other_users(&store, &"alice".into()).await;
//! # }
//! ```

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::{StoreError, StoreErrorKind, TokenStore};
use crate::identity::{UserId, UserToken};

/// The calls that assign a token at the same time.
const CONCURRENT_WRITERS: usize = 16;
/// The longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 256;

/// Checks every rule of a store that writes tokens and epochs.
///
/// # Panics
///
/// When the store breaks a rule or fails.
pub async fn check_all(store: &impl TokenStore, users: &[UserId; 2]) {
    let [first, second] = users;
    unknown_user_has_no_token(store, first).await;
    assigned_token_is_returned(store, first).await;
    first_assignment_wins(store, first).await;
    concurrent_assignments_agree(store, first).await;
    removed_token_is_returned_once(store, first).await;
    users_have_separate_tokens(store, users).await;
    every_token_is_kept_exactly(store, first).await;
    dropped_call_leaves_a_whole_state(store, first).await;
    epoch_outlives_token(store, first).await;
    epoch_never_falls(store, second).await;
}

/// A user without a token has none to return or to remove.
///
/// # Panics
///
/// When the store breaks the rule or fails.
pub async fn unknown_user_has_no_token(store: &impl TokenStore, user: &UserId) {
    assert_eq!(store.token(user).await.expect("token"), None, "a user without a token has one");
    let removed = store.remove(user).await.expect("remove");
    assert_eq!(removed, None, "a user without a token had one to remove");
}

/// [`TokenStore::assign`] returns the token, and [`TokenStore::token`] returns it from then on.
///
/// # Panics
///
/// When the store breaks the rule or fails.
pub async fn assigned_token_is_returned(store: &impl TokenStore, user: &UserId) {
    let token = random_token();
    assert_eq!(store.assign(user, &token).await.expect("assign"), token, "assign");
    assert_eq!(store.token(user).await.expect("token"), Some(token), "after assign");
    store.remove(user).await.expect("remove");
}

/// A user with a token keeps it: a further [`TokenStore::assign`] returns the first token.
///
/// # Panics
///
/// When the store breaks the rule or fails.
pub async fn first_assignment_wins(store: &impl TokenStore, user: &UserId) {
    let (first, second) = (random_token(), random_token());
    store.assign(user, &first).await.expect("assign");
    assert_eq!(store.assign(user, &second).await.expect("assign"), first, "the first writer wins");
    assert_eq!(store.token(user).await.expect("token"), Some(first), "the first writer wins");
    store.remove(user).await.expect("remove");
}

/// Of writers at the same time one wins, and all of them get its token.
///
/// # Panics
///
/// When the store breaks the rule or fails.
pub async fn concurrent_assignments_agree(store: &impl TokenStore, user: &UserId) {
    let tokens: Vec<_> = (0..CONCURRENT_WRITERS).map(|_| random_token()).collect();
    let mut calls: Vec<_> =
        tokens.iter().map(|token| Box::pin(store.assign(user, token))).collect();
    let mut returned = Vec::new();
    poll_fn(|cx| {
        calls.retain_mut(|call| match call.as_mut().poll(cx) {
            Poll::Ready(result) => {
                returned.push(result.expect("assign"));
                false
            }
            Poll::Pending => true,
        });
        if calls.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    let stored = store.token(user).await.expect("token");
    for token in returned {
        assert_eq!(Some(token), stored, "a writer got a token that is not the user's");
    }
    store.remove(user).await.expect("remove");
}

/// [`TokenStore::remove`] returns the token once, and the user can get another.
///
/// # Panics
///
/// When the store breaks the rule or fails.
pub async fn removed_token_is_returned_once(store: &impl TokenStore, user: &UserId) {
    let (first, second) = (random_token(), random_token());
    store.assign(user, &first).await.expect("assign");
    assert_eq!(store.remove(user).await.expect("remove"), Some(first), "remove");
    assert_eq!(store.remove(user).await.expect("remove"), None, "removed twice");
    assert_eq!(store.token(user).await.expect("token"), None, "after remove");
    assert_eq!(store.assign(user, &second).await.expect("assign"), second, "assigned again");
    store.remove(user).await.expect("remove");
}

/// Each user has a token of their own.
///
/// # Panics
///
/// When the store breaks the rule or fails.
pub async fn users_have_separate_tokens(store: &impl TokenStore, users: &[UserId; 2]) {
    let [first, second] = users;
    let (of_first, of_second) = (random_token(), random_token());
    store.assign(first, &of_first).await.expect("assign");
    assert_eq!(store.token(second).await.expect("token"), None, "the token of another user");
    assert_eq!(store.assign(second, &of_second).await.expect("assign"), of_second, "second user");
    assert_eq!(store.remove(first).await.expect("remove"), Some(of_first), "first user");
    let kept = store.token(second).await.expect("token");
    assert_eq!(kept, Some(of_second), "removed together with another user's");
    store.remove(second).await.expect("remove");
}

/// Tokens of any length and with any characters that a token can have come back unchanged.
///
/// # Panics
///
/// When the store breaks the rule or fails.
pub async fn every_token_is_kept_exactly(store: &impl TokenStore, user: &UserId) {
    let longest = "t".repeat(MAX_TOKEN_BYTES);
    for text in ["t", "T", "t ", " t", "é", "e", "a/b+c~'\"`;", &longest] {
        let token = UserToken::new(text).expect("a valid token");
        store.assign(user, &token).await.expect("assign");
        assert_eq!(store.token(user).await.expect("token"), Some(token), "{text:?} was changed");
        store.remove(user).await.expect("remove");
    }
}

/// A call whose future is dropped takes effect or does not; later calls work.
///
/// # Panics
///
/// When the store breaks the rule or fails.
pub async fn dropped_call_leaves_a_whole_state(store: &impl TokenStore, user: &UserId) {
    let (dropped, token) = (random_token(), random_token());
    {
        let call = pin!(store.assign(user, &dropped));
        // The first poll sends the call at most.
        let _ = call.poll(&mut Context::from_waker(Waker::noop()));
    }
    let assigned = store.assign(user, &token).await.expect("assign");
    assert!(assigned == token || assigned == dropped, "neither of the two tokens");
    assert_eq!(store.token(user).await.expect("token"), Some(assigned), "after a dropped call");
    store.remove(user).await.expect("remove");
}

/// An epoch stays when the user's token is removed: else browsers would be known again once the
/// user is enrolled again.
///
/// # Panics
///
/// When the store breaks the rule or fails.
pub async fn epoch_outlives_token(store: &impl TokenStore, user: &UserId) {
    store.assign(user, &random_token()).await.expect("assign");
    store.set_browser_epoch(user, 7).await.expect("set_browser_epoch");
    store.remove(user).await.expect("remove");
    let epoch = store.browser_epoch(user).await.expect("browser_epoch");
    assert_eq!(epoch, Some(7), "the epoch was removed together with the token");
}

/// [`TokenStore::set_browser_epoch`] keeps the highest epoch. The user has none before, and keeps
/// one.
///
/// # Panics
///
/// When the store breaks the rule or fails.
pub async fn epoch_never_falls(store: &impl TokenStore, user: &UserId) {
    let epoch = store.browser_epoch(user).await.expect("browser_epoch");
    assert_eq!(epoch, None, "an epoch before the first");
    let now = 1_800_000_000_000;
    for (set, highest) in [(7, 7), (now, now), (9, now), (now, now)] {
        store.set_browser_epoch(user, set).await.expect("set_browser_epoch");
        let epoch = store.browser_epoch(user).await.expect("browser_epoch");
        assert_eq!(epoch, Some(highest), "after {set}");
    }
}

/// A store that refers to a users table reports a user without a row, and keeps nothing.
///
/// # Panics
///
/// When the store breaks the rule or fails otherwise.
pub async fn missing_user_is_reported(store: &impl TokenStore, missing: &UserId) {
    let error = store.assign(missing, &random_token()).await.expect_err("a user without a row");
    assert_eq!(error.kind(), StoreErrorKind::NoSuchUser, "{error:?}");
    assert_eq!(store.token(missing).await.expect("token"), None, "a token without a user");
}

/// Ids that differ in case, accents or spaces are other users. The user exists, and its id has a
/// letter; the other spellings do not exist.
///
/// # Panics
///
/// When the store breaks the rule or fails.
pub async fn similar_ids_are_other_users(store: &impl TokenStore, user: &UserId) {
    let token = random_token();
    store.assign(user, &token).await.expect("assign");
    let id = user.as_str();
    let accented = id.replacen('a', "á", 1);
    let similar =
        [id.to_uppercase(), id.to_lowercase(), accented, format!("{id} "), format!(" {id}")];
    for other in similar.iter().filter(|other| *other != id) {
        let other = UserId::from(other.as_str());
        assert_eq!(store.token(&other).await.expect("token"), None, "{other:?}");
        assert_eq!(store.remove(&other).await.expect("remove"), None, "{other:?}");
    }
    assert_eq!(store.remove(user).await.expect("remove"), Some(token), "removed by another id");
}

/// A store that only reads says so, and its reads work.
///
/// # Panics
///
/// When the store breaks the rule or fails otherwise.
pub async fn read_only(store: &impl TokenStore, user: &UserId) {
    let assigned = store.assign(user, &random_token()).await;
    assert_eq!(assigned.map_err(kind), Err(StoreErrorKind::ReadOnly), "assign");
    let removed = store.remove(user).await;
    assert_eq!(removed.map_err(kind), Err(StoreErrorKind::ReadOnly), "remove");
    store.token(user).await.expect("token");
}

fn random_token() -> UserToken {
    UserToken::random().expect("random numbers")
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn kind(error: StoreError) -> StoreErrorKind {
    error.kind()
}
