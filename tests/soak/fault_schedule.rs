//! Random faults of status calls, one after the other.

use std::time::Duration;

use activeconnect_emulator::{Emulator, Endpoint, Fault, FaultKind};
use axum::http::StatusCode;
use tower_activeconnect::UserToken;

use super::event_log::{Outage, Span, now};
use super::rng::Rng;

/// The number of users that a partial fault affects.
const AFFECTED_USERS: usize = 20;

/// The current fault, and the time of the next change.
pub(crate) struct FaultSchedule {
    changes_at: u64,
    outage: Option<Outage>,
}

impl FaultSchedule {
    pub(crate) fn new() -> Self {
        Self { changes_at: now() + 5_000, outage: None }
    }

    /// Switches the fault on or off when it is time; returns an outage that ended.
    pub(crate) fn advance(
        &mut self,
        rng: &mut Rng,
        emulator: &Emulator,
        users: &[UserToken],
    ) -> Option<Outage> {
        let from = now();
        if from < self.changes_at {
            return None;
        }
        if self.outage.is_some() {
            self.changes_at = from + rng.between(5_000, 20_000);
            return self.clear(emulator);
        }
        self.changes_at = from + rng.between(500, 12_000);
        let fault = random_fault(rng);
        let affected = (rng.per_mille(400))
            .then(|| (0..AFFECTED_USERS).map(|_| rng.index(users.len())).collect::<Vec<_>>());
        match &affected {
            None => emulator.inject_fault(fault.clone()),
            Some(affected) => {
                for user in affected {
                    emulator.inject_fault(fault.clone().for_user(users[*user].as_str()));
                }
            }
        }
        let kind = fault_name(&fault);
        // A requested pause affects all users.
        let is_for_all = kind == "429";
        let users = affected.filter(|_| !is_for_all).map(|users| users.into_iter().collect());
        self.outage = Some(Outage { kind, span: Span { from, until: u64::MAX }, users });
        None
    }

    pub(crate) fn clear(&mut self, emulator: &Emulator) -> Option<Outage> {
        let mut outage = self.outage.take()?;
        emulator.clear_faults();
        outage.span.until = now();
        Some(outage)
    }
}

/// A random fault. Excludes 401, 403, 404 and 410, which may end a session.
fn random_fault(rng: &mut Rng) -> Fault {
    let http = |status, retry_after_s| FaultKind::Http { status, retry_after_s };
    let kind = match rng.below(10) {
        0 => http(StatusCode::INTERNAL_SERVER_ERROR, None),
        1 => http(StatusCode::SERVICE_UNAVAILABLE, None),
        2 => http(StatusCode::TOO_MANY_REQUESTS, Some(2)),
        3 => FaultKind::Delay,
        4 => FaultKind::Hang,
        5 => FaultKind::Reset,
        6 => FaultKind::Garbage,
        7 => FaultKind::UnknownStatus,
        8 => FaultKind::Truncate,
        _ => FaultKind::Redirect,
    };
    let fault = Fault::new(Endpoint::Status, kind);
    if kind == FaultKind::Delay {
        // Below the poll timeout, so that reported statuses arrive.
        fault.with_delay(Duration::from_millis(rng.between(200, 2_000)))
    } else {
        fault
    }
}

/// The name of the control interface; for `http` the status.
fn fault_name(fault: &Fault) -> String {
    let json = serde_json::to_value(fault).unwrap();
    match json["status"].as_u64() {
        Some(status) => status.to_string(),
        None => json["kind"].as_str().unwrap().to_owned(),
    }
}
