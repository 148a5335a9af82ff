//! Waiting for a slot, as requests do, in virtual time.

use super::{Event, World};
use crate::health::Line;
use domain::schedule::{Skip, affinity::Economy};

impl World<'_> {
    pub(super) fn waits_for_warm(&mut self, id: usize, economy: &Economy, skipped: &[Skip]) -> bool {
        let now_us = self.now();
        let longest = self.longest_wait_us();
        let Some(flight) = &mut self.flights[id] else { return false };
        let patience = if economy.stays() { economy.patience_us.min(longest) } else { 0 };
        let end_us = *flight.patience_us.get_or_insert(now_us + patience);
        let target: Vec<Skip> = skipped.iter().filter(|skip| skip.key_id == economy.key_id).copied().collect();
        let waits = self.wait_until(id, &target, end_us);
        if !waits && let Some(flight) = &mut self.flights[id] {
            flight.place = None;
        }
        waits
    }

    fn longest_wait_us(&self) -> i64 {
        i64::from(self.scenario.queue_wait_ms) * 1_000
    }

    pub(super) fn waits(&mut self, id: usize) -> bool {
        let longest = self.longest_wait_us();
        let Some(flight) = &self.flights[id] else { return false };
        if !flight.tried.is_empty() {
            return false;
        }
        let end_us = flight.arrived_us + longest;
        let busy: Vec<Skip> = flight.skipped.iter().filter(|skip| skip.code.is_busy()).copied().collect();
        self.wait_until(id, &busy, end_us)
    }

    fn wait_until(&mut self, id: usize, busy: &[Skip], end_us: i64) -> bool {
        let now_us = self.now();
        let Some(flight) = &mut self.flights[id] else { return false };
        if busy.is_empty() || now_us >= end_us {
            return false;
        }
        let routes = self.catalog.routes(flight.request.caller.model.id);
        let of = |key| routes.iter().find(|route| route.key.id == key);
        let lines: Vec<Line> = busy.iter().filter_map(|skip| Line::of(of(skip.key_id)?, skip.code)).collect();
        let known = busy.iter().filter(|skip| skip.number > 0).map(|skip| (skip.number + 1) * 1_000).min();
        let known = known.filter(|at_us| *at_us <= end_us);
        if lines.is_empty() && known.is_none() {
            return false;
        }
        if !flight.place.as_ref().is_some_and(|place| place.is_in(&lines)) && !lines.is_empty() {
            flight.place = self.health.queue.join(lines);
        }
        self.waiting.insert((flight.arrived_us, id));
        self.at(known.unwrap_or(end_us), Event::Wakes(id));
        true
    }

    /// A slot may be free: those who wait look again, in the order of arrival.
    pub(super) fn call_waiting(&mut self) {
        for (arrived_us, id) in std::mem::take(&mut self.waiting) {
            self.waiting.remove(&(arrived_us, id));
            self.go(id);
        }
    }
}
