//! Where a test's gateway lives.

use super::pg::Database;
use std::{io, path::Path};
use tempfile::TempDir;

/// A directory, and a database that is empty at first: in the directory, or on a server.
#[derive(Debug)]
pub struct Home {
    /// Before the directory, so that it is dropped first.
    database: Option<Database>,
    dir: TempDir,
}

impl Home {
    /// With the embedded database.
    pub fn embedded() -> io::Result<Self> {
        Ok(Self { database: None, dir: tempfile::tempdir()? })
    }

    /// With a database on the run's PostgreSQL.
    pub fn on_server() -> io::Result<Self> {
        Ok(Self { database: Some(Database::new()?), dir: tempfile::tempdir()? })
    }

    /// Another one of the same kind.
    pub fn another(&self) -> io::Result<Self> {
        if self.database.is_some() { Self::on_server() } else { Self::embedded() }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The database's address, if it is not the embedded one.
    pub fn database_url(&self) -> Option<&str> {
        self.database.as_ref().map(Database::url)
    }
}
