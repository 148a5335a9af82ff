//! A vendor's account as the simulator plays it: its true limits, its failures, and its prompt cache.

use super::scenario::{Behaviour, Kind};
use domain::{
    limit::rate::RateWindow,
    price::TokenCounts,
    schedule::{adaptive::Hints, attempt::Verdict},
};
use std::{collections::HashMap, time::Duration};

const S: i64 = 1_000_000;
/// A cache entry lives so long after its last use, as vendors' default caches do.
const CACHE_US: i64 = 300 * S;
/// How long the different refusals take.
const REFUSED_US: i64 = 30_000;
const FAILED_US: i64 = 200_000;

/// One account.
pub(super) struct Account {
    behaviour: Behaviour,
    in_flight: u32,
    minute: RateWindow,
    /// Prompt tokens of a conversation that are cached, and until when.
    cache: HashMap<u64, (u64, i64)>,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub conversation: u64,
    pub kind: Kind,
    pub prompt_tokens: u64,
    pub output_tokens: u64,
}

/// What comes of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    Served(TokenCounts),
    Failed(Verdict, Hints),
}

impl Account {
    pub(super) fn new(behaviour: Behaviour) -> Self {
        Self { behaviour, in_flight: 0, minute: RateWindow::default(), cache: HashMap::new() }
    }

    /// Begins a request `now_us` into the run; tells how it ends and how long it takes.
    pub(super) fn begin(&mut self, ask: &Ask, now_us: i64) -> (Outcome, i64) {
        let failed = |verdict, hints, took| (Outcome::Failed(verdict, hints), took);
        let fails =
            |failure: &&super::Failure| (i64::from(failure.from_s) * S..i64::from(failure.to_s) * S).contains(&now_us);
        self.in_flight += 1;
        if let Some(failure) = self.behaviour.fails.iter().find(fails) {
            let verdict = if failure.bad_key { Verdict::KeyUnusable } else { Verdict::Transient };
            return failed(verdict, Hints::default(), FAILED_US);
        }
        if self.behaviour.concurrency.is_some_and(|most| self.in_flight > most) {
            let hints = Hints { says_concurrent: true, retry_after: Some(Duration::from_secs(1)), ..Hints::default() };
            return failed(Verdict::RateLimited, hints, REFUSED_US);
        }
        if let Some(limit) = self.behaviour.requests_per_minute
            && let Err(wait) = self.minute.admit(limit, now_us.unsigned_abs())
        {
            let hints = Hints { requests_left: Some(0), retry_after: Some(wait), ..Hints::default() };
            return failed(Verdict::RateLimited, hints, REFUSED_US);
        }
        match ask.kind {
            Kind::Good => {}
            Kind::Mistake => return failed(Verdict::CallersFault, Hints::default(), REFUSED_US),
            Kind::Poison => return failed(Verdict::Transient, Hints::default(), FAILED_US),
        }
        let (cached, until_us) = self.cache.get(&ask.conversation).copied().unwrap_or_default();
        let cache_read = if until_us > now_us { cached.min(ask.prompt_tokens) } else { 0 };
        self.cache.insert(ask.conversation, (ask.prompt_tokens, now_us + CACHE_US));
        let tokens = TokenCounts {
            cache_read,
            cache_write_5m: ask.prompt_tokens - cache_read,
            output: ask.output_tokens,
            ..TokenCounts::default()
        };
        let output = i64::try_from(ask.output_tokens).unwrap_or(i64::MAX / S);
        let took = i64::from(self.behaviour.first_byte_ms) * 1_000
            + output.saturating_mul(S) / i64::from(self.behaviour.tokens_per_s.max(1));
        (Outcome::Served(tokens), took)
    }

    /// A request ended.
    pub(super) fn end(&mut self) {
        self.in_flight -= 1;
    }
}
