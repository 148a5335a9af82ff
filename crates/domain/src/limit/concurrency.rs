//! Slots: how many at a time, as guards that give themselves back.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// The slots of one key, endpoint or provider.
#[derive(Debug, Default)]
pub struct Slots {
    taken: AtomicU32,
}

/// One slot; dropping it gives it back.
pub struct Permit(Arc<Slots>);

impl Slots {
    /// Takes a slot unless `limit` are taken; `None` as limit only counts.
    pub fn take(self: &Arc<Self>, limit: Option<u32>) -> Option<Permit> {
        self.take_nth(limit).map(|(permit, _)| permit)
    }

    /// Like [`Slots::take`]; tells how many are taken with this one.
    pub fn take_nth(self: &Arc<Self>, limit: Option<u32>) -> Option<(Permit, u32)> {
        let room = |taken: u32| limit.is_none_or(|limit| taken < limit).then(|| taken.saturating_add(1));
        let before = self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).ok()?;
        Some((Permit(self.clone()), before.saturating_add(1)))
    }

    /// How many are taken.
    pub fn taken(&self) -> u32 {
        self.taken.load(Ordering::Acquire)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn slots_taken_are_slots_returned(limit in 0u32..8, takes in prop::collection::vec(any::<bool>(), 1..100)) {
            let slots = Arc::new(Slots::default());
            let mut held = Vec::new();
            for take in takes {
                if take {
                    let got = slots.take(Some(limit));
                    prop_assert_eq!(got.is_some(), held.len() < limit as usize);
                    held.extend(got);
                } else {
                    held.pop();
                }
                prop_assert_eq!(slots.taken() as usize, held.len());
            }
            drop(held);
            prop_assert_eq!(slots.taken(), 0);
        }
    }
}
