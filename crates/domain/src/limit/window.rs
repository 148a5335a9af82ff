//! Windows that begin with their first use or with the calendar: a provider's fixed minute, a key's day and month.

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Width of the fixed minute.
const MINUTE_US: i64 = 60_000_000;

/// Attempts in a fixed minute from its first one: `rpm_used` and `rpm_reset_at`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FixedMinute {
    /// Attempts in it.
    pub used: u32,
    /// Its end, Unix microseconds.
    pub reset_us: i64,
}

impl FixedMinute {
    /// Whether an attempt would be admitted, or how long until it is.
    pub fn look(&self, limit: u32, now_us: i64) -> Result<(), Duration> {
        let over = self.reset_us <= now_us;
        match limit {
            0 => Err(micros(if over { MINUTE_US } else { self.reset_us - now_us })),
            _ if over || self.used < limit => Ok(()),
            _ => Err(micros(self.reset_us - now_us)),
        }
    }

    /// Counts an attempt, or says how long until the minute is over.
    pub fn admit(&mut self, limit: u32, now_us: i64) -> Result<(), Duration> {
        self.look(limit, now_us)?;
        if self.reset_us <= now_us {
            *self = Self { used: 0, reset_us: now_us + MINUTE_US };
        }
        self.used += 1;
        Ok(())
    }

    /// Takes back an attempt that was not made after all.
    pub fn give_back(&mut self) {
        self.used = self.used.saturating_sub(1);
    }
}

/// A business day or month, from its first instant to that of the next, Unix microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Included.
    pub start_us: i64,
    /// Not included.
    pub end_us: i64,
}

impl Span {
    /// The day and the month of this instant in this zone. Where the calendar cannot tell, both are empty.
    pub fn day_and_month(zone: &TimeZone, now_us: i64) -> (Self, Self) {
        let spans = || {
            let now = Timestamp::from_microsecond(now_us).ok()?.to_zoned(zone.clone());
            let day = now.start_of_day().ok()?;
            let month = now.first_of_month().ok()?.start_of_day().ok()?;
            let span = |from: &jiff::Zoned, to: jiff::Zoned| Self {
                start_us: from.timestamp().as_microsecond(),
                end_us: to.timestamp().as_microsecond(),
            };
            let tomorrow = day.checked_add(1.day()).ok()?.start_of_day().ok()?;
            let next_month = month.checked_add(1.month()).ok()?.start_of_day().ok()?;
            Some((span(&day, tomorrow), span(&month, next_month)))
        };
        spans().unwrap_or_default()
    }
}

/// Attempts of one day or month. An attempt counts from its start, and gives its place back if it gets no response: so the
/// limit holds however many are in flight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// The period.
    pub span: Span,
    /// Attempts in it.
    pub used: u64,
}

impl Count {
    /// Moves on to the period of now.
    pub fn roll(&mut self, span: Span) {
        if span.start_us > self.span.start_us {
            *self = Self { span, used: 0 };
        }
    }

    /// Whether an attempt would be admitted, or how long until the next period.
    pub fn look(&self, limit: u32, now_us: i64) -> Result<(), Duration> {
        if self.used < u64::from(limit) || (limit > 0 && self.span.end_us <= now_us) {
            return Ok(());
        }
        Err(micros(self.span.end_us - now_us))
    }

    /// Takes back an attempt that began in the period from `start_us` and got no response.
    fn give_back(&mut self, start_us: i64) {
        if self.span.start_us == start_us {
            self.used = self.used.saturating_sub(1);
        }
    }
}

/// A provider key's day and month.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Periods {
    /// The business day.
    pub day: Count,
    /// The business month.
    pub month: Count,
}

/// An attempt that is counted in a day and a month. Dropped without [`Attempted::answered`], it was none.
#[derive(Debug)]
pub struct Attempted {
    periods: Arc<Mutex<Periods>>,
    day_start_us: i64,
    month_start_us: i64,
    answered: bool,
}

impl Periods {
    /// Moves both on to the day and month of now.
    pub fn roll(&mut self, day: Span, month: Span) {
        self.day.roll(day);
        self.month.roll(month);
    }

    /// Counts an attempt in both.
    pub fn take(this: &Arc<Mutex<Self>>) -> Attempted {
        let mut periods = this.lock().unwrap_or_else(PoisonError::into_inner);
        periods.day.used += 1;
        periods.month.used += 1;
        Attempted {
            periods: this.clone(),
            day_start_us: periods.day.span.start_us,
            month_start_us: periods.month.span.start_us,
            answered: false,
        }
    }
}

impl Attempted {
    /// The upstream answered: the attempt counts.
    pub fn answered(&mut self) {
        self.answered = true;
    }
}

impl Drop for Attempted {
    fn drop(&mut self) {
        if !self.answered {
            let mut periods = self.periods.lock().unwrap_or_else(PoisonError::into_inner);
            periods.day.give_back(self.day_start_us);
            periods.month.give_back(self.month_start_us);
        }
    }
}

fn micros(us: i64) -> Duration {
    Duration::from_micros(u64::try_from(us).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    #[test]
    fn a_fixed_minute_begins_with_its_first_attempt() {
        let mut minute = FixedMinute::default();
        assert_eq!(minute.admit(2, 10 * S), Ok(()));
        assert_eq!(minute.admit(2, 69 * S), Ok(()));
        assert_eq!(minute.admit(2, 69 * S), Err(Duration::from_secs(1)));
        assert_eq!(minute, FixedMinute { used: 2, reset_us: 70 * S });
        assert_eq!(minute.admit(2, 70 * S), Ok(()));
        assert_eq!(minute, FixedMinute { used: 1, reset_us: 130 * S });
        assert_eq!(minute.admit(0, 200 * S), Err(Duration::from_mins(1)), "0 never routes here");
    }

    #[test]
    fn days_and_months_are_those_of_the_business_zone() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_microsecond();
        let span = |start, end| Span { start_us: at(start), end_us: at(end) };
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(
            Span::day_and_month(&berlin, at("2026-03-28T23:30:00Z")),
            (
                span("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
                span("2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z")
            ),
            "the day that has 23 hours"
        );
    }

    #[test]
    fn a_day_counts_attempts_that_got_a_response() {
        let span = |start: i64| Span { start_us: start, end_us: start + 100 };
        let periods = Arc::new(Mutex::new(Periods::default()));
        let look = |limit, now| periods.lock().unwrap().day.look(limit, now);
        periods.lock().unwrap().roll(span(100), span(0));
        let mut first = Periods::take(&periods);
        first.answered();
        let second = Periods::take(&periods);
        assert_eq!(look(2, 150), Err(Duration::from_micros(50)), "in flight counts");
        drop((first, second));
        assert_eq!(look(2, 150), Ok(()), "the second got no response");
        let third = Periods::take(&periods);
        periods.lock().unwrap().roll(span(200), span(0));
        drop(third);
        assert_eq!(look(1, 250), Ok(()));
        let Periods { day, month } = *periods.lock().unwrap();
        assert_eq!((day.used, month.used), (0, 1), "what began yesterday counts in the month only until it ends");
        assert_eq!(look(0, 250), Err(Duration::from_micros(50)), "0 allows nothing");
    }
}
