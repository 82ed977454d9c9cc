//! Epochs of users: proofs of an earlier epoch are revoked.

use std::hash::Hash;

use dashmap::DashMap;

use crate::identity::{UserId, UserToken};

/// The epochs that the token store does not keep. They are lost with the process.
///
/// Epochs are stored by the token too, because a token store may have several spellings of a user's
/// id.
#[derive(Debug, Default)]
pub(crate) struct BrowserEpochs {
    by_user: DashMap<UserId, u64>,
    by_token: DashMap<UserToken, u64>,
}

impl BrowserEpochs {
    pub(crate) fn of(&self, user: &UserId, token: Option<&UserToken>) -> u64 {
        let by_user = self.by_user.get(user).map_or(0, |epoch| *epoch);
        let by_token = token.and_then(|token| self.by_token.get(token)).map_or(0, |epoch| *epoch);
        by_user.max(by_token)
    }

    pub(crate) fn raise(&self, user: &UserId, token: Option<&UserToken>, epoch: u64) {
        raise(&self.by_user, user, epoch);
        if let Some(token) = token {
            raise(&self.by_token, token, epoch);
        }
    }
}

fn raise<K: Clone + Eq + Hash>(epochs: &DashMap<K, u64>, key: &K, epoch: u64) {
    let mut current = epochs.entry(key.clone()).or_default();
    *current = epoch.max(*current);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_rise_by_user_and_by_token() {
        let (epochs, token) = (BrowserEpochs::default(), UserToken::new("t").unwrap());
        let (alice, other) = (UserId::from("alice"), UserId::from("ALICE"));
        assert_eq!(epochs.of(&alice, Some(&token)), 0);
        epochs.raise(&alice, Some(&token), 7);
        epochs.raise(&alice, Some(&token), 5);
        assert_eq!((epochs.of(&alice, None), epochs.of(&other, None)), (7, 0));
        assert_eq!(epochs.of(&other, Some(&token)), 7, "another spelling of the same user");
        assert_eq!(epochs.of(&other, Some(&UserToken::new("u").unwrap())), 0);
    }
}
