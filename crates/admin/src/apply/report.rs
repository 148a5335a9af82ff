//! What an apply did, or would do: one line per object.

use domain::secret::Secret;
use std::fmt;

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is made.
    Created,
    /// Some of its fields change.
    Updated,
    /// It goes.
    Deleted,
}

/// A field as people read it; secrets are masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// The field's name; empty for the value of a setting.
    pub name: String,
    /// What it was; `None` for a new object.
    pub before: Option<String>,
    /// What it becomes.
    pub after: String,
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.name.is_empty() {
            write!(f, "{} ", self.name)?;
        }
        write!(f, "{} -> {}", self.before.as_deref().unwrap_or("none"), self.after)
    }
}

/// One object that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happens to it.
    pub action: Action,
    /// Its kind, such as `provider_key`.
    pub kind: &'static str,
    /// Its name, such as `acme/CLAUDE/main`.
    pub name: String,
    /// Of a new object all fields, else those that change; none of one that goes.
    pub fields: Vec<FieldChange>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.action {
            Action::Created => write!(f, "+ {} {}", self.kind, self.name),
            Action::Deleted => write!(f, "- {} {}", self.kind, self.name),
            Action::Updated => {
                let fields: Vec<_> = self.fields.iter().map(ToString::to_string).collect();
                write!(f, "~ {} {}: {}", self.kind, self.name, fields.join(", "))
            }
        }
    }
}

/// A client key that was made because the document held no text for it. It is not shown again.
#[derive(Debug, Clone)]
pub struct MintedKey {
    /// Its name, such as `ann/laptop`.
    pub name: String,
    /// Its text.
    pub key: Secret,
}

/// What an apply did, or would do.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// In the order of the sections of a document.
    pub changes: Vec<Change>,
    /// Keys to hand out; none after a dry run.
    pub minted: Vec<MintedKey>,
    /// What is worth knowing and no mistake.
    pub warnings: Vec<String>,
    /// Whether nothing was written.
    pub dry_run: bool,
}

/// The changes and their count; warnings and minted keys are the caller's to print.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.changes {
            writeln!(f, "{change}")?;
        }
        let count = |action| self.changes.iter().filter(|change| change.action == action).count();
        match (count(Action::Created), count(Action::Updated), count(Action::Deleted)) {
            (0, 0, 0) => f.write_str("no changes")?,
            (created, updated, 0) => write!(f, "{created} created, {updated} updated")?,
            (created, updated, deleted) => write!(f, "{created} created, {updated} updated, {deleted} deleted")?,
        }
        if self.dry_run { f.write_str(" (dry run: nothing was written)") } else { Ok(()) }
    }
}
