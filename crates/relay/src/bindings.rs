//! Who issued what, as requests and answers meet it: in memory, the newest of it at the start, added to as answers issue
//! things. Where that is too much, client keys with many lose theirs first.

use crate::{call::Call, respond::Refused};
use domain::{
    bindings::{self, Binding, Fingerprint, LASTS_US},
    catalog::ClientKey,
    fault::{Fault, Kind},
    format::RequestType,
    ids::ProviderKeyId,
    schedule::Pin,
};
use std::sync::{Mutex, MutexGuard, PoisonError};
use wire::{
    Peek,
    state::{Issued, What},
};

/// Tables that are locked apart.
const SHARDS: usize = 16;
/// Bindings of a generation of a table: as many as a map of 65,536 places holds.
const GENERATION: usize = 57_344;
/// Bindings that are known at most: 64 MiB of them.
pub const CAPACITY: usize = 2 * SHARDS * GENERATION;
/// Characters of an id that are told back.
const TOLD_MAX: usize = 64;

/// The bindings of this process.
pub struct Bindings([Mutex<bindings::Bindings>; SHARDS]);

impl Default for Bindings {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(bindings::Bindings::new(GENERATION))))
    }
}

impl Bindings {
    fn table(&self, thing: &Fingerprint) -> MutexGuard<'_, bindings::Bindings> {
        self.0[usize::from(thing[0]) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a binding over; the newest come last.
    pub fn bind(&self, thing: Fingerprint, binding: Binding, now_us: i64) {
        self.table(&thing).bind(thing, binding, now_us);
    }

    /// Who issued it, and for whom.
    pub(crate) fn find(&self, thing: &Fingerprint, now_us: i64) -> Option<Binding> {
        self.table(thing).find(thing, now_us)
    }
}

/// What the names in a request come to.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    pub pin: Pin,
    /// What the request goes without, too, and who issued it; in order.
    pub sealed: Vec<(Fingerprint, ProviderKeyId)>,
    /// Ids that nobody is known to have issued: an answer that says them again does not issue them.
    pub unknown: Vec<Fingerprint>,
}

/// Looks up what a request names.
pub(crate) fn look_up(
    known: &Bindings,
    key: &ClientKey,
    peek: &Peek,
    body: &[u8],
    now_us: i64,
    refused: &mut Refused,
) -> Result<Bound, Fault> {
    let mut bound = Bound::default();
    if peek.more_named {
        return Err(Fault::new(Kind::BadRequest, "the request names too many files"));
    }
    let mut last = None;
    for named in &peek.named {
        let thing = named.thing(body);
        let Some(Binding { client, issuer, .. }) = known.find(&thing, now_us) else {
            bound.unknown.extend((named.id || !named.sealed).then_some(thing));
            continue;
        };
        let elsewhere = !named.sealed && bound.pin.target().is_some_and(|pinned| pinned != issuer);
        // Signatures prove nothing about who holds them: whoever holds a conversation may go on with it.
        if (named.id && client != key.id) || elsewhere {
            refused.reason = Some(if elsewhere { "bound_to_two_keys" } else { "bound_to_another" });
            return Err(unknown(&String::from_utf8_lossy(body.get(named.at.clone()).unwrap_or_default())));
        }
        if named.sealed {
            bound.sealed.push((thing, issuer));
            last = last.max(Some((named.at.start, issuer)));
        } else {
            bound.pin = Pin::Only(issuer);
        }
    }
    bound.sealed.sort_unstable_by_key(|(thing, _)| *thing);
    if bound.pin == Pin::Nowhere
        && let Some((_, issuer)) = last
    {
        bound.pin = Pin::First(issuer);
    }
    Ok(bound)
}

/// The same for what is another's and for what is nobody's.
pub(crate) fn unknown(id: &str) -> Fault {
    let told: String = id.chars().take(TOLD_MAX).collect();
    Fault::new(Kind::NotFound, format!("{told}: not found"))
}

/// Binds what an answer has issued to its caller and its issuer, and says what is to be recorded of that.
pub(crate) fn issue(
    known: &Bindings,
    call: &Call,
    issuer: ProviderKeyId,
    issued: &[Issued],
    converted: bool,
    now_us: i64,
) -> Vec<Fingerprint> {
    if call.request_type == RequestType::CountTokens {
        return Vec::new();
    }
    let counts = |issued: &&Issued| match issued.what {
        // Converted, an answer has ids of ours.
        What::Stored => !converted && !call.unstored,
        What::Kept => !converted && !call.unknown_ids.contains(&issued.thing),
        What::Sealed => true,
    };
    let things: Vec<Fingerprint> = issued.iter().filter(counts).map(|issued| issued.thing).collect();
    let binding = Binding { client: call.caller.key.id, issuer, expires_us: now_us.saturating_add(LASTS_US) };
    for thing in &things {
        known.bind(*thing, binding, now_us);
    }
    things
}
