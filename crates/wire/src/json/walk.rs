//! Walks JSON as it streams by. What lies on a known path is handed to a [`Sink`]; all else is only counted down and up.

use super::text::{plain_run, unescape};
use crate::tap::KEPT_MAX;

/// Levels that can be on a known path. Deeper ones are passed over.
const LEVELS: usize = 10;

/// What to do with a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Pass over it.
    Skip,
    /// Report how long it is.
    Count,
    /// Report it, or its first [`KEPT_MAX`] bytes.
    Keep,
}

/// Who knows the paths, and takes what lies on them. Nothing below a place that is [`Sink::NOWHERE`] is reported.
pub(crate) trait Sink {
    /// A place in the document.
    type Place: Copy + PartialEq;
    /// Off all known paths.
    const NOWHERE: Self::Place;
    /// Where the document begins.
    fn root(&self) -> Self::Place;
    /// The place of a member.
    fn child(&self, of: Self::Place, key: &[u8]) -> Self::Place;
    /// The place of an array's elements.
    fn item(&self, of: Self::Place) -> Self::Place;
    /// What to do with a string at `place`.
    fn want(&self, place: Self::Place) -> Want;
    /// An object or array begins.
    fn open(&mut self, place: Self::Place, array: bool);
    /// It ends; it took `bytes`, brackets included.
    fn close(&mut self, place: Self::Place, bytes: u64);
    /// A string of about this many bytes with its escapes undone.
    fn counted(&mut self, place: Self::Place, bytes: u64);
    /// A string, its escapes undone.
    fn kept(&mut self, place: Self::Place, text: &[u8], cut: bool);
    /// A number, rounded down; 0 for a negative one or one with an exponent.
    fn number(&mut self, place: Self::Place, value: u64);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before or between tokens.
    Between,
    /// Inside a string.
    Text,
    /// Inside a string, after a backslash.
    Escape,
    Number,
    /// Inside `true`, `false` or `null`.
    Word,
    /// Inside what is on no known path, between its strings.
    Skip,
    /// The document has ended.
    Done,
    Broken,
}

#[derive(Clone, Copy, Debug)]
struct Level<P> {
    place: P,
    object: bool,
    /// Offset of its bracket.
    from: u64,
}

/// The walker. Its memory does not depend on the document.
#[derive(Debug)]
pub(crate) struct Walker<S: Sink> {
    state: State,
    /// The level under way, good from depth 1 on.
    top: Level<S::Place>,
    /// The levels around it.
    around: [Level<S::Place>; LEVELS],
    depth: usize,
    /// Levels below the last known one.
    skipped: u64,
    /// Bytes of earlier feeds.
    passed: u64,
    /// Where the coming value lies, in an object that has named it.
    named: Option<S::Place>,
    /// The string or number under way; `None` for a member's name.
    place: Option<S::Place>,
    want: Want,
    /// The part of a wanted string that came in earlier feeds, as it stands in the document.
    held: Vec<u8>,
    cut: bool,
    escaped: bool,
    count: u64,
    number: u64,
    /// A fraction has begun.
    fraction: bool,
    /// The number is not one of the counts we read.
    odd: bool,
}

impl<S: Sink> Walker<S> {
    pub(crate) fn new() -> Self {
        let level = Level { place: S::NOWHERE, object: false, from: 0 };
        Self {
            state: State::Between,
            top: level,
            around: [level; LEVELS],
            depth: 0,
            skipped: 0,
            passed: 0,
            named: None,
            place: None,
            want: Want::Skip,
            held: Vec::new(),
            cut: false,
            escaped: false,
            count: 0,
            number: 0,
            fraction: false,
            odd: false,
        }
    }

    /// Begins a new document.
    pub(crate) fn reset(&mut self) {
        self.state = State::Between;
        self.depth = 0;
        self.skipped = 0;
        self.passed = 0;
        self.named = None;
        self.held.clear();
    }

    /// The document is complete.
    pub(crate) fn is_complete(&self) -> bool {
        self.state == State::Done
    }

    pub(crate) fn feed(&mut self, bytes: &[u8], sink: &mut S) {
        let mut at = 0;
        while at < bytes.len() {
            at = match self.state {
                State::Between => self.between(bytes, at, sink),
                State::Text => self.text(bytes, at, sink),
                State::Escape => self.escape(bytes, at),
                State::Number => self.digits(bytes, at, sink),
                State::Word => self.word(bytes, at),
                State::Skip => self.skip(bytes, at),
                State::Done => self.done(bytes, at),
                State::Broken => bytes.len(),
            };
        }
        self.passed += bytes.len() as u64;
    }

    fn between(&mut self, bytes: &[u8], mut at: usize, sink: &mut S) -> usize {
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' | b':' => {}
                b',' => self.named = None,
                b'"' if self.depth > 0 => {
                    at += 1;
                    let end = at + plain_run(&bytes[at..]);
                    if bytes.get(end) == Some(&b'"') {
                        // The usual string is all here, and nothing in it needs a second look.
                        self.plain_text(&bytes[at..end], sink);
                        at = end + 1;
                        continue;
                    }
                    self.begin_text(sink);
                    return at;
                }
                b'{' | b'[' => self.open(byte == b'[', self.passed + at as u64, sink),
                b'}' | b']' => self.close(byte == b'}', self.passed + at as u64, sink),
                b'-' | b'0'..=b'9' if self.depth > 0 => {
                    self.place = Some(self.take_place(sink));
                    (self.number, self.fraction, self.odd) = (0, false, byte == b'-');
                    self.state = State::Number;
                    at = self.digits(bytes, at, sink);
                    continue;
                }
                b't' | b'f' | b'n' if self.depth > 0 => {
                    self.take_place(sink);
                    self.state = State::Word;
                    at = self.word(bytes, at);
                    continue;
                }
                _ => self.state = State::Broken,
            }
            at += 1;
            if self.state != State::Between {
                return at;
            }
        }
        at
    }

    /// The place of the value that begins here. A member's name is good for one value.
    #[inline]
    fn take_place(&mut self, sink: &S) -> S::Place {
        match (self.depth, self.top.object) {
            (0, _) => sink.root(),
            (_, true) => self.named.take().unwrap_or(S::NOWHERE),
            (_, false) => sink.item(self.top.place),
        }
    }

    fn open(&mut self, array: bool, from: u64, sink: &mut S) {
        let place = self.take_place(sink);
        if place == S::NOWHERE || self.depth == LEVELS {
            self.skipped = 1;
            self.state = State::Skip;
            return;
        }
        self.around[self.depth] = self.top;
        self.top = Level { place, object: !array, from };
        self.depth += 1;
        sink.open(place, array);
    }

    fn close(&mut self, object: bool, at: u64, sink: &mut S) {
        if self.depth == 0 || self.top.object != object {
            self.state = State::Broken;
            return;
        }
        sink.close(self.top.place, at + 1 - self.top.from);
        self.depth -= 1;
        self.top = self.around[self.depth];
        self.named = None;
        if self.depth == 0 {
            self.state = State::Done;
        }
    }

    /// Takes a string that came whole and has no escapes.
    #[inline]
    fn plain_text(&mut self, text: &[u8], sink: &mut S) {
        if self.top.object && self.named.is_none() {
            self.named = Some(sink.child(self.top.place, text));
            return;
        }
        let place = self.take_place(sink);
        if place == S::NOWHERE {
            return;
        }
        match sink.want(place) {
            Want::Skip => {}
            Want::Count => sink.counted(place, text.len() as u64),
            Want::Keep => sink.kept(place, &text[..text.len().min(KEPT_MAX)], text.len() > KEPT_MAX),
        }
    }

    fn begin_text(&mut self, sink: &S) {
        self.held.clear();
        (self.cut, self.escaped, self.count) = (false, false, 0);
        self.state = State::Text;
        if self.top.object && self.named.is_none() {
            (self.place, self.want) = (None, Want::Keep);
            return;
        }
        let place = self.take_place(sink);
        self.place = Some(place);
        self.want = if place == S::NOWHERE { Want::Skip } else { sink.want(place) };
    }

    fn text(&mut self, bytes: &[u8], from: usize, sink: &mut S) -> usize {
        let mut at = from;
        loop {
            at += plain_run(&bytes[at..]);
            match bytes.get(at) {
                Some(b'"') => {
                    self.end_text(&bytes[from..at], sink);
                    return at + 1;
                }
                Some(b'\\') => {
                    self.escaped = true;
                    let Some(&kind) = bytes.get(at + 1) else {
                        self.hold(&bytes[from..]);
                        self.state = State::Escape;
                        return bytes.len();
                    };
                    self.count_escape(kind);
                    at += 2;
                }
                Some(_) => {
                    self.state = State::Broken;
                    return at;
                }
                None => {
                    self.hold(&bytes[from..]);
                    return at;
                }
            }
        }
    }

    fn escape(&mut self, bytes: &[u8], at: usize) -> usize {
        self.count_escape(bytes[at]);
        self.hold(&bytes[at..=at]);
        self.state = State::Text;
        at + 1
    }

    /// Takes off what an escape is longer than its text: for a code unit three bytes, as if it were neither ASCII nor half a
    /// pair.
    fn count_escape(&mut self, kind: u8) {
        self.count = self.count.wrapping_sub(if kind == b'u' { 3 } else { 1 });
    }

    /// Takes a part of a string whose end has not come yet.
    fn hold(&mut self, piece: &[u8]) {
        self.count = self.count.wrapping_add(piece.len() as u64);
        if self.want == Want::Keep {
            let room = KEPT_MAX - self.held.len();
            self.cut |= piece.len() > room;
            self.held.extend_from_slice(&piece[..piece.len().min(room)]);
        }
    }

    fn end_text(&mut self, last: &[u8], sink: &mut S) {
        self.state = if self.skipped > 0 { State::Skip } else { State::Between };
        match self.want {
            Want::Skip => {}
            Want::Count => {
                if let Some(place) = self.place {
                    sink.counted(place, self.count.wrapping_add(last.len() as u64));
                }
            }
            Want::Keep if self.held.is_empty() => {
                let shown = &last[..last.len().min(KEPT_MAX)];
                self.cut = shown.len() < last.len();
                self.tell(shown, sink);
            }
            Want::Keep => {
                self.hold(last);
                let held = std::mem::take(&mut self.held);
                self.tell(&held, sink);
                self.held = held;
            }
        }
    }

    fn tell(&mut self, raw: &[u8], sink: &mut S) {
        let unescaped;
        let text = if self.escaped {
            unescaped = unescape(raw);
            unescaped.as_bytes()
        } else {
            raw
        };
        match self.place {
            Some(place) => sink.kept(place, text, self.cut),
            None => self.named = Some(sink.child(self.top.place, text)),
        }
    }

    fn digits(&mut self, bytes: &[u8], mut at: usize, sink: &mut S) -> usize {
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'0'..=b'9' if self.fraction => {}
                b'0'..=b'9' => self.number = self.number.saturating_mul(10).saturating_add(u64::from(byte - b'0')),
                b'.' => self.fraction = true,
                b'e' | b'E' => self.odd = true,
                b'-' | b'+' => {}
                _ => {
                    // The byte is not the number's: it is read again, between tokens.
                    self.state = State::Between;
                    if let Some(place) = self.place.filter(|place| *place != S::NOWHERE) {
                        sink.number(place, if self.odd { 0 } else { self.number });
                    }
                    return at;
                }
            }
            at += 1;
        }
        at
    }

    fn word(&mut self, bytes: &[u8], at: usize) -> usize {
        let letters = bytes[at..].iter().take_while(|byte| byte.is_ascii_lowercase()).count();
        if at + letters < bytes.len() {
            self.state = State::Between;
        }
        at + letters
    }

    fn skip(&mut self, bytes: &[u8], mut at: usize) -> usize {
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'{' | b'[' => self.skipped += 1,
                b'}' | b']' => {
                    self.skipped -= 1;
                    if self.skipped == 0 {
                        self.state = State::Between;
                        return at;
                    }
                }
                b'"' => {
                    // Most strings end where they began: nothing to remember.
                    at += plain_run(&bytes[at..]);
                    if bytes.get(at) == Some(&b'"') {
                        at += 1;
                        continue;
                    }
                    (self.place, self.want) = (None, Want::Skip);
                    self.state = State::Text;
                    return at;
                }
                _ => {}
            }
        }
        at
    }

    fn done(&mut self, bytes: &[u8], at: usize) -> usize {
        let space = bytes[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if at + space < bytes.len() {
            self.state = State::Broken;
        }
        at + space
    }
}
