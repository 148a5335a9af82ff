//! The change feed: which revision of the configuration the database holds, and whether it has moved.

use crate::{
    Store,
    db::{Db, DbError, Lock, Tx, lone_sqlite, within},
    snapshot::{Published, load},
};
use domain::{catalog::Catalog, ports::Directory as _};
use sqlx::{Row as _, SqliteConnection};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long a new configuration may take to be read.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// How often the database is asked.
pub const POLL: Duration = Duration::from_millis(250);

const CURRENT: &str = "SELECT COALESCE(MAX(revision), 0) AS revision FROM change_feed";

/// Numbers a change. Revisions rise in the order of commits: writers take turns.
pub(crate) async fn append(tx: &mut Tx, table: &'static str, row: Uuid) -> Result<(), DbError> {
    const APPEND: &str = "INSERT INTO change_feed (revision, created_at, table_name, row_id) \
                          SELECT COALESCE(MAX(revision), 0) + 1, $1, $2, $3 FROM change_feed";
    tx.serialize(Lock::Feed).await?;
    tx.run(APPEND, vec![tx.now_us().into(), table.into(), row.into()]).await?;
    Ok(())
}

/// The newest revision as this transaction sees it.
pub(crate) async fn revision(tx: &mut Tx) -> Result<u64, DbError> {
    let row = tx.row(CURRENT, vec![]).await?;
    row.map_or(Ok(0), |row| row.number("revision"))
}

/// The newest revision.
pub async fn current_revision(db: &Db) -> Result<u64, DbError> {
    revision(&mut db.read().await?).await
}

/// Notices changes; made for a poll every few hundred milliseconds.
#[derive(Debug)]
pub struct Watcher {
    db: Db,
    seen: u64,
    /// On SQLite: a connection of its own, and the version that it last saw of the file.
    sqlite: Option<(SqliteConnection, i64)>,
}

impl Watcher {
    /// Notices what comes after `seen`, the revision of the snapshot in force.
    pub fn new(db: Db, seen: u64) -> Self {
        Self { db, seen, sqlite: None }
    }

    /// Whether the revision has moved since the last call that said so.
    ///
    /// On SQLite this reads one number from shared memory as long as nobody has written at all.
    pub async fn changed(&mut self) -> Result<bool, DbError> {
        if !self.file_changed().await? {
            return Ok(false);
        }
        let now = current_revision(&self.db).await;
        let Ok(now) = now else {
            self.sqlite = None;
            return now.map(|_| false);
        };
        let moved = now != self.seen;
        self.seen = now;
        Ok(moved)
    }

    async fn file_changed(&mut self) -> Result<bool, DbError> {
        let Db::Sqlite { readers, .. } = &self.db else { return Ok(true) };
        let (mut connection, before) = match self.sqlite.take() {
            Some((connection, before)) => (connection, Some(before)),
            None => (lone_sqlite(readers).await?, None),
        };
        // The number is this connection's own view: another connection's could not be compared with it.
        let row = sqlx::query("PRAGMA data_version").fetch_one(&mut connection).await?;
        let version: i64 = row.try_get(0)?;
        self.sqlite = Some((connection, version));
        Ok(before != Some(version))
    }
}

/// Publishes a new catalog whenever the configuration has changed, until it is told to stop.
///
/// A configuration that contradicts itself is logged, and the catalog in force stays; so it does while the database is
/// away.
pub async fn follow(store: Store, published: Arc<Published>, cancel: CancellationToken) {
    let mut watcher = Watcher::new(store.db().clone(), published.catalog().revision);
    let mut follower = Follower { published, stale: false, failing: false };
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(POLL) => {}
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = follower.poll(&mut watcher, &store) => {}
        }
    }
}

struct Follower {
    published: Arc<Published>,
    /// A change was noticed and is not loaded yet.
    stale: bool,
    /// The database did not answer the last time.
    failing: bool,
}

impl Follower {
    async fn poll(&mut self, watcher: &mut Watcher, store: &Store) {
        match within(READ_WITHIN, self.step(watcher, store)).await {
            Ok(()) => {
                if self.failing {
                    tracing::info!("configuration changes are followed again");
                }
                self.failing = false;
            }
            Err(error) => {
                if !self.failing {
                    tracing::warn!(error = %error, "configuration changes cannot be read; the configuration in force stays");
                }
                self.failing = true;
            }
        }
    }

    async fn step(&mut self, watcher: &mut Watcher, store: &Store) -> Result<(), DbError> {
        self.stale |= watcher.changed().await?;
        if !self.stale {
            return Ok(());
        }
        let _books = store.books.lock().await;
        let parts = load(store).await?;
        // After it: what was loaded may be sealed under a master key that has come meanwhile.
        if let Err(error) = store.vault().refresh() {
            tracing::warn!(error = %error, "the master key's file cannot be read; the key in memory stays");
        }
        self.stale = false;
        let revision = parts.revision;
        match Catalog::build(parts) {
            Ok(next) => {
                if self.published.publish(next) {
                    tracing::info!(catalog.revision = revision, "a new configuration is in force");
                }
            }
            Err(error) => {
                tracing::error!(
                    catalog.revision = revision, error = %error,
                    "the new configuration contradicts itself; the one before stays in force"
                );
            }
        }
        Ok(())
    }
}
