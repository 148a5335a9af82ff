//! Secrets in a document: literals, `${ENV}`, `file:PATH`, and `{literal: TEXT}` for a text that looks like one of those.

use super::{
    read::Reader,
    tree::{Node, Value},
};
use domain::secret::Secret;
use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// Longest secret that a file may hold.
const SECRET_MAX: u64 = 64 * 1024;

/// Begins the path of a file that holds a secret.
const FILE: &str = "file:";

/// Where secrets that a document only refers to come from.
pub struct Sources<'s> {
    /// Looks a variable of the environment up.
    pub env: &'s dyn Fn(&str) -> Option<String>,
    /// The folder that relative paths start from: that of the document.
    pub folder: PathBuf,
}

fn variable(text: &str) -> Option<&str> {
    text.strip_prefix("${")?.strip_suffix('}')
}

/// Whether a text stands for a secret that is elsewhere.
pub(super) fn is_reference(text: &str) -> bool {
    variable(text).is_some() || text.starts_with(FILE)
}

impl Sources<'_> {
    fn resolve(&self, text: &str) -> Result<Secret, String> {
        if let Some(variable) = variable(text) {
            let value = (self.env)(variable).ok_or_else(|| format!("the environment has no {variable}"))?;
            return checked(&value).map_err(|message| format!("{variable} {message}"));
        }
        if let Some(path) = text.strip_prefix(FILE) {
            let value = read_file(&self.folder.join(path)).map_err(|error| format!("cannot read {path}: {error}"))?;
            return checked(&value).map_err(|message| format!("{path} {message}"));
        }
        checked(text)
    }
}

/// A secret on one line, line ends and blanks around it taken off.
fn checked(text: &str) -> Result<Secret, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("must be one line without control characters".to_owned());
    }
    Ok(Secret::new(text.to_owned()))
}

fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(SECRET_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > SECRET_MAX {
        return Err(io::Error::other("the file is too large for a secret"));
    }
    Ok(text)
}

/// Reads a secret; messages never repeat its text.
pub(super) fn secret(reader: &mut Reader<'_>, node: &Node) -> Option<Secret> {
    let read = match &node.value {
        Value::Text(text) => reader.sources.resolve(text),
        Value::Map(_) => {
            let mut fields = reader.fields(node)?;
            let literal = fields.need("literal", |node| match &node.value {
                Value::Text(text) => checked(text),
                _ => Err(NO_TEXT.to_owned()),
            });
            fields.finish();
            return literal;
        }
        _ => Err(NO_TEXT.to_owned()),
    };
    read.map_err(|message| reader.problem(node.line, message)).ok()
}

const NO_TEXT: &str = "expected text (put it in quotes)";
