use std::collections::{BTreeMap, HashSet};

/// The used nonces. Only correctly signed requests add one, so that callers without a secret cannot
/// fill the memory.
#[derive(Default)]
pub(super) struct Nonces {
    used: HashSet<(String, u64)>,
    /// The same by the time of their signature, for their removal in that order.
    signed_at: BTreeMap<u64, Vec<(String, u64)>>,
}

impl Nonces {
    /// Whether this client uses this nonce for the first time.
    pub(super) fn take(&mut self, client_id: &str, nonce: u64, signed_at: u64) -> bool {
        let name = (client_id.to_owned(), nonce);
        let first = self.used.insert(name.clone());
        if first {
            self.signed_at.entry(signed_at).or_default().push(name);
        }
        first
    }

    /// Removes the nonces that were signed before `oldest`: their timestamp is rejected anyway.
    pub(super) fn forget_before(&mut self, oldest: u64) {
        while let Some(entry) = self.signed_at.first_entry()
            && *entry.key() < oldest
        {
            for name in entry.remove() {
                self.used.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonce_is_valid_once_per_client() {
        let mut nonces = Nonces::default();
        assert!(nonces.take("a", 1, 100));
        assert!(!nonces.take("a", 1, 100));
        assert!(!nonces.take("a", 1, 101), "a new timestamp does not renew the nonce");
        assert!(nonces.take("b", 1, 101));

        nonces.forget_before(100);
        assert!(!nonces.take("a", 1, 100));
        nonces.forget_before(101);
        assert!(nonces.take("a", 1, 102));
        assert!(!nonces.take("b", 1, 102));
        nonces.forget_before(200);
        assert!(nonces.used.is_empty() && nonces.signed_at.is_empty());
    }
}
