//! Circuit breakers: a provider key that fails is left alone, and found again by one probe at a time.
//!
//! Time and chance are parameters. The shell that drives a breaker only holds the probe's permit.

use crate::ids::ClientKeyId;
use serde::{Deserialize, Serialize};
use std::ops::Add;

/// Outcomes that are looked at.
pub const WINDOW: usize = 20;
/// How far back, in microseconds.
pub const WINDOW_US: i64 = 300_000_000;
/// Outcomes below which nothing opens.
const OUTCOMES_MIN: usize = 5;
/// Successes of probes that close a circuit …
const GOOD_TO_CLOSE: u8 = 3;
/// … and failures that open it again.
const BAD_TO_OPEN: u8 = 2;
/// The first opening's length, unless somebody sets another.
pub const FIRST_US: i64 = 30_000_000;
/// Openings are forgotten after so long without one.
const HEALTHY_US: i64 = 600_000_000;
/// What a refused credential counts as: it was open so often before, at least.
const CONDEMNED_TRIPS: u32 = 4;
/// A probe that has not come back by then holds nobody up any more.
const PROBE_LEASE_US: i64 = 900_000_000;
/// When to ask again while a probe is out: nobody knows its end, and a second is soon.
const PROBING_RETRY_US: i64 = 1_000_000;

/// Who used a key, as far as breakers tell callers apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Caller(pub u64);

impl From<ClientKeyId> for Caller {
    /// The random part of the id.
    fn from(id: ClientKeyId) -> Self {
        Self(id.uuid().as_u64_pair().1)
    }
}

/// How one request ended at this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// When, Unix microseconds.
    #[serde(rename = "ts")]
    pub at_us: i64,
    /// Whether it was no failure of the key.
    pub ok: bool,
    /// Whose it was.
    #[serde(default)]
    pub by: Caller,
}

/// The last outcomes, in a ring without allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    ring: [Outcome; WINDOW],
    len: usize,
    next: usize,
    /// The two callers that used the key last: outcomes of one busy caller push those of others out of the ring.
    callers: [Outcome; 2],
}

impl Window {
    /// Takes in an outcome; the oldest makes room.
    pub fn push(&mut self, outcome: Outcome) {
        self.ring[self.next] = outcome;
        self.next = (self.next + 1) % WINDOW;
        self.len = (self.len + 1).min(WINDOW);
        if self.callers[0].by != outcome.by {
            self.callers[1] = self.callers[0];
        }
        self.callers[0] = outcome;
    }

    /// The outcomes that count now, oldest first.
    pub fn recent(&self, now_us: i64) -> impl Iterator<Item = &Outcome> + Clone {
        let first = (self.next + WINDOW - self.len) % WINDOW;
        let counts = move |outcome: &&Outcome| outcome.at_us > now_us - WINDOW_US;
        (0..self.len).map(move |at| &self.ring[(first + at) % WINDOW]).filter(counts)
    }

    /// How the last request of anybody but `by` ended, if one did lately.
    pub fn another(&self, by: Caller, now_us: i64) -> Option<bool> {
        let others = self.callers.iter().filter(|outcome| outcome.by != by);
        others.filter(|outcome| outcome.at_us > now_us - WINDOW_US).map(|outcome| outcome.ok).next()
    }

    /// Half of at least five outcomes failed; and where several callers used the key, not all failures are of one.
    fn is_bad(&self, now_us: i64) -> bool {
        let (mut all, mut failed, mut first, mut of_several) = (0, 0, None, false);
        for outcome in self.recent(now_us) {
            all += 1;
            if !outcome.ok {
                failed += 1;
                of_several |= *first.get_or_insert(outcome.by) != outcome.by;
            }
        }
        let several = self.callers[1].at_us > now_us - WINDOW_US;
        all >= OUTCOMES_MIN && failed * 2 >= all && (of_several || !several)
    }

    /// The share of successes in thousandths, newer outcomes counting more: the oldest once, the next twice, and so on.
    /// 1,000 without outcomes.
    pub fn health_millis(&self, now_us: i64) -> u32 {
        self.weights(now_us).health_millis()
    }

    /// What that share is made of: endpoints and providers add up those of their keys.
    pub fn weights(&self, now_us: i64) -> Weights {
        let mut weights = Weights::default();
        for (weight, outcome) in (1_u32..).zip(self.recent(now_us)) {
            weights.all += weight;
            weights.good += if outcome.ok { weight } else { 0 };
        }
        weights
    }
}

/// Outcomes by their weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weights {
    /// Of those that were no failures.
    pub good: u32,
    /// Of all.
    pub all: u32,
}

impl Weights {
    /// The share of successes in thousandths; 1,000 without outcomes.
    pub fn health_millis(self) -> u32 {
        let share = (u64::from(self.good) * 1_000).checked_div(u64::from(self.all));
        share.and_then(|share| u32::try_from(share).ok()).unwrap_or(1_000)
    }
}

impl Add for Weights {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { good: self.good.saturating_add(other.good), all: self.all.saturating_add(other.all) }
    }
}

/// Where a circuit stands. Times are Unix microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The key serves.
    Closed {
        /// Since when.
        since_us: i64,
    },
    /// The key rests.
    Open {
        /// Since when.
        since_us: i64,
        /// Until its probe is due.
        until_us: i64,
    },
    /// Probes tell, one at a time.
    HalfOpen {
        /// When it opened.
        since_us: i64,
        /// Probes that succeeded.
        good: u8,
        /// Probes that failed.
        bad: u8,
        /// A probe is out, and holds others off until then; 0 without one.
        probe_until_us: i64,
    },
}

/// What the planner sees of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stand {
    /// The key serves.
    #[default]
    Closed,
    /// The next request would be its probe.
    Due,
    /// Out until then; `open` if a probe could be forced.
    Out {
        /// Unix microseconds.
        until_us: i64,
        /// No probe is out.
        open: bool,
    },
}

/// What happens to a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A request would use the key; `forced` because every candidate is out for its circuit.
    Asked {
        /// Does not wait for the time.
        forced: bool,
    },
    /// A request ended at this key.
    Ended {
        /// No failure of the key.
        ok: bool,
        /// Whose request.
        by: Caller,
        /// It was the probe.
        probe: bool,
    },
    /// The probe came to no outcome: its client left, or the request was at fault.
    Unprobed,
    /// The credential is refused for good.
    Condemned,
    /// Somebody resets it by hand.
    Reset,
}

/// What a step changed, for those who log it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The circuit opened, until then.
    Opened {
        /// Unix microseconds.
        until_us: i64,
    },
    /// The asking request is the probe.
    Probe,
    /// The key serves again.
    Closed,
}

/// The length of an opening: the first one's, the cap, and chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Usually [`FIRST_US`], in microseconds.
    pub first_us: i64,
    /// `max_probe_interval_minutes`.
    pub cap_us: i64,
    /// Uniform over all of `u32`.
    pub chance: u32,
}

impl Backoff {
    /// The first length × 2^`trips`, give or take a fifth, at most the cap.
    fn wait_us(self, trips: u32) -> i64 {
        let full = self.first_us.saturating_mul(1 << trips.min(20));
        let jitter = (i128::from(full / 5 * 2) * i128::from(self.chance)) >> 32; // at most two fifths of `full`
        (full - full / 5 + i64::try_from(jitter).unwrap_or(0)).min(self.cap_us)
    }
}

/// The breaker of one provider key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// Where it stands.
    pub state: State,
    /// Openings that are not forgotten yet.
    pub trips: u32,
    /// What it decides by.
    pub window: Window,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: State::Closed { since_us: 0 }, trips: 0, window: Window::default() }
    }
}

impl Breaker {
    /// Takes in an event.
    pub fn step(&mut self, event: Event, now_us: i64, backoff: Backoff) -> Option<Change> {
        if let Event::Ended { ok, by, .. } = event {
            self.window.push(Outcome { at_us: now_us, ok, by });
        }
        match (self.state, event) {
            (_, Event::Reset) => {
                *self = Self { state: State::Closed { since_us: now_us }, ..Self::default() };
                Some(Change::Closed)
            }
            (_, Event::Condemned) => {
                self.trips = self.trips_now(now_us).max(CONDEMNED_TRIPS);
                Some(self.open(now_us, backoff))
            }
            (State::Closed { .. }, Event::Ended { ok: false, .. }) if self.window.is_bad(now_us) => {
                self.trips = self.trips_now(now_us);
                Some(self.open(now_us, backoff))
            }
            (State::Open { since_us, until_us }, Event::Asked { forced }) if forced || until_us <= now_us => {
                let probe_until_us = now_us + PROBE_LEASE_US;
                self.state = State::HalfOpen { since_us, good: 0, bad: 0, probe_until_us };
                Some(Change::Probe)
            }
            (State::HalfOpen { since_us, good, bad, probe_until_us }, Event::Asked { .. })
                if probe_until_us <= now_us =>
            {
                self.state = State::HalfOpen { since_us, good, bad, probe_until_us: now_us + PROBE_LEASE_US };
                Some(Change::Probe)
            }
            (State::HalfOpen { since_us, good, bad, .. }, Event::Ended { ok, probe: true, .. }) => {
                let (good, bad) = (good + u8::from(ok), bad + u8::from(!ok));
                if good >= GOOD_TO_CLOSE {
                    // What was before the opening is answered by the probes.
                    self.window = Window::default();
                    self.state = State::Closed { since_us: now_us };
                    return Some(Change::Closed);
                }
                if bad >= BAD_TO_OPEN {
                    return Some(self.open(now_us, backoff));
                }
                self.state = State::HalfOpen { since_us, good, bad, probe_until_us: 0 };
                None
            }
            (State::HalfOpen { since_us, good, bad, .. }, Event::Unprobed) => {
                self.state = State::HalfOpen { since_us, good, bad, probe_until_us: 0 };
                None
            }
            _ => None,
        }
    }

    fn open(&mut self, now_us: i64, backoff: Backoff) -> Change {
        let until_us = now_us + backoff.wait_us(self.trips);
        self.trips = self.trips.saturating_add(1);
        self.state = State::Open { since_us: now_us, until_us };
        Change::Opened { until_us }
    }

    /// Openings before one that happens now; ten healthy minutes forget them.
    fn trips_now(&self, now_us: i64) -> u32 {
        match self.state {
            State::Closed { since_us } if now_us - since_us >= HEALTHY_US => 0,
            _ => self.trips,
        }
    }

    /// What a request would meet.
    pub fn stand(&self, now_us: i64) -> Stand {
        match self.state {
            State::Closed { .. } => Stand::Closed,
            State::Open { until_us, .. } if until_us > now_us => Stand::Out { until_us, open: true },
            State::HalfOpen { probe_until_us, .. } if probe_until_us > now_us => {
                Stand::Out { until_us: now_us + PROBING_RETRY_US, open: false }
            }
            State::Open { .. } | State::HalfOpen { .. } => Stand::Due,
        }
    }

    /// When it last opened, if it has not closed since; Unix microseconds.
    pub fn opened_us(&self) -> Option<i64> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { since_us, .. } | State::HalfOpen { since_us, .. } => Some(since_us),
        }
    }
}

#[cfg(test)]
mod tests;
