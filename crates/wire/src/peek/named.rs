//! What a body names that only its issuer understands, in bounds.

use std::ops::Range;

use super::{NAMED_MAX, Peek};
use crate::state::Named;

/// How much was named so far.
#[derive(Debug, Default)]
pub(super) struct Count {
    /// Ids, and what else cannot be taken out.
    ids: usize,
    signatures: usize,
    /// Where the signatures are in [`Peek::named`].
    places: Vec<usize>,
}

impl Count {
    pub(super) fn id(&mut self, peek: &mut Peek, at: Range<usize>) {
        self.counted(peek, Named { at, sealed: false, id: true });
    }

    /// What is no id, and cannot be taken out.
    pub(super) fn kept(&mut self, peek: &mut Peek, at: Range<usize>) {
        self.counted(peek, Named { at, sealed: false, id: false });
    }

    /// The id of what an earlier call used. None is overlooked: by each, its owner alone gets at what it names.
    pub(super) fn used(&mut self, peek: &mut Peek, at: Range<usize>) {
        self.counted(peek, Named { at, sealed: true, id: true });
    }

    fn counted(&mut self, peek: &mut Peek, named: Named) {
        if named.at.is_empty() {
            return;
        }
        self.ids += 1;
        if self.ids > NAMED_MAX {
            peek.more_named = true;
        } else {
            peek.named.push(named);
        }
    }

    /// Of too many signatures the last ones count: what is answered now rests on them.
    pub(super) fn sealed(&mut self, peek: &mut Peek, at: Range<usize>, id: bool) {
        if at.is_empty() {
            return;
        }
        let named = Named { at, sealed: true, id };
        if self.places.len() < NAMED_MAX {
            self.places.push(peek.named.len());
            peek.named.push(named);
        } else {
            peek.named[self.places[self.signatures % NAMED_MAX]] = named;
        }
        self.signatures += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_earlier_calls_used_is_not_forgotten_for_the_thoughts_that_follow() {
        let (mut count, mut peek) = (Count::default(), Peek::default());
        count.used(&mut peek, 1..2);
        for at in 2..2 + 3 * NAMED_MAX {
            count.sealed(&mut peek, at..at + 1, false);
        }
        assert_eq!(peek.named[0], Named { at: 1..2, sealed: true, id: true });
        for at in 1..=NAMED_MAX {
            assert!(!peek.more_named, "{at}");
            count.used(&mut peek, 1..2);
        }
        assert!(peek.more_named);
    }
}
