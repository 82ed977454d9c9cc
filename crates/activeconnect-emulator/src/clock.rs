use std::time::{Duration, SystemTime};

/// The duration in whole milliseconds; `u64::MAX` if it is longer.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_millis() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, millis)
}
