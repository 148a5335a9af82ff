//! What a conversion could not carry.

/// A value of the source that has no place, or a lesser one, in the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Where it stood in the source, as a JSON pointer.
    pub pointer: String,
    /// Why.
    pub reason: &'static str,
    /// What was asked for is done all the same, or nearly so: who takes no losses takes this one.
    pub harmless: bool,
}

/// Everything that a conversion could not carry, in the order it was met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    items: Vec<Lost>,
    /// Losses that were met and not kept, above [`LOSS_MAX`].
    more: u64,
    /// One of them was more than harmless.
    drops: bool,
}

/// Losses that are kept; the rest is counted.
pub const LOSS_MAX: usize = 256;

/// Longest pointer that is kept; the names in it are the caller's.
const POINTER_MAX: usize = 256;

impl Loss {
    /// Nothing was lost.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What was lost, the first [`LOSS_MAX`] of it.
    pub fn items(&self) -> &[Lost] {
        &self.items
    }

    /// How many losses were not kept.
    pub const fn more(&self) -> u64 {
        self.more
    }

    /// Whether something was lost that is missed.
    pub const fn drops(&self) -> bool {
        self.drops
    }

    /// The member `name` of what is at `at` was lost before.
    pub(crate) fn knows(&self, at: &str, name: &str) -> bool {
        let is = |lost: &Lost| {
            lost.pointer.strip_prefix(at).and_then(|rest| rest.strip_prefix('/')).is_some_and(|rest| rest == name)
        };
        self.items.iter().any(is)
    }

    /// What is missed.
    pub(crate) fn add(&mut self, pointer: impl Into<String>, reason: &'static str) {
        self.drops = true;
        self.keep(pointer.into(), reason, false);
    }

    /// What is done all the same, if not in the same way.
    pub(crate) fn note(&mut self, pointer: impl Into<String>, reason: &'static str) {
        self.keep(pointer.into(), reason, true);
    }

    /// Takes over what was lost of one of several answers, which was read as if it were the one at `from`.
    pub(crate) fn absorb(&mut self, other: Self, from: &str, to: &str) {
        for Lost { pointer, reason, harmless } in other.items {
            let below = pointer.strip_prefix(from).filter(|rest| rest.is_empty() || rest.starts_with('/'));
            let pointer = below.map_or_else(|| pointer.clone(), |rest| format!("{to}{rest}"));
            self.keep(pointer, reason, harmless);
        }
        self.more += other.more;
        self.drops |= other.drops;
    }

    fn keep(&mut self, mut pointer: String, reason: &'static str, harmless: bool) {
        if self.items.len() == LOSS_MAX {
            self.more += 1;
            return;
        }
        pointer.truncate(pointer.floor_char_boundary(POINTER_MAX));
        let lost = Lost { pointer, reason, harmless };
        if !self.items.contains(&lost) {
            self.items.push(lost);
        }
    }
}

/// `pointer` with one more step, escaped as RFC 6901 says. It grows no longer than what is kept of it: the names in it are
/// the caller's, and one of them may hold millions of others.
pub(crate) fn step(pointer: &str, key: &str) -> String {
    let key = start(key).replace('~', "~0").replace('/', "~1");
    let mut longer = format!("{}/{key}", start(pointer));
    longer.truncate(start(&longer).len());
    #[cfg(test)]
    steps::BUILT.set(steps::BUILT.get() + longer.len() as u64);
    longer
}

/// At least as much of a pointer as is kept.
pub(crate) fn start(pointer: &str) -> &str {
    &pointer[..pointer.ceil_char_boundary(POINTER_MAX)]
}

/// How many bytes of pointers were built on this thread.
#[cfg(test)]
pub(crate) mod steps {
    use std::cell::Cell;

    thread_local! {
        pub(crate) static BUILT: Cell<u64> = const { Cell::new(0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_kept_of_a_place_is_the_start_of_its_whole_pointer(names in prop::collection::vec("[a-c~/é🦀]{0,200}", 0..6)) {
            let whole = names.iter().map(|name| name.replace('~', "~0").replace('/', "~1")).fold(String::new(), |at, name| at + "/" + &name);
            let built = names.iter().fold(String::new(), |pointer, name| step(&pointer, name));
            let mut loss = Loss::default();
            loss.add(built, "gone");
            prop_assert_eq!(&loss.items()[0].pointer, &whole[..whole.floor_char_boundary(POINTER_MAX)]);
        }
    }
}
