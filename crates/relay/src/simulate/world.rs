//! The run itself: events in the order of virtual time.

mod traffic;
mod waiting;

use super::{
    Chance,
    report::{KeyReport, Report},
    scenario::{Policy, Scenario, UnknownName},
    upstream::{Account, Ask, Outcome},
};
use crate::{
    health::{Health, Held, Place, Probe, micros},
    limiter::Local,
};
use domain::{
    catalog::{Catalog, ClientKey, GlobalModel, Route, Settings},
    format::{ApiFormat, Family, RequestType, SchedulingMode},
    ids::ProviderKeyId,
    ports::{Busy, Clock},
    price::{EffectivePrice, TokenCounts, list_cost},
    schedule::{
        self, CarriesAll, Facts, Pin, Planned, Skip, SkipCode,
        affinity::{Conversation, Served},
        attempt::{Failed as Tried, Left, Next, Verdict, backoff_ms, next},
        health::Failed,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

/// Runs begin at the first instant of 2026, UTC.
const START_US: i64 = 1_767_225_600_000_000;
const S: i64 = 1_000_000;
/// Candidates that one request may try, as by default.
const CANDIDATES_MAX: usize = 5;

/// Virtual time.
struct Virtual(AtomicI64);

impl Clock for Virtual {
    fn unix_us(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn monotonic_us(&self) -> u64 {
        (self.unix_us() - START_US).unsigned_abs()
    }
}

/// Who asks for what, the same for all turns of a conversation.
#[derive(Clone, Copy)]
struct Caller<'c> {
    key: &'c ClientKey,
    model: &'c GlobalModel,
    format: ApiFormat,
    conversation: u64,
}

/// A request that arrives; `flow` is the traffic that goes on after it.
#[derive(Clone, Copy)]
struct Request<'c> {
    caller: Caller<'c>,
    ask: Ask,
    flow: Option<usize>,
    turn: u32,
}

enum Event<'c> {
    Arrives(Request<'c>),
    /// An attempt ends.
    Ends(usize),
    /// A back-off is over.
    Retries(usize),
    /// A wait may be over.
    Wakes(usize),
}

struct Attempt<'c> {
    planned: Planned<'c>,
    held: Held,
    probe: Option<Probe>,
    outcome: Outcome,
    began_us: i64,
}

struct Flight<'c> {
    request: Request<'c>,
    arrived_us: i64,
    order: Vec<Planned<'c>>,
    at: usize,
    skipped: Vec<Skip>,
    tried: Vec<Tried>,
    retries: u32,
    open: Option<Attempt<'c>>,
    /// What waits for its retry: the candidate, its last failure, and its probe.
    pending: Option<(Planned<'c>, Failed, Option<Probe>)>,
    place: Option<Place>,
    patience_us: Option<i64>,
    met_429: bool,
}

struct World<'c> {
    catalog: &'c Catalog,
    settings: Settings,
    scenario: &'c Scenario,
    chance: Chance,
    clock: Arc<Virtual>,
    limiter: Arc<Local>,
    health: Health,
    events: BTreeMap<(i64, u64), Event<'c>>,
    serial: u64,
    flights: Vec<Option<Flight<'c>>>,
    waiting: BTreeSet<(i64, usize)>,
    accounts: HashMap<ProviderKeyId, Account>,
    keys: HashMap<ProviderKeyId, KeyReport>,
    /// The prompt of each conversation's last turn.
    sent: HashMap<u64, u64>,
    rotation: usize,
    report: Report,
}

/// Plays `scenario` against `catalog`.
pub fn run(catalog: &Arc<Catalog>, scenario: &Scenario, seed: u64) -> Result<Report, UnknownName> {
    let clock = Arc::new(Virtual(AtomicI64::new(START_US)));
    let (health, limiter) = Health::alone(clock.clone(), catalog.clone());
    let mut settings = catalog.settings.clone();
    if scenario.policy != Policy::Configured {
        settings.scheduling_mode = SchedulingMode::FixedOrder;
    }
    let mut world = World {
        catalog,
        settings,
        scenario,
        chance: Chance(seed),
        health,
        clock,
        limiter,
        events: BTreeMap::new(),
        serial: 0,
        flights: Vec::new(),
        waiting: BTreeSet::new(),
        accounts: HashMap::new(),
        keys: HashMap::new(),
        sent: HashMap::new(),
        rotation: 0,
        report: Report::default(),
    };
    world.schedule_traffic()?;
    world.play();
    Ok(world.told())
}

impl<'c> World<'c> {
    fn now(&self) -> i64 {
        self.clock.unix_us()
    }

    fn at(&mut self, at_us: i64, event: Event<'c>) {
        self.events.insert((at_us, self.serial), event);
        self.serial += 1;
    }

    fn play(&mut self) {
        let end_us = START_US + i64::from(self.scenario.minutes) * 60 * S;
        while let Some(((at_us, _), event)) = self.events.pop_first() {
            if at_us >= end_us {
                return;
            }
            self.clock.0.store(at_us, Ordering::Relaxed);
            match event {
                Event::Arrives(request) => {
                    let id = self.flights.len();
                    self.flights.push(Some(Flight {
                        request,
                        arrived_us: at_us,
                        order: Vec::new(),
                        at: 0,
                        skipped: Vec::new(),
                        tried: Vec::new(),
                        retries: 0,
                        open: None,
                        pending: None,
                        place: None,
                        patience_us: None,
                        met_429: false,
                    }));
                    self.go(id);
                }
                Event::Ends(id) => self.ends(id),
                Event::Retries(id) => self.retries(id),
                Event::Wakes(id) => {
                    if let Some(arrived_us) = self.flights[id].as_ref().map(|flight| flight.arrived_us)
                        && self.waiting.remove(&(arrived_us, id))
                    {
                        self.go(id);
                    }
                }
            }
        }
    }

    /// Plans, and tries from the beginning.
    fn go(&mut self, id: usize) {
        let Some(flight) = &self.flights[id] else { return };
        let (now_us, caller) = (self.now(), flight.request.caller);
        let (features, required, preferred) = ([], BTreeMap::new(), []);
        let user = caller.key.user_id.and_then(|user| self.catalog.users.get(&user));
        let facts = Facts {
            user: user.map(|user| &**user),
            key: caller.key,
            model: caller.model,
            format: caller.format,
            request_type: RequestType::Chat,
            features: &features,
            required: &required,
            preferred: &preferred,
            affinity: caller.conversation,
            now_us,
            pin: Pin::Nowhere,
            conversion: &CarriesAll,
        };
        let by_affinity = self.by_affinity();
        let conversation = Conversation { client: caller.key.id, hash: caller.conversation };
        let record = if by_affinity { self.health.warm(conversation, now_us) } else { None };
        let eligible = schedule::eligible(self.catalog, &facts);
        let view = self.health.view(caller.key.id.into(), by_affinity, now_us);
        let mut plan = schedule::plan(&self.settings, eligible, &facts, record.as_ref(), &view);
        drop(view);
        if let Some(economy) = plan.economy
            && self.waits_for_warm(id, &economy, &plan.skipped)
        {
            return;
        }
        if self.scenario.policy == Policy::RoundRobin && !plan.order.is_empty() {
            let by = self.rotation % plan.order.len();
            plan.order.rotate_left(by);
            self.rotation += 1;
        }
        if let Some(flight) = &mut self.flights[id] {
            (flight.order, flight.skipped, flight.at) = (plan.order, plan.skipped, 0);
        }
        self.next(id);
    }

    fn by_affinity(&self) -> bool {
        self.settings.scheduling_mode == SchedulingMode::CacheAffinity
    }

    /// Tries the next candidates until one takes the request.
    fn next(&mut self, id: usize) {
        loop {
            let Some(flight) = &mut self.flights[id] else { return };
            if flight.tried.len() >= CANDIDATES_MAX || flight.at >= flight.order.len() {
                break;
            }
            let planned = flight.order[flight.at];
            flight.at += 1;
            flight.retries = 0;
            let Err(busy) = self.begin(id, planned, None) else { return };
            let number = busy.wait.map_or(0, |wait| (self.now() + micros(wait)) / 1_000);
            if let Some(flight) = &mut self.flights[id] {
                flight.skipped.push(Skip { key_id: planned.route.key.id, code: busy.code, number });
            }
        }
        if !self.waits(id) {
            self.finish(id, None);
        }
    }

    fn begin(&mut self, id: usize, planned: Planned<'c>, probe: Option<Probe>) -> Result<(), Busy> {
        let (now_us, reserves) = (self.now(), self.by_affinity());
        let Some(flight) = &mut self.flights[id] else { return Ok(()) };
        let Planned { route, warm, probe: kind } = planned;
        let full = |code| Busy { code, wait: None };
        let probe = match (probe, kind) {
            (None, schedule::Probe::Due | schedule::Probe::Forced) => {
                let forced = kind == schedule::Probe::Forced;
                Some(self.health.probe(&route.key, forced, now_us).ok_or(full(SkipCode::CircuitOpen))?)
            }
            (probe, _) => probe,
        };
        if let Some(code) = self.health.queue.ahead(route, reserves && !warm, flight.place.as_ref()) {
            return Err(full(code));
        }
        let room = self.health.room(&route.key, warm, reserves, now_us);
        let permits = self.limiter.take(route, room).inspect_err(|_| self.health.refused(route.key.id, now_us))?;
        self.health.began(route.key.id, permits.in_flight, now_us);
        let held = Held::new(&self.health.queue, route, permits);
        flight.place = None;
        let Some(account) = self.accounts.get_mut(&route.key.id) else { return Err(full(SkipCode::KeyInactive)) };
        let (outcome, took_us) = account.begin(&flight.request.ask, now_us - START_US);
        if let Some(key) = self.keys.get_mut(&route.key.id) {
            key.peak = key.peak.max(held.in_flight());
            key.attempts.push((now_us - START_US, matches!(outcome, Outcome::Served(_))));
            key.limited += u64::from(matches!(outcome, Outcome::Failed(Verdict::RateLimited, _)));
        }
        flight.open = Some(Attempt { planned, held, probe, outcome, began_us: now_us });
        let took_us = self.chance.around(took_us);
        self.at(now_us + took_us, Event::Ends(id));
        Ok(())
    }

    fn ends(&mut self, id: usize) {
        let now_us = self.now();
        let Some(flight) = &mut self.flights[id] else { return };
        let Some(mut attempt) = flight.open.take() else { return };
        let (caller, route) = (flight.request.caller, attempt.planned.route);
        if let Some(account) = self.accounts.get_mut(&route.key.id) {
            account.end();
        }
        attempt.held.answered();
        let in_flight = attempt.held.in_flight();
        drop(attempt.held);
        match attempt.outcome {
            Outcome::Served(tokens) => {
                let took = Duration::from_micros((now_us - attempt.began_us).unsigned_abs());
                self.health.succeeded(route, caller.key.id.into(), attempt.probe.is_some(), took, now_us);
                if let Some(probe) = attempt.probe {
                    probe.told();
                }
                self.remember(&caller, route, &tokens);
                self.finish(id, Some((route, tokens)));
            }
            Outcome::Failed(verdict, hints) => {
                flight.met_429 |= verdict == Verdict::RateLimited;
                let failed = Failed {
                    verdict,
                    model: caller.model.id,
                    by: caller.key.id.into(),
                    probe: attempt.probe.is_some(),
                    hints,
                    in_flight,
                    learns: route.key.max_concurrent.is_none(),
                    suspect: false,
                };
                let others = (flight.order.len() - flight.at).min(CANDIDATES_MAX - flight.tried.len() - 1);
                let left = Left {
                    retries: if failed.probe { 0 } else { route.endpoint.max_retries.saturating_sub(flight.retries) },
                    names: 0,
                    candidates: u32::try_from(others).unwrap_or(u32::MAX),
                    retried: flight.retries > 0,
                };
                match next(verdict, false, left) {
                    Next::Retry => {
                        let chance = u32::try_from(self.chance.next() >> 32).unwrap_or(0);
                        let wait_us = i64::try_from(backoff_ms(flight.retries, chance)).unwrap_or(0) * 1_000;
                        flight.retries += 1;
                        flight.pending = Some((attempt.planned, failed, attempt.probe));
                        self.at(now_us + wait_us, Event::Retries(id));
                    }
                    after => self.lost(id, route, &failed, attempt.probe, after),
                }
            }
        }
        self.call_waiting();
    }

    fn retries(&mut self, id: usize) {
        let Some((planned, failed, probe)) = self.flights[id].as_mut().and_then(|flight| flight.pending.take()) else {
            return;
        };
        if self.begin(id, planned, probe).is_err() {
            self.lost(id, planned.route, &failed, None, Next::OtherCandidate);
        }
    }

    /// A candidate failed for good.
    fn lost(&mut self, id: usize, route: &Route, failed: &Failed, probe: Option<Probe>, after: Next) {
        let now_us = self.now();
        let opened = |health: &Health| health.key(route.key.id, now_us).state().opened_us;
        let before = opened(&self.health);
        self.health.failed(route, failed, now_us);
        if let Some(key) = self.keys.get_mut(&route.key.id) {
            key.openings += u64::from(opened(&self.health) != before);
        }
        if let Some(probe) = probe {
            probe.told();
        }
        if let Some(flight) = &mut self.flights[id] {
            flight.tried.push(Tried { verdict: failed.verdict, timed_out: false });
        }
        if after == Next::Stop { self.finish(id, None) } else { self.next(id) }
    }

    fn remember(&mut self, caller: &Caller<'_>, route: &Route, tokens: &TokenCounts) {
        if self.by_affinity() {
            let served = Served {
                target: route.key.id,
                ttl_minutes: route.key.cache_ttl_minutes,
                cache_tokens: tokens.cache_read + tokens.cache_creation(),
                reports: route.endpoint.api_format.family() == Family::Anthropic,
            };
            let conversation = Conversation { client: caller.key.id, hash: caller.conversation };
            self.health.served(conversation, &served, self.now());
        }
    }

    /// A request is over; its conversation goes on.
    fn finish(&mut self, id: usize, served: Option<(&Route, TokenCounts)>) {
        let now_us = self.now();
        let Some(flight) = self.flights[id].take() else { return };
        let Request { caller, ask, flow, turn: number } = flight.request;
        let report = &mut self.report;
        report.requests += 1;
        report.met_429 += u64::from(flight.met_429);
        let last = flight.tried.last().map(|tried| tried.verdict);
        match (served, last) {
            (Some((route, tokens)), _) => {
                report.served += 1;
                report.latencies_us.push(now_us - flight.arrived_us);
                let cacheable = self.sent.insert(ask.conversation, ask.prompt_tokens).unwrap_or(0);
                report.cacheable_tokens += cacheable.min(ask.prompt_tokens);
                report.cached_tokens += tokens.cache_read.min(cacheable);
                let price = EffectivePrice::of(caller.model, &route.model);
                let defaults = &self.settings.price_defaults;
                let units = price.units(tokens.context(), 5, route.endpoint.api_format.family(), defaults);
                let cost = units.and_then(|units| list_cost(&tokens, &units, true));
                report.cost = report.cost + cost.map(|cost| cost.total).unwrap_or_default();
            }
            (None, Some(Verdict::CallersFault)) => report.mistakes += 1,
            (None, None | Some(Verdict::RateLimited)) => report.refused += 1,
            (None, Some(_)) => report.failed += 1,
        }
        let Some(traffic) = flow.map(|flow| &self.scenario.traffic[flow]) else { return };
        let pause_us = self.chance.around(i64::from(traffic.think_ms) * 1_000).max(1_000);
        let begins_us = now_us + pause_us;
        let is_over = traffic.end_s > 0 && begins_us >= START_US + i64::from(traffic.end_s) * S;
        if !is_over && (traffic.turns == 0 || number + 1 < traffic.turns) {
            let ask = traffic::turn(traffic, number + 1, caller.conversation);
            self.at(begins_us, Event::Arrives(Request { caller, ask, flow, turn: number + 1 }));
        }
    }

    fn told(mut self) -> Report {
        self.report.latencies_us.sort_unstable();
        let now_us = self.now();
        let mut keys: Vec<KeyReport> = std::mem::take(&mut self.keys).into_values().collect();
        for key in &mut keys {
            let live = self.health.key(key.id, now_us);
            let state = live.state();
            key.learned = state.learning.limit;
            key.health_millis = state.breaker.window.health_millis(now_us);
        }
        keys.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        Report { keys, ..self.report }
    }
}
