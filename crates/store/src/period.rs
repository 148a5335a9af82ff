//! The business zone's days and months, as quota periods.

use crate::repo::quotas::QuotaType;
use jiff::{Timestamp, ToSpan as _, Zoned, tz::TimeZone};

/// A period in Unix microseconds; its end is excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// What follows it.
    pub kind: QuotaType,
    /// From when, included.
    pub start: i64,
    /// Until when, excluded.
    pub end: i64,
}

/// The day of `now_us`; a day of a clock change is shorter or longer.
///
/// # Errors
/// In words, when the zone is not known on this machine.
pub fn day(now_us: i64, zone: &str) -> Result<Period, String> {
    let today = zoned(now_us, zone)?.start_of_day();
    let start = today.map_err(|error| error.to_string())?;
    let end = start.tomorrow().and_then(|next| next.start_of_day()).map_err(|error| error.to_string())?;
    Ok(period(QuotaType::Daily, &start, &end))
}

/// The month of `now_us`.
///
/// # Errors
/// As [`day`].
pub fn month(now_us: i64, zone: &str) -> Result<Period, String> {
    let first = zoned(now_us, zone)?.first_of_month().and_then(|first| first.start_of_day());
    let start = first.map_err(|error| error.to_string())?;
    let end = start.checked_add(1.month()).and_then(|next| next.start_of_day()).map_err(|error| error.to_string())?;
    Ok(period(QuotaType::Monthly, &start, &end))
}

/// A period with dates of its own.
pub fn custom(start: i64, end: i64) -> Period {
    Period { kind: QuotaType::Custom, start, end }
}

fn zoned(now_us: i64, zone: &str) -> Result<Zoned, String> {
    let zone = TimeZone::get(zone).map_err(|_| format!("the time zone {zone} of the settings is not known here"))?;
    let now = Timestamp::from_microsecond(now_us).map_err(|error| error.to_string())?;
    Ok(now.to_zoned(zone))
}

fn period(kind: QuotaType, start: &Zoned, end: &Zoned) -> Period {
    Period { kind, start: start.timestamp().as_microsecond(), end: end.timestamp().as_microsecond() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_months_are_those_of_the_business_zone() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_microsecond();
        for (now, zone, day_start, day_end, month_start, month_end) in [
            (
                "2026-02-10T12:00:00Z",
                "UTC",
                ("2026-02-10T00:00:00Z", "2026-02-11T00:00:00Z"),
                "2026-02-01T00:00:00Z",
                "2026-03-01T00:00:00Z",
            ),
            (
                "2026-01-31T23:30:00Z", // the first of February already
                "Europe/Berlin",
                ("2026-01-31T23:00:00Z", "2026-02-01T23:00:00Z"),
                "2026-01-31T23:00:00Z",
                "2026-02-28T23:00:00Z",
            ),
            (
                "2026-03-29T10:00:00Z", // 23 hours
                "Europe/Berlin",
                ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
                "2026-02-28T23:00:00Z",
                "2026-03-31T22:00:00Z",
            ),
        ]
        .map(|(now, zone, (start, end), first, last)| (now, zone, start, end, first, last))
        {
            let today = day(at(now), zone).unwrap();
            assert_eq!((today.start, today.end), (at(day_start), at(day_end)), "{now} {zone}");
            let this_month = month(at(now), zone).unwrap();
            assert_eq!((this_month.start, this_month.end), (at(month_start), at(month_end)), "{now} {zone}");
        }
        assert!(day(0, "Mars/Base").unwrap_err().contains("Mars/Base"));
    }
}
