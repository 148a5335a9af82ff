//! What a 429 says of the limit that was hit: the vendors' header families, their error bodies, and `Retry-After`.
//!
//! Anthropic: `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{remaining,reset}`, resets as RFC 3339
//! (docs.claude.com, "Rate limits"); for subscriptions `anthropic-ratelimit-unified-*` with a status and a reset in Unix
//! seconds per window. OpenAI: `x-ratelimit-{remaining,reset}-{requests,tokens}`, resets as `1s`, `6m0s`, `12ms`
//! (platform.openai.com, "Rate limits in headers"). Google: `RetryInfo` and `QuotaFailure` in the body, which `wire` reads.

use domain::schedule::adaptive::Hints;
use http::HeaderMap;
use jiff::Timestamp;
use std::time::{Duration, SystemTime};
use wire::ErrorFacts;

/// Families with a count that is left and a reset: name, (remaining, reset), whether it counts tokens.
const COUNTED: [(&str, &str, bool); 6] = [
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset", false),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset", true),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset", true),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset", true),
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", false),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", true),
];
/// Windows of a subscription: status and reset. The first is the one that decides, of whatever length.
const UNIFIED: [(&str, &str); 3] = [
    ("anthropic-ratelimit-unified-status", "anthropic-ratelimit-unified-reset"),
    ("anthropic-ratelimit-unified-5h-status", "anthropic-ratelimit-unified-5h-reset"),
    ("anthropic-ratelimit-unified-7d-status", "anthropic-ratelimit-unified-7d-reset"),
];

/// Gathers what headers and body say.
///
/// When to come back: `Retry-After` if there is one, else the body's, else the latest reset of what is used up.
pub(crate) fn read(headers: &HeaderMap, facts: &ErrorFacts) -> Hints {
    let mut hints = Hints::default();
    let mut reset: Option<Duration> = None;
    for (remaining, resets, counts_tokens) in COUNTED {
        let Some(left) = text(headers, remaining).and_then(|text| text.parse::<u64>().ok()) else { continue };
        let least = if counts_tokens { &mut hints.tokens_left } else { &mut hints.requests_left };
        *least = Some(least.map_or(left, |least| least.min(left)));
        if left == 0 {
            reset = reset.max(text(headers, resets).and_then(|text| until(text, headers)));
        }
    }
    for (status, resets) in UNIFIED {
        if text(headers, status) == Some("rejected") {
            // Hours and days, not minutes: a quota.
            hints.says_day = true;
            reset = reset.max(text(headers, resets).and_then(|text| until(text, headers)));
        }
    }
    words(&mut hints, facts);
    let in_body = facts.retry_delay_ms.map(Duration::from_millis);
    hints.retry_after = retry_after(headers).or(in_body).or(reset);
    hints
}

/// What the body's words say; a quota's id such as `GenerateRequestsPerDayPerProjectPerModel` is the most precise.
fn words(hints: &mut Hints, facts: &ErrorFacts) {
    let said = facts.quota_id.as_deref().or(facts.message.as_deref()).unwrap_or_default().to_ascii_lowercase();
    let code = facts.code.as_deref().unwrap_or_default();
    let holds = |words: &[&str]| words.iter().any(|word| said.contains(word));
    hints.says_concurrent = code.contains("concurren") || holds(&["concurren", "simultaneous", "parallel requests"]);
    hints.says_minute =
        holds(&["per minute", "per-minute", "per min)", "per min.", "perminute", "(rpm)", "(tpm)", "rpm)", "tpm)"]);
    hints.says_day |= holds(&["per day", "perday", "(rpd)", "(tpd)", "rpd)", "tpd)", "daily", "per month", "monthly"]);
    hints.says_tokens = said.contains("token");
    if hints.says_day {
        hints.says_minute = false; // the longer window is the one to wait for
    }
}

/// `retry-after-ms`, or `Retry-After` in seconds, fractions of them, or as a date measured against the answer's own.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    if let Some(ms) = text(headers, "retry-after-ms").and_then(number) {
        return Duration::try_from_secs_f64(ms / 1_000.0).ok();
    }
    let after = text(headers, "retry-after")?;
    if let Some(seconds) = number(after) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = httpdate::parse_http_date(after).ok()?;
    Some(at.duration_since(sent(headers)?).unwrap_or_default())
}

/// A reset: Go's durations (`6m0s`), seconds, Unix seconds, or RFC 3339; instants are measured against the answer's date.
fn until(text: &str, headers: &HeaderMap) -> Option<Duration> {
    /// Numbers above are instants: a wait of 30 years is none.
    const INSTANT: f64 = 1e9;
    if let Some(seconds) = number(text) {
        if seconds < INSTANT {
            return Duration::try_from_secs_f64(seconds).ok();
        }
        let at = SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)?;
        return Some(at.duration_since(sent(headers)?).unwrap_or_default());
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(SystemTime::from(at).duration_since(sent(headers)?).unwrap_or_default());
    }
    go_duration(text)
}

/// A duration of one or more numbers with units: `12ms`, `7.66s`, `1h30m0s`.
fn go_duration(text: &str) -> Option<Duration> {
    let (mut sum, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value = number(&rest[..digits])?;
        let unit = &rest[digits..];
        let letters = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let seconds = match &unit[..letters] {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            "us" | "µs" => 0.000_001,
            _ => return None,
        };
        sum = sum.checked_add(Duration::try_from_secs_f64(value * seconds).ok()?)?;
        rest = &unit[letters..];
    }
    Some(sum).filter(|_| !text.is_empty())
}

/// When the answer was made, by its own clock.
fn sent(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(text(headers, "date")?).ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

fn number(text: &str) -> Option<f64> {
    // "inf" and "nan" parse as numbers, too.
    text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)
}

#[cfg(test)]
mod tests;
