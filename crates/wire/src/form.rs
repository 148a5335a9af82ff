//! Bodies of `multipart/form-data` (RFC 7578): what routing must know of them, and where its values lie.
//!
//! The body is forwarded as it came, so an upstream reads it with a parser of its own. What two parsers could read in two
//! ways is therefore refused: text before the first boundary or behind the last, lines that end in a bare LF, folded
//! or encoded headers, a name that is given twice or escaped. No client program writes any of these.

mod head;

use std::ops::Range;

use memchr::memmem::Finder;

use crate::peek::{Field, MODEL_MAX, MODEL_TYPE, Peek, PeekError};

/// Most parts of a form. Vendors take 16 images and a dozen fields.
pub const PARTS_MAX: usize = 256;
/// Fields that upstreams read as text even from a file.
const TEXTS: [&[u8]; 4] = [b"prompt", b"negative_prompt", b"input", b"instructions"];
/// Most bytes of one part's headers.
pub const HEAD_MAX: usize = 4096;

/// One part of a form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    /// From its boundary line up to that of the next part.
    pub(crate) span: Range<usize>,
    pub(crate) value: Range<usize>,
    pub(crate) head: head::Head<'a>,
}

/// The parts of a form, in order.
pub(crate) struct Parts<'a> {
    body: &'a [u8],
    /// Two hyphens and the boundary.
    line: Finder<'a>,
    /// Where the next part's boundary line begins.
    at: usize,
    count: usize,
    ended: bool,
}

impl<'a> Parts<'a> {
    /// The parts of `body`; `line` is two hyphens and the boundary.
    pub(crate) fn new(line: &'a [u8], body: &'a [u8]) -> Result<Self, PeekError> {
        // Some programs begin with the line break that belongs to every boundary line.
        let at = if body.starts_with(b"\r\n") { 2 } else { 0 };
        if !body[at..].starts_with(line) {
            return Err(bad(at, "it does not begin with its boundary"));
        }
        let mut parts = Self { body, line: Finder::new(line), at, count: 0, ended: false };
        parts.boundary_line()?;
        if parts.ended { Err(bad(at, "it has no parts")) } else { Ok(parts) }
    }

    /// The next part; `None` behind the last.
    pub(crate) fn next(&mut self) -> Result<Option<Part<'a>>, PeekError> {
        if self.ended {
            return Ok(None);
        }
        self.count += 1;
        if self.count > PARTS_MAX {
            return Err(bad(self.at, "it has too many parts"));
        }
        let start = self.at;
        let head_at = start + self.line.needle().len() + 2;
        let room = &self.body[head_at..self.body.len().min(head_at + HEAD_MAX)];
        let Some(length) = memchr::memmem::find(room, b"\r\n\r\n") else {
            return Err(bad(head_at, "the headers of a part do not end"));
        };
        let text = &room[..length];
        if self.line.find(text).is_some() {
            return Err(bad(head_at, "a boundary stands within headers"));
        }
        let head = head::read(text).map_err(|reason| bad(head_at, reason))?;
        let value_at = head_at + length + 4;
        self.at = self.value_end(value_at)?;
        let value = value_at..self.at - 2;
        self.boundary_line()?;
        Ok(Some(Part { span: start..self.at, value, head }))
    }

    /// The boundary line behind a value that begins at `from`.
    fn value_end(&self, from: usize) -> Result<usize, PeekError> {
        for found in self.line.find_iter(&self.body[from..]) {
            match &self.body[from..from + found] {
                [.., b'\r', b'\n'] => return Ok(from + found),
                // Read by some as a boundary line, by some as a part of the value.
                [] | [.., b'\r' | b'\n'] => return Err(bad(from + found, "a boundary line does not follow CR and LF")),
                _ => {}
            }
        }
        Err(bad(self.body.len(), "it ends without its closing boundary"))
    }

    /// Checks the end of the boundary line at `self.at`; behind the last one there is nothing more.
    fn boundary_line(&mut self) -> Result<(), PeekError> {
        let end = self.at + self.line.needle().len();
        match &self.body[end..] {
            [b'\r', b'\n', ..] => Ok(()),
            [b'-', b'-', rest @ ..] if rest.trim_ascii().is_empty() => {
                self.ended = true;
                Ok(())
            }
            [b'-', b'-', ..] => Err(bad(end, "something follows its closing boundary")),
            _ => Err(bad(end, "a boundary line goes on")),
        }
    }
}

/// Two hyphens and a boundary, as they begin a line of the body.
pub(crate) fn boundary_line(boundary: &str) -> Vec<u8> {
    format!("--{boundary}").into_bytes()
}

/// Whether a content type is a form's, whatever its boundary.
pub fn is_form(content_type: &str) -> bool {
    head::is_form(content_type)
}

/// Reads what matters out of a form; the other half of [`crate::peek()`]. Pictures are counted, and any other file is
/// content whose size in tokens does not show. Text fields count as one message.
///
/// # Errors
/// What is no form by the strict rules of this module, a field that is read and given twice, or of the wrong type.
pub fn peek_form(content_type: &str, body: &[u8]) -> Result<Peek, PeekError> {
    let boundary = head::boundary(content_type).map_err(|reason| bad(0, reason))?;
    let line = boundary_line(boundary);
    let mut parts = Parts::new(&line, body)?;
    let mut peek = Peek { choices: 1, root_open: parts.at, form: Some(boundary.into()), ..Peek::default() };
    let mut counted = false;
    while let Some(Part { value: span, head, .. }) = parts.next()? {
        let value = &body[span.clone()];
        let is_named_so = head.name.starts_with(b"image") || head.name == b"mask";
        let is_image = is_named_so || head.is_file && head.is_image && !TEXTS.contains(&head.name);
        // An upstream reads as text what has no file name, whatever it is said to be.
        let is_text = !head.is_file || TEXTS.contains(&head.name);
        match head.name {
            b"model" if peek.model.is_some() => return Err(PeekError::DuplicateKey("model")),
            b"model" => peek.model = Some(Field { value: model(value, &head)?, span }),
            b"stream" if peek.stream.is_some() => return Err(PeekError::DuplicateKey("stream")),
            b"stream" => peek.stream = Some(Field { value: flag(value, &head)?, span }),
            b"n" if std::mem::replace(&mut counted, true) => return Err(PeekError::DuplicateKey("n")),
            b"n" => peek.choices = count(value, &head)?.max(1),
            _ => {
                peek.images = peek.images.saturating_add(u32::from(is_image));
                peek.uncountable |= !is_image && !is_text;
                if is_text {
                    peek.messages = 1;
                    peek.text_bytes += value.len() as u64;
                    peek.wide_bytes += crate::json::wide(value) as u64;
                }
            }
        }
    }
    Ok(peek)
}

fn plain<'a>(
    value: &'a [u8],
    head: &head::Head<'_>,
    field: &'static str,
    expected: &'static str,
) -> Result<&'a str, PeekError> {
    let text = std::str::from_utf8(value).ok().filter(|_| !head.is_file);
    text.ok_or(PeekError::WrongType { field, expected })
}

fn model(value: &[u8], head: &head::Head<'_>) -> Result<String, PeekError> {
    let wrong = PeekError::WrongType { field: "model", expected: MODEL_TYPE };
    let name = plain(value, head, "model", MODEL_TYPE)?;
    if name.is_empty() || name.len() > MODEL_MAX { Err(wrong) } else { Ok(name.to_owned()) }
}

/// A boolean as form libraries write it.
fn flag(value: &[u8], head: &head::Head<'_>) -> Result<bool, PeekError> {
    const EXPECTED: &str = "`true` or `false`";
    match plain(value, head, "stream", EXPECTED)? {
        "true" | "True" | "1" => Ok(true),
        "false" | "False" | "0" => Ok(false),
        _ => Err(PeekError::WrongType { field: "stream", expected: EXPECTED }),
    }
}

fn count(value: &[u8], head: &head::Head<'_>) -> Result<u64, PeekError> {
    const EXPECTED: &str = "a non-negative integer";
    let digits = plain(value, head, "n", EXPECTED)?;
    let number = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    number.and_then(|digits| digits.parse().ok()).ok_or(PeekError::WrongType { field: "n", expected: EXPECTED })
}

fn bad(at: usize, reason: &'static str) -> PeekError {
    PeekError::NotAForm { at, reason }
}

#[cfg(test)]
mod tests;
