//! Gemini's JSON array: what clients get who asked for a stream and not for events.

use super::{Fields, Lines};

/// Turns a Gemini event stream into the JSON array that clients get who did not ask for events. Elements pass as they
/// come; none is held.
#[derive(Debug, Default)]
pub struct ArrayFramer {
    lines: Lines,
    state: Array,
}

#[derive(Debug, Default)]
struct Array {
    opened: bool,
    element: Element,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Element {
    /// Between frames.
    #[default]
    Between,
    /// In a frame whose data has not begun.
    Empty,
    /// In a frame whose data is an element.
    Passing,
    /// In a frame whose data is none, such as `[DONE]`.
    Dropped,
}

impl ArrayFramer {
    /// A framer at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads on, and writes what that makes.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let (read, ended) = self.lines.next(bytes, &mut Writer { array: &mut self.state, out });
            if ended {
                self.state.element = Element::Between;
            }
            bytes = &bytes[read..];
        }
    }

    /// Adds the error `body` as the last element and closes the array. False, and nothing written, if an element is cut in
    /// its middle: nothing valid can follow it.
    pub fn error(&mut self, body: &[u8], out: &mut Vec<u8>) -> bool {
        if self.state.element == Element::Passing {
            return false;
        }
        self.state.separate(out);
        out.extend_from_slice(body);
        self.finish(out);
        true
    }

    /// Closes the array.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.state.opened { b"\n]" } else { b"[]" });
    }
}

impl Array {
    /// What stands before an element.
    fn separate(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.opened { b"\n,\n" } else { b"[" });
        self.opened = true;
    }
}

struct Writer<'a> {
    array: &'a mut Array,
    out: &'a mut Vec<u8>,
}

impl Fields for Writer<'_> {
    fn event(&mut self, _: &[u8]) {}

    fn data_line(&mut self) {
        match self.array.element {
            Element::Between => self.array.element = Element::Empty,
            Element::Passing => self.out.push(b'\n'),
            Element::Empty | Element::Dropped => {}
        }
    }

    fn data(&mut self, mut piece: &[u8]) {
        if self.array.element == Element::Empty {
            // Blanks before an element are none of it, in whatever pieces they come.
            piece = piece.trim_ascii_start();
            match piece.first() {
                None => return,
                Some(b'{') => {
                    self.array.separate(self.out);
                    self.array.element = Element::Passing;
                }
                Some(_) => self.array.element = Element::Dropped,
            }
        }
        if self.array.element == Element::Passing {
            self.out.extend_from_slice(piece);
        }
    }
}
