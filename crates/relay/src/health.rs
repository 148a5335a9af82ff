//! What attempts teach about provider keys.
//!
//! In this version: how long a key rests. Breakers and learned limits have their places in `domain::schedule`.

use arc_swap::ArcSwap;
use domain::{
    ids::{GlobalModelId, ProviderKeyId},
    schedule::{
        attempt::Verdict,
        limits::{Ends, cool},
    },
};
use std::{sync::Arc, time::Duration};

/// Rest of a (key, model) that may not do what was asked.
const NOT_PERMITTED: Duration = Duration::from_mins(5);
/// Rest of a key that its vendor refuses for good, until somebody mends it.
const UNUSABLE: Duration = Duration::from_mins(5);

/// Live state of provider keys.
#[derive(Debug, Default)]
pub(crate) struct Health {
    // Written a few times a minute, read by every request: readers take a snapshot.
    ends: ArcSwap<Ends>,
}

impl Health {
    /// The rests in force.
    pub(crate) fn ends(&self) -> Arc<Ends> {
        self.ends.load_full()
    }

    /// Takes in a failed attempt.
    pub(crate) fn failed(
        &self,
        key: ProviderKeyId,
        model: GlobalModelId,
        verdict: Verdict,
        retry_after: Option<Duration>,
        now_us: i64,
    ) {
        let us = |wait: Duration| i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
        let (what, wait_us) = match verdict {
            Verdict::RateLimited => ((key, None), retry_after.map(us)),
            Verdict::NotPermitted => ((key, Some(model)), Some(us(NOT_PERMITTED))),
            Verdict::KeyUnusable => ((key, None), Some(us(UNUSABLE))),
            _ => return,
        };
        self.ends.rcu(|ends| {
            let mut ends = Ends::clone(ends);
            cool(&mut ends, what, now_us, wait_us);
            ends
        });
    }
}
