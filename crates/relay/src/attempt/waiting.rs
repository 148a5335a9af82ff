//! Waiting for a slot: within bounds, in the order of arrival, and for a warm cache no longer than it is worth.

use crate::{
    Core,
    call::Call,
    flight::{Flight, millis},
    health::{Line, Place},
};
use domain::{
    catalog::Route,
    format::RequestType,
    ids::ProviderKeyId,
    schedule::{Skip, affinity::Economy},
};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

/// The shortest wait for a time that a limit named: clocks and buckets are not finer.
const SHORTEST: Duration = Duration::from_millis(5);

/// A request's waiting.
pub(super) struct Waiting<'a> {
    core: &'a Core,
    call: &'a Call,
    began: Option<Instant>,
    place: Option<Place>,
    /// The end of the wait for a warm target, once it is weighed.
    patience: Option<Instant>,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(core: &'a Core, call: &'a Call) -> Self {
        Self { core, call, began: None, place: None, patience: None }
    }

    /// Its place in the queue.
    pub(super) fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// How long it has waited.
    pub(super) fn waited_ms(&self) -> u32 {
        self.began.map_or(0, |began| millis(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)))
    }

    /// Waits for the busy warm target if its cache is worth more than the wait, which is weighed once; both numbers go to
    /// the trace. True if the plan is to be made again.
    pub(super) async fn for_warm(&mut self, economy: &Economy, skipped: &[Skip], flight: &mut Flight) -> bool {
        let end = *self.patience.get_or_insert_with(|| {
            flight.decided_by(economy.key_id, "cache_worth", economy.worth.0);
            flight.decided_by(economy.key_id, "wait_cost", economy.wait.0);
            let worth = Duration::from_micros(u64::try_from(economy.patience_us).unwrap_or(0));
            let longest = if economy.stays() { worth.min(self.core.bounds.queue_wait) } else { Duration::ZERO };
            *self.began.get_or_insert_with(Instant::now) + longest
        });
        let target: Vec<Skip> = skipped.iter().filter(|skip| skip.key_id == economy.key_id).copied().collect();
        let again = self.until_free(&target, end).await;
        if !again {
            self.leave();
        }
        again
    }

    /// It has a slot, or goes elsewhere: nobody waits behind it any more.
    pub(super) fn leave(&mut self) {
        self.place = None;
    }

    /// Waits until one of the busy may be free; false if none is, or the time is up.
    pub(super) async fn turn(&mut self, skipped: &[Skip]) -> bool {
        let wait = self.core.bounds.queue_wait;
        if wait.is_zero() || self.call.request_type == RequestType::CountTokens {
            return false;
        }
        let began = *self.began.get_or_insert_with(Instant::now);
        let busy: Vec<Skip> = skipped.iter().filter(|skip| skip.code.is_busy()).copied().collect();
        self.until_free(&busy, began + wait).await
    }

    async fn until_free(&mut self, busy: &[Skip], end: Instant) -> bool {
        let now = Instant::now();
        if busy.is_empty() || now >= end {
            return false;
        }
        let now_ms = self.core.ports.clock.unix_us() / 1_000;
        // An end is known to the millisecond, rounded down.
        let wait = |skip: &Skip| Duration::from_millis(u64::try_from(skip.number - now_ms + 1).unwrap_or(0));
        let times = busy.iter().filter(|skip| skip.number > 0).map(|skip| now + wait(skip).max(SHORTEST));
        let known = times.min().filter(|at| *at <= end);
        let lines: Vec<Line> = busy.iter().filter_map(|skip| Line::of(self.route(skip.key_id)?, skip.code)).collect();
        if lines.is_empty() {
            let Some(at) = known else { return false };
            sleep_until(at).await;
            return true;
        }
        let Some(place) = self.place.as_ref().filter(|place| place.is_in(&lines)) else {
            self.place = self.core.health.queue.join(lines);
            // A slot may have come free since the last look.
            return self.place.is_some();
        };
        let at = known.unwrap_or(end);
        timeout_at(at, place.called()).await.is_ok() || known.is_some()
    }

    fn route(&self, key: ProviderKeyId) -> Option<&'a Route> {
        self.call.catalog.routes(self.call.model.id).iter().find(|route| route.key.id == key)
    }
}
