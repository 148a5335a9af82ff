//! JSON as a value that keeps the order of members, so that schemas and arguments leave as they came.

use serde_json::Number;

use super::{Key, read};

/// Members of an object, in their order.
pub(crate) type Members = Vec<(Key, Json)>;

/// A JSON value. Parsing bounds its depth at 128, which bounds every recursion over it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Json {
    #[default]
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Json>),
    Object(Members),
    /// Valid JSON text, written as it is.
    Raw(String),
}

impl Json {
    /// A document: at most [`read::DOCUMENT_NODES`] values.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        read::json(bytes, read::DOCUMENT_NODES)
    }

    /// An event of a stream: at most [`read::EVENT_NODES`] values.
    pub(crate) fn parse_event(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        read::json(bytes, read::EVENT_NODES)
    }

    /// `text` if it is an object in JSON.
    pub(crate) fn object_text(text: &str) -> Option<Self> {
        let text = text.trim();
        let valid = text.starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        valid.then(|| Self::Raw(text.to_owned()))
    }

    pub(crate) fn empty() -> Self {
        Self::Object(Vec::new())
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// There is nothing in it that could be lost.
    pub(crate) fn is_void(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Array(items) => items.is_empty(),
            Self::Object(members) => members.iter().all(|(_, value)| value.is_void()),
            _ => false,
        }
    }

    pub(crate) fn str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    pub(crate) fn string(self) -> Option<String> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    pub(crate) fn bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    pub(crate) fn u64(&self) -> Option<u64> {
        if let Self::Number(number) = self { number.as_u64() } else { None }
    }

    pub(crate) fn f64(&self) -> Option<f64> {
        if let Self::Number(number) = self { number.as_f64() } else { None }
    }

    pub(crate) fn array(self) -> Option<Vec<Self>> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    pub(crate) fn members(&self) -> &[(Key, Self)] {
        if let Self::Object(members) = self { members } else { &[] }
    }

    pub(crate) fn into_members(self) -> Members {
        if let Self::Object(members) = self { members } else { Vec::new() }
    }

    /// A member; the last of several, null if there is none.
    pub(crate) fn get(&self, key: &str) -> &Self {
        const NULL: &Json = &Json::Null;
        self.members().iter().rev().find(|(name, _)| name.as_str() == key).map_or(NULL, |(_, value)| value)
    }

    /// The value at a dotted path.
    pub(crate) fn at(&self, path: &str) -> &Self {
        path.split('.').fold(self, |value, key| value.get(key))
    }

    fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        let Self::Object(members) = self else { return None };
        members.iter_mut().rev().find(|(name, _)| name.as_str() == key).map(|(_, value)| value)
    }

    /// Takes the value at a dotted path out, if `wanted` says so; an object it was taken from stays, even empty.
    pub(crate) fn take_if(&mut self, path: &str, wanted: impl FnOnce(&Self) -> bool) -> Option<Self> {
        let (parents, key) = path.rsplit_once('.').map_or((None, path), |(parents, key)| (Some(parents), key));
        let mut place = self;
        for parent in parents.into_iter().flat_map(|parents| parents.split('.')) {
            place = place.get_mut(parent)?;
        }
        let Self::Object(members) = place else { return None };
        let at = members.iter().rposition(|(name, _)| name.as_str() == key)?;
        wanted(&members[at].1).then(|| members.remove(at).1)
    }

    /// Takes a value that is not null.
    pub(crate) fn take(&mut self, path: &str) -> Option<Self> {
        self.take_if(path, |value| !value.is_null())
    }

    pub(crate) fn take_str(&mut self, path: &str) -> Option<String> {
        self.take_if(path, |value| matches!(value, Self::String(_)))?.string()
    }

    pub(crate) fn take_bool(&mut self, path: &str) -> Option<bool> {
        self.take_if(path, |value| matches!(value, Self::Bool(_)))?.bool()
    }

    pub(crate) fn take_array(&mut self, path: &str) -> Option<Vec<Self>> {
        self.take_if(path, |value| matches!(value, Self::Array(_)))?.array()
    }

    /// Takes the string if it is this very one.
    pub(crate) fn take_word(&mut self, path: &str, word: &str) -> bool {
        self.take_if(path, |value| value.str() == Some(word)).is_some()
    }

    /// Puts a value at a dotted path, in objects that are made where they are missing.
    pub(crate) fn put(&mut self, path: &str, value: impl Into<Self>) {
        let mut place = self;
        let mut keys = path.split('.').peekable();
        while let Some(key) = keys.next() {
            if !matches!(place, Self::Object(_)) {
                *place = Self::empty();
            }
            let Self::Object(members) = place else { return };
            let at = members.iter().rposition(|(name, _)| name.as_str() == key).unwrap_or_else(|| {
                members.push((Key::of(key), Self::Null));
                members.len() - 1
            });
            place = &mut members[at].1;
            if keys.peek().is_none() {
                *place = value.into();
                return;
            }
        }
    }

    /// [`Json::put`], if there is a value.
    pub(crate) fn put_some(&mut self, path: &str, value: Option<impl Into<Self>>) {
        if let Some(value) = value {
            self.put(path, value);
        }
    }

    /// Adds members whose names are not there yet.
    pub(crate) fn add(&mut self, members: &[(Key, Self)]) {
        for (name, value) in members {
            if self.get_mut(name).is_none() {
                self.put_member(name, value.clone());
            }
        }
    }

    /// Puts a member whose name may hold dots.
    pub(crate) fn put_member(&mut self, name: &str, value: Self) {
        if let Self::Object(members) = self {
            members.push((Key::of(name), value));
        }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            // Writing into memory does not fail.
            Self::Number(number) => drop(serde_json::to_writer(&mut *out, number)),
            Self::String(text) => write_str(text, out),
            Self::Raw(text) => out.extend_from_slice(text.as_bytes()),
            Self::Array(items) => {
                out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (at, (name, value)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    write_str(name, out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    pub(crate) fn to_text(&self) -> String {
        String::from_utf8_lossy(&self.to_bytes()).into_owned()
    }
}

/// Writes a string with its quotes.
fn write_str(text: &str, out: &mut Vec<u8>) {
    // Writing into memory does not fail.
    let _ = serde_json::to_writer(out, text);
}

/// An object literal, in the order written.
macro_rules! object {
    ($($key:literal : $value:expr),* $(,)?) => {
        $crate::ir::Json::Object(vec![$(($crate::ir::Key::from($key), $crate::ir::Json::from($value))),*])
    };
}
pub(crate) use object;

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<&String> for Json {
    fn from(text: &String) -> Self {
        Self::String(text.clone())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Json {
    fn from(value: u64) -> Self {
        Self::Number(value.into())
    }
}

impl From<i64> for Json {
    fn from(value: i64) -> Self {
        Self::Number(value.into())
    }
}

impl From<Vec<Json>> for Json {
    fn from(items: Vec<Json>) -> Self {
        Self::Array(items)
    }
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
