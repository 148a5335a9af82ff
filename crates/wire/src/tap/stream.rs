//! The tap of event streams.

use super::{
    Frame, Seen,
    facts::{Facts, Kind},
};
use crate::{
    Wire,
    json::{self, Walker},
    sse::{Fields, Lines},
};

/// Reads an event stream, at any chunking.
#[derive(Debug)]
pub struct StreamTap {
    lines: Lines,
    event: Event,
}

impl StreamTap {
    /// A tap at the start of a stream.
    pub fn new(wire: Wire) -> Self {
        Self { lines: Lines::default(), event: Event::new(wire) }
    }

    /// Reads to the end of the next frame, its blank line included, or of `bytes`. Returns how many bytes that took and,
    /// if a frame ended there, what it was.
    ///
    /// A frame ends with the CR of its blank line if nothing follows that yet; an LF that comes then is read with the next
    /// frame.
    pub fn next(&mut self, bytes: &[u8]) -> (usize, Option<Frame>) {
        let (read, ended) = self.lines.next(bytes, &mut self.event);
        (read, ended.then(|| self.event.end()))
    }

    /// The stream has ended: what a last frame without a blank line was.
    pub fn finish(&mut self) -> Option<Frame> {
        let begun = self.lines.in_frame();
        self.lines = Lines::default();
        begun.then(|| self.event.end())
    }

    /// A frame has begun and not ended.
    pub fn mid_frame(&self) -> bool {
        self.lines.in_frame()
    }

    /// What has been learnt so far.
    pub fn seen(&self) -> &Seen {
        &self.event.facts.seen
    }

    /// An LF that comes next still belongs to the frame before.
    pub(crate) fn after_cr(&self) -> bool {
        self.lines.after_cr()
    }
}

/// What the data of a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Data {
    /// None, or nothing but space.
    Blank,
    Json,
    Other,
}

/// Longest event name that is read; the longest known one has 53 bytes.
const NAME: usize = 64;
/// The chat wire's closing data.
const DONE: &[u8] = b"[DONE]";
/// As much of data that is not JSON as tells [`DONE`] from all else.
const HEAD: usize = DONE.len() + 1;

/// The frame under way.
#[derive(Debug)]
struct Event {
    facts: Facts,
    walker: Walker<Facts>,
    name: Prefix<NAME>,
    data: Data,
    head: Prefix<HEAD>,
}

impl Event {
    fn new(wire: Wire) -> Self {
        Self {
            facts: Facts::new(wire),
            walker: Walker::new(),
            name: Prefix::new(),
            data: Data::Blank,
            head: Prefix::new(),
        }
    }

    /// Ends the frame and says what it was.
    fn end(&mut self) -> Frame {
        let frame = match self.data {
            // Without data no client sees an event, whatever its name.
            Data::Blank => Frame::Comment,
            Data::Json => self.end_json(),
            Data::Other => self.end_other(),
        };
        self.facts.seen.closed |= frame == Frame::Closing;
        self.name.len = 0;
        self.head.len = 0;
        self.data = Data::Blank;
        frame
    }

    fn end_other(&mut self) -> Frame {
        if self.head.get() == DONE {
            return if self.facts.wire == Wire::Chat { Frame::Closing } else { Frame::Other };
        }
        self.facts.seen.broken_json = true;
        if self.name.get() == b"error" {
            self.facts.seen.error.get_or_insert_default();
            return Frame::Error;
        }
        Frame::Other
    }

    fn end_json(&mut self) -> Frame {
        let broken = !self.walker.is_complete();
        let name = self.name.get();
        let event = &mut self.facts.event;
        // The data's own type counts; the name stands in for one.
        if event.kind == Kind::Untyped && !name.is_empty() {
            event.kind = Kind::of(self.facts.wire, name);
        }
        if event.kind == Kind::Other && name == b"error" {
            event.kind = Kind::Error;
        }
        self.facts.commit(broken);
        let frame = if broken { Frame::Other } else { self.classify() };
        let event = &self.facts.event;
        if frame == Frame::Content || (frame == Frame::Closing && event.content) {
            self.facts.seen.content_events += 1;
        }
        self.facts.clear_event();
        self.walker.reset();
        frame
    }

    fn classify(&self) -> Frame {
        let (wire, event, seen) = (self.facts.wire, &self.facts.event, &self.facts.seen);
        match event.kind {
            Kind::Closing | Kind::Failed => return Frame::Closing,
            Kind::Error => return Frame::Error,
            Kind::Ping => return Frame::Comment,
            _ if event.has_error => return Frame::Error,
            _ => {}
        }
        let ends = event.blocked || (event.finished && seen.all_choices_finished);
        if wire == Wire::Gemini && ends && !seen.closed {
            return Frame::Closing;
        }
        match event.kind {
            _ if event.content => Frame::Content,
            Kind::Delta | Kind::Binary => Frame::Content,
            Kind::Untyped if wire == Wire::Chat && event.has_usage && !event.has_choices => Frame::UsageOnly,
            Kind::Start => Frame::Start,
            Kind::Untyped if !event.finished && matches!(wire, Wire::Chat | Wire::Gemini) => Frame::Start,
            _ => Frame::Other,
        }
    }
}

impl Fields for Event {
    fn event(&mut self, piece: &[u8]) {
        self.name.push(piece);
    }

    fn data_line(&mut self) {
        if self.data == Data::Json {
            self.walker.feed(b"\n", &mut self.facts);
        }
    }

    fn data(&mut self, mut piece: &[u8]) {
        if self.data == Data::Blank {
            // What is passed over here is not read, wherever the piece was cut.
            piece = json::trim_start(piece);
            self.data = match piece.first() {
                None => return,
                Some(b'{') => Data::Json,
                Some(_) => Data::Other,
            };
        }
        match self.data {
            Data::Json => self.walker.feed(piece, &mut self.facts),
            _ => self.head.push(piece),
        }
    }
}

/// The first bytes of something.
#[derive(Debug)]
struct Prefix<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Prefix<N> {
    const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    fn push(&mut self, piece: &[u8]) {
        let taken = piece.len().min(N - self.len);
        self.bytes[self.len..self.len + taken].copy_from_slice(&piece[..taken]);
        self.len += taken;
    }

    fn get(&self) -> &[u8] {
        json::trim(&self.bytes[..self.len])
    }
}
