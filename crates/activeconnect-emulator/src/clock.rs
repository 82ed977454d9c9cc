use std::time::{Duration, SystemTime};

/// Whole milliseconds; no time that the emulator handles is longer than `u64` holds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_millis() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, millis)
}
