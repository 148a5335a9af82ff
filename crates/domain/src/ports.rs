//! What the data plane needs from the outside, as small traits; the binary passes the implementations in.

use crate::{
    bindings::{Binding, Fingerprint},
    catalog::{Catalog, Endpoint, ProviderKey, Route},
    ids::{ClientKeyId, ProviderKeyId},
    limit::{
        concurrency::Permit,
        key::{At, KeyCounts},
        rate::Admitted,
        window::Attempted,
    },
    records::{AttemptEnded, Opened, Progress, Refusal, Settled},
    schedule::SkipCode,
    secret::Secret,
};
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// An answer that is here at once, or comes later; a local implementation allocates nothing.
pub enum Answer<T> {
    /// Known already.
    Now(Option<T>),
    /// Still to come.
    Later(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl<T> Answer<T> {
    /// An answer that is known.
    pub fn now(value: T) -> Self {
        Self::Now(Some(value))
    }
}

impl<T: Unpin> Future for Answer<T> {
    type Output = T;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match &mut *self {
            Self::Now(value) => value.take().map_or(Poll::Pending, Poll::Ready),
            Self::Later(later) => later.as_mut().poll(cx),
        }
    }
}

/// Time, read in one place.
pub trait Clock: Send + Sync + 'static {
    /// Unix time in microseconds; may jump.
    fn unix_us(&self) -> i64;
    /// Time since the process began, in microseconds; never goes back.
    fn monotonic_us(&self) -> u64;
}

/// The snapshot in force.
pub trait Directory: Send + Sync + 'static {
    /// Hold it for the length of a request.
    fn catalog(&self) -> Arc<Catalog>;
}

/// Opens provider credentials, one at a time, for the request that is about to be sent.
pub trait Keyring: Send + Sync + 'static {
    /// The credential in the clear.
    fn open(&self, key: &ProviderKey) -> Result<Secret, CannotOpen>;
    /// The password of the endpoint's proxy, if it has one.
    fn proxy_password(&self, endpoint: &Endpoint) -> Result<Option<Secret>, CannotOpen>;
}

/// A sealed secret that the master key does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the credential cannot be opened with this master key")]
pub struct CannotOpen;

/// The journal as the data plane sees it.
pub trait Recorder: Send + Sync + 'static {
    /// Acknowledged before anything is sent upstream; an error refuses the request.
    fn opened(&self, record: Opened) -> Answer<Result<(), NotRecorded>>;
    /// Not waited for.
    fn attempt(&self, record: AttemptEnded);
    /// Not waited for.
    fn progress(&self, record: Progress);
    /// Acknowledged before the closing frame leaves. On an error the record stays in memory and is tried again.
    fn settled(&self, record: Box<Settled>) -> Answer<Result<(), NotRecorded>>;
    /// Counts a refusal.
    fn refused(&self, refusal: Refusal);
    /// Whether new requests can be recorded at all.
    fn is_writable(&self) -> bool;
}

/// The journal did not take a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the journal does not write: {0}")]
pub struct NotRecorded(pub String);

/// Who issued what, beyond what memory holds of it.
pub trait Issuers: Send + Sync + 'static {
    /// The binding of a thing, if there is one; it may have expired.
    fn find(&self, thing: Fingerprint) -> Answer<Result<Option<Binding>, NotTold>>;
}

/// Who issued a thing cannot be looked up now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("who issued it cannot be looked up: {0}")]
pub struct NotTold(pub String);

/// Counts requests and slots.
pub trait Limiter: Send + Sync + 'static {
    /// Takes a token of the client key's rate; an error says how long until the next.
    fn client_rate(&self, key: ClientKeyId, limit: u32) -> Answer<Result<Admitted, Duration>>;
    /// Takes one of the client key's slots; `None` when all are taken.
    fn client_slot(&self, key: ClientKeyId, limit: Option<u32>) -> Answer<Option<Permit>>;
    /// The counters of a provider key as this node has them, to look at.
    fn key_counts(&self, key: ProviderKeyId) -> Arc<KeyCounts>;
    /// The instant that a plan looks at.
    fn at(&self) -> At;
    /// Whether rates and slots of provider and endpoint would admit an attempt, as far as this node knows.
    fn look_above(&self, route: &Route, at: &At) -> Result<(), Busy>;
    /// Takes a token of every rate and a slot at every level of a candidate, all or none.
    fn upstream(&self, route: &Route, room: Room) -> Answer<Result<UpstreamPermits, Busy>>;
    /// The same without slots: counting tokens occupies no model.
    fn upstream_rates(&self, route: &Route) -> Answer<Result<(), Busy>>;
}

/// Circuits of provider keys, as the control plane moves them.
pub trait Circuits: Send + Sync + 'static {
    /// Closes a key's circuit and ends its rests by hand; what an admin switched off stays off.
    fn reset(&self, key: ProviderKeyId);
}

/// The slots of a provider key that a caller may use; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// The key's limit, fixed or learned.
    pub limit: Option<u32>,
    /// What is left of it for callers whose cache is not warm there; `None` for those whose is.
    pub cold: Option<u32>,
}

impl Room {
    /// The code of a refusal when `taken` slots are taken.
    pub fn refuses(self, taken: u32) -> Option<SkipCode> {
        match (self.limit, self.cold) {
            (Some(limit), _) if taken >= limit => Some(SkipCode::KeyConcurrency),
            (_, Some(cold)) if taken >= cold => Some(SkipCode::KeyReserved),
            _ => None,
        }
    }
}

/// The slots of one attempt; dropping it gives them back.
#[derive(Debug, Default)]
pub struct UpstreamPermits {
    /// The guards of provider, endpoint and provider key; where there is no limit, the first two are not taken.
    pub permits: [Option<Permit>; 3],
    /// Its place in the key's day and month.
    pub attempted: Option<Attempted>,
    /// In flight on the provider key, this one included.
    pub in_flight: u32,
}

/// Why a candidate cannot be used this instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy {
    /// The limit that is reached.
    pub code: SkipCode,
    /// When to come back, if it is a matter of time.
    pub wait: Option<Duration>,
}
