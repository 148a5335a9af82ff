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
