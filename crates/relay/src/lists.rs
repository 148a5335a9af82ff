//! The models that a caller may use, in the dialect it speaks.

use crate::{
    Core,
    body::Body,
    directory::Caller,
    ingress::{Arrival, credentials::Presented, route::percent_decoded},
    respond,
};
use domain::{
    catalog::{Catalog, GlobalModel},
    fault::{Fault, Kind},
    ids::ClientKeyId,
    limit::rate::RateWindow,
};
use http::{HeaderMap, Response, StatusCode};
use std::sync::{Arc, Mutex, PoisonError};
use wire::{
    Dialect, ListedModel, Page, Wire,
    lists::{model_list, model_one},
};

/// Calls per minute and key that are no requests to a model, of all kinds together; they do not count against the key's own
/// rate.
const PER_MINUTE: u32 = 60;

/// How often each key has asked, for lists or for what is kept.
#[derive(Default)]
pub(crate) struct ListRates(papaya::HashMap<ClientKeyId, Arc<Mutex<RateWindow>>>);

impl ListRates {
    /// Counts a call of this key, or says when the next may come.
    pub(crate) fn admit(&self, key: ClientKeyId, now_us: u64) -> Result<(), Fault> {
        let window = self.0.pin().get_or_insert_with(key, Arc::default).clone();
        let admitted = window.lock().unwrap_or_else(PoisonError::into_inner).admit(PER_MINUTE, now_us);
        admitted.map(drop).map_err(|wait| {
            Fault::new(Kind::RateLimited, format!("this may be asked {PER_MINUTE} times per minute")).retry_after(wait)
        })
    }
}

/// The wire whose dialect a list is asked in: `/v1beta` is Gemini's, a version header Anthropic's; only where neither
/// is there the kind of credential tells.
pub(crate) fn wire(of_path: Wire, headers: &HeaderMap, presented: &Presented) -> Wire {
    if of_path == Wire::Gemini {
        Wire::Gemini
    } else if headers.contains_key("anthropic-version") {
        Wire::Anthropic
    } else if matches!(presented, Presented::Key { google_only: true, .. }) {
        Wire::Gemini
    } else {
        Wire::Chat
    }
}

const fn dialect(wire: Wire) -> Dialect {
    match wire {
        Wire::Anthropic => Dialect::Anthropic,
        Wire::Chat | Wire::Responses => Dialect::OpenAi,
        Wire::Gemini => Dialect::Gemini,
    }
}

/// All models of the caller, or a page of them.
pub(crate) fn list(
    core: &Core,
    arrival: &Arrival,
    wire: Wire,
    catalog: &Catalog,
    caller: &Caller,
) -> Result<Response<Body>, Fault> {
    core.lists.admit(caller.key.id, arrival.monotonic_us)?;
    let mut models: Vec<&GlobalModel> =
        catalog.global_models.values().map(Arc::as_ref).filter(|model| may_use(catalog, caller, model)).collect();
    models.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let listed: Vec<ListedModel<'_>> = models.iter().map(|model| listed(model, &model.name)).collect();

    let (limit_name, after_name) = if wire == Wire::Gemini { ("pageSize", "pageToken") } else { ("limit", "after_id") };
    let after = query_value(&arrival.query, after_name);
    let limit =
        match query_value(&arrival.query, limit_name) {
            Some(text) => Some(text.parse().map_err(|_| {
                Fault::new(Kind::BadRequest, format!("{limit_name} must be a number")).param(limit_name)
            })?),
            None => None,
        };
    let page = Page { limit, after: after.as_deref() };
    Ok(respond::json(wire, arrival, StatusCode::OK, model_list(dialect(wire), &listed, &page)))
}

/// One model, under the name that was asked.
pub(crate) fn one(
    core: &Core,
    arrival: &Arrival,
    wire: Wire,
    catalog: &Catalog,
    caller: &Caller,
    name: &str,
) -> Result<Response<Body>, Fault> {
    core.lists.admit(caller.key.id, arrival.monotonic_us)?;
    let found = catalog.resolve(name, &caller.access()).filter(|found| may_use(catalog, caller, &found.model));
    let found = found.ok_or_else(|| Fault::new(Kind::UnknownModel, "the model does not exist").param("model"))?;
    let body = model_one(dialect(wire), &listed(&found.model, &found.asked));
    Ok(respond::json(wire, arrival, StatusCode::OK, body))
}

/// Whether the caller may ask for the model, and somebody it may use could serve it.
fn may_use(catalog: &Catalog, caller: &Caller, model: &GlobalModel) -> bool {
    let access = caller.access();
    model.is_active
        && access.iter().all(|level| level.allows_model(&model.name))
        && catalog.routes(model.id).iter().any(|route| {
            route.provider.is_active
                && route.endpoint.is_active
                && route.model.is_active
                && route.model.is_available
                && route.key.is_active
                && access
                    .iter()
                    .all(|level| level.allows_provider(route.provider.id) && level.allows_endpoint(route.endpoint.id))
        })
}

fn listed<'m>(model: &'m GlobalModel, name: &'m str) -> ListedModel<'m> {
    ListedModel {
        name,
        display_name: &model.display_name,
        created_unix_s: model.created_at / 1_000_000,
        input_limit: model.config.context_limit,
        output_limit: model.config.output_limit,
    }
}

fn query_value(query: &str, name: &str) -> Option<String> {
    let pair = query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))?;
    percent_decoded(pair.1)
}
