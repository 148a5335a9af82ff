//! How an answer's bytes are framed for the client.
//!
//! Between the same wires that is as they came, but for two edits: the usage chunk that only we asked for is taken out of
//! a chat stream, and a Gemini stream becomes an array where the client did not ask for events.

use bytes::Bytes;
use wire::{ArrayFramer, Problem, Seen, UsageFilter, Wire, error};

/// The framing of one answer.
pub(crate) enum Framing {
    /// As it came.
    Verbatim,
    /// Without the usage chunk of a chat stream.
    WithoutUsage(Box<UsageFilter>),
    /// Events as the elements of one JSON array.
    Array(Box<ArrayFramer>),
}

impl Framing {
    /// Frames a piece; the pieces that may leave now go to `out`.
    pub(crate) fn push(&mut self, piece: Bytes, out: &mut Vec<Bytes>) {
        match self {
            Self::Verbatim => out.push(piece),
            Self::WithoutUsage(filter) => filter.push(piece, out),
            Self::Array(framer) => {
                let mut bytes = Vec::with_capacity(piece.len());
                framer.push(&piece, &mut bytes);
                out.push(bytes.into());
            }
        }
    }

    /// The end of the answer.
    pub(crate) fn finish(&mut self, out: &mut Vec<Bytes>) {
        match self {
            Self::Verbatim => {}
            Self::WithoutUsage(filter) => filter.finish(out),
            Self::Array(framer) => {
                let mut bytes = Vec::new();
                framer.finish(&mut bytes);
                out.push(bytes.into());
            }
        }
    }

    /// Ends a broken stream with the dialect's own error; false if nothing valid can follow what has left already.
    pub(crate) fn fail(&mut self, wire: Wire, problem: &Problem<'_>, seen: &Seen, out: &mut Vec<Bytes>) -> bool {
        if let Self::Array(framer) = self {
            let mut bytes = Vec::new();
            let closed = framer.error(&wire::render(wire, problem).body, &mut bytes);
            out.push(bytes.into());
            return closed;
        }
        self.finish(out);
        out.push(error::render_stream_after(wire, problem, seen).into());
        true
    }
}
