//! How a push counts against the budget.

use crate::engine::state::Engine;
use crate::events::event::EventKind;
use crate::login::push_budget::Spending;

impl Engine {
    /// Charges a login that an unknown browser starts, whether its name exists or not. False if it
    /// may send no push.
    pub(super) fn spend_push(&self) -> bool {
        match self.login.push_budget.spend(self.now()) {
            Spending::Allowed => return true,
            Spending::Low => {
                tracing::warn!("four fifths of this month's push budget are spent");
                self.send_event(EventKind::PushBudgetLow);
                return true;
            }
            Spending::Rejected { is_first: false } => {}
            Spending::Rejected { is_first: true } => {
                tracing::warn!(
                    "this month's push budget is spent: logins of browsers that are not known ring \
                     no phone; raise ActiveconnectBuilder::push_budget, or call reset_push_budget()"
                );
                self.send_event(EventKind::PushBudgetSpent);
            }
        }
        false
    }
}
