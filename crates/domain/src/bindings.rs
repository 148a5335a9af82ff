//! Who issued what: ids and signatures that only the account understands which issued them.
//!
//! A client key that names such a thing is served by the provider key that issued it. What was issued for one client key
//! is nothing that another may name.

use crate::ids::{ClientKeyId, ProviderKeyId};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// What was issued: the first half of its SHA-256. The thing itself is kept nowhere.
pub type Fingerprint = [u8; 16];

/// How long a binding lasts after its thing was last issued, in microseconds: 30 days, as long as OpenAI keeps responses.
pub const LASTS_US: i64 = 30 * 24 * 3_600_000_000;

const SECOND_US: i64 = 1_000_000;

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

/// A binding beside its thing: 28 bytes together instead of 56.
#[derive(Debug, Clone, Copy)]
struct Packed {
    client: u32,
    issuer: u32,
    /// In whole seconds, the broken one included.
    expires_s: u32,
}

/// What was issued in some time, with the ids of it by number.
#[derive(Debug, Default)]
struct Generation {
    things: HashMap<Fingerprint, Packed>,
    ids: Vec<Uuid>,
    numbers: HashMap<Uuid, u32>,
}

impl Generation {
    fn number(&mut self, id: Uuid) -> u32 {
        *self.numbers.entry(id).or_insert_with(|| {
            self.ids.push(id);
            u32::try_from(self.ids.len() - 1).unwrap_or(u32::MAX)
        })
    }

    fn id<T: From<Uuid>>(&self, number: u32) -> Option<T> {
        self.ids.get(usize::try_from(number).ok()?).copied().map(T::from)
    }

    fn insert(&mut self, thing: Fingerprint, Binding { client, issuer, expires_us }: Binding) {
        let seconds = expires_us.saturating_add(SECOND_US - 1).div_euclid(SECOND_US).max(0);
        let (client, issuer) = (self.number(client.uuid()), self.number(issuer.uuid()));
        self.things.insert(thing, Packed { client, issuer, expires_s: u32::try_from(seconds).unwrap_or(u32::MAX) });
    }

    fn get(&self, thing: &Fingerprint) -> Option<Binding> {
        self.unpacked(*self.things.get(thing)?)
    }

    fn unpacked(&self, Packed { client, issuer, expires_s }: Packed) -> Option<Binding> {
        let expires_us = i64::from(expires_s) * SECOND_US;
        Some(Binding { client: self.id(client)?, issuer: self.id(issuer)?, expires_us })
    }
}

/// The bindings that are known in memory: bounded, and what was issued first is forgotten first, of those client keys
/// first that have the most.
///
/// Two generations: what is new goes into the younger one; when that is full, the older one is dropped, but for the
/// bindings of client keys that have few in it. So a binding costs no place in a queue, the last three quarters of
/// `generation` are always there, and a busy client key pushes out its own before those of others, for which a quarter of
/// `generation` is kept.
#[derive(Debug)]
pub struct Bindings {
    young: Generation,
    old: Generation,
    generation: usize,
}

impl Bindings {
    /// At least the last three quarters of `generation` bindings, and at most twice `generation`.
    pub fn new(generation: usize) -> Self {
        Self { young: Generation::default(), old: Generation::default(), generation: generation.max(1) }
    }

    /// Who issued it, while that is known; its expiry is told in whole seconds.
    pub fn find(&self, thing: &Fingerprint, now_us: i64) -> Option<Binding> {
        let found = self.young.get(thing).or_else(|| self.old.get(thing));
        found.filter(|binding| binding.expires_us > now_us)
    }

    /// Takes a binding over. A thing stays with the client key it was issued for first: another one cannot take it. What is
    /// told again, or late, changes nothing.
    pub fn bind(&mut self, thing: Fingerprint, binding: Binding, now_us: i64) {
        let stays = |known: Binding| known.client != binding.client || known.expires_us >= binding.expires_us;
        if self.find(&thing, now_us).is_some_and(stays) {
            return;
        }
        self.young.insert(thing, binding);
        if self.young.things.len() >= self.generation {
            let dropped = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            self.keep_of(&dropped, now_us);
        }
    }

    /// Keeps up to a quarter of a generation of what is dropped: whole client keys, those with the fewest bindings first.
    fn keep_of(&mut self, dropped: &Generation, now_us: i64) {
        // What was renewed meanwhile is in the other one.
        let left = |(thing, packed): (&Fingerprint, &Packed)| {
            let binding = dropped.unpacked(*packed).filter(|binding| binding.expires_us > now_us)?;
            (!self.old.things.contains_key(thing)).then_some((*thing, packed.client, binding))
        };
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for (_, client, _) in dropped.things.iter().filter_map(left) {
            *counts.entry(client).or_default() += 1;
        }
        let mut fewest: Vec<(usize, u32)> = counts.into_iter().map(|(client, count)| (count, client)).collect();
        fewest.sort_unstable();
        let mut room = self.generation / 4;
        let within_room = |(count, client)| {
            room = room.checked_sub(count)?;
            Some(client)
        };
        let stay: HashSet<u32> = fewest.into_iter().map_while(within_room).collect();
        for (thing, client, binding) in dropped.things.iter().filter_map(left) {
            if stay.contains(&client) {
                self.young.insert(thing, binding);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use allocation_counter::measure;

    fn thing(number: u8) -> Fingerprint {
        [number; 16]
    }

    const S: i64 = SECOND_US;

    fn binding(client: u128, issuer: u128, expires_s: i64) -> Binding {
        let id = Uuid::from_u128;
        Binding { client: id(client).into(), issuer: id(issuer).into(), expires_us: expires_s * S }
    }

    #[test]
    fn a_thing_belongs_to_the_client_it_was_issued_for_until_it_expires() {
        let mut known = Bindings::new(10);
        known.bind(thing(1), binding(1, 7, 100), 0);
        known.bind(thing(1), binding(2, 8, 900), 50 * S);
        assert_eq!(known.find(&thing(1), 99 * S), Some(binding(1, 7, 100)), "another cannot take it");
        assert_eq!(known.find(&thing(1), 100 * S), None);
        known.bind(thing(1), binding(1, 9, 200), 60 * S);
        assert_eq!(known.find(&thing(1), 100 * S), Some(binding(1, 9, 200)), "its own client's is renewed");
        known.bind(thing(1), binding(1, 7, 100), 60 * S);
        assert_eq!(known.find(&thing(1), 100 * S), Some(binding(1, 9, 200)), "what is told late changes nothing");
        known.bind(thing(1), binding(2, 8, 900), 200 * S);
        assert_eq!(known.find(&thing(1), 300 * S), Some(binding(2, 8, 900)), "what has expired is anybody's");
        assert_eq!(known.find(&thing(2), 0), None);
    }

    #[test]
    fn most_of_a_generation_of_the_newest_is_always_there_and_never_more_than_two() {
        // Of one client key, and of many that are all alike.
        for clients in [1, 50] {
            let mut known = Bindings::new(8);
            for number in 0..100 {
                known.bind(thing(number), binding(u128::from(number) % clients, 7, 1), 0);
                let there = (0..100).filter(|number| known.find(&thing(*number), 0).is_some()).count();
                assert!(there <= 16, "{there} after {number}");
                let newest = number.saturating_sub(5)..=number;
                assert!(newest.into_iter().all(|number| known.find(&thing(number), 0).is_some()), "{number}");
            }
        }
    }

    #[test]
    fn a_busy_client_pushes_out_its_own_and_not_what_others_have_few_of() {
        let mut known = Bindings::new(16);
        let quiet = [thing(250), thing(251), thing(252)];
        let bound = binding(2, 8, 100);
        for thing in quiet {
            known.bind(thing, bound, 0);
        }
        for number in 0..200 {
            known.bind(thing(number), binding(1, 7, 100), 0);
        }
        assert!(quiet.iter().all(|thing| known.find(thing, 0) == Some(bound)));
        assert_eq!(known.find(&thing(0), 0), None, "the busy one's first");
        assert_eq!(known.find(&thing(199), 0), Some(binding(1, 7, 100)));

        // Renewed, the later expiry stays; expired, it is not kept.
        known.bind(quiet[0], binding(2, 9, 200), 0);
        for number in 0..200 {
            known.bind(thing(number), binding(3, 7, 300), 100 * S);
        }
        assert_eq!(known.find(&quiet[0], 0), Some(binding(2, 9, 200)));
        assert_eq!(known.find(&quiet[1], 0), None);
    }

    #[test]
    fn what_is_told_again_takes_no_new_place() {
        let mut known = Bindings::new(2);
        let exact = Binding { expires_us: 7_300_001, ..binding(1, 7, 0) };
        known.bind(thing(1), exact, 0);
        known.bind(thing(2), exact, 0);
        known.bind(thing(1), exact, 0);
        assert_eq!((known.young.things.len(), known.old.things.len()), (0, 2));
        assert_eq!(known.find(&thing(1), exact.expires_us), Some(binding(1, 7, 8)), "no sooner than it says");
    }

    /// Sixteen such tables are a process's.
    #[test]
    fn a_full_table_occupies_four_mebibytes_at_most() {
        const GENERATION: u64 = 57_344;
        let mut known = Bindings::new(57_344);
        let info = measure(|| {
            for number in 0..2 * GENERATION - 1 {
                let thing = Uuid::from_u64_pair(number, number).into_bytes();
                known.bind(thing, binding(u128::from(number % 1_000), u128::from(number % 10), 1), 0);
            }
        });
        let first = Uuid::from_u64_pair(0, 0).into_bytes();
        assert!(known.find(&first, 0).is_some(), "none was dropped yet");
        assert!(info.bytes_current <= 4 << 20, "{} bytes", info.bytes_current);
    }
}
