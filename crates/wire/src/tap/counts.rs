//! Counts as the vendors report them, and the vector they make.

use super::place::Count;
use crate::{Wire, usage::Usage};

/// Raw counts of one usage report, or of all of an answer's. Zero is "not reported".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts([u64; 9]);

impl Counts {
    pub(super) const fn set(&mut self, which: Count, value: u64) {
        self.0[which as usize] = value;
    }

    const fn get(&self, which: Count) -> u64 {
        self.0[which as usize]
    }

    pub(super) fn any(&self) -> bool {
        *self != Self::default()
    }

    /// Takes a later report: a count of it replaces the earlier one, a zero replaces nothing.
    pub(super) fn merge(&mut self, later: &Self) {
        for (known, &new) in self.0.iter_mut().zip(&later.0) {
            if new > 0 {
                *known = new;
            }
        }
    }

    /// The vector, by the rules of `wire`.
    pub(super) fn usage(&self, wire: Wire) -> Usage {
        let get = |which| self.get(which);
        let cache_read = get(Count::CacheRead);
        let mut usage = Usage { cache_read, reported: self.any(), ..Usage::default() };
        match wire {
            Wire::Anthropic => {
                usage.input = get(Count::Input);
                usage.cache_write_1h = get(Count::Written1h);
                // What the split does not name was written for five minutes.
                let rest = get(Count::Written).saturating_sub(usage.cache_write_1h);
                usage.cache_write_5m = get(Count::Written5m).max(rest);
                (usage.output, usage.reasoning) = (get(Count::Output), get(Count::Thoughts));
            }
            Wire::Chat | Wire::Responses => {
                let written = get(Count::Written);
                let (mut input, output) = (get(Count::Input), get(Count::Output));
                if input == 0 && output == 0 {
                    // Rerankers report nothing but a total.
                    input = get(Count::Total);
                }
                usage.input = input.saturating_sub(cache_read.saturating_add(written));
                usage.cache_write_5m = written;
                (usage.output, usage.reasoning) = (output, get(Count::Thoughts));
            }
            Wire::Gemini => {
                let input = get(Count::Input).saturating_add(get(Count::ToolInput));
                usage.input = input.saturating_sub(cache_read);
                usage.reasoning = get(Count::Thoughts);
                usage.output = get(Count::Output).saturating_add(usage.reasoning);
            }
        }
        let total = get(Count::Total);
        usage.disagrees = total > 0 && total != usage.total();
        usage
    }
}
