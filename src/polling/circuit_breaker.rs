use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Millis, MonoTime};
use crate::polling::backoff;

/// How many failures in a row open the breaker.
const FAILURE_THRESHOLD: u32 = 5;
/// Failures open the breaker only if no call has succeeded for this long: among hundreds of good
/// calls a second, five failures in a row mean nothing.
const SILENCE_BEFORE_OPEN: Duration = Duration::from_secs(1);
/// The longest pause between two probes unless the service requests one. One call at a time spares
/// the service enough, and each second in which its return goes unnoticed costs every user a second
/// of 503.
pub(crate) const MAX_OPEN_DURATION: Duration = Duration::from_secs(2);
/// How long a probe may take before another is sent: the 3 s of a poll, and a second to report.
const PROBE_TIMEOUT: Duration = Duration::from_secs(4);
/// The maximum number of probes in a round: the first round has one, each later one twice as many
/// as the one before.
const MAX_PROBES: u32 = 64;
/// How long the breaker has to be open before requests stop waiting for a poll.
const FAILING_STATE_AGE: Duration = Duration::from_millis(3_500);

/// The circuit breaker of the service. Closed, it admits all calls. Open, after too many failures
/// or a requested pause (429), it admits a call now and then, a probe. The first good response
/// closes it, whatever pause was requested.
///
/// A failed probe may be the fault of its session alone. So each round has more probes than the one
/// before, of sessions that are still fresh. None of them is probed twice, and none is fresh any
/// more once `max_staleness` is over.
#[derive(Debug)]
pub(crate) struct CircuitBreaker(Mutex<State>);

#[derive(Debug)]
struct State {
    circuit: Circuit,
    /// How long the breaker was open, once it has closed, until the poller reads it.
    just_closed: Option<Millis>,
}

#[derive(Debug)]
enum Circuit {
    Closed {
        /// Failures in a row.
        failures: u32,
        last_success: Option<MonoTime>,
    },
    Open {
        since: MonoTime,
        /// The service requested the pause.
        retry_after_set: bool,
        reopen_count: u32,
        /// Before that no probe is sent.
        probe_at: MonoTime,
        /// The probes in flight.
        round: Option<Round>,
        last_failure: MonoTime,
    },
}

#[derive(Clone, Copy, Debug)]
struct Round {
    /// When the first was sent.
    started_at: MonoTime,
    in_flight: u32,
    /// How many more probes may be sent.
    left: u32,
}

/// The polls that the breaker admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// All.
    All,
    /// One, as a probe.
    Probe,
    /// One of a session that is still fresh, as a further probe. If there is none, ask again at
    /// that time.
    ProbeOfFreshSession(MonoTime),
    /// None before that time.
    Denied(MonoTime),
}

/// A call that failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FailedCall {
    pub(crate) sent: MonoTime,
    pub(crate) failed_at: MonoTime,
    /// The service responded 429: it asks all callers for a pause.
    pub(crate) is_rate_limited: bool,
    /// The pause that the service requested.
    pub(crate) retry_after: Option<Duration>,
    /// The service has responded to other sessions since this one started to fail: the failure
    /// concerns this session only.
    pub(crate) is_session_specific: bool,
}

/// The change that the end of a call caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    /// The first of a row of failures.
    Failing,
    Opened,
    Closed,
}

impl CircuitBreaker {
    pub(crate) fn new() -> Self {
        let circuit = Circuit::Closed { failures: 0, last_success: None };
        Self(Mutex::new(State { circuit, just_closed: None }))
    }

    /// The polls that may be sent now.
    pub(crate) fn admission(&self, now: MonoTime) -> Admission {
        match self.state().circuit {
            Circuit::Closed { .. } => Admission::All,
            Circuit::Open { round: Some(Round { started_at, left, .. }), .. }
                if now < started_at + PROBE_TIMEOUT =>
            {
                let timeout = started_at + PROBE_TIMEOUT;
                match left {
                    0 => Admission::Denied(timeout),
                    _ => Admission::ProbeOfFreshSession(timeout),
                }
            }
            Circuit::Open { round: None, probe_at, .. } if now < probe_at => {
                Admission::Denied(probe_at)
            }
            Circuit::Open { .. } => Admission::Probe,
        }
    }

    /// Records that a poll is sent; if the breaker is open, that poll is a probe.
    pub(crate) fn record_sent(&self, now: MonoTime, is_retry: bool) {
        let mut state = self.state();
        let Circuit::Open { round, reopen_count, .. } = &mut state.circuit else { return };
        match round {
            Some(round) if now < round.started_at + PROBE_TIMEOUT => {
                round.in_flight += 1;
                round.left = round.left.saturating_sub(1);
            }
            _ => {
                let probes = (1 << (*reopen_count).min(31)).min(MAX_PROBES);
                // A retry is sent in addition to the probes of sessions that have not failed.
                let left = if is_retry { probes } else { probes - 1 };
                *round = Some(Round { started_at: now, in_flight: 1, left });
            }
        }
    }

    /// Whether the breaker is open: until a call succeeds.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state().circuit, Circuit::Open { .. })
    }

    /// Whether the service requested the pause.
    pub(crate) fn is_pause_requested(&self) -> bool {
        matches!(self.state().circuit, Circuit::Open { retry_after_set: true, .. })
    }

    /// Whether the service has failed for a while and the last probe failed recently: no response
    /// can be expected within the time that a request waits.
    pub(crate) fn is_failing(&self, now: MonoTime) -> bool {
        match self.state().circuit {
            Circuit::Closed { .. } => false,
            Circuit::Open { since, last_failure, .. } => {
                now >= since + FAILING_STATE_AGE && now < last_failure + FAILING_STATE_AGE
            }
        }
    }

    /// How long the breaker was open, if it has closed since the last call of this function.
    pub(crate) fn take_just_closed(&self) -> Option<Millis> {
        self.state().just_closed.take()
    }

    /// Records that a call sent at `sent` succeeded.
    pub(crate) fn record_success(&self, sent: MonoTime, now: MonoTime) -> Option<Transition> {
        let mut state = self.state();
        let open_since = match state.circuit {
            // The call was in flight before the service requested the pause, which still holds.
            Circuit::Open { retry_after_set: true, since, .. } if sent <= since => return None,
            Circuit::Open { since, .. } => Some(since),
            Circuit::Closed { .. } => None,
        };
        state.circuit = Circuit::Closed { failures: 0, last_success: Some(now) };
        state.just_closed = open_since.map(|since| now.since(since)).or(state.just_closed);
        open_since.map(|_| Transition::Closed)
    }

    /// Records that a call failed.
    pub(crate) fn record_failure(&self, call: FailedCall, jitter: f64) -> Option<Transition> {
        let FailedCall { sent, failed_at: now, is_session_specific, .. } = call;
        let requested = call.retry_after.map(|pause| pause.min(backoff::MAX_REQUESTED_PAUSE));
        let mut state = self.state();
        match &mut state.circuit {
            Circuit::Closed { .. } if is_session_specific => None,
            Circuit::Closed { failures, last_success } => {
                *failures += 1;
                let is_first = *failures == 1;
                let is_silent = last_success.is_none_or(|at| now >= at + SILENCE_BEFORE_OPEN);
                if !call.is_rate_limited && (*failures < FAILURE_THRESHOLD || !is_silent) {
                    return is_first.then_some(Transition::Failing);
                }
                let pause = requested.unwrap_or_else(|| own_pause(0, jitter));
                state.circuit = Circuit::Open {
                    since: now,
                    retry_after_set: call.is_rate_limited || requested.is_some(),
                    reopen_count: 0,
                    probe_at: now + pause,
                    round: None,
                    last_failure: now,
                };
                Some(Transition::Opened)
            }
            Circuit::Open {
                since,
                retry_after_set,
                reopen_count,
                probe_at,
                round,
                last_failure,
            } => {
                *last_failure = now;
                *retry_after_set |= requested.is_some();
                if let Some(probes) = round.as_mut().filter(|round| sent >= round.started_at) {
                    probes.in_flight = probes.in_flight.saturating_sub(1);
                    if probes.in_flight > 0 {
                        return None;
                    }
                    *reopen_count += 1;
                    let pause = requested.unwrap_or_else(|| own_pause(*reopen_count, jitter));
                    // From the sending on: probes that time out are followed by the next at once.
                    *probe_at = (probes.started_at + pause).max(now);
                    *round = None;
                } else if let Some(requested) = requested {
                    // The call was in flight before. It delays the first probe no further.
                    let longest = *since + backoff::MAX_REQUESTED_PAUSE;
                    *probe_at = (now + requested).min(longest).max(*probe_at);
                }
                None
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock, so a poisoned one holds a whole value.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pause before the next probe if the service requested none.
fn own_pause(reopen_count: u32, jitter: f64) -> Duration {
    backoff::backoff(reopen_count + 1, jitter).min(MAX_OPEN_DURATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_millis(ms)
    }

    /// A call that failed as soon as it was sent.
    fn failed(now: u64) -> FailedCall {
        FailedCall {
            sent: at(now),
            failed_at: at(now),
            is_rate_limited: false,
            retry_after: None,
            is_session_specific: false,
        }
    }

    fn rate_limited(now: u64, retry_after: u64) -> FailedCall {
        let retry_after = Some(Duration::from_secs(retry_after));
        FailedCall { is_rate_limited: true, retry_after, ..failed(now) }
    }

    fn probe(breaker: &CircuitBreaker, now: u64) {
        assert_eq!(breaker.admission(at(now)), Admission::Probe);
        breaker.record_sent(at(now), false);
    }

    #[test]
    fn five_failures_in_a_row_open_it() {
        let breaker = CircuitBreaker::new();
        assert_eq!(breaker.record_failure(failed(0), 1.0), Some(Transition::Failing));
        for _ in 0..3 {
            assert_eq!(breaker.record_failure(failed(0), 1.0), None);
        }
        assert_eq!(breaker.record_success(at(0), at(0)), None);
        assert_eq!(breaker.record_failure(failed(5_000), 1.0), Some(Transition::Failing));
        for _ in 0..3 {
            assert_eq!(breaker.record_failure(failed(5_000), 1.0), None);
            assert_eq!(breaker.admission(at(5_000)), Admission::All);
        }
        assert_eq!(breaker.record_failure(failed(5_000), 1.0), Some(Transition::Opened));
        assert_eq!(breaker.record_failure(failed(5_010), 1.0), None, "it was in flight");
        assert_eq!(breaker.admission(at(5_999)), Admission::Denied(at(6_000)));
        probe(&breaker, 6_000);
        assert_eq!(
            breaker.admission(at(6_001)),
            Admission::Denied(at(10_000)),
            "one probe at a time"
        );
        assert_eq!(breaker.record_failure(failed(6_001), 1.0), None);
        assert_eq!(breaker.admission(at(7_999)), Admission::Denied(at(8_000)), "twice as long");
        probe(&breaker, 8_000);
        probe(&breaker, 12_000);
        assert_eq!(breaker.record_success(at(12_000), at(12_100)), Some(Transition::Closed));
        assert_eq!(breaker.admission(at(12_100)), Admission::All);
        assert_eq!(breaker.take_just_closed(), Some(Millis::from_millis(7_100)));
        assert_eq!(breaker.take_just_closed(), None);
    }

    #[test]
    fn failures_amid_answers_open_nothing() {
        let breaker = CircuitBreaker::new();
        breaker.record_success(at(0), at(0));
        for now in 1..1_000 {
            assert_ne!(breaker.record_failure(failed(now), 1.0), Some(Transition::Opened));
        }
        assert_eq!(breaker.record_failure(failed(1_000), 1.0), Some(Transition::Opened));
        let breaker = CircuitBreaker::new();
        for now in 0..1_000 {
            let own = FailedCall { is_session_specific: true, ..rate_limited(now, 300) };
            assert_eq!(breaker.record_failure(own, 1.0), None);
        }
        assert_eq!(breaker.admission(at(1_000)), Admission::All);
    }

    #[test]
    fn asked_pause_gets_a_probe_each_three_seconds() {
        let breaker = CircuitBreaker::new();
        assert_eq!(breaker.record_failure(rate_limited(1_000, 300), 0.0), Some(Transition::Opened));
        assert_eq!(breaker.record_success(at(1_000), at(1_500)), None, "in flight before");
        assert_eq!(breaker.record_failure(rate_limited(3_500, 300), 0.0), None);
        assert_eq!(breaker.admission(at(3_999)), Admission::Denied(at(4_000)), "no later for that");
        for now in [4_000, 7_000, 10_000] {
            probe(&breaker, now);
            let probed = FailedCall { failed_at: at(now + 500), ..rate_limited(now, 300) };
            assert_eq!(breaker.record_failure(probed, 0.0), None);
            assert_eq!(breaker.admission(at(now + 2_999)), Admission::Denied(at(now + 3_000)));
        }
        assert!(breaker.is_pause_requested());
        probe(&breaker, 13_000);
        assert_eq!(breaker.record_success(at(13_000), at(13_001)), Some(Transition::Closed));
        assert!(!breaker.is_pause_requested());
        // A shorter requested pause is kept.
        breaker.record_failure(rate_limited(20_000, 1), 0.0);
        assert_eq!(breaker.admission(at(20_999)), Admission::Denied(at(21_000)));
    }

    #[test]
    fn pause_of_the_last_failure_is_kept() {
        let breaker = CircuitBreaker::new();
        for _ in 0..4 {
            let call = FailedCall { is_rate_limited: false, ..rate_limited(0, 300) };
            assert_ne!(breaker.record_failure(call, 0.0), Some(Transition::Opened));
        }
        let fifth = FailedCall { is_rate_limited: false, ..rate_limited(0, 300) };
        assert_eq!(breaker.record_failure(fifth, 0.0), Some(Transition::Opened));
        assert_eq!(breaker.admission(at(2_999)), Admission::Denied(at(3_000)));
    }

    #[test]
    fn good_session_need_not_wait_for_a_failing_one() {
        let breaker = CircuitBreaker::new();
        breaker.record_failure(rate_limited(0, 1), 0.0);
        assert_eq!(breaker.admission(at(1_000)), Admission::Probe);
        breaker.record_sent(at(1_000), true);
        assert_eq!(breaker.admission(at(1_001)), Admission::ProbeOfFreshSession(at(5_000)));
        breaker.record_sent(at(1_001), false);
        assert_eq!(breaker.admission(at(1_002)), Admission::Denied(at(5_000)));
        assert_eq!(breaker.record_success(at(1_001), at(1_500)), Some(Transition::Closed));
    }

    #[test]
    fn each_round_has_twice_as_many_probes() {
        let breaker = CircuitBreaker::new();
        breaker.record_failure(rate_limited(0, 1), 0.0);
        let mut now = 0;
        for probes in [1, 2, 4, 8, 16, 32, 64, 64] {
            let Admission::Denied(next) = breaker.admission(at(now)) else { panic!("{now}") };
            now = next.as_millis();
            probe(&breaker, now);
            for _ in 1..probes {
                assert_eq!(
                    breaker.admission(at(now)),
                    Admission::ProbeOfFreshSession(at(now + 4_000))
                );
                breaker.record_sent(at(now), false);
            }
            // The round ends with the last of them.
            for _ in 0..probes {
                assert_eq!(breaker.admission(at(now)), Admission::Denied(at(now + 4_000)));
                breaker.record_failure(failed(now), 1.0);
            }
        }
    }

    #[test]
    fn breaker_pauses_at_most_two_seconds() {
        let breaker = CircuitBreaker::new();
        let mut now = 0;
        for _ in 0..100 {
            breaker.record_failure(failed(now), 1.0);
            if let Admission::Denied(next) = breaker.admission(at(now)) {
                assert!(next.since(at(now)) <= Millis::from_secs(2));
                now = next.as_millis();
            }
            breaker.record_sent(at(now), false);
        }
    }

    #[test]
    fn probe_that_times_out_is_followed_at_once() {
        let breaker = CircuitBreaker::new();
        breaker.record_failure(rate_limited(0, 1), 1.0);
        probe(&breaker, 1_000);
        let hung = FailedCall { failed_at: at(4_000), ..failed(1_000) };
        breaker.record_failure(hung, 1.0);
        assert_eq!(breaker.admission(at(4_000)), Admission::Probe);
    }

    #[test]
    fn requests_give_up_while_probes_fail() {
        let breaker = CircuitBreaker::new();
        breaker.record_failure(rate_limited(0, 300), 1.0);
        assert!(!breaker.is_failing(at(3_499)), "the first probe may be answered");
        probe(&breaker, 3_000);
        breaker.record_failure(failed(3_100), 1.0);
        assert!(breaker.is_failing(at(3_500)) && breaker.is_failing(at(6_599)));
        assert!(!breaker.is_failing(at(6_600)), "it was long ago, the service may be back");
        breaker.record_success(at(3_200), at(6_000));
        assert!(!breaker.is_failing(at(6_001)));
    }
}
