//! Times that vendors write: seconds since 1970, and the two spellings of a date.

use std::time::Duration;

use tokio::time::Instant;

/// The upstream's clock: a fixed start, moved on by tokio's time, so that paused time holds it still.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start_unix_s: u64,
    started: Instant,
}

impl Clock {
    pub(crate) fn starting_at(start_unix_s: u64) -> Self {
        Self { start_unix_s, started: Instant::now() }
    }

    pub(crate) fn now_unix_s(&self) -> u64 {
        self.start_unix_s + self.started.elapsed().as_secs()
    }

    /// RFC 3339 in UTC, as Anthropic's limits are reset.
    pub(crate) fn rfc3339_in(&self, wait: Duration) -> String {
        let date = Date::of(self.now_unix_s() + wait.as_secs());
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            date.year, date.month, date.day, date.hour, date.minute, date.second
        )
    }

    /// The form of the `date` header.
    pub(crate) fn imf_fixdate(&self) -> String {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let date = Date::of(self.now_unix_s());
        let weekday = DAYS.get(date.weekday).copied().unwrap_or_default();
        let month = MONTHS.get(date.month.saturating_sub(1)).copied().unwrap_or_default();
        format!(
            "{weekday}, {:02} {month} {:04} {:02}:{:02}:{:02} GMT",
            date.day, date.year, date.hour, date.minute, date.second
        )
    }
}

struct Date {
    year: u64,
    month: usize,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    /// 0 is the weekday of 1970-01-01, a Thursday.
    weekday: usize,
}

impl Date {
    /// The Gregorian date of a Unix time, by counting days from 1 March of year 0.
    fn of(unix_s: u64) -> Self {
        let days = unix_s / 86_400;
        let since_march_0 = days + 719_468;
        let era = since_march_0 / 146_097;
        let day_of_era = since_march_0 % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Self {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month: usize::try_from(month).unwrap_or_default(),
            day: day_of_year - (153 * shifted + 2) / 5 + 1,
            hour: unix_s % 86_400 / 3_600,
            minute: unix_s % 3_600 / 60,
            second: unix_s % 60,
            weekday: usize::try_from(days % 7).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests;
