//! The catalog as a document: people, keys, upstreams, models and settings in one file.
//!
//! YAML, JSON and TOML are read into one tree and from there into typed structs. Every problem is found in one pass and
//! carries its line and field. Names stand where the database has ids; whether they lead anywhere is decided when the
//! document is compared with the database, not here.

mod models;
mod people;
mod read;
mod secrets;
mod settings;
mod tree;
mod upstream;
mod values;
mod write;

pub(crate) use models::supports;
pub use models::{GlobalModelDoc, ModelDoc};
pub(crate) use people::is_client_key;
pub use people::{AccessDoc, ClientKeyDoc, MappingDoc, QuotaDoc, QuotaType, UserDoc};
pub use read::nearest;
pub use secrets::Sources;
pub use settings::SettingsDoc;
pub use tree::Syntax;
pub(crate) use tree::Value;
pub use upstream::{EndpointDoc, ProviderDoc, ProviderKeyDoc, ProxyDoc};
pub(crate) use write::{Fields, list, yaml};

use std::fmt;

/// What a document says of a field that can be cleared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// Nothing: the field keeps its value, or takes its default.
    #[default]
    Absent,
    /// `null`: none.
    Null,
    /// A value.
    Set(T),
}

impl<T> Patch<T> {
    /// The value, if there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }
}

/// Where something stands in a document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: u32,
    /// The path of the field, such as `providers[0].endpoints[1]`.
    pub field: String,
    /// Of a table: its fields and their lines.
    lines: Vec<(String, u32)>,
}

impl Place {
    /// Whether the table that stands here has this field.
    pub fn has(&self, name: &str) -> bool {
        self.lines.iter().any(|(known, _)| known == name)
    }

    /// A problem with what stands here.
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        Problem { line: Some(self.line), field: self.field.clone(), message: message.into() }
    }

    /// A problem with one field of what stands here, on the field's own line if it is there.
    pub fn field_problem(&self, name: &str, message: impl Into<String>) -> Problem {
        let field = if self.field.is_empty() { name.to_owned() } else { format!("{}.{name}", self.field) };
        let line = self.lines.iter().find(|(known, _)| known == name).map_or(self.line, |(_, line)| *line);
        Problem { line: Some(line), field, message: message.into() }
    }
}

/// A name that refers to something, and where it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reference {
    /// The name.
    pub name: String,
    /// Where it stands.
    pub at: Place,
}

/// One thing that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, if it is of one.
    pub line: Option<u32>,
    /// The field's path; empty if the text itself cannot be read.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

impl Problem {
    fn at_line(line: u32, message: String) -> Self {
        Self { line: Some(line), field: String::new(), message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with a document, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// `Ok` if there are none.
    pub fn check(mut problems: Vec<Problem>) -> Result<(), Self> {
        problems.sort_by_key(|problem| problem.line);
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }
}

/// A whole document; sections that are absent are empty.
#[derive(Debug, Clone, Default)]
pub struct Document {
    /// Its first line, and the sections that it has.
    pub at: Place,
    /// Names that callers ask for.
    pub global_models: Vec<GlobalModelDoc>,
    /// Upstreams, with their endpoints, keys and models.
    pub providers: Vec<ProviderDoc>,
    /// People.
    pub users: Vec<UserDoc>,
    /// Keys that the gateway issues.
    pub api_keys: Vec<ClientKeyDoc>,
    /// Settings.
    pub settings: SettingsDoc,
}

impl Document {
    /// Reads a text.
    ///
    /// # Errors
    /// Every problem that can be seen without a database.
    pub fn parse(text: &str, syntax: Syntax, sources: &Sources<'_>) -> Result<Self, Problems> {
        let root = tree::parse(text, syntax).map_err(|problem| Problems(vec![problem]))?;
        let mut reader = read::Reader::new(sources);
        let document = if root.value == tree::Value::Null {
            Self::default()
        } else {
            Self::read(&mut reader, &root).unwrap_or_default()
        };
        Problems::check(reader.into_problems())?;
        Ok(document)
    }

    fn read(reader: &mut read::Reader<'_>, root: &tree::Node) -> Option<Self> {
        let mut fields = reader.fields(root)?;
        let document = Self {
            at: fields.place(),
            global_models: fields.list("global_models", GlobalModelDoc::read),
            providers: fields.list("providers", ProviderDoc::read),
            users: fields.list("users", UserDoc::read),
            api_keys: fields.list("api_keys", ClientKeyDoc::read),
            settings: fields.keep_with("settings", SettingsDoc::read).unwrap_or_default(),
        };
        fields.finish();
        Some(document)
    }

    /// Every URL of the document that would be dialled, and the endpoint whose `base_url` it is.
    pub fn base_urls(&self) -> impl Iterator<Item = (&str, &Place)> {
        let endpoints = self.providers.iter().flat_map(|provider| &provider.endpoints);
        endpoints.filter_map(|endpoint| Some((endpoint.base_url.as_deref()?, &endpoint.at)))
    }
}

#[cfg(test)]
mod tests;
