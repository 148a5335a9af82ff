//! Cool-offs: how long a provider key rests after its upstream asked it to wait.

use crate::ids::ProviderKeyId;
use std::{collections::HashMap, hash::BuildHasher};

/// Rest after a rate limit that names no time.
pub const DEFAULT_COOL_US: i64 = 5_000_000;
/// The longest rest an answer can ask for: a typo or a hostile upstream must not retire a key.
pub const MAX_COOL_US: i64 = 24 * 3600 * 1_000_000;

/// Cool-offs by key, Unix microseconds.
#[derive(Debug, Default, Clone, Copy)]
pub struct View<'a> {
    until: Option<&'a HashMap<ProviderKeyId, i64>>,
}

impl<'a> View<'a> {
    /// A view of these ends.
    pub fn new(until: &'a HashMap<ProviderKeyId, i64>) -> Self {
        Self { until: Some(until) }
    }

    /// When the key's rest ends, if it rests now.
    pub fn cooling(&self, key: ProviderKeyId, now_us: i64) -> Option<i64> {
        self.until?.get(&key).copied().filter(|until| *until > now_us)
    }
}

/// Records that a key rests for `wait_us` from `now_us`; a rest is never shortened. Ends that are past are dropped.
pub fn cool<S: BuildHasher>(
    until: &mut HashMap<ProviderKeyId, i64, S>,
    key: ProviderKeyId,
    now_us: i64,
    wait_us: Option<i64>,
) {
    until.retain(|_, end| *end > now_us);
    let end = now_us.saturating_add(wait_us.unwrap_or(DEFAULT_COOL_US).clamp(0, MAX_COOL_US));
    let slot = until.entry(key).or_insert(end);
    *slot = (*slot).max(end);
}
