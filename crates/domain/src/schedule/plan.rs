//! The order among those who could serve.

use super::{Candidate, Eligible, Facts, Skip, SkipCode, adaptive, affinity, breaker, limits};
use crate::{catalog::Route, format::PriorityMode, ids::ProviderKeyId};
use std::cmp::Reverse;

/// Live state as the planner sees it: read, never changed.
#[derive(Debug, Default, Clone, Copy)]
pub struct StateView<'a> {
    /// Where the caller's prompt cache is warm.
    pub affinity: affinity::View<'a>,
    /// Breakers.
    pub breaker: breaker::View<'a>,
    /// Cool-offs.
    pub limits: limits::View<'a>,
    /// Learned concurrency.
    pub adaptive: adaptive::View<'a>,
}

/// The ordered candidates and everyone who is out.
#[derive(Debug, Default)]
pub struct Plan<'a> {
    /// To be tried in this order.
    pub order: Vec<Planned<'a>>,
    /// Out, statically or for now.
    pub skipped: Vec<Skip>,
}

/// One candidate in its place.
#[derive(Debug, Clone)]
pub struct Planned<'a> {
    /// What to use.
    pub route: &'a Route,
    /// Chosen because the caller's cache is warm there.
    pub warm: bool,
}

/// Orders the eligible candidates; those out for now move to the skipped ones.
pub fn plan<'a>(mode: PriorityMode, eligible: Eligible<'a>, facts: &Facts<'_>, state: &StateView<'_>) -> Plan<'a> {
    let warm = state.affinity.target();
    let mut skipped = eligible.skipped;
    let mut ranked: Vec<(Rank, Planned<'a>)> = Vec::with_capacity(eligible.candidates.len());
    for candidate in eligible.candidates {
        let key = &candidate.route.key;
        let passing =
            state.limits.cooling(key.id, facts.model.id, facts.now_us).map(|until_us| (SkipCode::KeyCooling, until_us));
        let passing =
            passing.or_else(|| state.breaker.open_until(key.id).map(|until_us| (SkipCode::CircuitOpen, until_us)));
        let full = || state.adaptive.is_full(key.id).then_some((SkipCode::KeyConcurrency, 0));
        if let Some((code, until_us)) = passing.or_else(full) {
            skipped.push(Skip { key_id: key.id, code, number: until_us / 1_000 });
            continue;
        }
        let is_warm = warm == Some(key.id);
        ranked.push((rank(mode, &candidate, facts, is_warm), Planned { route: candidate.route, warm: is_warm }));
    }
    ranked.sort_by(|(a, _), (b, _)| a.cmp(b));
    Plan { order: ranked.into_iter().map(|(_, planned)| planned).collect(), skipped }
}

/// Compared field by field; smaller goes first. The spread is unique per key, so the order is total.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    cold: bool,
    priority: i64,
    not_default_provider: bool,
    distance: super::Native,
    internal_priority: i32,
    without_preferred: bool,
    spread: Reverse<(u128, ProviderKeyId)>,
}

fn rank(mode: PriorityMode, candidate: &Candidate<'_>, facts: &Facts<'_>, is_warm: bool) -> Rank {
    let Route { provider, key, .. } = candidate.route;
    let mapping = facts.key.mappings.iter().find(|mapping| mapping.is_enabled && mapping.provider_id == provider.id);
    let has = |capability| key.capabilities.get(capability) == Some(&true);
    let by_provider = mode == PriorityMode::Provider;
    let adjustment = mapping.map_or(0, |mapping| mapping.priority_adjustment);
    let default_provider = facts.user.and_then(|user| user.default_provider_id);
    Rank {
        cold: !is_warm,
        priority: if by_provider {
            i64::from(provider.priority) + i64::from(adjustment)
        } else {
            key.global_priority.map_or(i64::MAX, i64::from)
        },
        not_default_provider: by_provider && default_provider != Some(provider.id),
        distance: candidate.native,
        internal_priority: if by_provider { key.internal_priority } else { 0 },
        without_preferred: !facts.preferred.is_empty() && !facts.preferred.iter().all(has),
        spread: Reverse((
            spread(facts.affinity, key.id, mapping.map_or(1_000_000, |mapping| mapping.weight_millionths)),
            key.id,
        )),
    }
}

/// A key's score for a caller in weighted rendezvous hashing: the highest score wins, and adding or removing a key moves
/// only the callers that it wins or loses.
///
/// With u uniform in (0, 1] the classic score is weight ÷ −ln u. Integers keep it exact on every machine: −log₂ u is
/// taken in 32 fractional bits.
fn spread(affinity: u64, key: ProviderKeyId, weight_millionths: u64) -> u128 {
    let (high, low) = key.uuid().as_u64_pair();
    let hash = mix(mix(mix(affinity ^ 0x9e37_79b9_7f4a_7c15) ^ high) ^ low);
    let minus_log2 = u128::from(minus_log2(hash | 1)).max(1);
    (u128::from(weight_millionths) << 64) / minus_log2
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
