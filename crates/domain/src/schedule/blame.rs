//! Whose fault failures are: a caller that fails wherever it goes, while others are served, is no evidence against a key.
//!
//! A breaker tells callers apart where several use one key. This tells them apart across keys, so that a key which only a
//! bad caller has found yet is not opened by it either.

use super::breaker::{Caller, WINDOW_US};
use crate::ids::ProviderKeyId;
use std::collections::HashMap;

/// Callers that are remembered; beyond, those that failed longest ago are forgotten.
const CALLERS_MAX: usize = 1_024;

/// A caller that has failed and not been served since.
#[derive(Debug, Clone, Copy)]
struct Failing {
    first_key: ProviderKeyId,
    elsewhere: bool,
    last_us: i64,
}

/// Who fails, and who was served last.
#[derive(Debug, Default)]
pub struct Blame {
    failing: HashMap<Caller, Failing>,
    /// The last two callers that were served, and when.
    served: [(Caller, i64); 2],
}

impl Blame {
    /// A request of `by` failed at `key`.
    pub fn failed(&mut self, by: Caller, key: ProviderKeyId, now_us: i64) {
        if self.failing.len() >= CALLERS_MAX && !self.failing.contains_key(&by) {
            self.failing.retain(|_, failing| failing.last_us > now_us - WINDOW_US);
            if let Some(oldest) = self.failing.iter().min_by_key(|(_, failing)| failing.last_us).map(|(by, _)| *by)
                && self.failing.len() >= CALLERS_MAX
            {
                self.failing.remove(&oldest);
            }
        }
        let fresh = Failing { first_key: key, elsewhere: false, last_us: now_us };
        let failing = self.failing.entry(by).or_insert(fresh);
        failing.elsewhere |= failing.first_key != key;
        failing.last_us = now_us;
    }

    /// A request of `by` was served.
    pub fn succeeded(&mut self, by: Caller, now_us: i64) {
        self.failing.remove(&by);
        if self.served[0].0 != by {
            self.served[1] = self.served[0];
        }
        self.served[0] = (by, now_us);
    }

    /// Whether the caller failed at several keys and was served by none, while somebody else was served.
    pub fn is_suspect(&self, by: Caller, now_us: i64) -> bool {
        let recent = |at_us: i64| at_us > now_us - WINDOW_US;
        self.failing.get(&by).is_some_and(|failing| failing.elsewhere && recent(failing.last_us))
            && self.served.iter().any(|(other, at_us)| *other != by && recent(*at_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::id;

    #[test]
    fn who_fails_everywhere_while_others_are_served_is_suspect() {
        const NOW: i64 = 1_000_000_000;
        let (bad, good) = (Caller(1), Caller(2));
        type Steps = fn(&mut Blame, Caller, Caller);
        let cases: [(&str, bool, Steps); 6] = [
            ("fails at two keys, another is served", true, |blame, bad, good| {
                blame.succeeded(good, NOW - 5);
                blame.failed(bad, id(1), NOW - 4);
                blame.failed(bad, id(2), NOW - 3);
            }),
            ("one key may be at fault", false, |blame, bad, good| {
                blame.succeeded(good, NOW - 5);
                blame.failed(bad, id(1), NOW - 4);
                blame.failed(bad, id(1), NOW - 3);
            }),
            ("nobody is served: the world may be at fault", false, |blame, bad, _| {
                blame.failed(bad, id(1), NOW - 4);
                blame.failed(bad, id(2), NOW - 3);
            }),
            ("served itself since", false, |blame, bad, good| {
                blame.succeeded(good, NOW - 5);
                blame.failed(bad, id(1), NOW - 4);
                blame.failed(bad, id(2), NOW - 3);
                blame.succeeded(bad, NOW - 2);
            }),
            ("served itself before, and then another", true, |blame, bad, good| {
                blame.succeeded(good, NOW - 6);
                blame.succeeded(bad, NOW - 5);
                blame.failed(bad, id(1), NOW - 4);
                blame.failed(bad, id(2), NOW - 3);
            }),
            ("others were served long ago", false, |blame, bad, good| {
                blame.succeeded(good, NOW - WINDOW_US);
                blame.failed(bad, id(1), NOW - 4);
                blame.failed(bad, id(2), NOW - 3);
            }),
        ];
        for (name, want, steps) in cases {
            let mut blame = Blame::default();
            steps(&mut blame, bad, good);
            assert_eq!(blame.is_suspect(bad, NOW), want, "{name}");
            assert!(!blame.is_suspect(good, NOW), "{name}");
        }
    }

    #[test]
    fn a_bounded_number_is_remembered() {
        let mut blame = Blame::default();
        for caller in 0..5_000 {
            blame.failed(Caller(caller), id(1), 1_000_000_000 + i64::try_from(caller).unwrap());
        }
        assert_eq!(blame.failing.len(), CALLERS_MAX);
        assert!(blame.failing.contains_key(&Caller(4_999)));
    }
}
