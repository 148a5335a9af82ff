//! What a provider key's 429s teach: which limit was hit, and how many requests at a time it takes.

use crate::format::{UnknownName, names};
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, fmt, str::FromStr, time::Duration};

names! {
    /// Which of an upstream's limits a 429 is about.
    LimitKind {
        /// Requests at a time.
        Concurrent = "concurrent",
        /// Requests per minute.
        Rpm = "rpm",
        /// Tokens per minute.
        Tpm = "tpm",
        /// Requests or tokens per day or month.
        Quota = "quota",
        /// The answer does not say.
        Unknown = "unknown",
    }

    /// Why a learned limit changed.
    Reason {
        /// A 429 about concurrency.
        Concurrent = "concurrent_429",
        /// A 429 that says nothing.
        Unknown = "unknown_429",
        /// The limit was in use, and nothing was refused.
        Growth = "growth",
        /// Tried higher, as is done twice an hour.
        Probe = "probe",
    }
}

/// The largest learned limit that still grows.
pub const GROWTH_MAX: u32 = 200;
/// Adjustments that are remembered.
pub const HISTORY: usize = 20;
/// Samples of utilisation that are remembered.
pub const SAMPLES: usize = 30;
const SAMPLES_US: i64 = 120_000_000;
const GROWTH: u32 = 2;
/// No growth for so long after a 429.
const QUIET_US: i64 = 300_000_000;
const PROBE_EVERY_US: i64 = 1_800_000_000;
/// A `Retry-After` up to this is short: minutes and days are refused for longer.
const SHORT: Duration = Duration::from_secs(5);

/// What a 429 says, gathered from its headers and body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts of one answer")]
pub struct Hints {
    /// Requests left in the upstream's window.
    pub requests_left: Option<u64>,
    /// Tokens left, the least of those it counts.
    pub tokens_left: Option<u64>,
    /// It speaks of requests per minute.
    pub says_minute: bool,
    /// It speaks of a day or a month.
    pub says_day: bool,
    /// It speaks of requests at a time.
    pub says_concurrent: bool,
    /// It names tokens where it speaks of a minute.
    pub says_tokens: bool,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

impl Hints {
    /// The limit that was hit; `in_flight` counts the refused request too.
    pub fn kind(&self, in_flight: u32) -> LimitKind {
        let short = self.retry_after.is_none_or(|wait| wait <= SHORT);
        match self {
            _ if self.requests_left == Some(0) || (self.says_minute && !self.says_tokens) => LimitKind::Rpm,
            _ if self.tokens_left == Some(0) || self.says_minute => LimitKind::Tpm,
            _ if self.says_day => LimitKind::Quota,
            _ if self.says_concurrent => LimitKind::Concurrent,
            _ if in_flight >= 2 && short && self.requests_left.is_some() => LimitKind::Concurrent,
            _ => LimitKind::Unknown,
        }
    }
}

/// One change of a learned limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjustment {
    /// Unix microseconds.
    pub ts: i64,
    /// The limit before; `None` was none.
    pub old: Option<u32>,
    /// The limit since.
    pub new: u32,
    /// Why.
    pub reason: Reason,
    /// In flight at that moment.
    pub evidence: u32,
}

/// How full the learned limit was when a request began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Unix microseconds.
    pub ts: i64,
    /// In flight ÷ limit, in thousandths.
    pub util: u32,
}

/// The last 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last429 {
    /// Unix microseconds.
    pub at_us: i64,
    /// The limit that was hit.
    pub kind: LimitKind,
    /// In flight then.
    pub in_flight: u32,
}

/// What one provider key has taught.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Learning {
    /// Requests at a time; `None` until a 429 tells.
    pub limit: Option<u32>,
    /// 429s about concurrency.
    pub concurrent_429: u64,
    /// 429s about requests per minute.
    pub rpm_429: u64,
    /// The last of any kind.
    pub last: Option<Last429>,
    /// The last adjustments, oldest first.
    pub history: VecDeque<Adjustment>,
    /// Recent utilisation under the limit in force, oldest first.
    pub samples: VecDeque<Sample>,
    /// When the limit was last tried higher, Unix microseconds.
    pub last_probe_us: i64,
}

impl Learning {
    /// Takes in a 429. With a fixed limit (`learns` false) it is counted, and teaches nothing.
    pub fn limited(&mut self, kind: LimitKind, in_flight: u32, learns: bool, now_us: i64) {
        self.concurrent_429 += u64::from(kind == LimitKind::Concurrent);
        self.rpm_429 += u64::from(kind == LimitKind::Rpm);
        self.last = Some(Last429 { at_us: now_us, kind, in_flight });
        if !learns {
            return;
        }
        let share = |of: u32, percent: u64| u32::try_from(u64::from(of) * percent / 100).unwrap_or(u32::MAX).max(1);
        let next = match (kind, self.limit) {
            (LimitKind::Concurrent, limit) => share(in_flight, 85).min(limit.unwrap_or(u32::MAX)),
            (LimitKind::Unknown, Some(limit)) => share(limit, 90),
            _ => return,
        };
        let reason = if kind == LimitKind::Concurrent { Reason::Concurrent } else { Reason::Unknown };
        self.adjust(next, reason, in_flight, now_us);
    }

    /// Takes in a request that begins, the `in_flight`th; a limit that proves too low grows.
    pub fn began(&mut self, in_flight: u32, now_us: i64) {
        let Some(limit) = self.limit else { return };
        let util = u32::try_from(u64::from(in_flight) * 1_000 / u64::from(limit.max(1))).unwrap_or(u32::MAX);
        while self.samples.len() >= SAMPLES || self.samples.front().is_some_and(|old| old.ts <= now_us - SAMPLES_US) {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { ts: now_us, util });
        if limit >= GROWTH_MAX || self.last.is_some_and(|last| now_us - last.at_us < QUIET_US) {
            return;
        }
        let count = self.samples.len();
        let busy = self.samples.iter().filter(|sample| sample.util >= 700).count();
        let sum: u64 = self.samples.iter().map(|sample| u64::from(sample.util)).sum();
        if count >= 5 && busy * 10 >= count * 6 {
            self.adjust((limit + GROWTH).min(GROWTH_MAX), Reason::Growth, in_flight, now_us);
        } else if count >= 10 && sum >= 300 * count as u64 && now_us - self.last_probe_us >= PROBE_EVERY_US {
            self.last_probe_us = now_us;
            self.adjust((limit + GROWTH).min(GROWTH_MAX), Reason::Probe, in_flight, now_us);
        }
    }

    fn adjust(&mut self, new: u32, reason: Reason, evidence: u32, now_us: i64) {
        if self.limit == Some(new) {
            return;
        }
        if self.history.len() >= HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(Adjustment { ts: now_us, old: self.limit, new, reason, evidence });
        self.limit = Some(new);
        self.samples.clear(); // they measured the limit before
    }

    /// How little the last five adjustments differ, in thousandths: 1,000 if they agree or there are none.
    pub fn stability_millis(&self) -> u32 {
        let last = || self.history.iter().rev().take(5).map(|adjustment| adjustment.new);
        let (Some(least), Some(most)) = (last().min(), last().max()) else { return 1_000 };
        least * 1_000 / most.max(1)
    }
}

/// Below so many slots taken, no reservation keeps anybody out: it is 35 % at most.
pub fn surely_free(limit: u32) -> u32 {
    u32::try_from(u64::from(limit) * 65 / 100).unwrap_or(limit)
}

/// Slots of a key that callers without affinity leave to those whose cache is warm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reservation {
    /// Requests that the key has served.
    pub requests: u64,
    /// The share of them that succeeded, in thousandths.
    pub success_millis: u32,
    /// Since the last 429; `None` if there was none.
    pub since_429_us: Option<i64>,
    /// [`Learning::stability_millis`].
    pub stability_millis: u32,
}

impl Reservation {
    /// The reserved share in thousandths, where `in_flight` of `limit` slots are taken.
    ///
    /// A tenth for a key that is little known or little used; towards a full load the more, the surer its limit is.
    pub fn millis(&self, in_flight: u32, limit: u32) -> u64 {
        const BASE: u64 = 100;
        const DAY_US: i64 = 24 * 3_600 * 1_000_000;
        if self.requests < 100 {
            return BASE;
        }
        let load = u64::from(in_flight) * 1_000 / u64::from(limit.max(1));
        let quiet = self.since_429_us.map_or(1_000, |since| since.clamp(0, DAY_US) / (DAY_US / 1_000));
        let confidence = 4 * u64::from(self.success_millis)
            + 3 * u64::try_from(quiet).unwrap_or(0)
            + 3 * u64::from(self.stability_millis);
        let most = confidence / 10 * 250 / 1_000;
        BASE + most * load.clamp(500, 800).saturating_sub(500) / 300
    }

    /// How many slots callers without affinity may use, at least one of a limit that allows any.
    pub fn cold_limit(&self, in_flight: u32, limit: u32) -> u32 {
        let reserved = (u64::from(limit) * self.millis(in_flight, limit)).div_ceil(1_000);
        limit.saturating_sub(u32::try_from(reserved).unwrap_or(u32::MAX)).max(limit.min(1))
    }
}

#[cfg(test)]
mod tests;
