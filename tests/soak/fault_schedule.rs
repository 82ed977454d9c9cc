//! Faults of the status route, one after the other.

use std::time::Duration;

use activeconnect_emulator::{Emulator, Endpoint, Fault, FaultKind};
use axum::http::StatusCode;
use tower_activeconnect::UserToken;

use super::event_log::{Outage, Span, now};
use super::rng::Chance;

/// As many users a fault strikes that does not strike all.
const SOME: usize = 20;

/// Whether a fault is on, and when that changes.
pub(crate) struct Weather {
    changes_at: u64,
    outage: Option<Outage>,
}

impl Weather {
    pub(crate) fn new() -> Self {
        Self { changes_at: now() + 5_000, outage: None }
    }

    /// Switches faults on and off when it is time; gives one that is over.
    pub(crate) fn turn(
        &mut self,
        chance: &mut Chance,
        emulator: &Emulator,
        users: &[UserToken],
    ) -> Option<Outage> {
        let from = now();
        if from < self.changes_at {
            return None;
        }
        if self.outage.is_some() {
            self.changes_at = from + chance.between(5_000, 20_000);
            return self.clear(emulator);
        }
        self.changes_at = from + chance.between(500, 12_000);
        let fault = any(chance);
        let struck = (chance.per_mille(400))
            .then(|| (0..SOME).map(|_| chance.index(users.len())).collect::<Vec<_>>());
        match &struck {
            None => emulator.inject_fault(fault.clone()),
            Some(some) => {
                for user in some {
                    emulator.inject_fault(fault.clone().for_user(users[*user].as_str()));
                }
            }
        }
        let kind = name(&fault);
        // Who asks for a pause, asks for everybody's.
        let is_for_all = kind == "429";
        let users = struck.filter(|_| !is_for_all).map(|users| users.into_iter().collect());
        self.outage = Some(Outage { kind, on: Span { from, until: u64::MAX }, users });
        None
    }

    pub(crate) fn clear(&mut self, emulator: &Emulator) -> Option<Outage> {
        let mut outage = self.outage.take()?;
        emulator.clear_faults();
        outage.on.until = now();
        Some(outage)
    }
}

/// None that says anything of a session: 401, 403, 404 and 410 may end it.
fn any(chance: &mut Chance) -> Fault {
    let http = |status, retry_after_s| FaultKind::Http { status, retry_after_s };
    let kind = match chance.below(10) {
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
        // Less than a poll may take: what the emulator says it told, arrives.
        fault.with_delay(Duration::from_millis(chance.between(200, 2_000)))
    } else {
        fault
    }
}

/// As in the control interface, `http` with its status.
fn name(fault: &Fault) -> String {
    let json = serde_json::to_value(fault).unwrap();
    match json["status"].as_u64() {
        Some(status) => status.to_string(),
        None => json["kind"].as_str().unwrap().to_owned(),
    }
}
