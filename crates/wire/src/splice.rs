//! Same-wire edits: single values replaced by byte span, every other byte kept.

use bytes::Bytes;
use std::ops::Range;

/// One change to a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The bytes that go; empty for an insertion.
    pub at: Range<usize>,
    /// What takes their place.
    pub with: Vec<u8>,
    /// What the record calls it, such as `model` or `stream_options.include_usage`.
    pub name: &'static str,
}

/// Applies `edits` and returns the new body as a rope: what stays is a slice of `body`, never a copy.
///
/// Edits are applied by position, those at one position in the order given. One that lies within the bytes that an
/// earlier-starting edit removes is void, as is one that reaches beyond the body.
pub fn splice(body: &Bytes, mut edits: Vec<Edit>) -> Vec<Bytes> {
    edits.retain(|edit| edit.at.start <= edit.at.end && edit.at.end <= body.len());
    // At one position insertions come first, then the widest removal, so that what it covers is seen as covered.
    edits.sort_by_key(|edit| (edit.at.start, !edit.at.is_empty(), usize::MAX - edit.at.end));
    let mut rope = Vec::with_capacity(edits.len() * 2 + 1);
    let mut kept_from = 0;
    for edit in edits {
        if edit.at.start < kept_from {
            continue;
        }
        if kept_from < edit.at.start {
            rope.push(body.slice(kept_from..edit.at.start));
        }
        if !edit.with.is_empty() {
            rope.push(Bytes::from(edit.with));
        }
        kept_from = edit.at.end;
    }
    if kept_from < body.len() {
        rope.push(body.slice(kept_from..));
    }
    rope
}
