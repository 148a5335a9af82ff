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
        let end = (0..=POINTER_MAX.min(pointer.len())).rev().find(|at| pointer.is_char_boundary(*at)).unwrap_or(0);
        pointer.truncate(end);
        let lost = Lost { pointer, reason, harmless };
        if !self.items.contains(&lost) {
            self.items.push(lost);
        }
    }
}

/// `pointer` with one more step, escaped as RFC 6901 says.
pub(crate) fn step(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}
