//! The only crate with SQL and files: database, migrations, vault, journal and snapshots.
//!
//! [`Store`] is what every command opens. Only the serving process opens the [`journal`] beside it and holds the
//! [`lease`]; other commands work next to a running node.
//!
//! A serving process starts in this order: [`Store::open`], [`lease::Lease::acquire`], [`Store::open_journal`], the first
//! catalog from [`load`], [`settle::recover`] with what the journal handed back; then [`settle::Shipper::run`],
//! [`feed::follow`], [`lease::Lease::run`] and [`months::run`] as tasks. It ends with the requests first, then those
//! tasks, then [`journal::Journal::close`] and [`lease::Lease::release`].

#[macro_use]
mod db;
mod client_key;
mod clock;
mod data_dir;
pub mod feed;
pub mod journal;
pub mod lease;
pub mod migrate;
pub mod months;
pub mod period;
pub mod repo;
pub mod settle;
mod snapshot;
pub mod upkeep;
pub mod vault;
pub mod verify;

/// Tests inside name this crate as those outside do, so that both can share [`sample`].
#[cfg(test)]
extern crate self as store;
#[cfg(test)]
mod sample;

pub use client_key::{ClientKeyText, fingerprint, mint_client_key};
pub use clock::SystemClock;
pub use data_dir::DataDir;
pub use db::{BadUrl, DatabaseUrl, Db, DbError, Tx};
pub use journal::SyncMode;
pub use snapshot::{Published, load};

use crate::{
    data_dir::DataDirError,
    db::Lock,
    journal::{Journal, JournalError, JournalOptions, Opening},
    migrate::MigrateError,
    vault::{MasterKey, Vault, VaultError},
};
use domain::{ids::NodeId, secret::Secret};
use std::{path::PathBuf, sync::Arc};
use uuid::Uuid;

/// A new id; ids of one process rise in the order they are made.
pub fn mint<T: From<Uuid>>() -> T {
    T::from(Uuid::now_v7())
}

/// What a store is opened with.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Holds the embedded database, the journal and the master key; made if it is not there.
    pub data_dir: PathBuf,
    /// `None` is an embedded database in `data_dir`.
    pub database_url: Option<Secret>,
    /// Base64 of 32 bytes; `None` is the file in `data_dir`, made at the first start.
    pub master_key: Option<Secret>,
    /// What an acknowledgement of the journal means.
    pub sync: SyncMode,
}

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The master key.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The address.
    #[error(transparent)]
    Url(#[from] BadUrl),
    /// The connection.
    #[error("cannot open the database at {url}: {source}")]
    Connect {
        /// Where, without secrets.
        url: String,
        /// Why not.
        source: DbError,
    },
    /// The schema.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
}

/// Why no secrets can be sealed now.
#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The master key.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Database, vault and data directory of one process.
#[derive(Debug, Clone)]
pub struct Store {
    db: Db,
    vault: Arc<Vault>,
    data_dir: DataDir,
    node: NodeId,
    sync: SyncMode,
    /// Held while sums move between the database and memory: by shipping, and by reading a snapshot.
    books: Arc<tokio::sync::Mutex<()>>,
}

impl Store {
    /// Makes directories, reads or makes the master key, connects, and brings the schema to this version's.
    pub async fn open(config: StoreConfig) -> Result<Self, OpenError> {
        let data_dir = DataDir::open(&config.data_dir)?;
        let vault = match &config.master_key {
            Some(text) => Vault::new(&MasterKey::from_base64(text)?),
            None => Vault::from_file(&data_dir.master_key())?,
        };
        let url = match &config.database_url {
            Some(text) => text.expose().parse()?,
            None => DatabaseUrl::sqlite(data_dir.database()),
        };
        let db = Db::connect(&url).await.map_err(|source| OpenError::Connect { url: url.to_string(), source })?;
        migrate::run(&db).await?;
        let node = data_dir.node_id()?;
        Ok(Self { db, vault: Arc::new(vault), data_dir, node, sync: config.sync, books: Arc::default() })
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Seals and opens secrets.
    pub fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    /// From here on this transaction is the only one that seals secrets, and does so with the newest master key.
    ///
    /// Without it, a rotation could end before a secret that was sealed under the former key is there.
    pub async fn sealing(&self, tx: &mut Tx) -> Result<(), SealingError> {
        tx.serialize(Lock::Sealing).await?;
        Ok(self.vault.refresh()?)
    }

    /// The files.
    pub fn data_dir(&self) -> &DataDir {
        &self.data_dir
    }

    /// This data directory's node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Opens the journal for writing: only the serving process may. Call after [`lease::Lease::acquire`].
    ///
    /// Requests that an earlier epoch left open are handed back in the [`Opening`].
    pub async fn open_journal(&self) -> Result<Opening, JournalError> {
        let after = settle::last_epoch(&self.db, self.node).await?;
        let options =
            JournalOptions { after_epoch: after, ..JournalOptions::new(self.data_dir.journal(), self.node, self.sync) };
        let opening = Journal::open(options)?;
        settle::note_epoch(&self.db, opening.journal.epoch()).await?;
        Ok(opening)
    }
}
