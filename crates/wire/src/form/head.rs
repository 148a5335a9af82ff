//! The headers of a form: the content type that names its boundary, and those of each part.

/// Longest boundary (RFC 2046).
const BOUNDARY_MAX: usize = 70;

/// What the headers of a part say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    /// As it is written: nothing in it is escaped.
    pub(crate) name: &'a [u8],
    /// It has a file name.
    pub(crate) is_file: bool,
    /// Its content type is that of an image.
    pub(crate) is_image: bool,
}

pub(super) fn is_form(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("multipart/form-data")
}

/// The boundary in a form's content type.
pub(super) fn boundary(content_type: &str) -> Result<&str, &'static str> {
    const BAD: &str = "its content type has no boundary that can be used";
    let mut found = None;
    let (_, list) = content_type.split_once(';').ok_or(BAD)?;
    for param in Params(list.as_bytes()) {
        let (name, value) = param?;
        if name.eq_ignore_ascii_case(b"boundary") {
            if found.replace(value).is_some() {
                return Err("its content type has two boundaries");
            }
        } else if starts_with(name, b"boundary*") {
            return Err(BAD);
        }
    }
    let boundary = found.and_then(|value| std::str::from_utf8(value).ok()).ok_or(BAD)?;
    let is_in_set = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    let fits = (1..=BOUNDARY_MAX).contains(&boundary.len()) && boundary.bytes().all(is_in_set);
    if fits && !boundary.ends_with(' ') { Ok(boundary) } else { Err(BAD) }
}

/// The headers of a part, without the blank line behind them.
pub(super) fn read(text: &[u8]) -> Result<Head<'_>, &'static str> {
    let mut head = None;
    let mut is_image = false;
    let mut rest = Some(text);
    while let Some(lines) = rest {
        let end = memchr::memmem::find(lines, b"\r\n");
        let line = &lines[..end.unwrap_or(lines.len())];
        rest = end.map(|end| &lines[end + 2..]);
        if line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Err("a header holds a line break");
        }
        let colon = memchr::memchr(b':', line).ok_or("a header has no colon")?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
            return Err("a header has no proper name");
        }
        if name.eq_ignore_ascii_case(b"content-disposition") {
            if head.replace(disposition(value)?).is_some() {
                return Err("a part has two names");
            }
        } else if name.eq_ignore_ascii_case(b"content-type") {
            is_image = starts_with(value, b"image/");
        } else if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
            let plain: [&[u8]; 3] = [b"7bit", b"8bit", b"binary"];
            if !plain.iter().any(|plain| value.eq_ignore_ascii_case(plain)) {
                return Err("a part is encoded");
            }
        }
    }
    let (name, is_file) = head.ok_or("a part has no name")?;
    Ok(Head { name, is_file, is_image })
}

/// Name and whether there is a file name.
fn disposition(value: &[u8]) -> Result<(&[u8], bool), &'static str> {
    let semicolon = memchr::memchr(b';', value).ok_or("a part has no name")?;
    if !value[..semicolon].trim_ascii().eq_ignore_ascii_case(b"form-data") {
        return Err("a part is no form data");
    }
    let (mut found, mut is_file) = (None, false);
    for param in Params(&value[semicolon + 1..]) {
        let (key, value) = param?;
        if key.eq_ignore_ascii_case(b"name") {
            if memchr::memchr(b'\\', value).is_some() {
                return Err("a name is escaped");
            }
            if found.replace(value).is_some() {
                return Err("a part has two names");
            }
        } else if starts_with(key, b"name*") {
            return Err("a name is encoded");
        }
        is_file |= starts_with(key, b"filename");
    }
    Ok((found.ok_or("a part has no name")?, is_file))
}

/// Parameters behind a first semicolon: `name=token` or `name="text"`.
struct Params<'a>(&'a [u8]);

impl<'a> Iterator for Params<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0.trim_ascii_start();
        if text.is_empty() {
            return None;
        }
        Some(self.param(text).inspect_err(|_| self.0 = b""))
    }
}

impl<'a> Params<'a> {
    fn param(&mut self, text: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), &'static str> {
        const BAD: &str = "a header's parameters cannot be read";
        let equals = memchr::memchr(b'=', text).ok_or(BAD)?;
        let (name, rest) = (&text[..equals], &text[equals + 1..]);
        if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
            return Err(BAD);
        }
        let (value, rest) = if let Some(quoted) = rest.strip_prefix(b"\"") {
            let end = memchr::memchr(b'"', quoted).ok_or(BAD)?;
            if quoted[..end].ends_with(b"\\") {
                return Err("a quote is escaped");
            }
            (&quoted[..end], quoted[end + 1..].trim_ascii_start())
        } else {
            let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
            let value = rest[..end].trim_ascii_end();
            // Wider than a token: boundaries and encoded file names are written without quotes too.
            if value.iter().any(|byte| matches!(byte, b'"' | b'\\' | b' ' | b'\t')) {
                return Err(BAD);
            }
            (value, &rest[end..])
        };
        self.0 = match rest {
            [] => rest,
            [b';', rest @ ..] => rest,
            _ => return Err(BAD),
        };
        Ok((name, value))
    }
}

/// A character of a header's name (RFC 9110).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn starts_with(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
