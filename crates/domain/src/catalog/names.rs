//! Names: from the one asked to a global model, and from there to the one sent upstream.

use super::{Access, Catalog, Endpoint, GlobalModel, Model};
use crate::ids::ClientKeyId;
use md5::{Digest, Md5};
use std::sync::Arc;

/// The global model behind the name that a caller asked for.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What was asked, trimmed, without `models/`.
    pub asked: String,
    /// What it stands for.
    pub model: Arc<GlobalModel>,
}

impl Catalog {
    /// Finds the active global model of that name; else the only one that active models of active providers, allowed
    /// to this caller, claim under an upstream name or alias.
    pub fn resolve(&self, asked: &str, access: &[&Access]) -> Option<Resolved> {
        let asked = asked.trim();
        let asked = asked.strip_prefix("models/").unwrap_or(asked);
        let found = self.id_by_name(asked).or_else(|| self.claimed(asked, access))?;
        Some(Resolved { asked: asked.to_owned(), model: self.global_models.get(&found)?.clone() })
    }

    fn claimed(&self, name: &str, access: &[&Access]) -> Option<crate::ids::GlobalModelId> {
        let mut only = None;
        for model in self.claims(name).iter().filter_map(|id| self.model(*id)) {
            let provider_serves = self.provider(model.provider_id).is_some_and(|provider| provider.is_active)
                && access.iter().all(|level| level.allows_provider(model.provider_id));
            let global_serves = self.global_models.get(&model.global_model_id).is_some_and(|global| global.is_active);
            if !model.is_active || !provider_serves || !global_serves {
                continue;
            }
            if only.is_some_and(|other| other != model.global_model_id) {
                return None; // two claims: the name says nothing
            }
            only = Some(model.global_model_id);
        }
        only
    }
}

impl Model {
    /// The names to send to this endpoint, best first: usable aliases by priority, then the model's own name.
    ///
    /// Equal priorities are told apart by a hash with the client key's id, so each caller keeps its alias.
    pub fn upstream_names(&self, endpoint: &Endpoint, client_key: Option<ClientKeyId>) -> Vec<&str> {
        let usable = |formats: &Option<Vec<_>>| {
            formats.as_ref().is_none_or(|formats| formats.is_empty() || formats.contains(&endpoint.api_format))
        };
        let mut aliases: Vec<_> = self.aliases.iter().filter(|alias| usable(&alias.api_formats)).collect();
        if aliases.len() > 1 {
            aliases.sort_by_cached_key(|alias| (alias.priority, tie(client_key, &alias.name), alias.name.clone()));
        }
        let mut names: Vec<&str> = Vec::with_capacity(aliases.len() + 1);
        for name in aliases.into_iter().map(|alias| alias.name.as_str()).chain([self.provider_model_name.as_str()]) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// MD5 of `<client key id>:<name>` as a number; without a client key all are equal and the alphabet decides.
fn tie(client_key: Option<ClientKeyId>, name: &str) -> u128 {
    let Some(key) = client_key else { return 0 };
    let digest =
        Md5::new().chain_update(key.uuid().hyphenated().to_string()).chain_update(":").chain_update(name).finalize();
    u128::from_be_bytes(digest.into())
}
