use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The largest clock skew of this machine that the client tolerates, in seconds.
const MAX_SKEW_SECS: i64 = 300;

/// How far the service's clock is ahead of ours, learned from the `Date` of a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClockSkew {
    /// Near enough to sign with.
    Accepted(i64),
    /// A skew so large that another fault is likely: signing with it would let the responding
    /// server choose the clock.
    Excessive(i64),
}

impl ClockSkew {
    pub(super) fn seconds(self) -> i64 {
        let (Self::Accepted(seconds) | Self::Excessive(seconds)) = self;
        seconds
    }
}

/// Reads a `Date` (RFC 9110, 6.6.1) received at `now`; `None` when it is no date.
pub(super) fn measure(date: &str, now: Duration) -> Option<ClockSkew> {
    let date = httpdate::parse_http_date(date).ok()?;
    let theirs = seconds(date.duration_since(UNIX_EPOCH).ok()?);
    let offset = theirs.saturating_sub(seconds(now));
    Some(if offset.abs() <= MAX_SKEW_SECS {
        ClockSkew::Accepted(offset)
    } else {
        ClockSkew::Excessive(offset)
    })
}

/// Reads a `Retry-After` (RFC 9110, 10.2.3), seconds or a date, as a pause of 1 s to 5 min; `None`
/// when it is neither.
pub(super) fn retry_after(value: &str, now: Duration) -> Option<Duration> {
    let pause = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date: SystemTime = httpdate::parse_http_date(value).ok()?;
            date.duration_since(UNIX_EPOCH).ok()?.saturating_sub(now)
        }
    };
    Some(pause.clamp(Duration::from_secs(1), Duration::from_secs(300)))
}

fn seconds(since: Duration) -> i64 {
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `Sun, 06 Nov 1994 08:49:37 GMT`
    const THEN: u64 = 784_111_777;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn clock_is_followed_for_five_minutes_and_no_further() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(measure(date, at(THEN)), Some(ClockSkew::Accepted(0)));
        assert_eq!(measure(date, at(THEN - 300)), Some(ClockSkew::Accepted(300)));
        assert_eq!(measure(date, at(THEN + 300)), Some(ClockSkew::Accepted(-300)));
        assert_eq!(measure(date, at(THEN - 301)), Some(ClockSkew::Excessive(301)));
        assert_eq!(measure(date, at(THEN + 301)), Some(ClockSkew::Excessive(-301)));
        for nonsense in
            ["", "now", "Sun, 06 Nov 1994", "784111777", "Sun, 99 Nov 1994 08:49:37 GMT"]
        {
            assert_eq!(measure(nonsense, at(THEN)), None, "{nonsense}");
        }
    }

    #[test]
    fn pauses_are_one_second_to_five_minutes() {
        for (value, pause) in [
            ("0", Some(1)),
            ("1", Some(1)),
            ("17", Some(17)),
            ("300", Some(300)),
            ("301", Some(300)),
            ("18446744073709551615", Some(300)),
            ("18446744073709551616", None),
            ("-1", None),
            ("1e20", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(1)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(70)),
            ("Thu, 31 Dec 2099 23:59:59 GMT", Some(300)),
        ] {
            assert_eq!(
                retry_after(value, at(THEN - 10)).map(|pause| pause.as_secs()),
                pause,
                "{value}"
            );
        }
    }

    proptest! {
        #[test]
        fn clock_offset_stays_in_bounds(text in "\\PC*", now in any::<u64>()) {
            let now = at(now);
            if let Some(ClockSkew::Accepted(offset)) = measure(&text, now) {
                prop_assert!(offset.abs() <= 300);
            }
            if let Some(pause) = retry_after(&text, now) {
                prop_assert!((1..=300).contains(&pause.as_secs()));
            }
        }

        #[test]
        fn any_date_is_judged_without_a_panic(theirs in 0..253_402_300_799_u64, now in any::<u64>()) {
            let date = httpdate::fmt_http_date(UNIX_EPOCH + at(theirs));
            match measure(&date, at(now)).expect("a date") {
                ClockSkew::Accepted(offset) => prop_assert_eq!(now.checked_add_signed(offset), Some(theirs)),
                ClockSkew::Excessive(offset) => prop_assert!(offset.abs() > 300),
            }
        }
    }
}
