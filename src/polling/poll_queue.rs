//! The queue of polls that are due.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};

use crate::clock::{MonoTime, Timestamp};
use crate::session::live::Session;
use crate::session::poll_state::QueuedPoll;
use crate::verdict::Verdict;

/// A heap with more places than this is purged of void ones each time it has doubled.
const MIN_PURGE_LEN: usize = 1_024;
/// How many places are searched for a fresh session.
const MAX_SEARCHED_PLACES: usize = 256;

/// Polls that are due, in four heaps: urgent ones (a request waits, or a stream is open) precede
/// the others. Retries, of sessions whose last poll failed, have heaps of their own, because they
/// must not take the places of polls that succeed.
///
/// A session that moves leaves a void place behind, which is removed when it comes first.
#[derive(Debug, Default)]
pub(crate) struct PollQueue {
    urgent: Heap,
    urgent_retries: Heap,
    idle: Heap,
    idle_retries: Heap,
    last_ticket: u64,
    /// The last probe was of an urgent session.
    urgent_probed: bool,
}

/// The poll to send next. It keeps its place until the session starts the poll.
#[derive(Debug)]
pub(crate) struct NextPoll {
    pub(crate) session: Arc<Session>,
    pub(crate) due_at: MonoTime,
    pub(crate) is_retry: bool,
}

#[derive(Debug)]
struct Heap {
    places: BinaryHeap<Reverse<Place>>,
    purge_at: usize,
}

#[derive(Debug)]
struct Place {
    order: MonoTime,
    ticket: u64,
    due_at: MonoTime,
    session: Weak<Session>,
}

impl PollQueue {
    /// Queues the session's poll if it is due, or moves one that became urgent.
    pub(crate) fn push(&mut self, session: &Arc<Session>, now: Timestamp) {
        self.last_ticket += 1;
        if let Some(poll) = session.queue_poll(now, self.last_ticket) {
            self.insert(session, poll);
        }
    }

    /// The next poll while the breaker is closed: urgent ones, then the others, each in their
    /// order.
    pub(crate) fn next(&mut self, admits_retries: bool) -> Option<NextPoll> {
        self.demote_abandoned();
        let next = |first: &mut Heap, retries: &mut Heap| {
            let retry = if admits_retries { retries.first() } else { None };
            match (first.first(), retry) {
                (Some((place, next)), Some((retry_place, retry))) => {
                    Some(if retry_place < place { retry.into_retry() } else { next })
                }
                (Some((_, next)), None) => Some(next),
                (None, retry) => retry.map(|(_, retry)| retry.into_retry()),
            }
        };
        next(&mut self.urgent, &mut self.urgent_retries)
            .or_else(|| next(&mut self.idle, &mut self.idle_retries))
    }

    /// The next probe. First a session that has not failed itself, alternately an urgent one and a
    /// fresh one that is not urgent, because all sessions of one kind may fail for reasons of their
    /// own. Then a session whose last poll failed.
    pub(crate) fn next_probe(&mut self, now: Timestamp, admits_retry: bool) -> Option<NextPoll> {
        self.demote_abandoned();
        let urgent = self.urgent.first().map(|(_, next)| next);
        self.by_turns(urgent, now)
            .or_else(|| {
                let retry = self.urgent_retries.first().filter(|_| admits_retry);
                retry.map(|(_, retry)| retry.into_retry())
            })
            .or_else(|| self.idle.first().map(|(_, next)| next))
            .or_else(|| {
                let retry = self.idle_retries.first().filter(|_| admits_retry);
                retry.map(|(_, retry)| retry.into_retry())
            })
    }

    /// The next probe of a session that is still fresh, alternately an urgent one and another.
    pub(crate) fn next_fresh(&mut self, now: Timestamp) -> Option<NextPoll> {
        let urgent = self.urgent.any_fresh(now);
        self.by_turns(urgent, now)
    }

    fn by_turns(&mut self, urgent: Option<NextPoll>, now: Timestamp) -> Option<NextPoll> {
        let idle =
            if urgent.is_none() || self.urgent_probed { self.idle.any_fresh(now) } else { None };
        self.urgent_probed = idle.is_none();
        idle.or(urgent)
    }

    /// When the first poll of the queue became due, retries excluded.
    pub(crate) fn oldest_due(&mut self) -> Option<MonoTime> {
        let heaps = [&mut self.urgent, &mut self.idle];
        heaps.into_iter().filter_map(|heap| Some(heap.first()?.1.due_at)).min()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&mut self) -> bool {
        let heaps =
            [&mut self.urgent, &mut self.urgent_retries, &mut self.idle, &mut self.idle_retries];
        heaps.into_iter().all(|heap| heap.first().is_none())
    }

    /// Moves polls for which nothing waits any more from the head of the urgent ones.
    fn demote_abandoned(&mut self) {
        for is_retry in [false, true] {
            loop {
                let heap = if is_retry { &mut self.urgent_retries } else { &mut self.urgent };
                let Some((_, next)) = heap.first() else { break };
                if next.session.is_urgent() {
                    break;
                }
                self.last_ticket += 1;
                let Some(poll) = next.session.demote(self.last_ticket) else { break };
                self.insert(&next.session, poll);
            }
        }
    }

    fn insert(&mut self, session: &Arc<Session>, poll: QueuedPoll) {
        let QueuedPoll { order, due_at, is_urgent, is_retry } = poll;
        let heap = match (is_urgent, is_retry) {
            (true, false) => &mut self.urgent,
            (true, true) => &mut self.urgent_retries,
            (false, false) => &mut self.idle,
            (false, true) => &mut self.idle_retries,
        };
        let session = Arc::downgrade(session);
        heap.push(Place { order, ticket: self.last_ticket, due_at, session });
    }
}

impl NextPoll {
    fn into_retry(self) -> Self {
        Self { is_retry: true, ..self }
    }
}

impl Heap {
    fn push(&mut self, place: Place) {
        if self.places.len() >= self.purge_at {
            self.places.retain(|Reverse(place)| place.session().is_some());
            self.purge_at = (self.places.len() * 2).max(MIN_PURGE_LEN);
        }
        self.places.push(Reverse(place));
    }

    /// The first valid place, and its order.
    fn first(&mut self) -> Option<((MonoTime, u64), NextPoll)> {
        loop {
            let Reverse(place) = self.places.peek()?;
            if let Some(next) = place.next() {
                return Some(((place.order, place.ticket), next));
            }
            self.places.pop();
        }
    }

    /// A session that is fresh at `now`, if one is found: the last ones are the freshest.
    fn any_fresh(&self, now: Timestamp) -> Option<NextPoll> {
        let is_fresh = |next: &NextPoll| next.session.verdict_at(now) != Verdict::Unavailable;
        let last = self.places.iter().rev().take(MAX_SEARCHED_PLACES);
        last.filter_map(|Reverse(place)| place.next()).find(is_fresh)
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self { places: BinaryHeap::new(), purge_at: MIN_PURGE_LEN }
    }
}

impl Place {
    /// The session, if its poll is still queued at this place.
    fn session(&self) -> Option<Arc<Session>> {
        self.session.upgrade().filter(|session| session.read_is_queued(self.ticket))
    }

    fn next(&self) -> Option<NextPoll> {
        let session = self.session()?;
        Some(NextPoll { session, due_at: self.due_at, is_retry: false })
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.order, self.ticket).cmp(&(other.order, other.ticket))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Place {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::engine::poller::IDLE_TIMEOUT;
    use crate::identity::UserToken;
    use crate::session::test_session::test_session;

    fn session() -> Arc<Session> {
        test_session(&"alice".into(), &UserToken::random().unwrap())
    }

    /// The number of places, void ones too.
    fn places(queue: &PollQueue) -> usize {
        let heaps = [&queue.urgent, &queue.urgent_retries, &queue.idle, &queue.idle_retries];
        heaps.iter().map(|heap| heap.places.len()).sum()
    }

    /// T186: a session that is queued repeatedly, moved, parked and used again has one valid place.
    #[test]
    fn session_with_several_places_is_polled_once() {
        let (mut queue, session) = (PollQueue::default(), session());
        let now = session.lifecycle.status_changed_at();
        let later = now.after(2 * IDLE_TIMEOUT);
        queue.push(&session, now);
        queue.push(&session, now);
        assert_eq!(places(&queue), 1, "it is queued already");
        let watch = session.watch();
        queue.push(&session, now);
        assert_eq!(places(&queue), 2, "it is moved, and its old place is void");
        drop(watch);
        assert!(queue.next(true).is_some_and(|next| !next.session.is_urgent()), "moved back");
        assert!(session.park(later, IDLE_TIMEOUT));
        assert!(queue.next(true).is_none() && queue.is_empty(), "it waits no more");
        let _watch = session.watch();
        queue.push(&session, later);
        let next = queue.next(true).unwrap();
        assert!(next.session.start_poll(later).is_some());
        assert!(queue.next(true).is_none() && queue.is_empty());
        assert!(session.start_poll(later).is_none());
    }

    /// T186: void places are swept out, however often the sessions move.
    #[test]
    fn void_places_do_not_pile_up() {
        let (mut queue, sessions) = (PollQueue::default(), [(); 10].map(|()| session()));
        let now = sessions[0].lifecycle.status_changed_at().after(Duration::from_millis(1));
        for session in &sessions {
            queue.push(session, now);
        }
        let mut most = 0;
        for _ in 0..10_000 {
            // The first stays where it is, so that no void place comes first.
            for session in &sessions[1..] {
                let _watch = session.watch();
                queue.push(session, now);
            }
            // All go back behind it.
            assert!(queue.next(true).is_some_and(|next| Arc::ptr_eq(&next.session, &sessions[0])));
            most = most.max(places(&queue));
        }
        assert!(most <= 3 * MIN_PURGE_LEN, "{most}");
        let mut polls = 0;
        while let Some(next) = queue.next(true) {
            polls += u32::from(next.session.start_poll(now).is_some());
        }
        assert_eq!(polls, 10);
    }
}
