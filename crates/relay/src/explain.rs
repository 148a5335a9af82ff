//! Who would serve a hypothetical request, in which order, and why the others would not.

use crate::{
    bindings::{self, Bindings, Bound},
    call,
    convert::Conversions,
    health::{self, Health},
    ingress::client,
    respond, wire_of,
};
use bytes::Bytes;
use domain::{
    bindings::Fingerprint,
    catalog::{Catalog, Route},
    format::{ApiFormat, Capability, Feature, RequestType, SchedulingMode},
    ids::ProviderKeyId,
    schedule::{self, CarriesAll, Conversion, Facts, Native, Order, SkipCode, StateView, affinity::Conversation},
};
use http::HeaderMap;
use std::{collections::BTreeMap, fmt};
use wire::Peek;

/// A hypothetical request.
#[derive(Debug, Clone)]
pub struct Question {
    /// The client key's name.
    pub client: String,
    /// The model asked for.
    pub model: String,
    /// The inbound format.
    pub format: ApiFormat,
    /// Names the conversation: another one may go elsewhere. Without a name its body tells, as it does for a real one.
    pub session: String,
    /// What it needs.
    pub features: Vec<Feature>,
    /// What it requires.
    pub capabilities: Vec<Capability>,
    /// Its body, to see who could take it over on another wire, and where what it names was issued; empty if nothing is
    /// known of it.
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
    /// The body is none of the format.
    #[error("the body cannot be read: {0}")]
    Body(String),
    /// The body names what no provider key can serve for this client key.
    #[error("the request would be refused: {0}")]
    Named(String),
}

impl Question {
    /// What its body names of provider keys' own: who issued it is to be known before it is explained.
    pub fn names(&self) -> Result<Vec<Fingerprint>, NoAnswer> {
        Ok(self.peek()?.named.iter().map(|named| named.thing(&self.body)).collect())
    }

    fn peek(&self) -> Result<Peek, NoAnswer> {
        if self.body.is_empty() {
            return Ok(Peek::default());
        }
        let read = wire::peek(wire_of(self.format.family()), wire::Kind::Generate, &self.body);
        read.map_err(|error| NoAnswer::Body(error.to_string()))
    }
}

/// Plans a request that nobody sends, with the live state of `health`, and what is `known` of who issued what it names.
pub fn explain(
    catalog: &Catalog,
    health: &Health,
    known: &Bindings,
    question: &Question,
    now_us: i64,
) -> Result<Explanation, NoAnswer> {
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
    let (peek, body) = (question.peek()?, &question.body);
    let session = match question.session.as_str() {
        "" => client::session(&HeaderMap::new(), &peek, body),
        name => Some(client::session_named(name.as_bytes())),
    };
    let affinity = call::affinity(key.id, session, question.format, model.id);
    let mut refused = respond::Refused::new(wire_of(question.format.family()));
    let Bound { pin, .. } = bindings::look_up(known, key, &peek, body, now_us, &mut refused)
        .map_err(|fault| NoAnswer::Named(fault.public.into_owned()))?;
    let required: BTreeMap<_, _> = question.capabilities.iter().map(|capability| (*capability, true)).collect();
    let conversions = (!question.body.is_empty()).then(|| {
        let what = (wire_of(question.format.family()), RequestType::Chat);
        let loss = catalog.settings.conversion_loss;
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
        pin,
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
