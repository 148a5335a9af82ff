//! A document as a tree that remembers its lines, whatever it was written in.
//!
//! Numbers keep the digits of the source, so that money never passes through a float. Sizes and depth are bounded; an
//! alias of YAML counts as often as it is used.

mod json;
mod toml;
mod yaml;

use super::Problem;
use std::{collections::HashSet, path::Path};

/// Nesting that a document may have; the format itself needs 8.
const DEPTH_MAX: usize = 32;
/// Nodes of one document: about 150,000 client keys with all their fields.
const NODES_MAX: usize = 8_000_000;
/// Nodes that aliases of YAML may add to what is written: a short text could ask for any number.
const REPEATED_MAX: usize = 200_000;

/// What a document is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// YAML 1.2.
    Yaml,
    /// JSON.
    Json,
    /// TOML 1.
    Toml,
}

impl Syntax {
    /// By the file's extension, else by how the text begins: `{` is JSON, a first `name =` or `[table]` is TOML.
    pub fn of(path: &Path, text: &str) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Self::Json,
            Some("toml") => Self::Toml,
            Some("yaml" | "yml") => Self::Yaml,
            _ => Self::sniff(text),
        }
    }

    fn sniff(text: &str) -> Self {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let first = lines.next().unwrap_or_default();
        let name = first.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.');
        if first.starts_with('{') {
            Self::Json
        } else if first.starts_with('[') || (name.len() < first.len() && name.trim_start().starts_with('=')) {
            Self::Toml
        } else {
            Self::Yaml
        }
    }
}

/// A value and the line where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(super) line: u32,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// A number's text as written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(super) key: String,
    pub(super) line: u32,
    pub(super) value: Node,
}

impl Value {
    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a table of fields",
        }
    }
}

/// Reads a text; on an error the only problem is the first one.
pub(super) fn parse(text: &str, syntax: Syntax) -> Result<Node, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match syntax {
        Syntax::Yaml => yaml::parse(text),
        Syntax::Json => json::parse(text),
        Syntax::Toml => toml::parse(text),
    }
}

/// What is left of a document's bounds.
struct Budget {
    nodes: usize,
    repeated: usize,
}

impl Budget {
    const fn new() -> Self {
        Self { nodes: NODES_MAX, repeated: REPEATED_MAX }
    }

    /// Accounts for `nodes` nodes at `depth`.
    fn take(&mut self, nodes: usize, depth: usize, line: u32) -> Result<(), Problem> {
        if depth > DEPTH_MAX {
            return Err(Problem::at_line(line, format!("is nested deeper than {DEPTH_MAX} levels")));
        }
        self.nodes = self.nodes.checked_sub(nodes).ok_or_else(|| too_large(line))?;
        Ok(())
    }

    /// The same for nodes that are there again.
    fn repeat(&mut self, nodes: usize, depth: usize, line: u32) -> Result<(), Problem> {
        self.repeated = self.repeated.checked_sub(nodes).ok_or_else(|| too_large(line))?;
        self.take(nodes, depth, line)
    }
}

fn too_large(line: u32) -> Problem {
    Problem::at_line(line, "the document is too large".to_owned())
}

/// Refuses a table that names a field twice.
fn unique(entries: Vec<Entry>) -> Result<Vec<Entry>, Problem> {
    let mut seen = HashSet::with_capacity(entries.len());
    if let Some(twice) = entries.iter().find(|entry| !seen.insert(entry.key.as_str())) {
        return Err(Problem::at_line(twice.line, format!("the field {:?} is there twice", twice.key)));
    }
    Ok(entries)
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(offset, _)| offset).collect())
    }

    /// The line of a byte offset, from 1.
    fn at(&self, offset: usize) -> u32 {
        u32::try_from(self.0.partition_point(|end| *end < offset) + 1).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests;
