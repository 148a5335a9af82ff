//! Requests per sliding minute.

use std::{collections::VecDeque, time::Duration};

/// Width of the window.
pub const WINDOW_US: u64 = 60_000_000;
/// Width of one of its buckets: a token comes back at most this much late.
pub const BUCKET_US: u64 = 5_000_000;

/// What was left when a request was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// The limit.
    pub limit: u32,
    /// Tokens left in the window.
    pub remaining: u32,
    /// Until a token comes back.
    pub reset: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    start_us: u64,
    count: u32,
}

/// A sliding window of 60 s in buckets of 5 s.
#[derive(Debug, Default)]
pub struct RateWindow {
    buckets: VecDeque<Bucket>,
}

impl RateWindow {
    /// Whether a request would be admitted, without counting it, or how long until it is.
    pub fn look(&self, limit: u32, now_us: u64) -> Result<(), Duration> {
        if self.buckets.iter().map(|bucket| bucket.count).sum::<u32>() < limit {
            return Ok(()); // even with those that count no more
        }
        let live = || self.buckets.iter().filter(|bucket| bucket.start_us + WINDOW_US > now_us);
        if live().map(|bucket| bucket.count).sum::<u32>() < limit {
            return Ok(());
        }
        let left = live().next().map_or(WINDOW_US, |oldest| oldest.start_us + WINDOW_US - now_us);
        Err(Duration::from_micros(left))
    }

    /// Counts a request against `limit`, or says how long until the oldest bucket leaves the window.
    ///
    /// `now_us` is monotonic time. A limit of 0 admits nothing, and waiting a window changes nothing about it.
    pub fn admit(&mut self, limit: u32, now_us: u64) -> Result<Admitted, Duration> {
        while self.buckets.front().is_some_and(|oldest| oldest.start_us + WINDOW_US <= now_us) {
            self.buckets.pop_front();
        }
        let used = self.buckets.iter().map(|bucket| bucket.count).sum::<u32>();
        if used >= limit {
            return Err(self.reset(now_us));
        }
        let start_us = now_us - now_us % BUCKET_US;
        match self.buckets.back_mut() {
            Some(newest) if newest.start_us == start_us => newest.count += 1,
            _ => self.buckets.push_back(Bucket { start_us, count: 1 }),
        }
        Ok(Admitted { limit, remaining: limit - used - 1, reset: self.reset(now_us) })
    }

    /// Takes back a request that was admitted at this instant and not made after all.
    pub fn give_back(&mut self, now_us: u64) {
        if let Some(bucket) = self.buckets.iter_mut().find(|bucket| bucket.start_us == now_us - now_us % BUCKET_US) {
            bucket.count = bucket.count.saturating_sub(1);
        }
    }

    fn reset(&self, now_us: u64) -> Duration {
        let oldest = self.buckets.front().map_or(WINDOW_US, |oldest| oldest.start_us + WINDOW_US - now_us);
        Duration::from_micros(oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_refusal_says_when_the_oldest_bucket_leaves() {
        let mut window = RateWindow::default();
        let s = 1_000_000;
        assert_eq!(window.admit(2, 2 * s).unwrap().remaining, 1);
        assert_eq!(window.admit(2, 7 * s).unwrap().remaining, 0);
        assert_eq!(window.admit(2, 10 * s), Err(Duration::from_secs(50)), "the bucket of second 0 leaves at 60");
        assert!(window.admit(2, 60 * s).is_ok());
        assert_eq!(window.admit(2, 61 * s), Err(Duration::from_secs(4)), "and that of second 5 at 65");
        assert_eq!(window.admit(0, 200 * s), Err(Duration::from_mins(1)));
    }

    proptest! {
        #[test]
        fn no_minute_ever_holds_more_than_the_limit(limit in 1u32..20, gaps in prop::collection::vec(0u64..10_000_000, 1..200)) {
            let (mut window, mut now, mut admitted) = (RateWindow::default(), 0, Vec::new());
            for gap in gaps {
                now += gap;
                let looked = window.look(limit, now);
                let taken = window.admit(limit, now);
                prop_assert_eq!(looked, taken.map(|_| ()));
                if taken.is_ok() {
                    admitted.push(now);
                }
                // A bucket leaves as a whole, so the guarantee is for the minute less one bucket's width.
                let in_window = admitted.iter().filter(|at| **at + WINDOW_US - BUCKET_US > now).count();
                prop_assert!(in_window <= limit as usize);
            }
        }
    }
}
