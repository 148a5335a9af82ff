//! Settings: from defaults, file, environment and flags to checked values.
//!
//! `raw` says what can be written, `layers` puts one source over the other, `resolve` checks. Nothing else in the program
//! reads the environment.

mod docs;
mod layers;
mod raw;
mod resolve;
mod units;

pub use docs::page;
pub use resolve::{Config, LogFormat, TlsFiles};

use layers::Layers;
use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// The variable of the master key, which no file may hold.
pub const MASTER_KEY: &str = "TOLLGATE_MASTER_KEY";
/// The file that is read if none is named and this one is there.
pub const DEFAULT_FILE: &str = "tollgate.toml";

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written: file and line, variable, or flag.
    pub origin: String,
    /// The setting; empty if there is none.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// Where settings come from, beside the defaults.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file and its text.
    pub file: Option<(PathBuf, String)>,
    /// The environment's variables.
    pub environment: BTreeMap<String, String>,
    /// Settings by name, the flag that sets each, and its text.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

impl Sources {
    /// The named file, else [`DEFAULT_FILE`] if there is one, and the process's environment.
    pub fn of_process(file: Option<&Path>) -> io::Result<Self> {
        let named = file.unwrap_or(Path::new(DEFAULT_FILE));
        let file = match fs::read_to_string(named) {
            Ok(text) => Some((named.to_owned(), text)),
            Err(error) if file.is_none() && error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", named.display()))),
        };
        // What is not UTF-8 cannot be a setting of ours.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Ok(Self { file, environment, flags: Vec::new() })
    }

    /// Sets a setting by a flag.
    pub fn set(&mut self, setting: &'static str, flag: &'static str, text: impl Into<String>) {
        self.flags.push((setting, flag, text.into()));
    }

    /// The checked settings.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn resolve(&self) -> Result<Config, Problems> {
        let mut layers = Layers::default();
        layers.defaults();
        if let Some((path, text)) = &self.file {
            layers.file(path, text);
        }
        layers.environment(&self.environment);
        for (setting, flag, text) in &self.flags {
            layers.flag(setting, flag, text);
        }
        let raw = layers.raw()?;
        resolve::resolve(raw, self.environment.get(MASTER_KEY), &layers)
    }
}

#[cfg(test)]
mod tests;
