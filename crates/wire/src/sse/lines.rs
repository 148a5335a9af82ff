//! Splits an event stream into fields and frames, at any chunking: LF, CRLF and CR, comments, a byte order mark.

use memchr::memchr2;

const BOM: [u8; 3] = [0xef, 0xbb, 0xbf];

/// Takes the fields of a frame as they come.
pub(crate) trait Fields {
    /// A part of the event's name.
    fn event(&mut self, piece: &[u8]);
    /// A data line begins. Lines after the first are joined to it by a line feed.
    fn data_line(&mut self);
    /// A part of the data line.
    fn data(&mut self, piece: &[u8]);
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    #[default]
    Start,
    /// In a field's name, of which this many bytes have come.
    Name(usize),
    Value(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Event,
    Data,
    Other,
}

/// Longest name of a field that we read, and one byte to tell longer ones.
const NAME: usize = 6;

/// The splitter.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    line: Line,
    name: [u8; NAME],
    /// One space after the colon is not part of the value, and has not come yet.
    lead: bool,
    /// A line ended with a CR at the end of the bytes at hand: an LF that comes next belongs to it.
    after_cr: bool,
    bom: usize,
    in_frame: bool,
}

impl Lines {
    /// A frame has begun and not ended.
    pub(crate) fn in_frame(&self) -> bool {
        self.in_frame
    }

    /// An LF that comes next still belongs to the line before.
    pub(crate) fn after_cr(&self) -> bool {
        self.after_cr
    }

    /// Reads to the end of a frame, its blank line included, or of `bytes`: how far, and whether a frame ended.
    pub(crate) fn next(&mut self, bytes: &[u8], fields: &mut impl Fields) -> (usize, bool) {
        let mut at = 0;
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            at = usize::from(bytes[0] == b'\n');
        }
        while let Some(&byte) = bytes.get(at) {
            match self.line {
                Line::Start => {
                    if let Some(mark) = BOM.get(self.bom) {
                        if byte == *mark {
                            self.bom += 1;
                            at += 1;
                            continue;
                        }
                        self.bom = BOM.len();
                    }
                    if matches!(byte, b'\n' | b'\r') {
                        self.in_frame = false;
                        return (self.end_line(bytes, at), true);
                    }
                    self.in_frame = true;
                    if bytes[at..].starts_with(b"data:") {
                        at += 5;
                        self.begin(Field::Data, fields);
                    } else {
                        self.line = Line::Name(0);
                    }
                }
                Line::Name(len) => at = self.name(bytes, at, len, fields),
                Line::Value(field) => at = self.value(bytes, at, field, fields),
            }
        }
        (at, false)
    }

    fn begin(&mut self, field: Field, fields: &mut impl Fields) {
        self.line = Line::Value(field);
        self.lead = true;
        if field == Field::Data {
            fields.data_line();
        }
    }

    fn name(&mut self, bytes: &[u8], at: usize, len: usize, fields: &mut impl Fields) -> usize {
        let byte = bytes[at];
        if !matches!(byte, b':' | b'\n' | b'\r') {
            if let Some(slot) = self.name.get_mut(len) {
                *slot = byte;
            }
            self.line = Line::Name((len + 1).min(NAME));
            return at + 1;
        }
        // A comment has an empty name.
        let field = match &self.name[..len] {
            b"data" => Field::Data,
            b"event" => Field::Event,
            _ => Field::Other,
        };
        self.begin(field, fields);
        if byte == b':' { at + 1 } else { self.end_line(bytes, at) }
    }

    fn value(&mut self, bytes: &[u8], mut at: usize, field: Field, fields: &mut impl Fields) -> usize {
        if self.lead {
            self.lead = false;
            if bytes[at] == b' ' {
                at += 1;
            }
        }
        let end = memchr2(b'\n', b'\r', &bytes[at..]).map(|len| at + len);
        let piece = &bytes[at..end.unwrap_or(bytes.len())];
        match field {
            Field::Data => fields.data(piece),
            Field::Event => fields.event(piece),
            Field::Other => {}
        }
        end.map_or(bytes.len(), |end| self.end_line(bytes, end))
    }

    /// Steps over the line's end at `at`.
    fn end_line(&mut self, bytes: &[u8], at: usize) -> usize {
        self.line = Line::Start;
        match (bytes[at], bytes.get(at + 1)) {
            (b'\r', Some(b'\n')) => at + 2,
            (b'\r', None) => {
                self.after_cr = true;
                at + 1
            }
            _ => at + 1,
        }
    }
}
