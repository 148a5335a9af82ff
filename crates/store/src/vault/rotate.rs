//! Another master key: every secret sealed anew under it, beside a running node and after any interruption.
//!
//! Beside the key file lie, for as long as they are needed, `master.key.next`, the key that is to come, and
//! `master.key.former`, the one before. The next key is made, the present one is kept as the former, the next takes its
//! name, the rows are sealed anew, and the former is deleted. Each step leaves a state in which every secret opens and
//! which the next run goes on from.

use super::{Column, MasterKey, Vault, VaultError};
use crate::{
    SealingError, Store,
    db::{DbError, Tx},
    feed,
};
use domain::secret::Sealed;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use uuid::Uuid;

/// Rows that one transaction seals anew.
const BATCH: i64 = 200;

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// Secrets that were sealed anew, by this run.
    pub sealed: u64,
    /// Rows, as table and id, whose secrets no master key that is known opens: they stay as they are.
    pub unreadable: Vec<String>,
    /// Whether an earlier run had begun it.
    pub resumed: bool,
}

/// Why the master key was not replaced, or not everywhere: another run goes on.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// A key that is given to the process cannot be replaced by it.
    #[error(
        "the master key is given from outside: write it into {path} (mode 0600), start without it, and rotate that file"
    )]
    Given {
        /// Where it would be looked for.
        path: PathBuf,
    },
    /// Another rotation is under way.
    #[error("another process is rotating the master key")]
    Busy,
    /// The key files.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The same.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<SealingError> for RotateError {
    fn from(error: SealingError) -> Self {
        match error {
            SealingError::Db(error) => Self::Db(error),
            SealingError::Vault(error) => Self::Vault(error),
        }
    }
}

/// The key file of the master key that is to come.
pub(super) fn next(path: &Path) -> PathBuf {
    path.with_added_extension("next")
}

/// The key file of the one before.
pub(super) fn former(path: &Path) -> PathBuf {
    path.with_added_extension("former")
}

/// Puts another master key in the place of the present one and seals every secret under it; goes on with what an earlier
/// run has begun.
pub async fn rotate(store: &Store) -> Result<Rotated, RotateError> {
    let path = store.data_dir().master_key();
    let file = store.vault().file().ok_or(RotateError::Given { path })?;
    let fail = |source| RotateError::File { path: file.to_owned(), source };
    let directory = fs::File::open(store.data_dir().path()).map_err(fail)?;
    match directory.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(RotateError::Busy),
        Err(fs::TryLockError::Error(source)) => return Err(fail(source)),
    }
    let resumed = exchange(file)?;
    directory.sync_all().map_err(fail)?;
    let mut rotated = Rotated { sealed: 0, unreadable: Vec::new(), resumed };
    for secrets in [PROVIDER_KEYS, CLIENT_KEYS, PROXY_PASSWORDS] {
        let mut after = Some(Uuid::nil());
        while let Some(last) = after {
            after = seal_batch(store, &secrets, last, BATCH, &mut rotated).await?;
        }
    }
    fs::remove_file(former(file)).map_err(fail)?;
    directory.sync_all().map_err(fail)?;
    Ok(rotated)
}

/// Makes the next key the present one and the present one the former; whether that was begun before.
fn exchange(path: &Path) -> Result<bool, RotateError> {
    let fail = |source| RotateError::File { path: path.to_owned(), source };
    let (next, former) = (next(path), former(path));
    let begun = next.try_exists().map_err(fail)?;
    if !begun && former.try_exists().map_err(fail)? {
        // All that is left is to seal.
        return Ok(true);
    }
    MasterKey::make(&next)?;
    match fs::hard_link(path, &former) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(fail(error)),
        _ => {}
    }
    fs::rename(&next, path).map_err(fail)?;
    Ok(begun)
}

/// A column of secrets, how its rows are read, and how one is written.
struct Secrets {
    column: Column,
    table: &'static str,
    page: &'static str,
    write: &'static str,
}

const PROVIDER_KEYS: Secrets = Secrets {
    column: Column::ProviderKey,
    table: "provider_api_keys",
    page: "SELECT id, api_key AS sealed FROM provider_api_keys WHERE id > $1 ORDER BY id LIMIT $2",
    write: "UPDATE provider_api_keys SET api_key = $2, updated_at = $3 WHERE id = $1",
};
const CLIENT_KEYS: Secrets = Secrets {
    column: Column::ClientKey,
    table: "api_keys",
    page: "SELECT id, key_encrypted AS sealed FROM api_keys WHERE id > $1 AND key_encrypted IS NOT NULL \
           ORDER BY id LIMIT $2",
    write: "UPDATE api_keys SET key_encrypted = $2, updated_at = $3 WHERE id = $1",
};
const PROXY_PASSWORDS: Secrets = Secrets {
    column: Column::ProxyPassword,
    table: "provider_endpoints",
    page: "SELECT id, proxy_password AS sealed FROM provider_endpoints WHERE id > $1 AND proxy_password IS NOT NULL \
           ORDER BY id LIMIT $2",
    write: "UPDATE provider_endpoints SET proxy_password = $2, updated_at = $3 WHERE id = $1",
};

/// Seals some rows anew, in the order of their ids; the last of them, or `None` if there are no more.
async fn seal_batch(
    store: &Store,
    secrets: &Secrets,
    after: Uuid,
    most: i64,
    rotated: &mut Rotated,
) -> Result<Option<Uuid>, RotateError> {
    let mut tx = store.db().begin().await?;
    store.sealing(&mut tx).await?;
    let rows = tx.rows(secrets.page, vec![after.into(), most.into()]).await?;
    let mut last = None;
    let before = rotated.sealed;
    for row in &rows {
        let id: Uuid = row.id("id")?;
        last = Some(id);
        let sealed = Sealed(row.bytes("sealed")?);
        if store.vault().is_current(&sealed) {
            continue;
        }
        if seal(&mut tx, store.vault(), secrets, id, &sealed).await? {
            rotated.sealed += 1;
        } else {
            rotated.unreadable.push(format!("{} {id}", secrets.table));
        }
    }
    if rotated.sealed > before {
        // Running nodes read their catalogs again, and the key file with them.
        feed::append(&mut tx, secrets.table, Uuid::nil()).await?;
    }
    tx.commit().await?;
    Ok(last)
}

/// False if the secret cannot be opened.
async fn seal(tx: &mut Tx, vault: &Vault, secrets: &Secrets, id: Uuid, sealed: &Sealed) -> Result<bool, RotateError> {
    let column = secrets.column;
    let Ok(clear) = vault.unseal(column, id, sealed) else { return Ok(false) };
    let anew = vault.seal(column, id, &clear)?;
    tx.run(secrets.write, vec![id.into(), (&anew).into(), tx.now_us().into()]).await?;
    Ok(true)
}

#[cfg(test)]
mod tests;
