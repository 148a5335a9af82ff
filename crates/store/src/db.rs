//! The two engines behind one type: connections, transactions, and the macros that expand a body once for each.
//!
//! Statements are written once, in the SQL that both understand. What differs (locks, pragmas) stands in this module.

/// Expands a body once per engine, with the pool's concrete type.
macro_rules! on_db {
    ($db:expr, |$pool:ident| $body:expr) => {
        match $db {
            $crate::db::Db::Sqlite { readers: $pool, .. } => $body,
            $crate::db::Db::Postgres($pool) => $body,
        }
    };
}

/// Expands a body once per engine, with the connection that the transaction holds.
macro_rules! on_tx {
    ($tx:expr, |$conn:ident| $body:expr) => {
        match $tx {
            $crate::db::Tx::Sqlite(tx, _) => {
                let $conn = &mut **tx;
                $body
            }
            $crate::db::Tx::Postgres(tx, _) => {
                let $conn = &mut **tx;
                $body
            }
        }
    };
}

mod error;
mod insert;
mod rows;
mod url;

pub use error::DbError;
pub(crate) use insert::{Insert, Target};
pub(crate) use rows::{Row, Value};
pub use url::{BadUrl, DatabaseUrl};

use crate::clock::SystemClock;
use sqlx::{
    AssertSqlSafe, Connection, PgPool, Postgres, Sqlite, SqlitePool, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{str::FromStr, time::Duration};

/// Connections of one process to read with.
const SQLITE_CONNECTIONS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 8;
/// Bytes of a page of the embedded database.
const SQLITE_PAGE: u32 = 16 << 10;
/// How long a writer waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a caller waits for a connection before the database counts as away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A pool of connections to one of the engines.
#[derive(Debug, Clone)]
pub enum Db {
    /// The embedded database.
    Sqlite {
        /// Connections to read with.
        readers: SqlitePool,
        /// The one that writes: SQLite has one writer at a time anyway, and a connection that finds what another has
        /// written forgets every page that it had in memory.
        writer: SqlitePool,
    },
    /// A server.
    Postgres(PgPool),
}

/// A transaction and the instant it began, Unix microseconds; dropping it rolls back.
#[derive(Debug)]
pub enum Tx {
    /// On the embedded database.
    Sqlite(Transaction<'static, Sqlite>, i64),
    /// On a server.
    Postgres(Transaction<'static, Postgres>, i64),
}

impl Db {
    /// Connects; makes an embedded database that is not there.
    pub async fn connect(url: &DatabaseUrl) -> Result<Self, DbError> {
        match url.kind() {
            url::Kind::Sqlite(path) => {
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .create_if_missing(true)
                    // Takes effect in a new database. Rows come in batches of many kilobytes: fewer, larger pages cost less.
                    .page_size(SQLITE_PAGE)
                    .journal_mode(SqliteJournalMode::Wal)
                    // A commit is on the disk: what it moved is deleted from the journal after it.
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true)
                    .busy_timeout(BUSY_TIMEOUT);
                let pool = |connections| {
                    SqlitePoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT)
                };
                // What a batch may have to take back would go through a file. What a reader sorts still may: it has no bound.
                let writer = options.clone().pragma("temp_store", "MEMORY");
                let writer = pool(1).connect_with(writer).await?;
                let readers = pool(SQLITE_CONNECTIONS).connect_with(options).await?;
                Ok(Self::Sqlite { readers, writer })
            }
            url::Kind::Postgres(text) => {
                let options = PgConnectOptions::from_str(text.expose())?;
                let pool = PgPoolOptions::new().max_connections(POSTGRES_CONNECTIONS).acquire_timeout(ACQUIRE_TIMEOUT);
                Ok(Self::Postgres(pool.connect_with(options).await?))
            }
        }
    }

    /// A transaction that may write. On SQLite it takes the write lock at once, so it never fails half-way for want of it.
    pub async fn begin(&self) -> Result<Tx, DbError> {
        let now = SystemClock::now_us();
        Ok(match self {
            Self::Sqlite { writer, .. } => Tx::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?, now),
            Self::Postgres(pool) => Tx::Postgres(pool.begin().await?, now),
        })
    }

    /// A transaction that sees one state of the database and writes nothing.
    pub async fn read(&self) -> Result<Tx, DbError> {
        let now = SystemClock::now_us();
        Ok(match self {
            Self::Sqlite { readers, .. } => Tx::Sqlite(readers.begin().await?, now),
            Self::Postgres(pool) => {
                Tx::Postgres(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?, now)
            }
        })
    }

    /// Closes every connection; SQLite's write-ahead log is folded in.
    pub async fn close(&self) {
        if let Self::Sqlite { writer, .. } = self {
            writer.close().await;
        }
        on_db!(self, |pool| pool.close().await);
    }
}

impl Tx {
    /// Makes it last.
    pub async fn commit(self) -> Result<(), DbError> {
        match self {
            Self::Sqlite(tx, _) => tx.commit().await?,
            Self::Postgres(tx, _) => tx.commit().await?,
        }
        Ok(())
    }

    /// Takes everything back that it did.
    pub(crate) async fn undo(self) -> Result<(), DbError> {
        match self {
            Self::Sqlite(tx, _) => tx.rollback().await?,
            Self::Postgres(tx, _) => tx.rollback().await?,
        }
        Ok(())
    }

    /// When it began, Unix microseconds: `created_at` and `updated_at` of what it writes.
    pub fn now_us(&self) -> i64 {
        match self {
            Self::Sqlite(_, now) | Self::Postgres(_, now) => *now,
        }
    }

    /// The time that all nodes of one database agree on, Unix microseconds: a server's, or this machine's.
    pub(crate) async fn shared_now_us(&mut self) -> Result<i64, DbError> {
        const NOW: &str = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)";
        match self {
            Self::Sqlite(..) => Ok(SystemClock::now_us()),
            Self::Postgres(tx, _) => Ok(sqlx::query_scalar(NOW).fetch_one(&mut **tx).await?),
        }
    }

    /// Runs statements without parameters.
    pub(crate) async fn script(&mut self, sql: String) -> Result<(), DbError> {
        on_tx!(self, |conn| sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.map(|_| ()))?;
        Ok(())
    }

    /// Makes writers of one kind wait for each other; on SQLite they do already.
    pub(crate) async fn serialize(&mut self, what: Lock) -> Result<(), DbError> {
        if let Self::Postgres(tx, _) = self {
            sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(what as i64).execute(&mut **tx).await?;
        }
        Ok(())
    }
}

/// What is done by one transaction at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lock {
    /// Bringing the schema up to date.
    Migration = 0x746f_6c01,
    /// Numbering changes in the order of their commits.
    Feed = 0x746f_6c02,
    /// Adding links to audit chains.
    Audit = 0x746f_6c03,
    /// Claiming a node's row.
    Lease = 0x746f_6c04,
    /// Doing what comes due as time goes by.
    Upkeep = 0x746f_6c05,
    /// Sealing secrets under the master key in force.
    Sealing = 0x746f_6c06,
}

/// Gives up on work that takes longer than this: a lost network path may leave a connection without any answer.
///
/// What is given up is rolled back, unless its commit had reached the database.
pub(crate) async fn within<T, E: From<DbError>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(DbError::Silent.into()))
}

/// A connection of its own, outside the pool.
pub(crate) async fn lone_sqlite(pool: &SqlitePool) -> Result<sqlx::SqliteConnection, DbError> {
    Ok(sqlx::SqliteConnection::connect_with(&pool.connect_options()).await?)
}
