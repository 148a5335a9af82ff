//! Who would serve a hypothetical request, in which order, and why the others would not.

use crate::{
    convert::Conversions,
    health::{self, Health},
    wire_of,
};
use bytes::Bytes;
use domain::{
    catalog::{Catalog, Route},
    format::{ApiFormat, Capability, Feature, RequestType, SchedulingMode},
    ids::ProviderKeyId,
    schedule::{self, CarriesAll, Conversion, Facts, Native, Order, Pin, SkipCode, StateView, affinity::Conversation},
};
use http::HeaderMap;
use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

/// A hypothetical request.
#[derive(Debug, Clone)]
pub struct Question {
    /// The client key's name.
    pub client: String,
    /// The model asked for.
    pub model: String,
    /// The inbound format.
    pub format: ApiFormat,
    /// Names the conversation: another one may go elsewhere.
    pub session: String,
    /// What it needs.
    pub features: Vec<Feature>,
    /// What it requires.
    pub capabilities: Vec<Capability>,
    /// Its body, to see who could take it over on another wire; empty if nothing is known of it.
    pub body: Bytes,
}

/// One candidate that would be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Provider, endpoint format and provider key.
    pub name: String,
    /// The caller's cache is there.
    pub warm: bool,
    /// It would be a breaker's probe.
    pub probe: bool,
    /// What put it in its place.
    pub order: Order,
    /// Slots taken, in thousandths of its limit.
    pub load_millis: u32,
    /// Its limit, set or learned.
    pub limit: Option<u32>,
}

/// One candidate that is out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Provider, endpoint format and provider key.
    pub name: String,
    /// Why.
    pub code: SkipCode,
    /// Until when, Unix milliseconds; 0 if there is no known end.
    pub until_ms: i64,
    /// What its wire cannot carry of the request.
    pub lacks: Option<String>,
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explanation {
    /// In the order of trying.
    pub chosen: Vec<Chosen>,
    /// The others.
    pub refused: Vec<Refused>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// No client key of that name.
    #[error("there is no client key {0:?}")]
    NoKey(String),
    /// No model that this key could ask for by that name.
    #[error("this key finds no model {0:?}")]
    NoModel(String),
    /// The key, or its owner, may not ask for it.
    #[error("this key may not ask for {0}")]
    NotAllowed(String),
}

/// Plans a request that nobody sends, with the live state of `health`.
pub fn explain(catalog: &Catalog, health: &Health, question: &Question, now_us: i64) -> Result<Explanation, NoAnswer> {
    let named = catalog.client_keys.values().filter(|key| key.name == question.client);
    let key = named.min_by_key(|key| key.id).ok_or_else(|| NoAnswer::NoKey(question.client.clone()))?;
    let user = key.user_id.and_then(|user| catalog.users.get(&user)).map(|user| &**user);
    let levels: Vec<_> = user.map(|user| &user.access).into_iter().chain([&key.access]).collect();
    let found = catalog.resolve(&question.model, &levels);
    let model = found.ok_or_else(|| NoAnswer::NoModel(question.model.clone()))?.model;
    if !levels.iter().all(|level| level.allows_model(&model.name)) {
        return Err(NoAnswer::NotAllowed(model.name.clone()));
    }
    if !levels.iter().all(|level| level.allows_format(question.format)) {
        return Err(NoAnswer::NotAllowed(question.format.to_string()));
    }
    let mut hasher = DefaultHasher::new();
    (key.id, &question.session, question.format, model.id).hash(&mut hasher);
    let affinity = hasher.finish();
    let required: BTreeMap<_, _> = question.capabilities.iter().map(|capability| (*capability, true)).collect();
    let conversions = (!question.body.is_empty()).then(|| {
        let what = (wire_of(question.format.family()), RequestType::Chat);
        let (body, loss) = (&question.body, catalog.settings.conversion_loss);
        Conversions::new(what, body, &question.model, false, &model, loss, &HeaderMap::new())
    });
    let facts = Facts {
        user,
        key,
        model: &model,
        format: question.format,
        request_type: RequestType::Chat,
        features: &question.features,
        required: &required,
        preferred: &[],
        affinity,
        now_us,
        pin: Pin::Nowhere,
        conversion: conversions.as_ref().map_or(&CarriesAll as &dyn Conversion, |conversions| conversions),
    };
    let settings = &catalog.settings;
    let reserves = settings.scheduling_mode == SchedulingMode::CacheAffinity;
    let record = health.warm(Conversation { client: key.id, hash: affinity }, now_us);
    let eligible = schedule::eligible(catalog, &facts);
    let natives: BTreeMap<ProviderKeyId, Native> =
        eligible.candidates.iter().map(|candidate| (candidate.route.key.id, candidate.native)).collect();
    let view = health.view(key.id.into(), reserves, now_us);
    let plan = schedule::plan(settings, eligible, &facts, record.as_ref(), &view);

    let chosen = plan.order.iter().map(|planned| {
        let route = planned.route;
        let look = view.look(route, model.id, planned.warm);
        let native = natives.get(&route.key.id).copied().unwrap_or(Native::Wire);
        Chosen {
            name: name(route),
            warm: planned.warm,
            probe: planned.probe != schedule::Probe::No,
            order: Order::of(settings, &schedule::Candidate { route, native }, &facts, &look),
            load_millis: look.load_millis,
            limit: health.room(&route.key, true, false, now_us).limit,
        }
    });
    let routes = catalog.routes(model.id);
    let refused = plan.skipped.iter().filter_map(|skip| {
        let route = routes.iter().find(|route| route.key.id == skip.key_id)?;
        let unsupported = skip.code == SkipCode::ConversionUnsupported;
        let lacks = conversions.as_ref().filter(|_| unsupported).map(|conversions| conversions.against(route));
        Some(Refused { name: name(route), code: skip.code, until_ms: skip.number, lacks })
    });
    Ok(Explanation { chosen: chosen.collect(), refused: refused.collect() })
}

fn name(route: &Route) -> String {
    health::shown(route)
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, chosen) in (1..).zip(&self.chosen) {
            let Chosen { name, warm, probe, order, load_millis, limit } = chosen;
            let mut notes = Vec::new();
            notes.extend(warm.then_some("warm"));
            notes.extend(probe.then_some("probe"));
            notes.extend(order.is_default_provider.then_some("default provider"));
            notes.push(match order.native {
                Native::Format => "same format",
                Native::Wire => "same wire",
                Native::Converted => "converted",
            });
            let limit = limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
            writeln!(
                f,
                "{place:>3}. {name}: {}; priority {}, internal priority {}, load {load_millis}/1000 of limit {limit}, \
                 spread {:016x}",
                notes.join(", "),
                order.priority,
                order.internal_priority,
                order.spread
            )?;
        }
        for Refused { name, code, until_ms, lacks } in &self.refused {
            write!(f, "  –  {name}: {code}")?;
            if let Some(lacks) = lacks {
                write!(f, " ({lacks})")?;
            }
            if let Ok(until) = jiff::Timestamp::from_millisecond(*until_ms)
                && *until_ms > 0
            {
                write!(f, " until {until}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
