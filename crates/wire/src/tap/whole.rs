//! The tap of whole bodies.

use super::{Seen, facts::Facts};
use crate::{Wire, json::Walker};

/// Reads a whole JSON body, at any chunking: a document, or (Gemini) an array of them.
#[derive(Debug)]
pub struct WholeTap {
    facts: Facts,
    walker: Walker<Facts>,
}

impl WholeTap {
    /// A tap at the start of a body.
    pub fn new(wire: Wire) -> Self {
        Self { facts: Facts::new(wire), walker: Walker::new() }
    }

    /// Reads on.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.walker.feed(bytes, &mut self.facts);
    }

    /// The body has ended. What a cut body had said until then counts.
    pub fn finish(&mut self) {
        self.facts.commit(false);
        let seen = &mut self.facts.seen;
        seen.content_events += u64::from(self.facts.event.content);
        seen.closed = self.walker.is_complete();
        seen.broken_json |= !seen.closed;
        self.facts.clear_event();
    }

    /// What has been learnt; whole after [`Self::finish`].
    pub fn seen(&self) -> &Seen {
        &self.facts.seen
    }

    /// The body's one value is complete.
    pub fn complete(&self) -> bool {
        self.walker.is_complete()
    }
}
