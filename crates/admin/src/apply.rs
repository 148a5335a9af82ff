//! Makes the catalog what a document says, or says what that would change.
//!
//! A document is merged into the whole configuration in memory first; only what differs is written, in one transaction,
//! and only if nothing at all is wrong with it. What a document does not name stays, unless it is to be pruned.

mod audited;
mod egress;
mod plan;
mod report;
mod show;
mod state;
mod table;

pub use egress::Resolver;
pub use report::{Action, Change, FieldChange, MintedKey, Report};

pub(crate) use audited::event;
pub(crate) use egress::{Dial, Way, examine, forbidden_proxy};
pub(crate) use show::{Names, time};
pub(crate) use state::{Key, Person, State};

use crate::document::{Document, Problems, UserDoc};
use argon2::{
    Argon2, PasswordHasher as _,
    password_hash::{SaltString, rand_core::OsRng},
};
use domain::{
    catalog::{Inconsistent, Parts},
    egress::EgressPolicy,
};
use plan::Planner;
use std::collections::HashMap;
use store::{
    DbError, SealingError, Store,
    repo::{
        audit,
        users::{self, PasswordHash},
    },
    vault::VaultError,
};

/// How a document is applied.
#[derive(Debug, Clone)]
pub struct ApplyOptions {
    /// Whether to find the changes and write none.
    pub dry_run: bool,
    /// Whether what a section of the document does not name is deleted.
    pub prune: bool,
    /// Unix microseconds; quota periods are those of this instant.
    pub now_us: i64,
    /// What minted client keys begin with, before the hyphen.
    pub client_key_prefix: String,
    /// Where the hosts of base URLs are looked up.
    pub resolver: Resolver,
}

impl ApplyOptions {
    /// Writes, mints `sk-…` and asks the system for addresses.
    pub fn new(now_us: i64) -> Self {
        Self { dry_run: false, prune: false, now_us, client_key_prefix: "sk".to_owned(), resolver: Resolver::System }
    }

    /// Writes nothing.
    #[must_use]
    pub fn dry_run(self) -> Self {
        Self { dry_run: true, ..self }
    }

    /// Deletes what a section of the document does not name.
    #[must_use]
    pub fn prune(self) -> Self {
        Self { prune: true, ..self }
    }
}

/// Why a document was not applied; the database is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Everything that is wrong with the document.
    #[error(transparent)]
    Refused(#[from] Problems),
    /// The result would be no catalog.
    #[error("the resulting catalog contradicts itself: {0}")]
    Inconsistent(#[from] Inconsistent),
    /// Another writer deleted what was to be changed.
    #[error("{kind} {id} was deleted in the meantime; apply again")]
    Gone {
        /// Its kind.
        kind: &'static str,
        /// Its id.
        id: String,
    },
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A secret that cannot be sealed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// No secret can be sealed.
    #[error(transparent)]
    Sealing(#[from] SealingError),
    /// A key that cannot be minted.
    #[error("the operating system gives no random bytes")]
    NoRandomness,
    /// A password that cannot be hashed.
    #[error("a password cannot be hashed: {0}")]
    Hash(String),
}

/// Makes the catalog what `document` says: all of it or nothing.
pub async fn apply(
    store: &Store,
    document: &Document,
    options: &ApplyOptions,
    egress: &EgressPolicy,
) -> Result<Report, ApplyError> {
    Ok(outcome(store, document, options, egress).await?.0)
}

/// The catalog's rows as `document` would make them, or without one as they are; nothing is written.
pub async fn preview(
    store: &Store,
    document: Option<&Document>,
    options: &ApplyOptions,
    egress: &EgressPolicy,
) -> Result<Parts, ApplyError> {
    let state = match document {
        Some(document) => outcome(store, document, &options.clone().dry_run(), egress).await?.1,
        None => State::read(&mut store.db().read().await?).await?,
    };
    Ok(state.parts())
}

/// Like [`apply`], with the configuration that it leads to.
pub(crate) async fn outcome(
    store: &Store,
    document: &Document,
    options: &ApplyOptions,
    policy: &EgressPolicy,
) -> Result<(Report, State), ApplyError> {
    // Names and passwords take their time: both before the database is locked.
    let (mut problems, mut warnings) = egress::check_document(store, document, policy, &options.resolver).await?;
    let passwords = hash_new(store, &document.users).await?;

    let mut tx = store.db().begin().await?;
    // Also makes documents wait for each other.
    store.sealing(&mut tx).await?;
    let mut planner = Planner::new(State::read(&mut tx).await?, store.vault(), options, &passwords);
    planner.merge(document)?;
    problems.append(&mut planner.problems);
    Problems::check(problems)?;
    planner.state.catalog()?;
    let changes = show::changes(&planner.state)?;
    planner.state.write(&mut tx).await?;
    let events: Vec<_> = changes.iter().map(Change::event).collect();
    audit::append(&mut tx, store.node(), &events).await?;
    // A transaction that is dropped leaves nothing behind.
    if !options.dry_run && !changes.is_empty() {
        tx.commit().await?;
    }
    warnings.append(&mut planner.warnings);
    let minted = if options.dry_run { Vec::new() } else { planner.minted };
    Ok((Report { changes, minted, warnings, dry_run: options.dry_run }, planner.state))
}

/// Hashes the passwords of users who are not there yet, off the async threads.
async fn hash_new(store: &Store, docs: &[UserDoc]) -> Result<HashMap<String, PasswordHash>, ApplyError> {
    if docs.iter().all(|doc| doc.password.value().is_none()) {
        return Ok(HashMap::new());
    }
    let mut tx = store.db().read().await?;
    let known = users::all_any_owner(&mut tx).await?.into_iter().map(|user| user.username).collect();
    drop(tx);
    let fresh = plan::to_hash(docs, &known);
    let fresh: Vec<_> =
        fresh.into_iter().filter_map(|doc| Some((doc.username.clone(), doc.password.value()?.clone()))).collect();
    let hash_all = move || {
        let hash = |(name, password): (String, domain::secret::Secret)| {
            let salt = SaltString::generate(&mut OsRng);
            let hash = Argon2::default().hash_password(password.expose().as_bytes(), &salt);
            Ok((name, PasswordHash(hash.map_err(|error| ApplyError::Hash(error.to_string()))?.to_string())))
        };
        fresh.into_iter().map(hash).collect()
    };
    tokio::task::spawn_blocking(hash_all).await.map_err(|error| ApplyError::Hash(error.to_string()))?
}
