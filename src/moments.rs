//! Moments and spans of whole milliseconds. Each fits into one atomic word, and comparing two takes
//! one instruction: every request compares some.

use std::ops::Add;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment on the monotonic clock: the milliseconds since the clock was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MonoTime(u64);

/// A moment on the wall clock: the milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UnixTime(u64);

/// A span of whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Millis(u64);

impl MonoTime {
    /// When the clock was made; also "before everything".
    pub(crate) const START: Self = Self(0);
    /// A moment that never comes.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) const fn from_millis(since_start: u64) -> Self {
        Self(since_start)
    }

    pub(crate) const fn as_millis(self) -> u64 {
        self.0
    }

    /// The span from `earlier` to this moment; zero if `earlier` is later.
    pub(crate) const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }

    /// The moment so long before this one; [`MonoTime::START`] if that is before it.
    #[cfg(any(test, feature = "axum"))]
    pub(crate) fn before(self, span: impl Into<Millis>) -> Self {
        Self(self.0.saturating_sub(span.into().0))
    }
}

impl UnixTime {
    pub(crate) const fn from_millis(since_epoch: u64) -> Self {
        Self(since_epoch)
    }

    pub(crate) const fn as_millis(self) -> u64 {
        self.0
    }

    pub(crate) const fn as_secs(self) -> u64 {
        self.0 / 1_000
    }

    /// The span from `earlier` to this moment; zero if `earlier` is later.
    pub(crate) const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }

    /// The moment so long before this one; the epoch if that is before it.
    pub(crate) const fn before(self, span: Millis) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// The milliseconds from `other` to this moment; negative if `other` is later.
    pub(crate) fn signed_since(self, other: Self) -> i64 {
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        if self >= other { signed(self.0 - other.0) } else { -signed(other.0 - self.0) }
    }

    /// The moment so many milliseconds after this one, or before it if they are negative.
    pub(crate) const fn saturating_add_signed(self, ms: i64) -> Self {
        Self(self.0.saturating_add_signed(ms))
    }
}

impl Millis {
    pub(crate) const ZERO: Self = Self(0);
    /// A span that is never over.
    pub(crate) const MAX: Self = Self(u64::MAX);

    pub(crate) const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    pub(crate) const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000))
    }

    pub(crate) const fn as_millis(self) -> u64 {
        self.0
    }

    pub(crate) const fn half(self) -> Self {
        Self(self.0 / 2)
    }

    pub(crate) const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        // Centuries too many are as good as for ever.
        let secs = Self::from_secs(duration.as_secs());
        secs + Self(duration.subsec_millis().into())
    }
}

impl From<Millis> for Duration {
    fn from(span: Millis) -> Self {
        Self::from_millis(span.0)
    }
}

impl From<UnixTime> for SystemTime {
    fn from(moment: UnixTime) -> Self {
        UNIX_EPOCH + Duration::from_millis(moment.0)
    }
}

/// A moment after another; [`MonoTime::NEVER`] if it is out of range.
impl<T: Into<Millis>> Add<T> for MonoTime {
    type Output = Self;

    fn add(self, span: T) -> Self {
        Self(self.0.saturating_add(span.into().0))
    }
}

impl<T: Into<Millis>> Add<T> for UnixTime {
    type Output = Self;

    fn add(self, span: T) -> Self {
        Self(self.0.saturating_add(span.into().0))
    }
}

impl Add for Millis {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}
