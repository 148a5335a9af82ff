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
        self.stays(peek, at, true);
    }

    /// What is no id, and cannot be taken out.
    pub(super) fn kept(&mut self, peek: &mut Peek, at: Range<usize>) {
        self.stays(peek, at, false);
    }

    fn stays(&mut self, peek: &mut Peek, at: Range<usize>, id: bool) {
        if at.is_empty() {
            return;
        }
        self.ids += 1;
        if self.ids > NAMED_MAX {
            peek.more_named = true;
        } else {
            peek.named.push(Named { at, sealed: false, id });
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
