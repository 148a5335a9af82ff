//! A traffic file played through the scheduler in virtual time: the very planner, limiter, breakers, learning, affinity and
//! queue that serve requests, before upstreams that behave as the file says.
//!
//! No socket, no clock, no chance but the seed's: equal inputs give equal reports. Client keys' own limits, holds and
//! deadlines are not played.

mod report;
mod scenario;
mod upstream;
mod world;

pub use report::{KeyReport, Report};
pub use scenario::{Behaviour, Failure, Kind, Policy, Recorded, Scenario, Traffic, UnknownName};
pub use world::run;

use domain::{
    catalog::{Catalog, Inconsistent, Parts},
    ids::ProviderKeyId,
};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use uuid::Uuid;

/// The catalog to play with: provider keys are known by their names, so that a document's new ones, which get other ids
/// each time, come to the same places in every run.
pub fn catalog(mut parts: Parts) -> Result<Catalog, Inconsistent> {
    let providers: HashMap<_, _> = parts.providers.iter().map(|provider| (provider.id, &provider.name)).collect();
    let endpoints: HashMap<_, _> = parts.endpoints.iter().map(|endpoint| (endpoint.id, endpoint)).collect();
    for key in &mut parts.provider_keys {
        let Some(endpoint) = endpoints.get(&key.endpoint_id) else { continue };
        let provider = providers.get(&endpoint.provider_id).map_or("", |name| name.as_str());
        let name = format!("{provider}/{}/{}", endpoint.api_format, key.name);
        let mut id = [0; 16];
        id.copy_from_slice(&Sha256::digest(name)[..16]);
        key.id = ProviderKeyId::from(Uuid::from_bytes(id));
    }
    Catalog::build(parts)
}

/// Chance in a fixed order (`SplitMix64`; Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A time between half and one and a half of `mean_us`.
    fn around(&mut self, mean_us: i64) -> i64 {
        let part = i128::from(self.next() >> 32);
        let spread = (i128::from(mean_us) * part) >> 32;
        mean_us / 2 + i64::try_from(spread).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
