//! Reads a whole body token by token and checks its grammar on the way.

use super::{
    MAX_DEPTH,
    text::{Text, hex, plain_run, unit_len},
};

/// One token. Commas and colons are checked and not reported.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Token<'a> {
    /// `{` or `[`.
    Open {
        /// It is `[`.
        array: bool,
    },
    /// `}` or `]`.
    Close,
    /// A member's name.
    Key(Text<'a>),
    /// A string.
    Text(Text<'a>),
    /// A number, as written.
    Number(&'a [u8]),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
}

/// What is wrong with the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// It breaks the grammar at this offset.
    Bad(usize),
    /// It is nested deeper than [`MAX_DEPTH`].
    TooDeep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrClose,
    Key,
    KeyOrClose,
    Colon,
    CommaOrClose,
    End,
}

/// The reader. Its strings are not checked for UTF-8: that is cheaper done once for the whole body.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    start: usize,
    depth: usize,
    /// One bit per level: set for an object.
    objects: [u64; MAX_DEPTH / 64],
    expect: Expect,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, start: 0, depth: 0, objects: [0; MAX_DEPTH / 64], expect: Expect::Value }
    }

    /// Where the last token began.
    pub(crate) const fn start(&self) -> usize {
        self.start
    }

    /// Where the last token ended; a key's or string's end includes the quote.
    pub(crate) const fn end(&self) -> usize {
        self.at
    }

    /// What was read since `start`.
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    /// The next token; `None` after the one value of the body.
    pub(crate) fn next(&mut self) -> Result<Option<Token<'a>>, ReadError> {
        loop {
            self.skip_space();
            self.start = self.at;
            let Some(&byte) = self.bytes.get(self.at) else {
                return if self.expect == Expect::End { Ok(None) } else { Err(ReadError::Bad(self.at)) };
            };
            match (self.expect, byte) {
                (Expect::Colon, b':') => {
                    self.at += 1;
                    self.expect = Expect::Value;
                }
                (Expect::CommaOrClose, b',') => {
                    self.at += 1;
                    self.expect = if self.in_object() { Expect::Key } else { Expect::Value };
                }
                (Expect::CommaOrClose | Expect::KeyOrClose, b'}') if self.in_object() => return Ok(Some(self.close())),
                (Expect::CommaOrClose | Expect::ValueOrClose, b']') if !self.in_object() => {
                    return Ok(Some(self.close()));
                }
                (Expect::Key | Expect::KeyOrClose, b'"') => return self.key().map(Some),
                (Expect::Value | Expect::ValueOrClose, _) => return self.value(byte).map(Some),
                _ => return Err(ReadError::Bad(self.at)),
            }
        }
    }

    fn value(&mut self, first: u8) -> Result<Token<'a>, ReadError> {
        match first {
            b'{' => return self.open(false),
            b'[' => return self.open(true),
            _ => {}
        }
        let token = match first {
            b'"' => Token::Text(self.text()?),
            b't' => self.word(b"true", Token::Bool(true))?,
            b'f' => self.word(b"false", Token::Bool(false))?,
            b'n' => self.word(b"null", Token::Null)?,
            _ => self.number()?,
        };
        self.after_value();
        Ok(token)
    }

    fn open(&mut self, array: bool) -> Result<Token<'a>, ReadError> {
        if self.depth == MAX_DEPTH {
            return Err(ReadError::TooDeep);
        }
        let (word, bit) = (self.depth / 64, 1 << (self.depth % 64));
        if array {
            self.objects[word] &= !bit;
        } else {
            self.objects[word] |= bit;
        }
        self.depth += 1;
        self.at += 1;
        self.expect = if array { Expect::ValueOrClose } else { Expect::KeyOrClose };
        Ok(Token::Open { array })
    }

    fn close(&mut self) -> Token<'a> {
        self.depth -= 1;
        self.at += 1;
        self.after_value();
        Token::Close
    }

    const fn in_object(&self) -> bool {
        let level = self.depth - 1;
        (self.objects[level / 64] >> (level % 64)) & 1 == 1
    }

    const fn after_value(&mut self) {
        self.expect = if self.depth == 0 { Expect::End } else { Expect::CommaOrClose };
    }

    fn key(&mut self) -> Result<Token<'a>, ReadError> {
        let key = self.text()?;
        self.expect = Expect::Colon;
        Ok(Token::Key(key))
    }

    fn text(&mut self) -> Result<Text<'a>, ReadError> {
        let from = self.at + 1;
        let (mut at, mut shrink, mut escaped_wide) = (from, 0, 0);
        loop {
            at += plain_run(&self.bytes[at..]);
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {}
                _ => return Err(ReadError::Bad(at)),
            }
            match self.bytes.get(at + 1) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                    shrink += 1;
                    at += 2;
                }
                Some(b'u') => {
                    let unit = hex(&self.bytes[at + 2..]).ok_or(ReadError::Bad(at))?;
                    let len = unit_len(unit);
                    shrink += 6 - len;
                    escaped_wide += if len == 1 { 0 } else { len };
                    at += 6;
                }
                _ => return Err(ReadError::Bad(at)),
            }
        }
        self.at = at + 1;
        Ok(Text { raw: &self.bytes[from..at], shrink, escaped_wide })
    }

    fn word(&mut self, word: &[u8], token: Token<'a>) -> Result<Token<'a>, ReadError> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(ReadError::Bad(self.at));
        }
        self.at += word.len();
        Ok(token)
    }

    fn number(&mut self) -> Result<Token<'a>, ReadError> {
        let from = self.at;
        self.take_if(|byte| byte == b'-');
        // A leading zero stands alone.
        if !self.take_if(|byte| byte == b'0') {
            self.digits()?;
        }
        if self.take_if(|byte| byte == b'.') {
            self.digits()?;
        }
        if self.take_if(|byte| matches!(byte, b'e' | b'E')) {
            self.take_if(|byte| matches!(byte, b'+' | b'-'));
            self.digits()?;
        }
        Ok(Token::Number(&self.bytes[from..self.at]))
    }

    fn digits(&mut self) -> Result<(), ReadError> {
        let count = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(ReadError::Bad(self.at)) } else { Ok(()) }
    }

    fn take_if(&mut self, wanted: impl Fn(u8) -> bool) -> bool {
        let taken = self.bytes.get(self.at).is_some_and(|&byte| wanted(byte));
        self.at += usize::from(taken);
        taken
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }
}
