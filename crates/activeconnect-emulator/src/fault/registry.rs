use super::Fault;
use crate::Endpoint;

/// The active faults, in the order in which they were added.
#[derive(Default)]
pub(crate) struct FaultRegistry(Vec<Fault>);

impl FaultRegistry {
    pub(crate) fn add(&mut self, fault: Fault) {
        if fault.times != Some(0) {
            self.0.push(fault);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes the first fault that matches a call concerning these users, and counts it.
    pub(crate) fn take_matching(&mut self, call: Endpoint, user_ids: &[String]) -> Option<Fault> {
        let index = self.0.iter().position(|fault| fault.matches(call, user_ids))?;
        let fault = self.0.get_mut(index)?;
        fault.times = fault.times.map(|left| left - 1);
        if fault.times == Some(0) { Some(self.0.remove(index)) } else { Some(fault.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FaultKind, FaultRoute};

    fn faults(all: impl IntoIterator<Item = Fault>) -> FaultRegistry {
        let mut faults = FaultRegistry::default();
        all.into_iter().for_each(|fault| faults.add(fault));
        faults
    }

    fn kind(faults: &mut FaultRegistry, call: Endpoint, user_ids: &[&str]) -> Option<FaultKind> {
        let user_ids: Vec<_> = user_ids.iter().map(|user_id| (*user_id).to_owned()).collect();
        faults.take_matching(call, &user_ids).map(|fault| fault.kind)
    }

    #[test]
    fn first_match_applies_until_used_up() {
        let mut faults = faults([
            Fault::new(Endpoint::Logout, FaultKind::Garbage),
            Fault::new(Endpoint::Status, FaultKind::Hang).times(2),
            Fault::new(FaultRoute::All, FaultKind::Reset).times(1),
            Fault::new(Endpoint::Status, FaultKind::Truncate).times(0),
        ]);
        let mut next = || kind(&mut faults, Endpoint::Status, &["u"]);
        assert_eq!(next(), Some(FaultKind::Hang));
        assert_eq!(next(), Some(FaultKind::Hang));
        assert_eq!(next(), Some(FaultKind::Reset));
        assert_eq!(next(), None);
        for _ in 0..3 {
            assert_eq!(kind(&mut faults, Endpoint::Logout, &["u"]), Some(FaultKind::Garbage));
        }
        faults.clear();
        assert_eq!(kind(&mut faults, Endpoint::Logout, &["u"]), None);
    }

    #[test]
    fn management_is_six_of_nine_calls() {
        let mut faults = faults([Fault::new(FaultRoute::Management, FaultKind::Hang)]);
        let matched = Endpoint::ALL.map(|call| kind(&mut faults, call, &[]).is_some());
        assert_eq!(matched, [true, true, true, true, true, true, false, false, false]);
    }

    #[test]
    fn user_fault_affects_no_other_user() {
        let mut faults = faults([Fault::new(FaultRoute::All, FaultKind::Hang).for_user("a")]);
        assert_eq!(kind(&mut faults, Endpoint::Status, &["b"]), None);
        assert_eq!(kind(&mut faults, Endpoint::AddUsers, &[]), None);
        assert_eq!(kind(&mut faults, Endpoint::AddUsers, &["b", "a"]), Some(FaultKind::Hang));
    }

    #[test]
    fn fault_without_effect_is_not_used_up() {
        let mut faults = faults([
            Fault::new(FaultRoute::All, FaultKind::ForeignUrls).times(1),
            Fault::new(FaultRoute::All, FaultKind::UnknownStatus).times(1),
        ]);
        assert_eq!(kind(&mut faults, Endpoint::Logout, &[]), None);
        assert_eq!(kind(&mut faults, Endpoint::Status, &[]), Some(FaultKind::UnknownStatus));
        assert_eq!(
            kind(&mut faults, Endpoint::AuthenticateUser, &[]),
            Some(FaultKind::ForeignUrls)
        );
    }
}
