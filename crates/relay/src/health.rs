//! Live state of provider keys: what attempts teach, where caches are warm, and what the planner sees of both.
//!
//! Every lock is held for a few instructions, never across an await; the planner takes one key at a time.

mod ended;
mod queue;

pub(crate) use ended::{lost, settled};
pub(crate) use queue::{Held, Line, Place, Queue};

use crate::limiter::Local;
use domain::{
    catalog::{Catalog, ProviderKey, Route},
    ids::{BuildIdHasher, EndpointId, GlobalModelId, ModelId, ProviderKeyId},
    ledger::Ledger,
    limit::key::{At, KeyCounts},
    ports::{Busy, Clock, Directory, Limiter, Room},
    schedule::{
        Look, Out, SkipCode, StateView,
        adaptive::{GROWTH_MAX, surely_free},
        affinity::{Conversation, Record, Served, Table},
        attempt::{Effect, Verdict},
        blame::Blame,
        breaker::{self, Backoff, Caller, Change, Event, Stand, Weights},
        health::{Failed, KeyState},
    },
};
use std::{
    cell::Cell,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};
use tracing::{info, warn};

/// A model named unknown so often in a row is unavailable.
const UNKNOWN_MAX: u32 = 3;
const MINUTE_US: i64 = 60_000_000;
/// When a suspect may come back to a key that somebody else is to probe.
const SUSPECT_RETRY_US: i64 = 1_000_000;

/// One provider key.
pub(crate) struct Key {
    state: Mutex<KeyState>,
    counts: Arc<KeyCounts>,
    /// Nothing keeps it back: [`KeyState::is_calm`]. Most keys are, and the planner need not open them.
    calm: AtomicBool,
    usable_since_us: AtomicI64,
}

impl Key {
    fn new(state: KeyState, counts: Arc<KeyCounts>) -> Self {
        let calm = AtomicBool::new(state.is_calm());
        let usable_since_us = AtomicI64::new(state.usable_since_us);
        Self { state: Mutex::new(state), counts, calm, usable_since_us }
    }

    pub(crate) fn state(&self) -> Stated<'_> {
        Stated { state: self.state.lock().unwrap_or_else(PoisonError::into_inner), key: self }
    }
}

/// A key's state while it is read or changed; what the planner reads without it follows at the end.
pub(crate) struct Stated<'a> {
    state: MutexGuard<'a, KeyState>,
    key: &'a Key,
}

impl Deref for Stated<'_> {
    type Target = KeyState;
    fn deref(&self) -> &KeyState {
        &self.state
    }
}

impl DerefMut for Stated<'_> {
    fn deref_mut(&mut self) -> &mut KeyState {
        &mut self.state
    }
}

impl Drop for Stated<'_> {
    fn drop(&mut self) {
        self.key.calm.store(self.state.is_calm(), Ordering::Release);
        self.key.usable_since_us.store(self.state.usable_since_us, Ordering::Release);
    }
}

type Keys = papaya::HashMap<ProviderKeyId, Arc<Key>, BuildIdHasher>;

/// Live state of all provider keys.
pub struct Health {
    limiter: Arc<dyn Limiter>,
    ledger: Arc<Ledger>,
    keys: Keys,
    affinity: Mutex<Table>,
    blame: Mutex<Blame>,
    /// Models that upstreams did not know, and how often in a row.
    unknown: papaya::HashMap<ModelId, AtomicU32, BuildIdHasher>,
    any_unknown: AtomicBool,
    /// The first opening of a circuit, in microseconds.
    first_rest_us: i64,
    /// Keys whose credentials were refused, that nobody was told of yet.
    unusable: Mutex<Vec<ProviderKeyId>>,
    pub(crate) queue: Arc<Queue>,
}

/// A provider key as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Of its last outcomes.
    pub weights: Weights,
    /// It serves.
    pub is_closed: bool,
    /// Requests at a time, set or learned.
    pub limit: Option<u32>,
    /// Requests now.
    pub in_flight: u32,
}

/// A catalog that stays as it is.
struct Fixed(Arc<Catalog>);

impl Directory for Fixed {
    fn catalog(&self) -> Arc<Catalog> {
        self.0.clone()
    }
}

/// The right to probe a key; dropped without an outcome, another may probe.
pub(crate) struct Probe(Option<Arc<Key>>);

impl Probe {
    /// The outcome is told to the breaker.
    pub(crate) fn told(mut self) {
        self.0 = None;
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if let Some(key) = &self.0 {
            key.state().step(Event::Unprobed, 0, Backoff { first_us: 0, cap_us: 0, chance: 0 });
        }
    }
}

impl Health {
    /// Nothing is known yet.
    pub fn new(limiter: Arc<dyn Limiter>, ledger: Arc<Ledger>) -> Self {
        Self {
            limiter,
            ledger,
            keys: Keys::default(),
            affinity: Mutex::default(),
            blame: Mutex::default(),
            unknown: papaya::HashMap::default(),
            any_unknown: AtomicBool::new(false),
            first_rest_us: breaker::FIRST_US,
            unusable: Mutex::default(),
            queue: Arc::default(),
        }
    }

    /// Lets a circuit that opens for the first time rest so long.
    #[must_use]
    pub fn with_first_rest(self, rest: Duration) -> Self {
        Self { first_rest_us: micros(rest), ..self }
    }

    /// The state of a process that serves nobody, before this catalog, and its limiter.
    pub fn alone(clock: Arc<dyn Clock>, catalog: Arc<Catalog>) -> (Self, Arc<Local>) {
        let ledger = Arc::new(Ledger::new(catalog.clone()));
        let limiter = Arc::new(Local::new(clock, Arc::new(Fixed(catalog))));
        (Self::new(limiter.clone(), ledger), limiter)
    }

    /// The state of a key; it begins when the key is first seen.
    pub(crate) fn key(&self, id: ProviderKeyId, now_us: i64) -> Arc<Key> {
        if let Some(key) = self.keys.pin().get(&id) {
            return key.clone();
        }
        let key = Arc::new(Key::new(KeyState::new(now_us), self.limiter.key_counts(id)));
        self.keys.pin().get_or_insert(id, key).clone()
    }

    /// The caller's affinity record, if its target has not failed since.
    pub fn warm(&self, conversation: Conversation, now_us: i64) -> Option<Record> {
        let record = self.table().get(conversation, now_us)?;
        let holds = self.key(record.target, now_us).state().is_warm_since(record.written_us);
        holds.then_some(record)
    }

    /// What the planner sees for this caller; with `reserves`, callers whose cache is elsewhere leave slots to those whose
    /// is here.
    pub fn view(&self, by: Caller, reserves: bool, now_us: i64) -> View<'_> {
        let may_probe = !self.blame().is_suspect(by, now_us);
        let (keys, at) = (self.keys.pin(), self.limiter.at());
        View { health: self, keys, may_probe, reserves, now_us, at, above: Cell::new(None) }
    }

    /// The slots of a key that this caller may use.
    pub(crate) fn room(&self, key: &ProviderKey, warm: bool, reserves: bool, now_us: i64) -> Room {
        let live = self.key(key.id, now_us);
        let state = live.state();
        room(&state, key, live.counts.slots.taken(), !warm && reserves, now_us)
    }

    /// An attempt begins, the `in_flight`th at this key.
    pub(crate) fn began(&self, key: ProviderKeyId, in_flight: u32, now_us: i64) {
        self.key(key, now_us).state().learning.began(in_flight, now_us);
    }

    /// A candidate had no slot.
    pub(crate) fn refused(&self, key: ProviderKeyId, now_us: i64) {
        self.key(key, now_us).state().paused(now_us);
    }

    /// Asks for the right to probe; `None` if a probe is out, or it is not time.
    pub(crate) fn probe(&self, key: &ProviderKey, forced: bool, now_us: i64) -> Option<Probe> {
        let live = self.key(key.id, now_us);
        let change = live.state().step(Event::Asked { forced }, now_us, self.backoff(key, now_us));
        (change == Some(Change::Probe)).then(|| Probe(Some(live)))
    }

    /// A request failed at this candidate for good.
    pub(crate) fn failed(&self, route: &Route, failed: &Failed, now_us: i64) {
        let key = &route.key;
        let mut failed = *failed;
        if failed.verdict.effect() == Effect::Counts {
            let another = self.key(key.id, now_us).state().breaker.window.another(failed.by, now_us);
            let mut blame = self.blame();
            blame.failed(failed.by, key.id, another, now_us);
            failed.suspect = blame.is_suspect(failed.by, now_us);
        }
        let change = self.key(key.id, now_us).state().failed(&failed, now_us, self.backoff(key, now_us));
        if let Some(Change::Opened { until_us }) = change {
            let rest_s = (until_us - now_us) / 1_000_000;
            warn!(provider_key.id = %key.id, provider = %route.provider.name, verdict = %failed.verdict, rest_s,
                "the circuit of provider key {:?} of {} opened", key.name, route.provider.name);
        }
        if failed.verdict == Verdict::KeyUnusable {
            let mut unusable = self.unusable();
            if !unusable.contains(&key.id) {
                unusable.push(key.id);
            }
        }
        if failed.verdict == Verdict::UnknownModel {
            let times = self
                .unknown
                .pin()
                .get_or_insert_with(route.model.id, AtomicU32::default)
                .fetch_add(1, Ordering::Relaxed);
            self.any_unknown.store(true, Ordering::Release);
            if times + 1 == UNKNOWN_MAX {
                warn!(model.id = %route.model.id, provider = %route.provider.name,
                    "{} does not know its model {:?}; it is skipped", route.provider.name, route.model.provider_model_name);
            }
        }
    }

    /// A request ended well at this candidate.
    pub(crate) fn succeeded(&self, route: &Route, by: Caller, probe: bool, took: Duration, now_us: i64) {
        let key = &route.key;
        self.blame().succeeded(by, now_us);
        let change = self.key(key.id, now_us).state().succeeded(by, probe, took, now_us, self.backoff(key, now_us));
        if change == Some(Change::Closed) {
            info!(provider_key.id = %key.id, provider = %route.provider.name,
                "provider key {:?} of {} serves again", key.name, route.provider.name);
        }
        if self.any_unknown.load(Ordering::Acquire) {
            self.unknown.pin().remove(&route.model.id);
        }
    }

    /// Remembers where a conversation's cache is.
    pub fn served(&self, conversation: Conversation, served: &Served, now_us: i64) {
        self.table().served(conversation, served, now_us);
    }

    /// The state of every key that was seen.
    pub fn states(&self) -> Vec<(ProviderKeyId, KeyState)> {
        self.keys.pin().iter().map(|(id, key)| (*id, key.state().clone())).collect()
    }

    /// What a key's outcomes weigh, whether its circuit is closed, its limit and how many are in flight.
    pub fn shows(&self, key: &ProviderKey, now_us: i64) -> Shown {
        let live = self.key(key.id, now_us);
        let state = live.state();
        Shown {
            weights: state.breaker.window.weights(now_us),
            is_closed: state.stand(now_us) == Stand::Closed,
            limit: key.max_concurrent.or(state.learning.limit),
            in_flight: live.counts.slots.taken(),
        }
    }

    /// Takes over what an earlier process knew of a key, before requests come.
    pub fn restore(&self, id: ProviderKeyId, mut state: KeyState, now_us: i64) {
        state.resume(now_us);
        *self.key(id, now_us).state() = state;
    }

    /// Clears a key's breaker and its rests by hand; what an admin switched off stays off.
    pub fn reset(&self, id: ProviderKeyId, now_us: i64) {
        self.key(id, now_us).state().reset(now_us);
    }

    /// Keys whose credentials were refused since this was asked last: an admin should know.
    pub fn take_unusable(&self) -> Vec<ProviderKeyId> {
        std::mem::take(&mut self.unusable())
    }

    /// Models that are skipped because their upstreams do not know them.
    pub fn unknown_models(&self) -> Vec<ModelId> {
        let unknown = self.unknown.pin();
        let models = unknown.iter().filter(|(_, times)| times.load(Ordering::Relaxed) >= UNKNOWN_MAX);
        models.map(|(id, _)| *id).collect()
    }

    /// The catalog knows of it: should somebody set the model right there, it is tried again.
    pub fn forget_unknown(&self, model: ModelId) {
        self.unknown.pin().remove(&model);
    }

    /// An opening's length, with chance from the clock and the key's random id.
    fn backoff(&self, key: &ProviderKey, now_us: i64) -> Backoff {
        let (_, low) = key.id.uuid().as_u64_pair();
        let mixed = (low ^ now_us.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let cap_us = i64::from(key.max_probe_interval_minutes) * MINUTE_US;
        Backoff { first_us: self.first_rest_us, cap_us, chance: u32::try_from(mixed >> 32).unwrap_or(0) }
    }

    fn is_unknown(&self, model: ModelId) -> bool {
        self.any_unknown.load(Ordering::Acquire)
            && self.unknown.pin().get(&model).is_some_and(|times| times.load(Ordering::Relaxed) >= UNKNOWN_MAX)
    }

    fn unusable(&self) -> MutexGuard<'_, Vec<ProviderKeyId>> {
        self.unusable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blame(&self) -> MutexGuard<'_, Blame> {
        self.blame.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.affinity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn room(state: &KeyState, key: &ProviderKey, in_flight: u32, cold: bool, now_us: i64) -> Room {
    let limit = key.max_concurrent.or(state.learning.limit);
    Room { limit, cold: limit.filter(|_| cold).map(|limit| state.cold_limit(in_flight, limit, now_us)) }
}

/// Live state at one instant, read candidate by candidate.
pub struct View<'a> {
    health: &'a Health,
    keys: papaya::HashMapRef<'a, ProviderKeyId, Arc<Key>, BuildIdHasher, papaya::LocalGuard<'a>>,
    /// A suspect proves nothing by a probe.
    may_probe: bool,
    reserves: bool,
    now_us: i64,
    at: At,
    /// What was found of the last endpoint and its provider: keys of one follow each other.
    above: Cell<Option<(EndpointId, Option<Busy>)>>,
}

impl View<'_> {
    /// What the limits of provider, endpoint and key say.
    fn limits(&self, live: &Key, route: &Route) -> Option<Busy> {
        let above = match self.above.get() {
            Some((endpoint, found)) if endpoint == route.endpoint.id => found,
            _ => {
                let found = self.health.limiter.look_above(route, &self.at).err();
                self.above.set(Some((route.endpoint.id, found)));
                found
            }
        };
        above.or_else(|| {
            let (code, wait) = live.counts.look(&route.key, &self.at).err()?;
            Some(Busy { code, wait: Some(wait) })
        })
    }
}

impl StateView for View<'_> {
    fn look(&self, route: &Route, model: GlobalModelId, warm: bool) -> Look {
        let (key, now_us) = (&route.key, self.now_us);
        let Some(live) = self.keys.get(&key.id) else {
            // Seen for the first time: nothing is known of it but its limits.
            let live = self.health.key(key.id, now_us);
            return self.look_at(&live, route, model, warm);
        };
        self.look_at(live, route, model, warm)
    }
}

impl View<'_> {
    fn look_at(&self, live: &Key, route: &Route, model: GlobalModelId, warm: bool) -> Look {
        let (key, now_us) = (&route.key, self.now_us);
        let until = |code, until_us: i64| Out { code, until_us, likely_us: until_us - now_us };
        let usable_since_us = live.usable_since_us.load(Ordering::Acquire);
        let load = |in_flight: u32, limit: Option<u32>| {
            let millis = u64::from(in_flight) * 1_000 / u64::from(limit.unwrap_or(GROWTH_MAX).max(1));
            u32::try_from(millis).unwrap_or(u32::MAX)
        };
        let limits = || {
            if let Some(quota) = route.provider.quota.filter(|_| self.health.ledger.is_spent(&route.provider)) {
                return Some(until(SkipCode::ProviderQuotaExhausted, quota.ends_at));
            }
            self.limits(live, route).map(|Busy { code, wait }| match wait {
                Some(wait) => until(code, now_us.saturating_add(micros(wait))),
                None => Out { code, until_us: 0, likely_us: 0 },
            })
        };
        let unavailable = || {
            let is_unknown = self.health.is_unknown(route.model.id);
            is_unknown.then_some(Out { code: SkipCode::ModelUnavailable, until_us: 0, likely_us: 0 })
        };
        let calm = live.calm.load(Ordering::Acquire);
        if calm && self.reserves && key.max_concurrent.is_none() {
            // Load decides nothing where affinity does.
            return Look { out: unavailable().or_else(limits), probe: false, load_millis: 0, usable_since_us };
        }
        let in_flight = live.counts.slots.taken();
        if calm && key.max_concurrent.is_none_or(|limit| in_flight < surely_free(limit)) {
            let out = unavailable().or_else(limits);
            return Look { out, probe: false, load_millis: load(in_flight, key.max_concurrent), usable_since_us };
        }
        let (room, cooling, stand, usual_us) = {
            let state = live.state();
            let room = room(&state, key, in_flight, !warm && self.reserves, now_us);
            (room, state.cooling(model, now_us), state.stand(now_us), state.stats.usual_us)
        };
        let no_slot = || {
            let code = room.refuses(in_flight)?;
            // A slot of many comes free sooner than one request takes.
            Some(Out { code, until_us: 0, likely_us: usual_us / i64::from(in_flight.max(1)) })
        };
        let out = unavailable()
            .or_else(limits)
            .or_else(no_slot)
            .or_else(|| cooling.map(|end| until(SkipCode::KeyCooling, end)))
            .or_else(|| match stand {
                Stand::Out { until_us, .. } => Some(until(SkipCode::CircuitOpen, until_us)),
                Stand::Due if !self.may_probe => Some(until(SkipCode::CircuitOpen, now_us + SUSPECT_RETRY_US)),
                Stand::Closed | Stand::Due => None,
            });
        Look { out, probe: stand == Stand::Due, load_millis: load(in_flight, room.limit), usable_since_us }
    }
}

/// A candidate's name for people: provider, endpoint format and provider key.
pub(crate) fn shown(route: &Route) -> String {
    format!("{}/{}/{}", route.provider.name, route.endpoint.api_format, route.key.name)
}

pub(crate) fn micros(wait: Duration) -> i64 {
    i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)
}
