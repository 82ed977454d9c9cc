use std::time::Duration;

use crate::clock::Timestamp;
use crate::protocol::AuthMethods;

/// What a layer requires of the login that made a session, beside that the session is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requirement {
    /// The login asked for exactly these; empty requires nothing.
    pub(crate) methods: AuthMethods,
    /// The login is no older than this.
    pub(crate) max_age: Option<Duration>,
}

impl Requirement {
    pub(crate) const NONE: Self = Self { methods: AuthMethods::NONE, max_age: None };

    pub(crate) fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// Whether a login satisfies it that asked for these methods and was claimed at `login`.
    pub(crate) fn is_satisfied(
        &self,
        asked: AuthMethods,
        login: Timestamp,
        now: Timestamp,
    ) -> bool {
        let by_methods = self.methods.is_empty() || self.methods == asked;
        by_methods && self.max_age.is_none_or(|most| login.age(now) <= most.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{MonoTime, UnixTime};
    use crate::protocol::AuthMethod::{self, Acceptance, Device, Facial};

    const LOGIN: Timestamp = Timestamp {
        mono: MonoTime::from_millis(5_000),
        wall: UnixTime::from_millis(1_700_000_000_000),
    };

    fn methods(methods: &[AuthMethod]) -> AuthMethods {
        methods.iter().copied().collect()
    }

    #[test]
    fn set_asked_with_must_be_the_very_set() {
        let required = Requirement { methods: methods(&[Device, Facial]), max_age: None };
        for (asked, met) in [
            (vec![Device, Facial], true),
            (vec![Facial, Device], true),
            (vec![], false),
            (vec![Facial], false),
            (vec![Device], false),
            (vec![Acceptance, Device, Facial], false),
        ] {
            assert_eq!(required.is_satisfied(methods(&asked), LOGIN, LOGIN), met, "{asked:?}");
            assert!(Requirement::NONE.is_satisfied(methods(&asked), LOGIN, LOGIN));
        }
    }

    #[test]
    fn login_grows_old_on_both_clocks() {
        let most = Duration::from_secs(60);
        let required = Requirement { methods: AuthMethods::NONE, max_age: Some(most) };
        let (edge, over) = (LOGIN.after(most), LOGIN.after(most + Duration::from_millis(1)));
        for (now, met) in [
            (LOGIN, true),
            (edge, true),
            (over, false),
            (Timestamp { mono: over.mono, ..LOGIN }, false),
            (Timestamp { wall: over.wall, ..LOGIN }, false),
            (Timestamp { wall: UnixTime::default(), ..edge }, true),
            (Timestamp { wall: UnixTime::default(), ..over }, false),
        ] {
            assert_eq!(required.is_satisfied(AuthMethods::NONE, LOGIN, now), met, "{now:?}");
        }
    }
}
