use crate::sync::atomic::Ordering::{Acquire, Release};
use crate::sync::atomic::{AtomicU8, AtomicU64};

/// What a verdict needs, written by one at a time and read by anybody without a lock.
#[derive(Debug)]
pub(crate) struct Published {
    standing: AtomicU8,
    mono: AtomicU64,
    wall: AtomicU64,
}

impl Published {
    pub(crate) fn new(standing: u8, mono: u64, wall: u64) -> Self {
        Self {
            standing: AtomicU8::new(standing),
            mono: AtomicU64::new(mono),
            wall: AtomicU64::new(wall),
        }
    }

    /// Stores a standing and the times of the poll that stated it. Only one may write at a time.
    ///
    /// Times first where the standing allows, last where it forbids: in between it forbids.
    pub(crate) fn store(&self, standing: u8, allows: bool, mono: u64, wall: u64) {
        if !allows {
            self.standing.store(standing, Release);
        }
        self.mono.store(mono, Release);
        self.wall.store(wall, Release);
        if allows {
            self.standing.store(standing, Release);
        }
    }

    /// A standing and times. Never the times of a standing that forbids under one that allows.
    /// Times torn apart from each other look older, never fresher.
    pub(crate) fn load(&self) -> (u8, u64, u64) {
        let mut standing = self.standing.load(Acquire);
        loop {
            let (mono, wall) = (self.mono.load(Acquire), self.wall.load(Acquire));
            // Whoever sees times sees the standing that was stored before them.
            let again = self.standing.load(Acquire);
            if again == standing {
                return (standing, mono, wall);
            }
            standing = again;
        }
    }
}
