//! Sizes and times as people write them: a whole number and a unit.

use std::time::Duration;

/// Bytes: `512MiB`, `2GB`, `100B`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 7] = [
        ("B", 1),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
    ];
    quantity(text, &UNITS).ok_or_else(|| format!("expected a size such as 512MiB, found {text:?}"))
}

/// A time: `10m`, `2s`, `500ms`, `1h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let ms = quantity(text, &UNITS).ok_or_else(|| format!("expected a time such as 10m or 30s, found {text:?}"))?;
    Ok(Duration::from_millis(ms))
}

/// A number in the smallest unit; `None` if it is not written so, or too large.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, want) in [
            ("512MiB", Some(512 << 20)),
            ("1 GiB", Some(1 << 30)),
            ("64kib", Some(64 << 10)),
            ("2kB", Some(2_000)),
            ("0B", Some(0)),
            ("512", None),
            ("MiB", None),
            ("-1MiB", None),
            ("1.5GiB", None),
            ("99999999999999GiB", None),
            ("", None),
        ] {
            assert_eq!(size(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, want_ms) in [
            ("10m", Some(600_000)),
            ("2s", Some(2_000)),
            ("500ms", Some(500)),
            ("1h", Some(3_600_000)),
            ("0s", Some(0)),
            ("10", None),
            ("10 minutes", None),
            ("m", None),
        ] {
            assert_eq!(duration(text).ok(), want_ms.map(Duration::from_millis), "{text}");
        }
    }
}
