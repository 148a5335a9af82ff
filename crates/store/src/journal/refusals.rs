//! Refusals before admission, counted in memory until shipping makes audit rows of them.

use super::lock;
use domain::{ids::ClientKeyId, records::Refusal};
use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::Mutex,
};

/// Counters at a time; refusals that would need another are counted together.
pub(crate) const COUNTERS_MAX: usize = 10_000;
const MINUTE_US: i64 = 60_000_000;
/// Texts of an example are cut to this many characters.
const TEXT_CHARS: usize = 200;
/// The reason of the counter for what found no counter of its own.
const OVERFLOW: &str = "too_many_counters";

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    api_key_id: Option<ClientKeyId>,
    hash_prefix: Option<[u8; 4]>,
    reason: String,
    minute: i64,
}

/// Refusals of one key, reason and minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefusalCount {
    pub(crate) api_key_id: Option<ClientKeyId>,
    /// Of a key that is not known.
    pub(crate) key_hash_prefix: Option<[u8; 4]>,
    pub(crate) reason: String,
    /// Beginning of the minute, Unix microseconds.
    pub(crate) minute_us: i64,
    pub(crate) count: u64,
    /// The last one.
    pub(crate) last: Option<Example>,
}

/// A refusal as an example of its counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Example {
    pub(crate) path: String,
    pub(crate) model: Option<String>,
    pub(crate) ip: IpAddr,
}

/// All live counters.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<Counters>);

#[derive(Debug, Default)]
struct Counters {
    live: HashMap<Key, (u64, Example)>,
    /// How many found no counter, and in which minute the first of them came.
    overflow: u64,
    overflow_minute: i64,
}

impl Refusals {
    pub(crate) fn add(&self, refusal: Refusal) {
        let Refusal { api_key_id, key_hash_prefix, reason, at, path, model, ip } = refusal;
        let minute = at.div_euclid(MINUTE_US);
        let example = Example { path: clipped(path), model: model.map(clipped), ip };
        let mut counters = lock(&self.0);
        let is_full = counters.live.len() >= COUNTERS_MAX;
        match counters.live.entry(Key { api_key_id, hash_prefix: key_hash_prefix, reason: clipped(reason), minute }) {
            Entry::Occupied(mut counter) => {
                let (count, last) = counter.get_mut();
                (*count, *last) = (count.saturating_add(1), example);
            }
            Entry::Vacant(place) if !is_full => {
                place.insert((1, example));
            }
            Entry::Vacant(_) => {
                if counters.overflow == 0 {
                    counters.overflow_minute = minute;
                }
                counters.overflow = counters.overflow.saturating_add(1);
            }
        }
    }

    /// Takes the counters of minutes that were over before `now_us`, the oldest first.
    pub(crate) fn take(&self, now_us: i64) -> Vec<RefusalCount> {
        let now = now_us.div_euclid(MINUTE_US);
        let mut counters = lock(&self.0);
        let mut taken: Vec<_> = counters
            .live
            .extract_if(|key, _| key.minute < now)
            .map(|(key, (count, last))| RefusalCount {
                api_key_id: key.api_key_id,
                key_hash_prefix: key.hash_prefix,
                reason: key.reason,
                minute_us: key.minute * MINUTE_US,
                count,
                last: Some(last),
            })
            .collect();
        if counters.overflow > 0 && counters.overflow_minute < now {
            taken.push(RefusalCount {
                api_key_id: None,
                key_hash_prefix: None,
                reason: OVERFLOW.to_owned(),
                minute_us: counters.overflow_minute * MINUTE_US,
                count: std::mem::take(&mut counters.overflow),
                last: None,
            });
        }
        taken.sort_by(|a, b| (a.minute_us, &a.reason).cmp(&(b.minute_us, &b.reason)));
        taken
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.0).live.len()
    }
}

fn clipped(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(TEXT_CHARS) {
        text.truncate(at);
    }
    text
}

#[cfg(test)]
mod tests;
