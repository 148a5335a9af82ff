//! Defaults, file, environment and flags: one over the other, every value with the place it comes from.

use super::{
    Problem, Problems,
    raw::{Form, KEYS, Key, Raw},
};
use admin::document::nearest;
use serde::Deserialize as _;
use std::{collections::BTreeMap, fmt, path::Path};
use toml::{
    Spanned, Table, Value,
    de::{DeTable, DeValue},
};

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    Default,
    /// A file and the line.
    File(String, usize),
    Environment(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{path}:{line}"),
            Self::Environment(variable) => write!(f, "environment, {variable}"),
            Self::Flag(flag) => write!(f, "{flag}"),
        }
    }
}

/// All layers as one.
#[derive(Debug, Default)]
pub(super) struct Layers {
    values: BTreeMap<&'static str, (Value, Origin)>,
    problems: Vec<Problem>,
}

impl Layers {
    /// Puts a file over what there is.
    pub(super) fn file(&mut self, path: &Path, text: &str) {
        self.text(text, |line| Origin::File(path.display().to_string(), line));
    }

    /// Puts the embedded defaults under everything else.
    pub(super) fn defaults(&mut self) {
        self.text(include_str!("../default.toml"), |_| Origin::Default);
    }

    fn text(&mut self, text: &str, origin: impl Fn(usize) -> Origin) {
        let line = |at: usize| 1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count();
        let at = |span: std::ops::Range<usize>| origin(line(span.start));
        match DeTable::parse(text) {
            Ok(table) => self.table("", table.get_ref(), &at),
            Err(error) => self.problem(&at(error.span().unwrap_or_default()), "", error.message()),
        }
    }

    fn table(&mut self, section: &str, table: &DeTable<'_>, at: &dyn Fn(std::ops::Range<usize>) -> Origin) {
        for (name, value) in table {
            let origin = at(name.span());
            let name = format!("{section}{}", name.get_ref());
            match value.get_ref() {
                DeValue::Table(inner) if is_section(&name) => self.table(&format!("{name}."), inner, at),
                _ => match KEYS.iter().find(|key| key.name == name) {
                    Some(key) => self.put(key, written(value, key.form), origin),
                    None => self.unknown(&origin, &name),
                },
            }
        }
    }

    fn unknown(&mut self, origin: &Origin, name: &str) {
        let names: Vec<_> = KEYS.iter().map(|key| key.name).collect();
        self.problem(origin, name, format!("not a setting{}", hint(name, &names)));
    }

    /// Puts the environment's variables over what there is; those that are not of ours are left alone.
    pub(super) fn environment(&mut self, variables: &BTreeMap<String, String>) {
        for (variable, text) in variables {
            let is_ours = variable.starts_with("TOLLGATE_") && !is_service_link(variable);
            if !is_ours || variable == super::MASTER_KEY {
                continue;
            }
            let origin = Origin::Environment(variable.clone());
            if let Some(key) = KEYS.iter().find(|key| key.variable() == *variable) {
                self.put(key, plain(text, key.form), origin);
                continue;
            }
            let names: Vec<_> = KEYS.iter().map(Key::variable).chain([super::MASTER_KEY.to_owned()]).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            self.problem(&origin, "", format!("not a setting{}", hint(variable, &names)));
        }
    }

    /// Puts a flag over what there is.
    pub(super) fn flag(&mut self, name: &str, flag: &str, text: &str) {
        let origin = Origin::Flag(flag.to_owned());
        match KEYS.iter().find(|key| key.name == name) {
            Some(key) => self.put(key, plain(text, key.form), origin),
            None => self.unknown(&origin, name),
        }
    }

    fn put(&mut self, key: &'static Key, value: Result<Value, &'static str>, origin: Origin) {
        match value {
            Ok(value) => {
                self.values.insert(key.name, (value, origin));
            }
            Err(why) => self.problem(&origin, key.name, why),
        }
    }

    fn problem(&mut self, origin: &Origin, key: &str, message: impl Into<String>) {
        self.problems.push(Problem { origin: origin.to_string(), key: key.to_owned(), message: message.into() });
    }

    /// Where a setting's value comes from.
    pub(super) fn origin(&self, key: &str) -> Origin {
        self.values.get(key).map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    /// The settings as they are written.
    pub(super) fn raw(&mut self) -> Result<Raw, Problems> {
        if !self.problems.is_empty() {
            return Err(Problems(std::mem::take(&mut self.problems)));
        }
        let mut root = Table::new();
        for (name, (value, _)) in &self.values {
            let (section, name) = name.split_once('.').map_or(("", *name), |(section, name)| (section, name));
            put_into(&mut root, section, name, value.clone());
        }
        // A section whose settings are all off is there all the same.
        for (section, _) in KEYS.iter().filter_map(|key| key.name.split_once('.')) {
            root.entry(section).or_insert_with(|| Value::Table(Table::new()));
        }
        Raw::deserialize(root).map_err(|error| {
            let message = error.message().to_owned();
            Problems(vec![Problem { origin: Origin::Default.to_string(), key: String::new(), message }])
        })
    }
}

fn put_into(root: &mut Table, section: &str, name: &str, value: Value) {
    if section.is_empty() {
        root.insert(name.to_owned(), value);
    } else if let Value::Table(table) = root.entry(section).or_insert_with(|| Value::Table(Table::new())) {
        table.insert(name.to_owned(), value);
    }
}

/// The setting that was probably meant.
fn hint(name: &str, known: &[&str]) -> String {
    nearest(name, known).map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.name.split_once('.').is_some_and(|(section, _)| section == name))
}

/// Kubernetes puts the addresses of services into the environment of every container: for a service `tollgate`, or
/// `tollgate-…`, names that begin like ours.
fn is_service_link(variable: &str) -> bool {
    ["_SERVICE_HOST", "_PORT"].iter().any(|end| variable.ends_with(end))
        || ["_SERVICE_PORT", "_PORT_"].iter().any(|part| variable.contains(part))
}

const NO_TEXT: &str = "expected text in quotes";
const NO_NUMBER: &str = "expected a whole number that is not negative";
const NO_LIST: &str = "expected a list of texts";

/// A value of a file in the form that the setting has.
fn written(value: &Spanned<DeValue<'_>>, form: Form) -> Result<Value, &'static str> {
    match (value.get_ref(), form) {
        (DeValue::String(text), Form::Text) => Ok(Value::String(text.to_string())),
        (DeValue::Integer(number), Form::Number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok().filter(|number| *number >= 0);
            number.map(Value::Integer).ok_or(NO_NUMBER)
        }
        (DeValue::Array(items), Form::List) => items
            .iter()
            .map(|item| written(item, Form::Text))
            .collect::<Result<_, _>>()
            .map(Value::Array)
            .or(Err(NO_LIST)),
        (_, Form::Text) => Err(NO_TEXT),
        (_, Form::Number) => Err(NO_NUMBER),
        (_, Form::List) => Err(NO_LIST),
    }
}

/// Text of the environment or of a flag in the form that the setting has.
fn plain(text: &str, form: Form) -> Result<Value, &'static str> {
    match form {
        Form::Text => Ok(Value::String(text.to_owned())),
        Form::Number => {
            let number = text.trim().parse::<i64>().ok().filter(|number| *number >= 0);
            number.map(Value::Integer).ok_or(NO_NUMBER)
        }
        Form::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
        }
    }
}
