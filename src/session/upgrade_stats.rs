use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::StatusCode;

/// How many connections of a layer were upgraded though no guard watches over the session.
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

/// One request for an upgrade. A layer can't reach into what comes after; so it is counted when the
/// handler has let go of the session without ever taking a guard.
#[derive(Debug)]
pub(crate) struct Upgrade {
    upgrades: Arc<UpgradeStats>,
    upgrade_status: StatusCode,
    granted: AtomicBool,
    guarded: AtomicBool,
}

impl Upgrade {
    /// The status says which answer grants it.
    pub(crate) fn new(upgrades: Arc<UpgradeStats>, granted_by: StatusCode) -> Arc<Self> {
        Arc::new(Self {
            upgrades,
            upgrade_status: granted_by,
            granted: false.into(),
            guarded: false.into(),
        })
    }

    /// The handler answered.
    pub(crate) fn record_response(&self, status: StatusCode) {
        if status == self.upgrade_status {
            self.granted.store(true, Ordering::Release);
        }
    }

    /// The handler watches over the session.
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
