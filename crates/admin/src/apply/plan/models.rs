//! Global models, provider models and their prices.

use super::{Once, Planner, existing, keep, patch, reset, upstream::model_names};
use crate::{
    apply::table::At,
    document::{GlobalModelDoc, ModelDoc, Patch, Place},
};
use domain::{
    catalog::{GlobalModelConfig, TieredPricing},
    ids::{ModelId, ProviderId},
    money::NanoUsd,
};
use std::collections::{BTreeMap, HashMap};
use store::repo::{global_models::GlobalModelRow, models::ModelRow};

impl Planner<'_> {
    pub(super) fn global_models(&mut self, docs: &[GlobalModelDoc]) {
        let mut once = Once::new();
        for doc in docs {
            if once.first(&mut self.problems, &doc.name, &doc.at, "name", "a global model of this name") {
                self.global_model(doc);
            }
        }
    }

    fn global_model(&mut self, doc: &GlobalModelDoc) {
        let at = match existing(self.state.global_models.find(&doc.name)) {
            Ok(at) => at,
            Err(ids) => return self.ambiguous(&doc.at, "global model", &ids),
        };
        let mut row = at.map_or_else(|| new_global_model(doc), |at| self.state.global_models.get(at).clone());
        keep(&mut row.display_name, doc.display_name.as_ref());
        patch(&mut row.default_price_per_request, &doc.default_price_per_request);
        patch(&mut row.default_tiered_pricing, &doc.default_tiered_pricing);
        keep(&mut row.is_free, doc.is_free.as_ref());
        reset(&mut row.supported_capabilities, &doc.supported_capabilities, Vec::new());
        reset(&mut row.config, &doc.config, GlobalModelConfig::default());
        keep(&mut row.is_active, doc.is_active.as_ref());

        match &row.default_tiered_pricing {
            Some(tiers) => {
                let price = (tiers, row.is_free, row.default_price_per_request);
                self.check_price(&doc.at, "default_tiered_pricing", &doc.default_tiered_pricing, price);
            }
            None if row.is_active => {
                let named = if doc.is_active == Some(true) { "is_active" } else { "default_tiered_pricing" };
                let message = "a model without prices cannot be active; set is_active to false, or give it prices";
                self.problem(doc.at.field_problem(named, message));
            }
            None if at.is_none() && doc.is_active.is_none() => {
                self.warnings.push(format!("global model {} has no prices and stays inactive", row.name));
            }
            None => {}
        }
        self.state.global_models.put(at, row);
    }

    /// Notes what is wrong with a row's tiers, at the field of the document that is to blame.
    fn check_price(
        &mut self,
        at: &Place,
        field: &str,
        given: &Patch<TieredPricing>,
        (tiers, is_free, per_request): (&TieredPricing, bool, Option<NanoUsd>),
    ) {
        let has_request_price = per_request.is_some_and(|price| price > NanoUsd::ZERO);
        if let Err(invalid) = tiers.validate(is_free, has_request_price) {
            let field = if *given == Patch::Absent { "is_free" } else { field };
            self.problem(at.field_problem(field, invalid.to_string()));
        }
    }

    pub(super) fn models(&mut self, provider: ProviderId, docs: &[ModelDoc]) {
        let mut once = Once::new();
        let mut touched = Vec::new();
        for doc in docs {
            let (name, at) = (&doc.global_model.name, &doc.at);
            if once.first(&mut self.problems, name, at, "global_model", "this provider's model for it") {
                touched.extend(self.model(provider, doc).map(|model| (model, doc)));
            }
        }
        self.check_upstream_names(provider, &touched);
    }

    fn model(&mut self, provider: ProviderId, doc: &ModelDoc) -> Option<At> {
        let Some(global) = self.state.global_models.named(&doc.global_model.name).map(|row| row.id) else {
            self.unknown("global model", &doc.global_model, model_names);
            return None;
        };
        let at = match existing(self.state.models.find(&(provider, global))) {
            Ok(at) => at,
            Err(ids) => {
                self.ambiguous(&doc.at, "model", &ids);
                return None;
            }
        };
        let mut row = match at {
            Some(at) => self.state.models.get(at).clone(),
            None if doc.provider_model_name.is_none() => {
                self.problem(doc.at.field_problem("provider_model_name", "is required for a new model"));
                return None;
            }
            None => ModelRow {
                id: store::mint(),
                provider_id: provider,
                global_model_id: global,
                provider_model_name: String::new(),
                provider_model_aliases: Vec::new(),
                price_per_request: None,
                tiered_pricing: None,
                is_free: false,
                supports: BTreeMap::new(),
                is_active: true,
                is_available: true,
            },
        };
        keep(&mut row.provider_model_name, doc.provider_model_name.as_ref());
        reset(&mut row.provider_model_aliases, &doc.provider_model_aliases, Vec::new());
        patch(&mut row.price_per_request, &doc.price_per_request);
        patch(&mut row.tiered_pricing, &doc.tiered_pricing);
        keep(&mut row.is_free, doc.is_free.as_ref());
        for (feature, supported) in &doc.supports {
            match supported {
                Patch::Absent => {}
                Patch::Null => {
                    row.supports.remove(feature);
                }
                Patch::Set(supported) => {
                    row.supports.insert(*feature, *supported);
                }
            }
        }
        keep(&mut row.is_active, doc.is_active.as_ref());
        keep(&mut row.is_available, doc.is_available.as_ref());
        if let Some(tiers) = &row.tiered_pricing {
            let price = (tiers, row.is_free, row.price_per_request);
            self.check_price(&doc.at, "tiered_pricing", &doc.tiered_pricing, price);
        }
        Some(self.state.models.put(at, row))
    }

    /// A provider's models have different names upstream.
    fn check_upstream_names(&mut self, provider: ProviderId, touched: &[(At, &ModelDoc)]) {
        let mut names: HashMap<&str, Vec<ModelId>> = HashMap::new();
        for row in self.state.models.rows().filter(|row| row.provider_id == provider) {
            names.entry(&row.provider_model_name).or_default().push(row.id);
        }
        let doubled = touched.iter().filter_map(|(at, doc)| {
            let name = &self.state.models.get(*at).provider_model_name;
            let is_doubled = names.get(name.as_str()).is_some_and(|ids| ids.len() > 1);
            is_doubled.then(|| doc.at.field_problem("provider_model_name", format!("another model is {name} already")))
        });
        let doubled: Vec<_> = doubled.collect();
        self.problems.extend(doubled);
    }
}

fn new_global_model(doc: &GlobalModelDoc) -> GlobalModelRow {
    GlobalModelRow {
        id: store::mint(),
        name: doc.name.clone(),
        display_name: doc.name.clone(),
        default_price_per_request: None,
        default_tiered_pricing: None,
        is_free: false,
        supported_capabilities: Vec::new(),
        config: GlobalModelConfig::default(),
        is_active: doc.default_tiered_pricing.value().is_some(),
    }
}
