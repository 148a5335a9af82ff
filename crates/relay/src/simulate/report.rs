//! What a run came to.

use domain::{ids::ProviderKeyId, money::NanoUsd};
use std::fmt;

/// One run's result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Requests that ended.
    pub requests: u64,
    /// Of them, those that were answered.
    pub served: u64,
    /// Those that ended in the caller's own fault.
    pub mistakes: u64,
    /// Those that were refused because everything was busy or limited.
    pub refused: u64,
    /// Those that failed otherwise.
    pub failed: u64,
    /// Requests that met a 429 of an upstream on their way.
    pub met_429: u64,
    /// List cost of the answers.
    pub cost: NanoUsd,
    /// Prompt tokens that a former turn of the conversation had sent already.
    pub cacheable_tokens: u64,
    /// Of them, those that a cache served.
    pub cached_tokens: u64,
    /// From arrival to the end, in microseconds, sorted.
    pub latencies_us: Vec<i64>,
    /// Per provider key, in the order of the catalog.
    pub keys: Vec<KeyReport>,
}

/// One provider key's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyReport {
    /// The key.
    pub id: ProviderKeyId,
    /// Provider and key, for people.
    pub name: String,
    /// Attempts in order: Unix microseconds from the beginning, and whether it was answered.
    pub attempts: Vec<(i64, bool)>,
    /// 429s among them.
    pub limited: u64,
    /// Most in flight at a time.
    pub peak: u32,
    /// The learned limit at the end.
    pub learned: Option<u32>,
    /// How often its circuit opened.
    pub openings: u64,
    /// Its health at the end, in thousandths.
    pub health_millis: u32,
}

impl Report {
    /// The share of cacheable tokens that a cache served, in thousandths; 1,000 if there were none.
    pub fn hit_millis(&self) -> u64 {
        (self.cached_tokens * 1_000).checked_div(self.cacheable_tokens).unwrap_or(1_000)
    }

    /// The latency that `millis` thousandths of the answers did not exceed, in milliseconds.
    pub fn latency_ms(&self, millis: usize) -> i64 {
        let last = self.latencies_us.len().saturating_sub(1);
        self.latencies_us.get(last * millis / 1_000).map_or(0, |us| us / 1_000)
    }

    /// The figures by name, in the order in which they are shown.
    pub fn figures(&self) -> Vec<(&'static str, String)> {
        let share = |part: u64, of: u64| {
            let hundredths = (part * 10_000).checked_div(of).unwrap_or(0);
            format!("{}.{:02} %", hundredths / 100, hundredths % 100)
        };
        vec![
            ("requests", self.requests.to_string()),
            ("served", share(self.served, self.requests)),
            ("caller's mistakes", share(self.mistakes, self.requests)),
            ("refused, busy", share(self.refused, self.requests)),
            ("failed", share(self.failed, self.requests)),
            ("met a 429", share(self.met_429, self.requests)),
            ("cache hits", share(self.cached_tokens, self.cacheable_tokens)),
            ("cost", format!("${}", self.cost)),
            ("latency p50", format!("{} ms", self.latency_ms(500))),
            ("latency p99", format!("{} ms", self.latency_ms(990))),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, figure) in self.figures() {
            writeln!(f, "{name:<20} {figure:>16}")?;
        }
        writeln!(f, "{:<40} {:>9} {:>7} {:>6} {:>8} {:>9}", "key", "attempts", "429", "peak", "learned", "openings")?;
        for key in &self.keys {
            let learned = key.learned.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
            let attempts = key.attempts.len();
            writeln!(
                f,
                "{:<40} {attempts:>9} {:>7} {:>6} {learned:>8} {:>9}",
                key.name, key.limited, key.peak, key.openings
            )?;
        }
        Ok(())
    }
}
