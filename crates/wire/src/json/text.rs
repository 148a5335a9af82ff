//! The inside of JSON strings: finding its end fast, its length and its text with the escapes undone.

use std::borrow::Cow;

const ONES: u64 = u64::MAX / 0xff;
const HIGH: u64 = ONES * 0x80;
/// Bytes looked at together in a long text; a width that compiles to vector code.
const BLOCK: usize = 32;
/// Bytes after which a text counts as long: most keys and values end before.
const SHORT: usize = 24;

/// How many bytes at the start of `bytes` are neither quote, backslash nor control character.
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    let mut at = 0;
    let mut block_from = SHORT;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let found = specials(u64::from_le_bytes(*word));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
        if at == block_from {
            at += plain_blocks(&bytes[at..]);
            block_from = usize::MAX;
        }
    }
    at + bytes[at..].iter().position(|&byte| is_special(byte)).unwrap_or(bytes.len() - at)
}

/// Length of the blocks at the start of `bytes` that have no special byte.
fn plain_blocks(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let plain = |block: &&[u8; BLOCK]| !block.iter().fold(false, |found, &byte| found | is_special(byte));
    blocks.iter().take_while(plain).count() * BLOCK
}

const fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Marks the high bit of each byte that is special. A borrow can mark a byte above a true one, never below.
const fn specials(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let slash = word ^ (ONES * b'\\' as u64);
    let quotes = quote.wrapping_sub(ONES) & !quote;
    let slashes = slash.wrapping_sub(ONES) & !slash;
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (quotes | slashes | controls) & HIGH
}

/// A string as it stands in the body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    /// Between the quotes.
    pub(crate) raw: &'a [u8],
    /// Bytes by which undoing the escapes shortens it.
    pub(super) shrink: usize,
    /// Bytes outside ASCII that escapes stand for.
    pub(super) escaped_wide: usize,
}

impl<'a> Text<'a> {
    /// Bytes of the text, escapes undone; a lone surrogate counts two.
    pub(crate) const fn len(&self) -> usize {
        self.raw.len() - self.shrink
    }

    /// Those of [`Self::len`] that are outside ASCII.
    pub(crate) fn wide(&self) -> usize {
        wide(self.raw) + self.escaped_wide
    }

    /// Characters of the text, escapes undone.
    pub(crate) fn chars(&self) -> usize {
        match self.shrink {
            0 => self.raw.iter().filter(|byte| **byte & 0xc0 != 0x80).count(),
            _ => unescape(self.raw).chars().count(),
        }
    }

    /// The text to compare a key with: `None` if it is longer than any that is read.
    pub(crate) fn key(&self) -> Option<Cow<'a, [u8]>> {
        const LONGEST: usize = 64;
        match (self.shrink, self.len()) {
            (0, _) => Some(Cow::Borrowed(self.raw)),
            (_, ..=LONGEST) => Some(Cow::Owned(unescape(self.raw).into_bytes())),
            _ => None,
        }
    }

    /// The text to compare a word with, escapes undone: all of it, or more of its start than any word has.
    pub(crate) fn word(&self) -> Cow<'a, [u8]> {
        const LONGEST: usize = 64;
        match self.shrink {
            0 => Cow::Borrowed(self.raw),
            _ => Cow::Owned(self.bounded(LONGEST).into_bytes()),
        }
    }

    /// The text, cut at a character's border to at most `most` bytes.
    pub(crate) fn bounded(&self, most: usize) -> String {
        // An escape takes six bytes at most for one of text.
        let mut text = unescape(&self.raw[..self.raw.len().min(most * 6)]);
        text.truncate(text.floor_char_boundary(most));
        text
    }
}

/// `bytes` without the spaces of JSON around them, which are fewer than ASCII's: no parser takes a form feed for one.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let mut bytes = trim_start(bytes);
    while let [rest @ .., b' ' | b'\n' | b'\r' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// `bytes` without such spaces before them.
pub(crate) fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\n' | b'\r' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// Bytes outside ASCII.
pub(crate) fn wide(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| !byte.is_ascii()).count()
}

/// The text of a string's inside. Never fails: a lone surrogate, bad UTF-8 or a cut escape becomes U+FFFD or is left out.
pub(crate) fn unescape(raw: &[u8]) -> String {
    let mut text = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(slash) = memchr::memchr(b'\\', rest) {
        text.extend_from_slice(&rest[..slash]);
        rest = &rest[slash + 1..];
        let Some((&kind, after)) = rest.split_first() else { return lossy(text) };
        rest = after;
        match kind {
            b'n' => text.push(b'\n'),
            b't' => text.push(b'\t'),
            b'r' => text.push(b'\r'),
            b'b' => text.push(8),
            b'f' => text.push(12),
            b'u' => {
                let Some(unit) = hex(rest) else { return lossy(text) };
                rest = &rest[4..];
                let (point, used) = scalar(unit, rest);
                rest = &rest[used..];
                text.extend_from_slice(point.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => text.push(other),
        }
    }
    text.extend_from_slice(rest);
    lossy(text)
}

fn lossy(text: Vec<u8>) -> String {
    String::from_utf8(text).unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned())
}

/// The character of a UTF-16 unit, together with a low surrogate that may follow, and how many bytes that one takes.
fn scalar(unit: u32, rest: &[u8]) -> (char, usize) {
    if (0xd800..0xdc00).contains(&unit)
        && let Some(low) = rest.strip_prefix(b"\\u").and_then(hex)
        && (0xdc00..0xe000).contains(&low)
    {
        let point = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        return (char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER), 6);
    }
    (char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER), 0)
}

/// The value of four hexadecimal digits at the start of `bytes`.
pub(super) fn hex(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.first_chunk::<4>()?;
    digits.iter().try_fold(0, |value, &digit| Some((value << 4) | char::from(digit).to_digit(16)?))
}

/// Bytes that a UTF-16 unit takes in UTF-8. Half a pair takes half of the pair's four.
pub(super) const fn unit_len(unit: u32) -> usize {
    match unit {
        0..0x80 => 1,
        0x80..0x800 | 0xd800..0xe000 => 2,
        _ => 3,
    }
}
