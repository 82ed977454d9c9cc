use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::StatusCode;

/// How many connections of a layer were upgraded without a guard that ends them with the session.
#[derive(Debug, Default)]
pub(crate) struct UpgradeStats {
    unguarded: AtomicU64,
    warned: AtomicBool,
}

impl UpgradeStats {
    pub(crate) fn unguarded(&self) -> u64 {
        self.unguarded.load(Ordering::Relaxed)
    }
}

/// One upgrade request. A layer cannot reach into the upgraded connection, so the request is
/// counted when the handler drops the session without having taken a guard.
#[derive(Debug)]
pub(crate) struct Upgrade {
    upgrades: Arc<UpgradeStats>,
    upgrade_status: StatusCode,
    granted: AtomicBool,
    guarded: AtomicBool,
}

impl Upgrade {
    /// `upgrade_status` is the status of a response that completes the upgrade.
    pub(crate) fn new(upgrades: Arc<UpgradeStats>, upgrade_status: StatusCode) -> Arc<Self> {
        Arc::new(Self { upgrades, upgrade_status, granted: false.into(), guarded: false.into() })
    }

    /// Stores the status of the handler's response.
    pub(crate) fn record_response(&self, status: StatusCode) {
        if status == self.upgrade_status {
            self.granted.store(true, Ordering::Release);
        }
    }

    /// Stores that the handler took a guard.
    pub(crate) fn mark_guarded(&self) {
        self.guarded.store(true, Ordering::Release);
    }
}

impl Drop for Upgrade {
    fn drop(&mut self) {
        if !*self.granted.get_mut() || *self.guarded.get_mut() {
            return;
        }
        self.upgrades.unguarded.fetch_add(1, Ordering::Relaxed);
        if !self.upgrades.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a connection was upgraded (a WebSocket, as a rule) by a handler that takes no \
                 guard of its session: it will outlive the session; wait for \
                 ActiveSession::revoked() there, or use ActiveSession::guard_socket()"
            );
        }
    }
}
