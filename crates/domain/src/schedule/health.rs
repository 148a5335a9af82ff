//! The live state of one provider key: its breaker, what its 429s taught, and how long it rests.

use super::{
    adaptive::{Hints, Learning, Reservation},
    attempt::{Effect, Verdict},
    breaker::{Backoff, Breaker, Caller, Change, Event, Stand, State},
};
use crate::ids::GlobalModelId;
use std::time::Duration;

/// Rest after a rate limit that names no time.
pub const DEFAULT_COOL_US: i64 = 5_000_000;
/// The longest rest an answer can ask for: a typo or a hostile upstream must not retire a key.
pub const MAX_COOL_US: i64 = 24 * 3600 * 1_000_000;
/// Rest of a (key, model) that may not do what was asked.
pub const NOT_PERMITTED_US: i64 = 300_000_000;

/// Counters of requests that a key served, or failed to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// All that had an outcome.
    pub requests: u64,
    /// Of them, those that succeeded.
    pub successes: u64,
    /// Failures without a success in between.
    pub consecutive_failures: u32,
    /// The last failure, Unix microseconds; 0 without one.
    pub last_failure_us: i64,
    /// The usual length of a request in microseconds: a moving mean, the last counting an eighth.
    pub usual_us: i64,
}

/// What an attempt's failure says about its key.
#[derive(Debug, Clone, Copy)]
pub struct Failed {
    /// What it means.
    pub verdict: Verdict,
    /// The global model it was for.
    pub model: GlobalModelId,
    /// Whose request.
    pub by: Caller,
    /// It was a probe.
    pub probe: bool,
    /// What a 429 says.
    pub hints: Hints,
    /// In flight when it began, itself included.
    pub in_flight: u32,
    /// The key has no fixed limit.
    pub learns: bool,
    /// The caller fails everywhere: [`super::blame`].
    pub suspect: bool,
}

/// One provider key, as far as its upstream has taught.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyState {
    /// The breaker.
    pub breaker: Breaker,
    /// The learned limit.
    pub learning: Learning,
    /// The end of its rest, Unix microseconds.
    pub cool_until_us: i64,
    /// Ends of rests for single models.
    cool_models: Vec<(GlobalModelId, i64)>,
    /// Whom it was last refused permission, without a success since.
    refused: Option<Caller>,
    /// Counters.
    pub stats: Stats,
    /// Since when it has been usable without pause, Unix microseconds.
    pub usable_since_us: i64,
    /// The last opening of its circuit; affinity records that are older are void.
    pub opened_us: i64,
}

impl KeyState {
    /// A key first seen now.
    pub fn new(now_us: i64) -> Self {
        Self { usable_since_us: now_us, ..Self::default() }
    }

    /// Whether nothing at all keeps it back: no rest, however old, no circuit that is not closed, and no learned limit.
    pub fn is_calm(&self) -> bool {
        self.cool_until_us == 0
            && self.cool_models.is_empty()
            && self.learning.limit.is_none()
            && matches!(self.breaker.state, State::Closed { .. })
    }

    /// The end of its rest, or of its rest for this model, if it rests now.
    pub fn cooling(&self, model: GlobalModelId, now_us: i64) -> Option<i64> {
        let of_model = self.cool_models.iter().find(|(id, _)| *id == model).map_or(0, |(_, end)| *end);
        Some(self.cool_until_us.max(of_model)).filter(|end| *end > now_us)
    }

    /// A request ended well here.
    pub fn succeeded(
        &mut self,
        by: Caller,
        probe: bool,
        took: Duration,
        now_us: i64,
        backoff: Backoff,
    ) -> Option<Change> {
        self.refused = None;
        if self.cool_until_us <= now_us {
            self.cool_until_us = 0;
        }
        self.cool_models.retain(|(_, end)| *end > now_us);
        self.stats.requests += 1;
        self.stats.successes += 1;
        self.stats.consecutive_failures = 0;
        let took = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
        self.stats.usual_us = match self.stats.usual_us {
            0 => took,
            usual => usual + (took - usual) / 8,
        };
        self.step(Event::Ended { ok: true, by, probe }, now_us, backoff)
    }

    /// A request failed here.
    pub fn failed(&mut self, failed: &Failed, now_us: i64, backoff: Backoff) -> Option<Change> {
        let Failed { verdict, model, by, probe, .. } = *failed;
        // What a suspect meets counts for nothing; what an upstream says of key, credit and limits is true for everybody.
        let effect = match verdict.effect() {
            Effect::Counts if failed.suspect => Effect::None,
            effect => effect,
        };
        if effect != Effect::None {
            self.stats.requests += u64::from(effect == Effect::Counts);
            self.stats.consecutive_failures = self.stats.consecutive_failures.saturating_add(1);
            self.stats.last_failure_us = now_us;
        }
        match (effect, verdict) {
            (Effect::Counts, _) => self.step(Event::Ended { ok: false, by, probe }, now_us, backoff),
            (Effect::Opens, _) => self.step(Event::Condemned, now_us, backoff),
            (Effect::Cools, Verdict::NotPermitted) => {
                // One caller's project or region may be at fault; two callers' are the key's.
                let again = self.refused.is_some_and(|other| other != by);
                self.refused = Some(by);
                self.cool_model(model, now_us);
                let event = if again { Event::Condemned } else { Event::Unprobed };
                if again || probe { self.step(event, now_us, backoff) } else { None }
            }
            (Effect::Cools, _) => {
                self.cool(failed.hints.retry_after, now_us);
                self.learning.limited(failed.hints.kind(failed.in_flight), failed.in_flight, failed.learns, now_us);
                if probe { self.step(Event::Unprobed, now_us, backoff) } else { None }
            }
            (Effect::None, _) if probe => self.step(Event::Unprobed, now_us, backoff),
            (Effect::None, _) => None,
        }
    }

    /// Passes an event to the breaker.
    pub fn step(&mut self, event: Event, now_us: i64, backoff: Backoff) -> Option<Change> {
        let change = self.breaker.step(event, now_us, backoff);
        match change {
            Some(Change::Opened { until_us }) => {
                self.opened_us = now_us;
                self.paused(until_us);
            }
            Some(Change::Closed) => self.paused(now_us),
            Some(Change::Probe) | None => {}
        }
        change
    }

    /// It could not be used until then.
    pub fn paused(&mut self, until_us: i64) {
        self.usable_since_us = self.usable_since_us.max(until_us);
    }

    /// Goes on in another process: nobody knows since when it was usable, or its circuit closed.
    pub fn resume(&mut self, now_us: i64) {
        self.paused(now_us);
        if let State::Closed { since_us } = &mut self.breaker.state {
            *since_us = now_us;
        }
    }

    /// A rest is never shortened.
    fn cool(&mut self, wait: Option<Duration>, now_us: i64) {
        let wait = wait.map_or(DEFAULT_COOL_US, |wait| i64::try_from(wait.as_micros()).unwrap_or(i64::MAX));
        self.cool_until_us = self.cool_until_us.max(now_us + wait.clamp(0, MAX_COOL_US));
        self.paused(self.cool_until_us);
    }

    fn cool_model(&mut self, model: GlobalModelId, now_us: i64) {
        self.cool_models.retain(|(id, end)| *id != model && *end > now_us);
        self.cool_models.push((model, now_us + NOT_PERMITTED_US));
    }

    /// Clears the breaker and the rests by hand; what an admin switched off stays off.
    pub fn reset(&mut self, now_us: i64) {
        self.step(Event::Reset, now_us, Backoff { first_us: 0, cap_us: 0, chance: 0 });
        self.cool_until_us = 0;
        self.cool_models.clear();
        self.refused = None;
    }

    /// What of the limit `limit` callers without affinity may use.
    pub fn cold_limit(&self, in_flight: u32, limit: u32, now_us: i64) -> u32 {
        let Stats { requests, successes, .. } = self.stats;
        let share = successes * 1_000 / requests.max(1);
        let reservation = Reservation {
            requests,
            success_millis: u32::try_from(share).unwrap_or(1_000),
            since_429_us: self.learning.last.map(|last| now_us - last.at_us),
            stability_millis: self.learning.stability_millis(),
        };
        reservation.cold_limit(in_flight, limit)
    }

    /// Whether an affinity record written then still counts.
    pub fn is_warm_since(&self, written_us: i64) -> bool {
        self.opened_us == 0 || written_us > self.opened_us
    }

    /// What the breaker says.
    pub fn stand(&self, now_us: i64) -> Stand {
        self.breaker.stand(now_us)
    }
}

#[cfg(test)]
mod tests;
