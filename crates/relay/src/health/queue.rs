//! The queue for slots: who waits longer goes first, for each slot on its own, within bounds of number and time.

use domain::{
    catalog::Route,
    ids::{EndpointId, ProviderId, ProviderKeyId},
    ports::UpstreamPermits,
    schedule::SkipCode,
};
use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::Notify;

/// Requests that wait at a time; more are refused at once, as they would be after waiting.
const WAITING_MAX: usize = 1_024;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Line {
    /// Any slot of a key.
    Key(ProviderKeyId),
    /// A slot of a key that is not kept for warm callers.
    Reserved(ProviderKeyId),
    /// A slot of an endpoint.
    Endpoint(EndpointId),
    /// A slot of a provider.
    Provider(ProviderId),
}

impl Line {
    /// Where a candidate that is out for this code is waited for; `None` if it is not a slot that is missing.
    pub(crate) fn of(route: &Route, code: SkipCode) -> Option<Self> {
        match code {
            SkipCode::KeyConcurrency => Some(Self::Key(route.key.id)),
            SkipCode::KeyReserved => Some(Self::Reserved(route.key.id)),
            SkipCode::EndpointConcurrency => Some(Self::Endpoint(route.endpoint.id)),
            SkipCode::ProviderConcurrency => Some(Self::Provider(route.provider.id)),
            _ => None,
        }
    }
}

/// All lines.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: AtomicUsize,
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    next: u64,
    of: HashMap<Line, VecDeque<Waiter>>,
}

struct Waiter {
    ticket: u64,
    wake: Arc<Notify>,
}

/// A place in some lines; it is left by dropping it.
pub(crate) struct Place {
    queue: Arc<Queue>,
    ticket: u64,
    lines: Vec<Line>,
    wake: Arc<Notify>,
}

impl Queue {
    /// Joins these lines at their ends; `None` if too many wait.
    pub(crate) fn join(self: &Arc<Self>, lines: Vec<Line>) -> Option<Place> {
        let below = |waiting| (waiting < WAITING_MAX).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, below).ok()?;
        let wake = Arc::new(Notify::new());
        let mut all = self.lines();
        let ticket = all.next;
        all.next += 1;
        for line in &lines {
            all.of.entry(*line).or_default().push_back(Waiter { ticket, wake: wake.clone() });
        }
        drop(all);
        Some(Place { queue: self.clone(), ticket, lines, wake })
    }

    /// The line in which somebody else came before, who would get this candidate's next slot.
    pub(crate) fn ahead(&self, route: &Route, cold: bool, place: Option<&Place>) -> Option<SkipCode> {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return None;
        }
        let ticket = place.map_or(u64::MAX, |place| place.ticket);
        let all = self.lines();
        let first = |line| all.of.get(&line).and_then(VecDeque::front).is_some_and(|first| first.ticket < ticket);
        let codes = [
            (true, SkipCode::KeyConcurrency),
            (cold, SkipCode::KeyReserved),
            (true, SkipCode::EndpointConcurrency),
            (true, SkipCode::ProviderConcurrency),
        ];
        let mut codes = codes.into_iter().filter(|(counts, _)| *counts).map(|(_, code)| code);
        codes.find(|code| Line::of(route, *code).is_some_and(first))
    }

    /// Slots came free: the first of each line looks again.
    fn freed(&self, lines: &[Line]) {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        let all = self.lines();
        for first in lines.iter().filter_map(|line| all.of.get(line)?.front()) {
            first.wake.notify_one();
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether it is a place in all of these lines.
    pub(crate) fn is_in(&self, lines: &[Line]) -> bool {
        lines.iter().all(|line| self.lines.contains(line))
    }

    /// Waits until a slot came free while this place was first.
    pub(crate) async fn called(&self) {
        self.wake.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.queue.lines();
        for line in &self.lines {
            let Some(waiters) = all.of.get_mut(line) else { continue };
            waiters.retain(|waiter| waiter.ticket != self.ticket);
            if waiters.is_empty() {
                all.of.remove(line);
            }
        }
        drop(all);
        self.queue.waiting.fetch_sub(1, Ordering::AcqRel);
        // Who comes next may use what this one left.
        self.queue.freed(&self.lines);
    }
}

/// The slots of an attempt; giving them back calls the next in line.
pub(crate) struct Held {
    permits: UpstreamPermits,
    lines: [Line; 4],
    queue: Arc<Queue>,
}

impl Held {
    /// Slots taken at a candidate.
    pub(crate) fn new(queue: &Arc<Queue>, route: &Route, permits: UpstreamPermits) -> Self {
        let lines = [
            Line::Key(route.key.id),
            Line::Reserved(route.key.id),
            Line::Endpoint(route.endpoint.id),
            Line::Provider(route.provider.id),
        ];
        Self { permits, lines, queue: queue.clone() }
    }

    /// In flight at the key when they were taken, this one included.
    pub(crate) fn in_flight(&self) -> u32 {
        self.permits.in_flight
    }

    /// The upstream answered: the attempt counts in the key's day and month.
    pub(crate) fn answered(&mut self) {
        if let Some(attempted) = &mut self.permits.attempted {
            attempted.answered();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(mem::take(&mut self.permits));
        self.queue.freed(&self.lines);
    }
}
