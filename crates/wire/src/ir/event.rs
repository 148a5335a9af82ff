//! A streamed answer: one part after another, each opened and closed.

use std::collections::VecDeque;

use super::{Citation, Finish, Place, TokenProb};
use crate::{
    ErrorFacts, Usage,
    convert::{EVENT_MAX, PARTS_MAX, Refused},
};

/// What happens in a stream. Parts never overlap: every delta and every end belongs to the part opened last.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Start {
        id: Option<String>,
        model: Option<String>,
        usage: Usage,
    },
    /// Where the part stands that opens next, or the signature that comes next.
    Place(Place),
    Open(Opening),
    Delta(Delta),
    Close,
    Usage(Usage),
    Finish {
        finish: Finish,
        stop: Option<String>,
    },
    Error(Box<ErrorFacts>),
    End,
}

/// A part begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Opening {
    Text,
    Refusal,
    Thinking,
    /// Thinking that may not be shown.
    Redacted,
    Call {
        id: Option<String>,
        name: String,
        custom: bool,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Delta {
    /// More of what the open part is made of.
    Text(String),
    /// The signature of the open thinking.
    Signature(String),
    /// What the open text rests on.
    Citation(Box<Citation>),
    /// How likely tokens of the open text were.
    Probs(Vec<TokenProb>),
}

impl Opening {
    /// Bytes that it takes while it waits.
    fn held(&self) -> usize {
        let words = match self {
            Self::Call { id, name, .. } => id.as_ref().map_or(0, String::len) + name.len(),
            _ => 0,
        };
        words + size_of::<Waiting>()
    }
}

impl Delta {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) | Self::Signature(text) if text.is_empty())
    }

    /// Bytes that it takes while it waits.
    fn held(&self) -> usize {
        let what = match self {
            Self::Text(text) | Self::Signature(text) => text.len(),
            Self::Citation(citation) => citation.held(),
            Self::Probs(probs) => probs.iter().map(TokenProb::held).sum(),
        };
        what + size_of::<Self>()
    }
}

/// Puts parts that come interleaved in a row.
#[derive(Debug)]
pub(crate) struct Serial {
    /// Where the part with a key stands.
    place: fn(u64) -> Place,
    open: Option<Opened>,
    waiting: VecDeque<Waiting>,
    /// Bytes that wait.
    held: usize,
}

#[derive(Debug)]
struct Opened {
    key: u64,
    arguments: Option<Depth>,
}

#[derive(Debug)]
struct Waiting {
    key: u64,
    opening: Opening,
    deltas: Vec<Delta>,
    closed: bool,
}

impl Serial {
    pub(crate) const fn new(place: fn(u64) -> Place) -> Self {
        Self { place, open: None, waiting: VecDeque::new(), held: 0 }
    }

    pub(crate) fn is_open(&self, key: u64) -> bool {
        self.open.as_ref().is_some_and(|open| open.key == key) || self.waiting.iter().any(|part| part.key == key)
    }

    /// Bytes that wait.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// A part begins.
    ///
    /// # Errors
    /// Too much waits.
    pub(crate) fn open(&mut self, key: u64, opening: Opening, out: &mut Vec<Event>) -> Result<(), Refused> {
        if self.open.as_ref().is_some_and(|open| open.arguments.as_ref().is_none_or(Depth::complete)) {
            self.close_open(out);
        }
        if self.open.is_none() {
            self.begin(key, opening, out);
        } else {
            self.held += opening.held();
            self.waiting.push_back(Waiting { key, opening, deltas: Vec::new(), closed: false });
        }
        if self.waiting.len() > PARTS_MAX || self.held > EVENT_MAX { Err(Refused::TooLarge) } else { Ok(()) }
    }

    fn begin(&mut self, key: u64, opening: Opening, out: &mut Vec<Event>) {
        let arguments = matches!(opening, Opening::Call { custom: false, .. }).then(Depth::default);
        // A custom tool's input has no end that could be seen: it ends when the stream says so.
        let arguments = arguments.or_else(|| matches!(opening, Opening::Call { .. }).then(Depth::endless));
        self.open = Some(Opened { key, arguments });
        out.push(Event::Place((self.place)(key)));
        out.push(Event::Open(opening));
    }

    /// More of a part; false if there is no such part.
    ///
    /// # Errors
    /// Too much waits.
    pub(crate) fn delta(&mut self, key: u64, delta: Delta, out: &mut Vec<Event>) -> Result<bool, Refused> {
        if let Some(open) = self.open.as_mut().filter(|open| open.key == key) {
            if let (Some(depth), Delta::Text(text)) = (&mut open.arguments, &delta) {
                depth.feed(text.as_bytes());
            }
            out.push(Event::Delta(delta));
            if !self.waiting.is_empty() && self.open.as_ref().is_some_and(Opened::complete) {
                self.close_open(out);
            }
            return Ok(true);
        }
        let Some(part) = self.waiting.iter_mut().find(|part| part.key == key) else { return Ok(false) };
        self.held += delta.held();
        part.deltas.push(delta);
        if self.held > EVENT_MAX { Err(Refused::TooLarge) } else { Ok(true) }
    }

    pub(crate) fn close(&mut self, key: u64, out: &mut Vec<Event>) {
        if self.open.as_ref().is_some_and(|open| open.key == key) {
            self.close_open(out);
        } else if let Some(part) = self.waiting.iter_mut().find(|part| part.key == key) {
            part.closed = true;
        }
    }

    pub(crate) fn close_all(&mut self, out: &mut Vec<Event>) {
        while self.open.is_some() {
            self.close_open(out);
        }
    }

    /// Ends the open part, and lets those go that waited for it, up to one that is not complete.
    fn close_open(&mut self, out: &mut Vec<Event>) {
        if self.open.take().is_some() {
            out.push(Event::Close);
        }
        while let Some(next) = self.waiting.pop_front() {
            self.held = self.held.saturating_sub(next.opening.held());
            self.begin(next.key, next.opening, out);
            for delta in next.deltas {
                self.held = self.held.saturating_sub(delta.held());
                if let (Some(Opened { arguments: Some(depth), .. }), Delta::Text(text)) = (&mut self.open, &delta) {
                    depth.feed(text.as_bytes());
                }
                out.push(Event::Delta(delta));
            }
            let complete = self.open.as_ref().is_some_and(Opened::complete) && !self.waiting.is_empty();
            if !next.closed && !complete {
                return;
            }
            self.open = None;
            out.push(Event::Close);
        }
    }
}

impl Opened {
    fn complete(&self) -> bool {
        self.arguments.as_ref().is_none_or(Depth::complete)
    }
}

/// Tells when a JSON object that comes in pieces is complete.
#[derive(Debug, Default)]
struct Depth {
    level: i64,
    begun: bool,
    in_string: bool,
    escaped: bool,
    endless: bool,
}

impl Depth {
    fn endless() -> Self {
        Self { endless: true, ..Self::default() }
    }

    fn complete(&self) -> bool {
        self.begun && self.level <= 0 && !self.endless
    }

    fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => {
                    self.begun = true;
                    self.level += 1;
                }
                b'}' | b']' => self.level -= 1,
                _ => {}
            }
        }
    }
}
