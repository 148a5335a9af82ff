//! What a document does not name, and goes: before anything is merged, so that names and addresses are free.

use super::Planner;
use crate::{
    apply::{state::State, table::Stored as _},
    document::Document,
};
use domain::ids::{EndpointId, ProviderId};
use std::collections::{HashMap, HashSet};
use store::repo::models::ModelRow;

/// What a document has a list of, and what those lists name.
#[derive(Default)]
struct Named {
    providers: HashSet<ProviderId>,
    /// Providers whose endpoints, and whose models, are listed.
    with_endpoints: HashSet<ProviderId>,
    with_models: HashSet<ProviderId>,
    endpoints: HashSet<EndpointId>,
    with_keys: HashSet<EndpointId>,
    keys: HashSet<(EndpointId, String)>,
    /// Provider and global model.
    models: HashSet<(ProviderId, String)>,
}

impl Named {
    fn of(document: &Document, state: &State) -> Self {
        let mut named = Self::default();
        for doc in &document.providers {
            let Some(provider) = state.providers.named(&doc.name).map(|row| row.id) else { continue };
            named.providers.insert(provider);
            named.with_endpoints.extend(doc.at.has("endpoints").then_some(provider));
            named.with_models.extend(doc.at.has("models").then_some(provider));
            named.models.extend(doc.models.iter().map(|model| (provider, model.global_model.name.clone())));
            for doc in &doc.endpoints {
                let Some(endpoint) = state.endpoint(provider, doc.api_format).map(|row| row.id) else { continue };
                named.endpoints.insert(endpoint);
                named.with_keys.extend(doc.at.has("keys").then_some(endpoint));
                named.keys.extend(doc.keys.iter().map(|key| (endpoint, key.name.clone())));
            }
        }
        named
    }
}

impl Planner<'_> {
    /// Takes out what goes, each kind only where its list is in the document.
    pub(super) fn prune(&mut self, document: &Document) {
        self.prune_upstream(document);
        self.prune_people(document);
    }

    fn prune_upstream(&mut self, document: &Document) {
        let named = Named::of(document, &self.state);
        let state = &mut self.state;
        let all = document.at.has("providers");
        state.providers.prune(|row| all && !named.providers.contains(&row.id));
        let gone: HashSet<ProviderId> = state.providers.gone().iter().map(|row| row.id).collect();
        let listed = |provider: &ProviderId, with: &HashSet<_>| gone.contains(provider) || with.contains(provider);
        let names: HashMap<_, _> = state.global_models.rows().map(|row| (row.id, row.name.clone())).collect();
        let is_named = |row: &ModelRow| {
            let name = names.get(&row.global_model_id).cloned().unwrap_or_default();
            named.models.contains(&(row.provider_id, name))
        };
        state.models.prune(|row| listed(&row.provider_id, &named.with_models) && !is_named(row));
        state
            .endpoints
            .prune(|row| listed(&row.provider_id, &named.with_endpoints) && !named.endpoints.contains(&row.id));
        let without: HashSet<EndpointId> = state.endpoints.gone().iter().map(|row| row.id).collect();
        state.provider_keys.prune(|row| {
            (without.contains(&row.endpoint_id) || named.with_keys.contains(&row.endpoint_id))
                && !row.key().is_some_and(|key| named.keys.contains(&key))
        });
        self.untie(&gone);
        if document.at.has("global_models") {
            self.prune_global_models(document);
        }
    }

    fn prune_global_models(&mut self, document: &Document) {
        let named: HashSet<_> = document.global_models.iter().map(|doc| doc.name.as_str()).collect();
        let state = &mut self.state;
        state.global_models.prune(|row| !named.contains(row.name.as_str()));
        for global in state.global_models.gone() {
            let by = state.models.rows().filter(|model| model.global_model_id == global.id);
            let by = by.filter_map(|model| state.providers.rows().find(|row| row.id == model.provider_id));
            let by: Vec<_> = by.map(|provider| provider.name.as_str()).collect();
            if !by.is_empty() {
                let message =
                    format!("does not name {}, which cannot go while it is served by {}", global.name, by.join(", "));
                self.problems.push(document.at.field_problem("global_models", message));
            }
        }
    }

    /// Takes providers that go out of what people and keys are tied to.
    fn untie(&mut self, gone: &HashSet<ProviderId>) {
        for person in self.state.users.rows_mut() {
            person.row.default_provider_id = person.row.default_provider_id.filter(|id| !gone.contains(id));
        }
        for key in self.state.client_keys.rows_mut() {
            if key.untie(gone) {
                let name = key.row.name.clone().unwrap_or_else(|| key.row.id.to_string());
                self.warnings.push(format!(
                    "the client key {name} loses the last of its mappings: any provider may serve it from here on"
                ));
            }
        }
    }

    fn prune_people(&mut self, document: &Document) {
        let state = &mut self.state;
        if document.at.has("api_keys") {
            // Keys of owners that are deleted already have no name that a document could hold: they stay.
            let owners: HashSet<_> = state.users.rows().map(|person| person.row.id).collect();
            let owner = |name: &String| state.users.named(name).map(|person| person.row.id);
            let named: HashSet<_> = document
                .api_keys
                .iter()
                .map(|doc| (doc.user.as_ref().map(|user| owner(&user.name)), doc.name.clone()))
                .collect();
            state.client_keys.prune(|key| {
                let row = &key.row;
                let is_named = |name: &String| named.contains(&(row.user_id.map(Some), name.clone()));
                row.user_id.is_none_or(|owner| owners.contains(&owner)) && !row.name.as_ref().is_some_and(is_named)
            });
        }
        if document.at.has("users") {
            let named: HashSet<_> = document.users.iter().map(|doc| doc.username.as_str()).collect();
            state.users.prune(|person| !named.contains(person.row.username.as_str()));
            let gone: HashSet<_> = state.users.gone().iter().map(|person| person.row.id).collect();
            // They are switched off with their owner, and not known any more.
            state.client_keys.forget(|key| key.row.user_id.is_some_and(|owner| gone.contains(&owner)));
        }
    }
}
