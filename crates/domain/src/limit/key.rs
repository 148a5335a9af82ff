//! The counters of one provider key.

use super::{
    concurrency::Slots,
    rate::RateWindow,
    window::{Periods, Span},
};
use crate::{catalog::ProviderKey, schedule::SkipCode};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Slots, sliding minute, day and month.
#[derive(Debug, Default)]
pub struct KeyCounts {
    /// Attempts in flight.
    pub slots: Arc<Slots>,
    /// Attempts of the last minute.
    pub rate: Mutex<RateWindow>,
    /// Attempts of the day and of the month.
    pub periods: Arc<Mutex<Periods>>,
}

/// An instant on both clocks, and the business day and month that it lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// Unix microseconds.
    pub unix_us: i64,
    /// Microseconds that never go back.
    pub monotonic_us: u64,
    /// The day.
    pub day: Span,
    /// The month.
    pub month: Span,
}

impl KeyCounts {
    /// Whether rate, day and month of `key` would admit an attempt, or which would not and for how long.
    pub fn look(&self, key: &ProviderKey, at: &At) -> Result<(), (SkipCode, Duration)> {
        if let Some(limit) = key.rate_limit {
            lock(&self.rate).look(limit, at.monotonic_us).map_err(|wait| (SkipCode::KeyRate, wait))?;
        }
        if key.daily_limit.or(key.monthly_limit).is_none() {
            return Ok(());
        }
        let Periods { day, month } = self.roll(at);
        let look = |limit: Option<u32>, count: super::window::Count, code| {
            limit.map_or(Ok(()), |limit| count.look(limit, at.unix_us)).map_err(|wait| (code, wait))
        };
        look(key.daily_limit, day, SkipCode::KeyDaily)?;
        look(key.monthly_limit, month, SkipCode::KeyMonthly)
    }

    /// Day and month, moved on to now.
    pub fn roll(&self, at: &At) -> Periods {
        let mut periods = lock(&self.periods);
        periods.roll(at.day, at.month);
        *periods
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
