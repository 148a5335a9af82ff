//! Where the scan stands: the objects and arrays around it, and what they have said so far.

use super::place::{Media, Place};

/// An object or array that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    pub(super) place: Place,
    pub(super) array: bool,
    /// Offset of its bracket.
    pub(super) start: usize,
    pub(super) empty: bool,
    /// Where the coming member lies.
    pub(super) named: Place,
    pub(super) note: Note,
}

/// What the members of an object have said of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Note {
    /// What its content is, where its members tell.
    pub(super) media: Option<Media>,
    /// It holds text as it is (`type: text`, or a text MIME type).
    pub(super) textual: bool,
    /// Bytes of data in it, and those outside ASCII.
    pub(super) data: Option<(u64, u64)>,
    /// A URL or id in it.
    pub(super) remote: bool,
    /// Thinking is turned off, or on.
    pub(super) off: bool,
    pub(super) on: bool,
    /// It has a TTL.
    pub(super) ttl: bool,
    /// It declares functions that were counted one by one.
    pub(super) declares: bool,
    /// Sources in it whose kind is the block's to tell.
    pub(super) unsorted: u32,
    /// Its id, as an input item.
    pub(super) id: Option<(usize, usize)>,
    /// That id is one which a conversion gave to a thought.
    pub(super) written: bool,
    /// Members that say more than its type and are not null.
    pub(super) members: u32,
    /// It stands for an item that is kept at its issuer.
    pub(super) refers: bool,
    /// It is a thought …
    pub(super) thought: bool,
    /// … that is in it, encrypted.
    pub(super) signed: bool,
    /// It is a picture that was made …
    pub(super) picture: bool,
    /// … and that is in it.
    pub(super) drawn: bool,
    /// What is encrypted in it, on the wire where that is not always a thought.
    pub(super) sealed: Option<(usize, usize)>,
    /// It stands for all that was said before it, encrypted.
    pub(super) compacted: bool,
}
