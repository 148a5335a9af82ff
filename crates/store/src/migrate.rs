//! The schema: numbered scripts, applied in order under a lock, each schema known to this binary or refused.

use crate::{
    db::{Db, DbError, Lock, Tx},
    months,
};

/// Scripts in order; their numbers rise by one.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "init", include_str!("../migrations/0001_init.sql")),
    (2, "accounts", include_str!("../migrations/0002_accounts.sql")),
    (3, "live", include_str!("../migrations/0003_live.sql")),
    (4, "notifications", include_str!("../migrations/0004_notifications.sql")),
    (5, "provider_usage", include_str!("../migrations/0005_provider_usage.sql")),
    (6, "proxies", include_str!("../migrations/0006_proxies.sql")),
    (7, "state_bindings", include_str!("../migrations/0007_state_bindings.sql")),
];

/// Why the schema is not this version's.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A newer binary has been here.
    #[error(
        "the database has schema version {found}, this binary knows versions up to {known}; \
         start the version that made it, or a later one"
    )]
    Newer {
        /// The database's.
        found: i64,
        /// The last of this binary.
        known: i64,
    },
    /// A script failed; nothing was changed.
    #[error("schema version {version} ({name}) cannot be applied, nothing was changed: {source}")]
    Failed {
        /// Its number.
        version: i64,
        /// Its name.
        name: &'static str,
        /// Why.
        source: DbError,
    },
    /// The database failed besides.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// The last schema version that this binary knows.
pub fn known() -> i64 {
    MIGRATIONS.last().map_or(0, |(version, ..)| *version)
}

/// Brings the schema to this binary's version, all or nothing; returns the versions that were applied.
pub async fn run(db: &Db) -> Result<Vec<i64>, MigrateError> {
    const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations \
                         (version BIGINT PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL)";
    const APPLIED: &str = "INSERT INTO schema_migrations (version, name, applied_at) VALUES ($1, $2, $3)";
    let mut tx = db.begin().await?;
    tx.serialize(Lock::Migration).await?;
    tx.run(TABLE, vec![]).await?;
    let found = version(&mut tx).await?;
    if found > known() {
        return Err(MigrateError::Newer { found, known: known() });
    }
    let engine = match db {
        Db::Sqlite { .. } => "sqlite",
        Db::Postgres(_) => "postgres",
    };
    let mut applied = Vec::new();
    for (version, name, script) in MIGRATIONS.iter().filter(|(version, ..)| *version > found) {
        let failed = |source| MigrateError::Failed { version: *version, name, source };
        tx.script(script_for(engine, script)).await.map_err(failed)?;
        let now = tx.now_us();
        tx.run(APPLIED, vec![(*version).into(), (*name).into(), now.into()]).await.map_err(failed)?;
        applied.push(*version);
    }
    let now = tx.now_us();
    months::make(&mut tx, now).await?;
    tx.commit().await?;
    Ok(applied)
}

async fn version(tx: &mut Tx) -> Result<i64, DbError> {
    let row = tx.row("SELECT COALESCE(MAX(version), 0) AS version FROM schema_migrations", vec![]).await?;
    row.map_or(Ok(0), |row| row.int("version"))
}

/// A script without comments and without the blocks of other engines (`-- only: ENGINE` to `-- end`).
fn script_for(engine: &str, script: &str) -> String {
    let mut skipped = false;
    let mut kept = String::with_capacity(script.len());
    for line in script.lines() {
        if let Some(only) = line.strip_prefix("-- only: ") {
            skipped = only.trim() != engine;
        } else if line.trim_end() == "-- end" {
            skipped = false;
        } else if !skipped && !line.starts_with("--") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests;
