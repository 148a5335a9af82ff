//! The order among those who could serve.

use super::{
    Candidate, Eligible, Facts, Native, Skip, SkipCode,
    affinity::{Economy, Record},
};
use crate::{
    catalog::{Mapping, Route, Settings},
    format::{PriorityMode, SchedulingMode},
    ids::{GlobalModelId, ProviderKeyId},
};
use std::cmp::Reverse;

const MINUTE_US: i64 = 60_000_000;

/// What the planner sees of one candidate's live state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// Why it is out for now.
    pub out: Option<Out>,
    /// The next request would be its breaker's probe.
    pub probe: bool,
    /// Slots of the key that are taken, in thousandths of its limit.
    pub load_millis: u32,
    /// Since when it has been usable without pause, Unix microseconds.
    pub usable_since_us: i64,
}

/// A passing reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Out {
    /// Its code.
    pub code: SkipCode,
    /// When it ends, Unix microseconds; 0 if it has no known end.
    pub until_us: i64,
    /// How long it is likely to last, in microseconds: for slots, from the usual length of a request.
    pub likely_us: i64,
}

/// Live state as the planner sees it: read, never changed.
pub trait StateView {
    /// The state of a candidate; `warm` if the caller's cache is there, so that reserved slots are for it.
    fn look(&self, route: &Route, model: GlobalModelId, warm: bool) -> Look;
}

/// Nothing is known of any candidate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Blank;

impl StateView for Blank {
    fn look(&self, _: &Route, _: GlobalModelId, _: bool) -> Look {
        Look::default()
    }
}

/// The ordered candidates and everyone who is out.
#[derive(Debug, Default)]
pub struct Plan<'a> {
    /// To be tried in this order.
    pub order: Vec<Planned<'a>>,
    /// Out, statically or for now.
    pub skipped: Vec<Skip>,
    /// The warm target is busy while others are free: whether to wait for it.
    pub economy: Option<Economy>,
}

/// Whether an attempt is a breaker's probe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Probe {
    /// The circuit is closed.
    #[default]
    No,
    /// Its time has come.
    Due,
    /// Every candidate is out for its circuit, and this one's time comes first.
    Forced,
}

/// One candidate in its place.
#[derive(Debug, Clone, Copy)]
pub struct Planned<'a> {
    /// What to use.
    pub route: &'a Route,
    /// Chosen because the caller's cache is warm there.
    pub warm: bool,
    /// Whether it is a probe.
    pub probe: Probe,
}

/// Orders the eligible candidates; those out for now move to the skipped ones.
///
/// `record` is the caller's affinity record, if one is in force.
pub fn plan<'a>(
    settings: &Settings,
    eligible: Eligible<'a>,
    facts: &Facts<'_>,
    record: Option<&Record>,
    state: &impl StateView,
) -> Plan<'a> {
    let record = record.filter(|_| settings.scheduling_mode == SchedulingMode::CacheAffinity);
    let mut skipped = eligible.skipped;
    let count = eligible.candidates.len();
    let mut usable: Vec<(Planned<'a>, i64)> = Vec::with_capacity(count);
    let mut ranks: Vec<Rank> = Vec::with_capacity(count);
    let mut warm_out: Option<(&Route, Out)> = None;
    let mut first_open: Option<(i64, &Route)> = None;
    let mut only_open = true;
    for candidate in &eligible.candidates {
        let route = candidate.route;
        let warm = record.is_some_and(|record| record.target == route.key.id);
        let look = state.look(route, facts.model.id, warm);
        let Some(out) = look.out else {
            let order = Order::of(settings, candidate, facts, &look);
            let at = u32::try_from(usable.len()).unwrap_or(u32::MAX);
            ranks.push(Rank { fields: order.rank(), spread: Reverse(order.spread), at });
            let probe = if look.probe { Probe::Due } else { Probe::No };
            usable.push((Planned { route, warm, probe }, look.usable_since_us));
            continue;
        };
        skipped.push(Skip { key_id: route.key.id, code: out.code, number: out.until_us / 1_000 });
        if warm && out.code.is_busy() {
            warm_out = Some((route, out));
        }
        only_open &= out.code == SkipCode::CircuitOpen;
        if out.code == SkipCode::CircuitOpen && first_open.is_none_or(|(until_us, _)| out.until_us < until_us) {
            first_open = Some((out.until_us, route));
        }
    }
    ranks.sort_unstable();
    if let Some(record) = record {
        to_the_front(&mut ranks, &mut usable, record, facts.now_us);
    }
    // Nothing is as dear as the thoughts that only their issuer understands.
    let pinned = facts
        .pin
        .target()
        .and_then(|home| ranks.iter().position(|rank| usable[rank.at as usize].0.route.key.id == home));
    if let Some(place) = pinned {
        ranks[..=place].rotate_right(1);
    }
    let mut order: Vec<Planned<'a>> = ranks.iter().map(|rank| usable[rank.at as usize].0).collect();
    let economy =
        warm_out.filter(|_| pinned.is_none()).zip(order.first()).zip(record).map(|(((route, out), other), record)| {
            let defaults = &settings.price_defaults;
            Economy::weigh(record, facts.model, route, other.route, defaults, out.likely_us)
        });
    if let Some((_, route)) = first_open.filter(|_| only_open && order.is_empty()) {
        skipped.retain(|skip| skip.key_id != route.key.id);
        order.push(Planned { route, warm: false, probe: Probe::Forced });
    }
    Plan { order, skipped, economy }
}

/// The warm target goes first, unless a better one has been usable for as long as the cache lives.
fn to_the_front(ranks: &mut [Rank], usable: &mut [(Planned<'_>, i64)], record: &Record, now_us: i64) {
    let Some(place) = ranks.iter().position(|rank| usable[rank.at as usize].0.warm) else { return };
    let best = &ranks[0];
    let (life_us, since_us) = (i64::from(record.ttl_minutes) * MINUTE_US, usable[best.at as usize].1);
    if best.class() < ranks[place].class() && since_us.saturating_add(life_us) <= now_us {
        usable[ranks[place].at as usize].0.warm = false;
        return;
    }
    ranks[..=place].rotate_right(1);
}

/// What orders a candidate among those that are equally warm; the first difference decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Lower first: the provider's with the mapping's adjustment, or the key's across providers.
    pub priority: i32,
    /// The user's own provider goes first.
    pub is_default_provider: bool,
    /// Closer to the caller's format goes first.
    pub native: Native,
    /// Lower first.
    pub internal_priority: i32,
    /// Whoever has the preferred capabilities goes first.
    pub has_preferred: bool,
    /// Lower first; 0 unless load decides.
    pub load_millis: u32,
    /// Higher first.
    pub spread: u64,
}

impl Order {
    /// The numbers of one candidate.
    pub fn of(settings: &Settings, candidate: &Candidate<'_>, facts: &Facts<'_>, look: &Look) -> Self {
        let Route { provider, key, .. } = candidate.route;
        let mapping =
            facts.key.mappings.iter().find(|mapping| mapping.is_enabled && mapping.provider_id == provider.id);
        let has = |capability| key.capabilities.get(capability) == Some(&true);
        let by_provider = settings.provider_priority_mode == PriorityMode::Provider;
        let default_provider = facts.user.and_then(|user| user.default_provider_id);
        Self {
            priority: if by_provider {
                provider.priority.saturating_add(mapping.map_or(0, |mapping| mapping.priority_adjustment))
            } else {
                key.global_priority.unwrap_or(i32::MAX)
            },
            is_default_provider: by_provider && default_provider == Some(provider.id),
            native: candidate.native,
            internal_priority: if by_provider { key.internal_priority } else { 0 },
            has_preferred: facts.preferred.iter().all(has),
            load_millis: match settings.scheduling_mode {
                SchedulingMode::LoadBalance => look.load_millis.min(0xffff),
                SchedulingMode::CacheAffinity | SchedulingMode::FixedOrder => 0,
            },
            spread: spread(facts.affinity, key.id, mapping),
        }
    }

    /// All but the spread in one number, the first in the highest bits: smaller goes first.
    fn rank(&self) -> u128 {
        let fields = [
            (32, rising(self.priority)),
            (8, u32::from(!self.is_default_provider)),
            (8, self.native as u32),
            (32, rising(self.internal_priority)),
            (8, u32::from(!self.has_preferred)),
            (LOAD_BITS, self.load_millis),
        ];
        fields.into_iter().fold(0, |rank, (bits, field)| rank << bits | u128::from(field))
    }
}

/// What is sorted: small, so that a thousand stay in the nearest cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// [`Order::rank`].
    fields: u128,
    spread: Reverse<u64>,
    /// Its place among the usable ones, which also tells equal spreads apart.
    at: u32,
}

/// Bits of the load, the last field before the spread.
const LOAD_BITS: u32 = 16;

impl Rank {
    /// What tells a lower-priority target from a preferred one: everything but load and spread.
    fn class(&self) -> u128 {
        self.fields >> LOAD_BITS
    }
}

/// A number whose order as unsigned is that of `value`.
fn rising(value: i32) -> u32 {
    value.cast_unsigned() ^ (1 << 31)
}

/// A key's score for a caller in weighted rendezvous hashing: the highest score wins, and adding or removing a key moves
/// only the callers that it wins or loses.
///
/// With u uniform in (0, 1] the classic score is weight ÷ −ln u. Integers keep it exact on every machine: −log₂ u is
/// taken in 32 fractional bits. Where all weigh the same, u itself has the same order.
fn spread(affinity: u64, key: ProviderKeyId, mapping: Option<&Mapping>) -> u64 {
    let (high, low) = key.uuid().as_u64_pair();
    let hash = mix(mix(mix(affinity ^ 0x9e37_79b9_7f4a_7c15) ^ high) ^ low);
    // With any mapping in force every candidate has one.
    let Some(mapping) = mapping else { return hash };
    let score = (u128::from(mapping.weight_millionths) << 64) / u128::from(minus_log2(hash | 1)).max(1);
    // The place of the highest bit and the 57 bits after it: the order stays, the size halves.
    let zeros = score.leading_zeros().min(127);
    let after = u64::try_from((score << zeros << 1) >> 71).unwrap_or(u64::MAX);
    u64::from(127 - zeros) << 57 | after
}

/// The finaliser of `SplitMix64` (Steele, Lea, Flood 2014): every input bit moves every output bit.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// −log₂(x ÷ 2⁶⁴) in units of 2⁻³², by repeated squaring of the mantissa; `x` is not 0.
fn minus_log2(x: u64) -> u64 {
    let whole = x.leading_zeros();
    let mut mantissa = x << whole; // in [2⁶³, 2⁶⁴): a number in [1, 2) with 63 fractional bits
    let mut fraction = 0_u64;
    for _ in 0..32 {
        let squared = (u128::from(mantissa) * u128::from(mantissa)) >> 63;
        fraction <<= 1;
        if let Ok(small) = u64::try_from(squared) {
            mantissa = small;
        } else {
            fraction |= 1;
            mantissa = u64::try_from(squared >> 1).unwrap_or(u64::MAX);
        }
    }
    ((u64::from(whole) + 1) << 32) - fraction
}
