//! Who issued what: ids and signatures that only the account understands which issued them.
//!
//! A client key that names such a thing is served by the provider key that issued it. What was issued for one client key
//! is nothing that another may name.

use crate::ids::{ClientKeyId, ProviderKeyId};
use std::collections::HashMap;

/// What was issued: the first half of its SHA-256. The thing itself is kept nowhere.
pub type Fingerprint = [u8; 16];

/// How long a binding lasts after its thing was last issued, in microseconds: 30 days, as long as OpenAI keeps responses.
pub const LASTS_US: i64 = 30 * 24 * 3_600_000_000;

/// Who issued a thing, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// Whose it is.
    pub client: ClientKeyId,
    /// Where it makes sense.
    pub issuer: ProviderKeyId,
    /// Until when, Unix microseconds.
    pub expires_us: i64,
}

/// The bindings that are known in memory: bounded, and what was issued first is forgotten first.
///
/// Two generations: what is new goes into the younger one; when that is full, the older one is dropped whole. So a
/// binding costs no place in a queue, and the last `generation` of them are always there.
#[derive(Debug)]
pub struct Bindings {
    young: HashMap<Fingerprint, Binding>,
    old: HashMap<Fingerprint, Binding>,
    generation: usize,
}

impl Bindings {
    /// At least the last `generation` bindings, and at most twice as many.
    pub fn new(generation: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation: generation.max(1) }
    }

    /// Who issued it, while that is known.
    pub fn find(&self, thing: &Fingerprint, now_us: i64) -> Option<Binding> {
        let found = self.young.get(thing).or_else(|| self.old.get(thing));
        found.filter(|binding| binding.expires_us > now_us).copied()
    }

    /// Takes a binding over. A thing stays with the client key it was issued for first: another one cannot take it. What is
    /// told again, or late, changes nothing.
    pub fn bind(&mut self, thing: Fingerprint, binding: Binding, now_us: i64) {
        let stays = |known: Binding| known.client != binding.client || known.expires_us >= binding.expires_us;
        if self.find(&thing, now_us).is_some_and(stays) {
            return;
        }
        self.young.insert(thing, binding);
        if self.young.len() >= self.generation {
            self.old = std::mem::take(&mut self.young);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn thing(number: u8) -> Fingerprint {
        [number; 16]
    }

    fn binding(client: u128, issuer: u128, expires_us: i64) -> Binding {
        let id = Uuid::from_u128;
        Binding { client: id(client).into(), issuer: id(issuer).into(), expires_us }
    }

    #[test]
    fn a_thing_belongs_to_the_client_it_was_issued_for_until_it_expires() {
        let mut known = Bindings::new(10);
        known.bind(thing(1), binding(1, 7, 100), 0);
        known.bind(thing(1), binding(2, 8, 900), 50);
        assert_eq!(known.find(&thing(1), 99), Some(binding(1, 7, 100)), "another cannot take it");
        assert_eq!(known.find(&thing(1), 100), None);
        known.bind(thing(1), binding(1, 9, 200), 60);
        assert_eq!(known.find(&thing(1), 100), Some(binding(1, 9, 200)), "its own client's is renewed");
        known.bind(thing(1), binding(1, 7, 100), 60);
        assert_eq!(known.find(&thing(1), 100), Some(binding(1, 9, 200)), "what is told late changes nothing");
        known.bind(thing(1), binding(2, 8, 900), 200);
        assert_eq!(known.find(&thing(1), 300), Some(binding(2, 8, 900)), "what has expired is anybody's");
        assert_eq!(known.find(&thing(2), 0), None);
    }

    #[test]
    fn a_generation_of_the_newest_is_always_there_and_never_more_than_two() {
        let mut known = Bindings::new(4);
        for number in 0..100 {
            known.bind(thing(number), binding(1, 7, 1), 0);
            let there = (0..100).filter(|number| known.find(&thing(*number), 0).is_some()).count();
            assert!(there <= 8, "{there} after {number}");
            let newest = number.saturating_sub(3)..=number;
            assert!(newest.into_iter().all(|number| known.find(&thing(number), 0).is_some()), "{number}");
        }
    }
}
