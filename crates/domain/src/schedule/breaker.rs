//! Circuit breakers per provider key.
//!
//! Breakers stay closed in this version: outcomes are recorded, and failover alone keeps failures from callers.

use crate::ids::ProviderKeyId;
use std::marker::PhantomData;

/// The breakers' states.
#[derive(Debug, Default, Clone, Copy)]
pub struct View<'a> {
    state: PhantomData<&'a ()>,
}

impl View<'_> {
    /// Until when the key's breaker keeps it out, Unix microseconds.
    pub fn open_until(&self, _key: ProviderKeyId) -> Option<i64> {
        None
    }
}
