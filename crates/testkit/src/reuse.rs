//! Answers that are sent again as they were: what a benchmark's upstream must not spend its time on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::http::Request;
use crate::ids;
use crate::laid::Laid;

/// Answers that are kept; later ones are laid out each time.
const KEPT_MAX: usize = 256;
/// The longest request, in bytes, whose answer is kept.
const BODY_MAX: usize = 1 << 20;

#[derive(Clone)]
struct Kept {
    target: Bytes,
    body: Bytes,
    laid: Arc<Laid>,
}

/// The answers to requests that came before, by the fingerprint of the request.
#[derive(Default)]
pub(crate) struct Reuse {
    kept: Mutex<HashMap<u64, Kept>>,
}

/// A request's place among the kept ones; `None` if its answer cannot be kept.
pub(crate) type Key = Option<u64>;

impl Reuse {
    pub(crate) fn key(request: &Request) -> Key {
        let is_fit = request.method() == "POST" && request.body.len() <= BODY_MAX;
        is_fit.then(|| fingerprint(request.target().as_bytes(), &request.body))
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<u64, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to this very request.
    pub(crate) fn find(&self, key: Key, request: &Request) -> Option<Arc<Laid>> {
        let key = key?;
        // Cloned, so that nobody waits while bodies are compared.
        let found = self.kept().get(&key).cloned()?;
        (found.target == request.target() && found.body == request.body).then_some(found.laid)
    }

    /// Keeps an answer while there is room.
    pub(crate) fn keep(&self, key: Key, request: &Request, laid: &Arc<Laid>) {
        let mut kept = self.kept();
        if let Some(key) = key.filter(|_| kept.len() < KEPT_MAX) {
            // The body shares its buffer with what the connection reads ahead.
            let (target, body) = (request.target().to_owned().into(), Bytes::copy_from_slice(&request.body));
            kept.entry(key).or_insert_with(|| Kept { target, body, laid: laid.clone() });
        }
    }
}

/// Fast, and weak: who finds an answer by it compares the request.
fn fingerprint(target: &[u8], body: &[u8]) -> u64 {
    let mut state = 0;
    for part in [target, body] {
        let (words, rest) = part.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        for word in words.iter().chain([&last]) {
            state = (state ^ u64::from_le_bytes(*word)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        }
    }
    ids::mix(state)
}

#[cfg(test)]
mod tests;
