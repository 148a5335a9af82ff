//! JSON text whose keys keep the order they are written in, as the vendors send them.

use serde_json::Value;

/// A piece of finished JSON text.
#[derive(Clone, Debug)]
pub(crate) struct Json(String);

/// Writes an object with the given keys, in the given order.
macro_rules! o {
    ($($key:literal : $value:expr),* $(,)?) => {
        $crate::json::Json::object(&[$(($key, $crate::json::Json::from($value))),*])
    };
}
pub(crate) use o;

impl Json {
    pub(crate) const fn raw(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn null() -> Self {
        Self("null".to_owned())
    }

    pub(crate) fn object(fields: &[(&str, Self)]) -> Self {
        Self::empty().with(fields)
    }

    /// `{}`.
    pub(crate) fn empty() -> Self {
        Self("{}".to_owned())
    }

    /// This object with more fields behind those it has.
    pub(crate) fn with(mut self, fields: &[(&str, Self)]) -> Self {
        self.0.pop();
        for (key, value) in fields {
            if self.0.len() > 1 {
                self.0.push(',');
            }
            self.0.push_str(&quoted(key));
            self.0.push(':');
            self.0.push_str(&value.0);
        }
        self.0.push('}');
        self
    }

    /// This text with a blank after each colon, as Google writes the events of its streams.
    pub(crate) fn spaced(&self) -> Self {
        self.relaid(|out, mark, _| {
            out.push(mark);
            if mark == ':' {
                out.push(' ');
            }
        })
    }

    /// This text with a line for each value, and `indent` more blanks in front for each level.
    pub(crate) fn pretty(&self, indent: usize) -> Self {
        let mut depth = 0;
        let line = |out: &mut String, depth: usize| {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', depth * indent));
        };
        self.relaid(|out, mark, next| match mark {
            '{' | '[' => {
                out.push(mark);
                if !matches!(next, Some('}' | ']')) {
                    depth += 1;
                    line(out, depth);
                }
            }
            '}' | ']' => {
                if !out.ends_with(['{', '[']) {
                    depth = depth.saturating_sub(1);
                    line(out, depth);
                }
                out.push(mark);
            }
            ',' => {
                out.push(mark);
                line(out, depth);
            }
            ':' => out.push_str(": "),
            ' ' => {}
            _ => out.push(mark),
        })
    }

    /// This text with every character outside of strings written by `put`, which is told the one behind it too.
    fn relaid(&self, mut put: impl FnMut(&mut String, char, Option<char>)) -> Self {
        let mut out = String::with_capacity(self.0.len() * 2);
        let (mut in_string, mut escaped) = (false, false);
        let mut chars = self.0.chars().peekable();
        while let Some(c) = chars.next() {
            if in_string || c == '"' {
                out.push(c);
                in_string = !in_string || c != '"' || escaped;
                escaped = in_string && c == '\\' && !escaped;
            } else {
                put(&mut out, c, chars.peek().copied());
            }
        }
        Self(out)
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self(quoted(text))
    }
}

impl From<&String> for Json {
    fn from(text: &String) -> Self {
        Self(quoted(text))
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self(quoted(&text))
    }
}

impl From<u64> for Json {
    fn from(number: u64) -> Self {
        Self(number.to_string())
    }
}

impl From<u32> for Json {
    fn from(number: u32) -> Self {
        Self(number.to_string())
    }
}

impl From<u16> for Json {
    fn from(number: u16) -> Self {
        Self(number.to_string())
    }
}

impl From<usize> for Json {
    fn from(number: usize) -> Self {
        Self(number.to_string())
    }
}

impl From<bool> for Json {
    fn from(truth: bool) -> Self {
        Self(truth.to_string())
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        Self(value.to_string())
    }
}

impl From<Vec<Self>> for Json {
    fn from(items: Vec<Self>) -> Self {
        let inner: Vec<&str> = items.iter().map(Self::as_str).collect();
        Self(format!("[{}]", inner.join(",")))
    }
}

impl<T: Into<Self>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(Self::null, Into::into)
    }
}
