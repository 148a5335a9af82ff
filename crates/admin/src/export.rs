//! The catalog of the database as the document that makes it.
//!
//! Every field of the document is written, in the order of its types, and objects in the order of their names: two
//! databases with the same catalog give the same text. What a deleted object has left in a list of names is not written;
//! applying leaves it where it is.

mod people;
mod upstream;

use crate::{
    apply::{ApplyError, Names, State, event},
    document::{Fields, Value, yaml},
};
use domain::catalog::Access;
use serde_json::json;
use std::{collections::HashMap, fmt::Display, hash::Hash};
use store::{DbError, Store, repo::audit, vault::Vault};

/// Whether secrets are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// They are left out: applying the document keeps what is stored.
    Omitted,
    /// In the clear; the export is noted in the audit log.
    Included,
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Objects that a document cannot tell apart, or has no name for.
    #[error("{}", .0.join("\n"))]
    Unnamed(Vec<String>),
    /// A secret of another master key.
    #[error("{0} cannot be opened with this master key")]
    Sealed(String),
    /// A value that has no text.
    #[error("cannot be written: {0}")]
    Unwritable(#[from] serde_json::Error),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The catalog cannot be read as one.
    #[error(transparent)]
    Catalog(#[from] ApplyError),
}

/// The catalog as YAML.
pub async fn export(store: &Store, secrets: Secrets) -> Result<String, ExportError> {
    let mut tx = match secrets {
        Secrets::Omitted => store.db().read().await?,
        Secrets::Included => store.db().begin().await?,
    };
    let state = State::read(&mut tx).await?;
    let exporter = Exporter {
        names: Names::of(&state),
        vault: (secrets == Secrets::Included).then(|| store.vault().as_ref()),
        state: &state,
    };
    let text = exporter.document()?;
    if secrets == Secrets::Included {
        let counts = json!({
            "provider_keys": state.provider_keys.rows().count(), "api_keys": state.client_keys.rows().count(),
            "users": state.users.rows().count(),
        });
        let description = "the catalog was exported with its secrets".to_owned();
        audit::append(&mut tx, store.node(), &[event("data_export", description, counts)]).await?;
        tx.commit().await?;
    }
    Ok(text)
}

struct Exporter<'e> {
    state: &'e State,
    names: Names,
    /// `None` leaves secrets out.
    vault: Option<&'e Vault>,
}

impl Exporter<'_> {
    fn document(&self) -> Result<String, ExportError> {
        let unnamed = unnamed(self.state, &self.names);
        if !unnamed.is_empty() {
            return Err(ExportError::Unnamed(unnamed));
        }
        let mut root = Fields::default();
        root.structure("settings", &self.state.settings)?;
        root.list("global_models", self.global_models()?);
        root.list("providers", self.providers()?);
        root.list("users", self.users());
        root.list("api_keys", self.client_keys()?);
        Ok(yaml(&root))
    }

    /// The `allowed_*` fields.
    fn access(&self, fields: &mut Fields, access: &Access) {
        let names = &self.names;
        let providers = access.providers.as_ref();
        let live = providers.map(|ids| ids.iter().filter(|id| names.has_provider(**id)).map(|id| names.provider(*id)));
        fields.opt_texts("allowed_providers", live);
        let endpoints = access.endpoints.as_ref();
        let live = endpoints.map(|ids| ids.iter().filter(|id| names.has_endpoint(**id)).map(|id| names.endpoint(*id)));
        fields.opt_texts("allowed_endpoints", live);
        fields.opt_texts("allowed_api_formats", access.api_formats.as_ref());
        let models = access.models.as_ref();
        fields.opt_texts("allowed_models", models.map(|all| all.iter().filter(|name| names.has_global_model(name))));
    }
}

/// What a document cannot tell apart, or has no name for: only these two have names that the database does not hold to be
/// unique.
pub(crate) fn unnamed(state: &State, names: &Names) -> Vec<String> {
    let mut problems = Vec::new();
    let keys = state.provider_keys.rows();
    let named = keys.map(|key| ((key.endpoint_id, &key.name), &key.id));
    doubled(named, &mut problems, |(endpoint, name)| {
        format!("endpoint {} has more than one provider key {name}", names.endpoint(endpoint))
    });
    let keys = people::exported_client_keys(state, names);
    for key in keys.iter().filter(|key| key.row.name.is_none()) {
        problems.push(format!("the client key {} has no name; give it one", key.row.id));
    }
    let named = keys.iter().filter_map(|key| Some(((key.row.user_id, key.row.name.as_ref()?), &key.row.id)));
    doubled(named, &mut problems, |(owner, name)| {
        let owner = owner.map_or_else(|| "nobody".to_owned(), |user| names.user(user));
        format!("{owner} has more than one client key {name}")
    });
    problems
}

/// Notes every name that more than one object has.
fn doubled<'i, N: Hash + Eq + Copy, I: Display + 'i>(
    named: impl Iterator<Item = (N, &'i I)>,
    problems: &mut Vec<String>,
    what: impl Fn(N) -> String,
) {
    let mut ids: HashMap<N, Vec<&I>> = HashMap::new();
    for (name, id) in named {
        ids.entry(name).or_default().push(id);
    }
    let mut found: Vec<_> = ids
        .into_iter()
        .filter(|(_, ids)| ids.len() > 1)
        .map(|(name, ids)| {
            let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
            format!("{}; rename all but one of {}", what(name), ids.join(", "))
        })
        .collect();
    found.sort_unstable();
    problems.append(&mut found);
}

/// Objects in the order of their names.
fn sorted<'r, R, K: Ord>(rows: impl Iterator<Item = &'r R>, name: impl Fn(&R) -> K) -> Vec<&'r R> {
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_cached_key(|row| name(row));
    rows
}

/// An instant, RFC 3339 in UTC, with as many decimal places as it needs; `None` is null.
fn time(fields: &mut Fields, name: &str, unix_us: Option<i64>) {
    fields.opt_text(name, unix_us.map(crate::apply::time));
}

/// Names as keys, switches as values.
fn switches<'s, K: Display + 's>(pairs: impl IntoIterator<Item = (&'s K, &'s bool)>) -> Value {
    let mut fields = Fields::default();
    for (name, switch) in pairs {
        fields.flag(&name.to_string(), *switch);
    }
    fields.into()
}
