//! Cool-offs: how long a provider key rests after its upstream asked it to wait.

use crate::ids::{GlobalModelId, ProviderKeyId};
use std::collections::HashMap;

/// Rest after a rate limit that names no time.
pub const DEFAULT_COOL_US: i64 = 5_000_000;
/// The longest rest an answer can ask for: a typo or a hostile upstream must not retire a key.
pub const MAX_COOL_US: i64 = 24 * 3600 * 1_000_000;

/// What rests: a key, or a key for one model.
pub type Resting = (ProviderKeyId, Option<GlobalModelId>);

/// Ends of cool-offs, Unix microseconds.
pub type Ends = HashMap<Resting, i64>;

/// Cool-offs as the planner sees them.
#[derive(Debug, Default, Clone, Copy)]
pub struct View<'a> {
    ends: Option<&'a Ends>,
}

impl<'a> View<'a> {
    /// A view of these ends.
    pub fn new(ends: &'a Ends) -> Self {
        Self { ends: Some(ends) }
    }

    /// When the rest of the key, or of the key for this model, ends, if there is one now.
    pub fn cooling(&self, key: ProviderKeyId, model: GlobalModelId, now_us: i64) -> Option<i64> {
        let ends = self.ends?;
        let of = |what| ends.get(&what).copied().filter(|end| *end > now_us);
        of((key, None)).max(of((key, Some(model))))
    }
}

/// Records a rest of `wait_us` from `now_us`; a rest is never shortened. Ends that are past are dropped.
pub fn cool(ends: &mut Ends, what: Resting, now_us: i64, wait_us: Option<i64>) {
    ends.retain(|_, end| *end > now_us);
    let end = now_us.saturating_add(wait_us.unwrap_or(DEFAULT_COOL_US).clamp(0, MAX_COOL_US));
    let slot = ends.entry(what).or_insert(end);
    *slot = (*slot).max(end);
}
