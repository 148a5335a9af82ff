//! JSON, level by level: each value is first only delimited, so its place and its digits are those of the source.

use super::{Budget, Entry, Lines, Node, Value, unique};
use crate::document::Problem;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let root: &RawValue = serde_json::from_str(text).map_err(|error| {
        let line = u32::try_from(error.line()).unwrap_or(u32::MAX);
        Problem::at_line(line, error.to_string())
    })?;
    Tree { text, lines: Lines::of(text), budget: Budget::new() }.node(root, 0)
}

struct Tree<'t> {
    text: &'t str,
    lines: Lines,
    budget: Budget,
}

impl Tree<'_> {
    /// Turns a delimited value into a node. The recursion ends at the bound on depth.
    fn node(&mut self, raw: &RawValue, depth: usize) -> Result<Node, Problem> {
        let source = raw.get();
        // Both point into the same text; the distance is the value's offset.
        let line = self.lines.at((source.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize));
        self.budget.take(1, depth, line)?;
        let broken = |error: serde_json::Error| Problem::at_line(line, error.to_string());
        let value = match source.as_bytes().first() {
            Some(b'n') => Value::Null,
            Some(b't') => Value::Bool(true),
            Some(b'f') => Value::Bool(false),
            Some(b'"') => Value::Text(serde_json::from_str(source).map_err(broken)?),
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(source).map_err(broken)?;
                Value::List(items.into_iter().map(|item| self.node(item, depth + 1)).collect::<Result<_, _>>()?)
            }
            Some(b'{') => {
                let pairs = serde_json::Deserializer::from_str(source).deserialize_map(Pairs).map_err(broken)?;
                let mut entries = Vec::with_capacity(pairs.len());
                for (key, raw) in pairs {
                    let value = self.node(raw, depth + 1)?;
                    entries.push(Entry { key, line: value.line, value });
                }
                Value::Map(unique(entries)?)
            }
            _ => Value::Number(source.to_owned()),
        };
        Ok(Node { line, value })
    }
}

/// Reads an object in its order, doubled keys included.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}
