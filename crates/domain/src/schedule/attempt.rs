//! What one attempt's outcome means, and what follows it.

use crate::format::names;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

use crate::format::UnknownName;

names! {
    /// What an attempt's outcome means for the caller, the next step and the key's health.
    Verdict {
        /// The key is refused for good: credit, account, credential.
        KeyUnusable = "key_unusable",
        /// The key may not do this.
        NotPermitted = "not_permitted",
        /// The request itself is at fault; nobody else is asked.
        CallersFault = "callers_fault",
        /// This upstream cannot do what is asked.
        CannotDo = "cannot_do",
        /// The upstream does not know the model under this name.
        UnknownModel = "unknown_model",
        /// Too many requests or tokens.
        RateLimited = "rate_limited",
        /// The upstream has no capacity.
        Overloaded = "overloaded",
        /// It may work the next time.
        Transient = "transient",
        /// The model wrote a call that no client can be given: it may not the next time, and the key is not at fault.
        MalformedCall = "malformed_call",
        /// What answers there is not the API.
        EndpointFault = "endpoint_fault",
        /// The operator's own settings keep it from being asked: the egress policy, or a proxy that refuses.
        NotDialled = "not_dialled",
    }

    /// The deadlines of an attempt, by the name they are recorded under.
    Deadline {
        /// Dialling, proxy and TLS.
        Connect = "connect",
        /// From sending to a stream's first event.
        FirstEvent = "first_event",
        /// Silence within a stream.
        Idle = "idle",
        /// A whole answer, from sending to its commit.
        Whole = "timeout",
        /// All attempts together.
        Total = "total",
    }
}

/// What an outcome does to the key's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// A failure for the breaker.
    Counts,
    /// The key rests for a while.
    Cools,
    /// The key's circuit opens at once.
    Opens,
}

impl Verdict {
    /// The effect on health.
    pub const fn effect(self) -> Effect {
        match self {
            Self::KeyUnusable => Effect::Opens,
            Self::NotPermitted | Self::RateLimited => Effect::Cools,
            Self::CallersFault | Self::CannotDo | Self::UnknownModel | Self::MalformedCall | Self::NotDialled => {
                Effect::None
            }
            Self::Overloaded | Self::Transient | Self::EndpointFault => Effect::Counts,
        }
    }
}

/// What a request may still spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Retries on this candidate.
    pub retries: u32,
    /// Further names of the model at this candidate.
    pub names: u32,
    /// Further candidates.
    pub candidates: u32,
    /// Whether this candidate was retried already.
    pub retried: bool,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The same candidate, after a back-off.
    Retry,
    /// The same candidate under the next name of the model.
    OtherName,
    /// The next candidate.
    OtherCandidate,
    /// The request fails.
    Stop,
}

/// Decides what follows; after `committed` nothing is replayed.
///
/// While another candidate is left, one retry is all a candidate gets: moving on is faster than waiting.
pub fn next(verdict: Verdict, committed: bool, left: Left) -> Next {
    let may_retry = left.retries > 0 && (left.candidates == 0 || !left.retried);
    match verdict {
        _ if committed => Next::Stop,
        Verdict::CallersFault => Next::Stop,
        Verdict::Overloaded | Verdict::Transient if may_retry => Next::Retry,
        Verdict::MalformedCall if left.retries > 0 && !left.retried => Next::Retry,
        Verdict::UnknownModel if left.names > 0 => Next::OtherName,
        _ if left.candidates > 0 => Next::OtherCandidate,
        _ => Next::Stop,
    }
}

/// The wait before retry `retry` (from 0): 100 ms doubling to 2 s, of which the upper half is chance.
///
/// `chance` is uniform over all of `u32`.
pub fn backoff_ms(retry: u32, chance: u32) -> u64 {
    const FIRST_MS: u64 = 100;
    const CAP_MS: u64 = 2_000;
    let full = FIRST_MS.saturating_mul(1 << retry.min(10)).min(CAP_MS);
    full / 2 + ((full / 2 * u64::from(chance)) >> 32)
}

/// What a request that found no answer saw, in the order of its attempts; decides the client's error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllFailed {
    /// Hand on this attempt's own answer.
    HandOn(usize),
    /// All are rate limited or busy.
    RateLimited,
    /// All timed out.
    Timeout,
    /// All are overloaded.
    Overloaded,
    /// Anything else.
    Upstream,
}

/// One failed attempt as [`all_failed`] sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// Its verdict.
    pub verdict: Verdict,
    /// A deadline ended it, ours or the upstream's own.
    pub timed_out: bool,
}

/// The first rule that fits the last verdict of each candidate tried; `busy` says that candidates were out for a rate or slot.
pub fn all_failed(tried: &[Failed], busy: bool) -> AllFailed {
    let passing = |failed: &Failed| {
        matches!(
            failed.verdict,
            Verdict::RateLimited | Verdict::Overloaded | Verdict::Transient | Verdict::MalformedCall
        )
    };
    let cannot = tried.iter().position(|failed| matches!(failed.verdict, Verdict::CannotDo | Verdict::UnknownModel));
    if let Some(index) = cannot
        && !busy
        && !tried.iter().any(passing)
    {
        return AllFailed::HandOn(index);
    }
    if tried.iter().all(|failed| failed.verdict == Verdict::RateLimited) {
        return AllFailed::RateLimited;
    }
    if tried.iter().all(|failed| failed.timed_out) {
        return AllFailed::Timeout;
    }
    if tried.iter().all(|failed| failed.verdict == Verdict::Overloaded) {
        return AllFailed::Overloaded;
    }
    AllFailed::Upstream
}
