//! How an answer's bytes are framed for the client.
//!
//! Between the same wires that is as they came, but for two edits: the usage chunk that only we asked for is taken out of
//! a chat stream, and a Gemini stream becomes an array where the client did not ask for events. Between different wires
//! every event is written anew, by [`Transcode`].

use crate::{
    attempt::{Hidden, sanitise},
    convert::{Recast, answer_losses},
    ingress::body::{Budget, Share},
};
use bytes::Bytes;
use wire::{
    ArrayFramer, ErrorFacts, Problem, Seen, UsageFilter, Wire,
    convert::{Ending, Refused, Stream},
    error,
};

/// Held by a conversion without being counted, as by any stream.
const HELD_FREE: usize = 64 * 1024;

/// A stream from one wire to another.
pub(crate) struct Transcode {
    stream: Stream,
    /// The client wants Gemini's array.
    array: Option<ArrayFramer>,
    recast: Box<Recast>,
    budget: Budget,
    share: Share,
}

/// Why a stream's conversion ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unconverted {
    #[error("the stream cannot be converted: {0}")]
    Refused(#[from] Refused),
    #[error("there is no memory for what the conversion has to hold")]
    NoRoom,
}

/// What a piece of a stream became: all of it may leave at once, but for the frame that completes the answer.
#[derive(Default)]
pub(crate) struct Written {
    pub leaves: Bytes,
    pub closing: Option<Bytes>,
}

impl Transcode {
    pub(crate) fn new(recast: Box<Recast>, as_array: bool, budget: Budget) -> Self {
        let stream = Stream::new(recast.from, recast.to, &recast.answer());
        Self { stream, array: as_array.then(ArrayFramer::new), recast, budget, share: Share::default() }
    }

    /// Takes a piece of the upstream's stream.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> (Written, Result<(), Unconverted>) {
        let was_open = !self.stream.ended();
        let mut out = Vec::new();
        let mut fed = self.stream.feed(piece, &mut out).map_err(Unconverted::from);
        let held = self.stream.held();
        if fed.is_ok() && held > HELD_FREE && !self.budget.cover_now(&mut self.share, held) {
            fed = Err(Unconverted::NoRoom);
        }
        (self.written(out, was_open), fed)
    }

    /// The upstream's stream is over; false if it was cut.
    pub(crate) fn finish(&mut self) -> (Written, Result<bool, Unconverted>) {
        let was_open = !self.stream.ended();
        let mut out = Vec::new();
        let ending = self.stream.finish(&mut out).map_err(Unconverted::from);
        (self.written(out, was_open), ending.map(|ending| ending != Ending::Cut))
    }

    /// Ends it with an error of ours.
    fn fail(&mut self, problem: &Problem<'_>) -> Bytes {
        let mut out = Vec::new();
        self.stream.fail(problem, &mut out);
        self.framed(&out, true)
    }

    /// The error that ended the stream.
    pub(crate) fn error(&self) -> Option<&ErrorFacts> {
        self.stream.error()
    }

    /// What was lost so far.
    pub(crate) fn losses(&self) -> Vec<String> {
        answer_losses(self.stream.loss())
    }

    fn written(&mut self, mut out: Vec<u8>, was_open: bool) -> Written {
        if !(was_open && self.stream.ended()) {
            return Written { leaves: self.framed(&out, false), closing: None };
        }
        let mut closing = Bytes::from(out.split_off(Stream::last_frame(&out)));
        if self.stream.error().is_some() {
            let Recast { credential, host, upstream_model, asked, .. } = &*self.recast;
            closing = sanitise(&closing, &Hidden { key: credential, host, upstream_model, asked });
        }
        let leaves = self.framed(&out, false);
        Written { leaves, closing: Some(self.framed(&closing, true)) }
    }

    fn framed(&mut self, events: &[u8], last: bool) -> Bytes {
        let Some(array) = &mut self.array else { return Bytes::copy_from_slice(events) };
        let mut bytes = Vec::with_capacity(events.len());
        array.push(events, &mut bytes);
        if last {
            array.finish(&mut bytes);
        }
        bytes.into()
    }
}

/// The framing of one answer.
pub(crate) enum Framing {
    /// As it came.
    Verbatim,
    /// Without the usage chunk of a chat stream.
    WithoutUsage(Box<UsageFilter>),
    /// Events as the elements of one JSON array.
    Array(Box<ArrayFramer>),
    /// Written anew for another wire.
    Converted(Box<Transcode>),
}

impl Framing {
    /// Frames a piece; the pieces that may leave now go to `out`.
    pub(crate) fn push(&mut self, piece: Bytes, out: &mut Vec<Bytes>) {
        match self {
            // What is converted was framed when it was written.
            Self::Verbatim | Self::Converted(_) => out.push(piece),
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
            Self::Verbatim | Self::Converted(_) => {}
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
        if let Self::Converted(transcode) = self {
            out.push(transcode.fail(problem));
            return true;
        }
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
