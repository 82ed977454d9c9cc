//! Times in pages and JSON. They are in UTC, because the user's time zone is not known.

use time::OffsetDateTime;

/// A time in RFC 3339 format, in whole seconds: `2026-11-26T14:05:09Z`.
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    let time = utc(unix_ms);
    let (hour, minute, second) = time.to_hms();
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", time.date())
}

/// The same for users, to the minute: `2026-11-26 14:05 UTC`.
pub(super) fn utc_minute(unix_ms: u64) -> String {
    let time = utc(unix_ms);
    format!("{} {:02}:{:02} UTC", time.date(), time.hour(), time.minute())
}

fn utc(unix_ms: u64) -> OffsetDateTime {
    let seconds = i64::try_from(unix_ms / 1_000).unwrap_or_default();
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_utc() {
        for (unix_ms, exact, minute) in [
            (0, "1970-01-01T00:00:00Z", "1970-01-01 00:00 UTC"),
            (951_782_400_000, "2000-02-29T00:00:00Z", "2000-02-29 00:00 UTC"),
            (1_795_701_909_999, "2026-11-26T14:05:09Z", "2026-11-26 14:05 UTC"),
            (u64::MAX, "1970-01-01T00:00:00Z", "1970-01-01 00:00 UTC"),
        ] {
            assert_eq!((rfc3339(unix_ms).as_str(), utc_minute(unix_ms).as_str()), (exact, minute));
        }
    }
}
