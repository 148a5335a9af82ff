//! Whose fault failures are: a caller that fails wherever it goes, while others are served, is no evidence against a key.
//!
//! A breaker tells callers apart where several use one key. This tells them apart across keys, so that a key which only a
//! bad caller has found yet is not opened by it either.

use super::breaker::{Caller, WINDOW_US};
use crate::ids::{IdMap, ProviderKeyId};

/// Callers that are remembered of each kind.
const CALLERS_MAX: usize = 4_096;

/// A caller that has failed and not been served since.
#[derive(Debug, Clone, Copy)]
struct Failing {
    first_key: ProviderKeyId,
    elsewhere: bool,
    last_us: i64,
    /// When it last failed at a key that had just served another caller; 0 once another one failed there, too.
    contradicted_us: i64,
}

/// Who fails, and who was served.
#[derive(Debug, Default)]
pub struct Blame {
    failing: IdMap<Caller, Failing>,
    served: IdMap<Caller, i64>,
}

impl Blame {
    /// A request of `by` failed at `key`; `another` is how the last request of anybody else ended there, if one did lately.
    pub fn failed(&mut self, by: Caller, key: ProviderKeyId, another: Option<bool>, now_us: i64) {
        if self.failing.len() >= CALLERS_MAX && !self.failing.contains_key(&by) {
            self.failing.retain(|_, failing| failing.last_us > now_us - WINDOW_US);
            if self.failing.len() >= CALLERS_MAX {
                self.failing.clear(); // so many that fail are nobody's fault in particular
            }
        }
        let fresh = Failing { first_key: key, elsewhere: false, last_us: now_us, contradicted_us: 0 };
        let failing = self.failing.entry(by).or_insert(fresh);
        failing.elsewhere |= failing.first_key != key;
        failing.last_us = now_us;
        match another {
            Some(true) => failing.contradicted_us = now_us,
            Some(false) => failing.contradicted_us = 0,
            None => {}
        }
    }

    /// A request of `by` was served.
    pub fn succeeded(&mut self, by: Caller, now_us: i64) {
        self.failing.remove(&by);
        if self.served.len() >= CALLERS_MAX && !self.served.contains_key(&by) {
            self.served.retain(|_, at_us| *at_us > now_us - WINDOW_US);
            if self.served.len() >= CALLERS_MAX {
                return;
            }
        }
        self.served.insert(by, now_us);
    }

    /// Whether the caller fails at several keys, at one of them right after another caller was served there, and was not
    /// served itself within the breakers' window.
    pub fn is_suspect(&self, by: Caller, now_us: i64) -> bool {
        let recent = |at_us: i64| at_us > now_us - WINDOW_US;
        self.failing.get(&by).is_some_and(|failing| failing.elsewhere && recent(failing.contradicted_us))
            && !self.served.get(&by).copied().is_some_and(recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::id;

    const NOW: i64 = 1_000_000_000;

    #[test]
    fn who_fails_everywhere_while_others_are_served_is_suspect() {
        type Steps = fn(&mut Blame, Caller);
        let cases: [(&str, bool, Steps); 7] = [
            ("two keys, at one of them another is served", true, |blame, bad| {
                blame.failed(bad, id(1), Some(true), NOW - 4);
                blame.failed(bad, id(2), None, NOW - 3);
            }),
            ("one key may be at fault", false, |blame, bad| {
                blame.failed(bad, id(1), Some(true), NOW - 4);
                blame.failed(bad, id(1), Some(true), NOW - 3);
            }),
            ("nobody is served: the keys may be at fault", false, |blame, bad| {
                blame.failed(bad, id(1), None, NOW - 4);
                blame.failed(bad, id(2), None, NOW - 3);
            }),
            ("another fails there, too", false, |blame, bad| {
                blame.failed(bad, id(1), Some(true), NOW - 4);
                blame.failed(bad, id(2), None, NOW - 3);
                blame.failed(bad, id(1), Some(false), NOW - 2);
            }),
            ("served itself a minute ago", false, |blame, bad| {
                blame.succeeded(bad, NOW - 60_000_000);
                blame.failed(bad, id(1), Some(true), NOW - 4);
                blame.failed(bad, id(2), Some(true), NOW - 3);
            }),
            ("served itself long ago", true, |blame, bad| {
                blame.succeeded(bad, NOW - WINDOW_US);
                blame.failed(bad, id(1), Some(true), NOW - 4);
                blame.failed(bad, id(2), Some(true), NOW - 3);
            }),
            ("the contradiction is long ago", false, |blame, bad| {
                blame.failed(bad, id(1), Some(true), NOW - WINDOW_US);
                blame.failed(bad, id(2), None, NOW - 3);
            }),
        ];
        for (name, want, steps) in cases {
            let mut blame = Blame::default();
            steps(&mut blame, Caller(1));
            assert_eq!(blame.is_suspect(Caller(1), NOW), want, "{name}");
            assert!(!blame.is_suspect(Caller(2), NOW), "{name}");
        }
    }

    #[test]
    fn a_bounded_number_is_remembered() {
        let mut blame = Blame::default();
        for caller in 0..10_000 {
            blame.failed(Caller(caller), id(1), None, NOW);
            blame.succeeded(Caller(20_000 + caller), NOW);
        }
        assert!(blame.failing.len() <= CALLERS_MAX && blame.served.len() <= CALLERS_MAX);
        assert!(blame.failing.contains_key(&Caller(9_999)));
    }
}
