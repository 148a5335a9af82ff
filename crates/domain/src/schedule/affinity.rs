//! Where callers' prompt caches are warm, and what one is worth.

use crate::{
    catalog::{GlobalModel, PriceDefaults, Route},
    format::Family,
    ids::{ClientKeyId, IdMap, ProviderKeyId},
    money::{NanoUsd, part_cost},
    price::EffectivePrice,
};

/// Records of all client keys together.
pub const CAPACITY: usize = 100_000;
/// Records of one client key.
pub const PER_CLIENT: usize = 256;
/// What a second of a caller's waiting counts as, in nano-dollars: one cent, about what an hour of a person's work costs.
pub const SECOND_NANO: i64 = 10_000_000;
const MINUTE_US: i64 = 60_000_000;

/// Whose conversation it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conversation {
    /// The client key.
    pub client: ClientKeyId,
    /// Session, inbound format and global model, hashed.
    pub hash: u64,
}

/// Where a conversation was served last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The provider key.
    pub target: ProviderKeyId,
    /// Unix microseconds.
    pub written_us: i64,
    /// From then on it is forgotten, Unix microseconds.
    pub expires_us: i64,
    /// Prompt tokens that the cache held then: read and written.
    pub cache_tokens: u64,
    /// Lifetime of the cache.
    pub ttl_minutes: u32,
}

/// A success, as far as affinity looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// The provider key that served.
    pub target: ProviderKeyId,
    /// Its `cache_ttl_minutes`, or 60 while the 1-hour cache is in use; 0 remembers nothing.
    pub ttl_minutes: u32,
    /// Cached tokens read and written.
    pub cache_tokens: u64,
    /// The wire says whether a cache was used. Where it does not, every success counts as one.
    pub reports: bool,
}

/// No node: the end of a list.
const NIL: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Node {
    key: Conversation,
    record: Record,
    all: Links,
    own: Links,
}

#[derive(Debug, Clone, Copy)]
struct Links {
    newer: u32,
    older: u32,
}

/// A list of nodes by last use.
#[derive(Debug, Clone, Copy)]
struct List {
    newest: u32,
    oldest: u32,
    len: usize,
}

const EMPTY: List = List { newest: NIL, oldest: NIL, len: 0 };

/// Which of a node's two lists is meant.
type Pick = fn(&mut Node) -> &mut Links;

impl List {
    fn push(&mut self, nodes: &mut [Node], at: u32, links: Pick) {
        *links(&mut nodes[at as usize]) = Links { newer: NIL, older: self.newest };
        match self.newest {
            NIL => self.oldest = at,
            newest => links(&mut nodes[newest as usize]).newer = at,
        }
        self.newest = at;
        self.len += 1;
    }

    fn cut(&mut self, nodes: &mut [Node], at: u32, links: Pick) {
        let Links { newer, older } = *links(&mut nodes[at as usize]);
        match newer {
            NIL => self.newest = older,
            newer => links(&mut nodes[newer as usize]).older = older,
        }
        match older {
            NIL => self.oldest = newer,
            older => links(&mut nodes[older as usize]).newer = newer,
        }
        self.len -= 1;
    }
}

/// The affinity records of a node, bounded; the least recently used go first.
#[derive(Debug)]
pub struct Table {
    nodes: Vec<Node>,
    free: Vec<u32>,
    /// Callers have a hand in the hashes: those of one client could meet, [`PER_CLIENT`] of them.
    index: IdMap<Conversation, u32>,
    all: List,
    own: IdMap<ClientKeyId, List>,
    capacity: usize,
    per_client: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self::bounded(CAPACITY, PER_CLIENT)
    }
}

impl Table {
    /// A table of other bounds.
    pub fn bounded(capacity: usize, per_client: usize) -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            index: IdMap::default(),
            all: EMPTY,
            own: IdMap::default(),
            capacity: capacity.max(1),
            per_client: per_client.max(1),
        }
    }

    /// The conversation's record, if it has not expired; the use counts.
    pub fn get(&mut self, key: Conversation, now_us: i64) -> Option<Record> {
        let at = *self.index.get(&key)?;
        if self.nodes[at as usize].record.expires_us <= now_us {
            self.remove(at);
            return None;
        }
        self.unlink(at);
        self.link(at);
        Some(self.nodes[at as usize].record)
    }

    /// Takes in a success: a record is written for a new target, and refreshed while its cache is seen in use.
    pub fn served(&mut self, key: Conversation, served: &Served, now_us: i64) {
        let known = self.get(key, now_us);
        let seen = !served.reports || served.cache_tokens > 0;
        if served.ttl_minutes == 0 || (known.is_some_and(|record| record.target == served.target) && !seen) {
            return;
        }
        let record = Record {
            target: served.target,
            written_us: now_us,
            expires_us: now_us + i64::from(served.ttl_minutes) * MINUTE_US,
            cache_tokens: served.cache_tokens,
            ttl_minutes: served.ttl_minutes,
        };
        if let Some(at) = self.index.get(&key) {
            self.nodes[*at as usize].record = record;
            return;
        }
        if let Some(own) = self.own.get(&key.client)
            && own.len >= self.per_client
        {
            self.remove(own.oldest);
        }
        if self.all.len >= self.capacity {
            self.remove(self.all.oldest);
        }
        let links = Links { newer: NIL, older: NIL };
        let node = Node { key, record, all: links, own: links };
        let at = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(node);
            u32::try_from(self.nodes.len() - 1).unwrap_or(NIL) // the capacity is far below
        });
        self.nodes[at as usize] = node;
        self.index.insert(key, at);
        self.link(at);
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.all.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.len == 0
    }

    fn link(&mut self, at: u32) {
        self.all.push(&mut self.nodes, at, |node| &mut node.all);
        let client = self.nodes[at as usize].key.client;
        self.own.entry(client).or_insert(EMPTY).push(&mut self.nodes, at, |node| &mut node.own);
    }

    fn unlink(&mut self, at: u32) {
        self.all.cut(&mut self.nodes, at, |node| &mut node.all);
        let client = self.nodes[at as usize].key.client;
        if let Some(own) = self.own.get_mut(&client) {
            own.cut(&mut self.nodes, at, |node| &mut node.own);
        }
    }

    fn remove(&mut self, at: u32) {
        self.unlink(at);
        let key = self.nodes[at as usize].key;
        self.index.remove(&key);
        if self.own.get(&key.client).is_some_and(|own| own.len == 0) {
            self.own.remove(&key.client);
        }
        self.free.push(at);
    }
}

/// What leaving a warm target costs, and what waiting for it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Economy {
    /// The warm target, which is busy.
    pub key_id: ProviderKeyId,
    /// What the cache is worth: the price of the cached prompt at the next candidate, less that of reading it here.
    pub worth: NanoUsd,
    /// What the expected wait counts as.
    pub wait: NanoUsd,
    /// The longest wait that the cache is worth, in microseconds.
    pub patience_us: i64,
}

impl Economy {
    /// Whether the caller waits.
    pub fn stays(&self) -> bool {
        self.wait < self.worth
    }

    /// Weighs a wait of `wait_us` for the warm `route` against going to `other`.
    pub fn weigh(
        record: &Record,
        model: &GlobalModel,
        route: &Route,
        other: &Route,
        defaults: &PriceDefaults,
        wait_us: i64,
    ) -> Self {
        let units = |route: &Route| {
            let family = route.endpoint.api_format.family();
            EffectivePrice::of(model, &route.model)
                .units(record.cache_tokens, record.ttl_minutes, family, defaults)
                .unwrap_or_default()
        };
        let there = units(other);
        let cold = match other.endpoint.api_format.family() {
            Family::Anthropic if record.ttl_minutes >= 60 => there.cache_write_1h,
            Family::Anthropic => there.cache_write_5m,
            _ => there.input,
        };
        let cost = |price| part_cost(record.cache_tokens, price).map_or(i64::MAX, |cost| cost.0);
        let worth = cost(cold).saturating_sub(cost(units(route).cache_read)).max(0);
        let micros_worth = i128::from(worth) * 1_000_000 / i128::from(SECOND_NANO);
        let wait = i128::from(wait_us.max(0)) * i128::from(SECOND_NANO) / 1_000_000;
        Self {
            key_id: route.key.id,
            worth: NanoUsd(worth),
            wait: NanoUsd(i64::try_from(wait).unwrap_or(i64::MAX)),
            patience_us: i64::try_from(micros_worth).unwrap_or(i64::MAX),
        }
    }
}

#[cfg(test)]
mod tests;
