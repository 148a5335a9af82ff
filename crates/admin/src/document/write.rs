//! A tree as YAML: the same tree always gives the same text, and reading the text gives the tree.

use super::tree::{self, Entry, Node, Syntax, Value};
use serde::Serialize;
use std::fmt::{Display, Write as _};

/// What stands on one line has at most this many characters, its indentation left out.
const LINE_MAX: usize = 110;

/// The fields of a table, in the order in which they are written.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<Entry>);

fn node(value: Value) -> Node {
    Node { line: 0, value }
}

/// Null for `None`.
fn or_null<T>(value: Option<T>, write: impl FnOnce(T) -> Value) -> Value {
    value.map_or(Value::Null, write)
}

impl Fields {
    pub(crate) fn put(&mut self, key: impl Into<String>, value: Value) {
        self.0.push(Entry { key: key.into(), line: 0, value: node(value) });
    }

    pub(crate) fn text(&mut self, key: &str, text: impl Display) {
        self.put(key, Value::Text(text.to_string()));
    }

    pub(crate) fn opt_text(&mut self, key: &str, text: Option<impl Display>) {
        self.put(key, or_null(text, |text| Value::Text(text.to_string())));
    }

    pub(crate) fn number(&mut self, key: &str, number: impl Display) {
        self.put(key, Value::Number(number.to_string()));
    }

    pub(crate) fn opt_number(&mut self, key: &str, number: Option<impl Display>) {
        self.put(key, or_null(number, |number| Value::Number(number.to_string())));
    }

    pub(crate) fn flag(&mut self, key: &str, flag: bool) {
        self.put(key, Value::Bool(flag));
    }

    pub(crate) fn opt_flag(&mut self, key: &str, flag: Option<bool>) {
        self.put(key, or_null(flag, Value::Bool));
    }

    pub(crate) fn list(&mut self, key: &str, items: impl IntoIterator<Item = Value>) {
        self.put(key, list(items));
    }

    pub(crate) fn texts(&mut self, key: &str, texts: impl IntoIterator<Item = impl Display>) {
        self.list(key, texts.into_iter().map(|text| Value::Text(text.to_string())));
    }

    pub(crate) fn opt_texts(&mut self, key: &str, texts: Option<impl IntoIterator<Item = impl Display>>) {
        match texts {
            Some(texts) => self.texts(key, texts),
            None => self.put(key, Value::Null),
        }
    }

    /// A structure, its fields in the order of its declaration.
    pub(crate) fn structure(&mut self, key: &str, value: &impl Serialize) -> Result<(), serde_json::Error> {
        let text = serde_json::to_string(value)?;
        let read = tree::parse(&text, Syntax::Json).map_err(serde::ser::Error::custom)?;
        self.put(key, read.value);
        Ok(())
    }

    /// Text that is meant as it stands, also where it looks like a reference to a secret.
    pub(crate) fn secret(&mut self, key: &str, clear: &str) {
        let text = Value::Text(clear.to_owned());
        if !super::secrets::is_reference(clear) {
            return self.put(key, text);
        }
        let mut literal = Self::default();
        literal.put("literal", text);
        self.put(key, literal.into());
    }
}

impl From<Fields> for Value {
    fn from(fields: Fields) -> Self {
        Self::Map(fields.0)
    }
}

pub(crate) fn list(items: impl IntoIterator<Item = Value>) -> Value {
    Value::List(items.into_iter().map(node).collect())
}

/// The text of a document.
pub(crate) fn yaml(root: &Fields) -> String {
    let mut text = String::new();
    for entry in &root.0 {
        scalar(&mut text, &entry.key);
        text.push(':');
        value(&mut text, &entry.value.value, 0);
    }
    text
}

/// What follows a key or a dash: on the same line if it fits, else below, `depth` levels in.
fn value(text: &mut String, value: &Value, depth: usize) {
    let mut line = String::new();
    if flow(&mut line, value) {
        text.push(' ');
        text.push_str(&line);
        text.push('\n');
        return;
    }
    text.push('\n');
    match value {
        Value::List(items) => items.iter().for_each(|item| block_item(text, &item.value, depth + 1)),
        Value::Map(entries) => entries.iter().for_each(|entry| block_entry(text, entry, depth + 1)),
        // Scalars fit.
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {}
    }
}

fn indent(text: &mut String, depth: usize) {
    text.extend(std::iter::repeat_n("  ", depth));
}

fn block_entry(text: &mut String, entry: &Entry, depth: usize) {
    indent(text, depth);
    scalar(text, &entry.key);
    text.push(':');
    value(text, &entry.value.value, depth);
}

fn block_item(text: &mut String, item: &Value, depth: usize) {
    indent(text, depth);
    text.push('-');
    match item {
        // The first field stands beside the dash, the others below it.
        Value::Map(entries) if !flow(&mut String::new(), item) => {
            let begin = text.len();
            for entry in entries {
                block_entry(text, entry, depth + 1);
            }
            text.replace_range(begin..begin + (depth + 1) * 2, " ");
        }
        _ => value(text, item, depth),
    }
}

/// Writes a value on one line; false if it is a list or table that does not fit.
fn flow(line: &mut String, value: &Value) -> bool {
    match value {
        Value::Null => line.push_str("null"),
        Value::Bool(flag) => line.push_str(if *flag { "true" } else { "false" }),
        Value::Number(digits) => line.push_str(digits),
        Value::Text(text) => scalar(line, text),
        Value::List(items) => {
            line.push('[');
            for (index, item) in items.iter().enumerate() {
                line.push_str(if index == 0 { "" } else { ", " });
                if !flow(line, &item.value) || line.len() > LINE_MAX {
                    return false;
                }
            }
            line.push(']');
            return line.len() <= LINE_MAX;
        }
        Value::Map(entries) => {
            line.push('{');
            for (index, entry) in entries.iter().enumerate() {
                line.push_str(if index == 0 { "" } else { ", " });
                scalar(line, &entry.key);
                line.push_str(": ");
                if !flow(line, &entry.value.value) || line.len() > LINE_MAX {
                    return false;
                }
            }
            line.push('}');
            return line.len() <= LINE_MAX;
        }
    }
    true
}

/// Words that a reader of YAML may take for something other than text.
const WORDS: [&str; 11] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "inf", "nan"];

/// Text as it stands where nobody can take it for anything else, else in quotes.
fn scalar(line: &mut String, text: &str) {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./@".contains(c);
    let is_word = WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(is_plain) && !is_word {
        line.push_str(text);
        return;
    }
    line.push('"');
    for c in text.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\t' => line.push_str("\\t"),
            // What YAML calls unprintable, and what ends a line or begins a text.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') => {
                // Writing to a string cannot fail.
                let _ = write!(line, "\\u{:04x}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests;
