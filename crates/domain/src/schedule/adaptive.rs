//! Learned concurrency of provider keys without a fixed limit.
//!
//! Nothing is learned in this version: such a key has no limit.

use crate::ids::ProviderKeyId;
use std::marker::PhantomData;

/// The learned limits and what is in flight.
#[derive(Debug, Default, Clone, Copy)]
pub struct View<'a> {
    state: PhantomData<&'a ()>,
}

impl View<'_> {
    /// Whether the key's learned limit is reached.
    pub fn is_full(&self, _key: ProviderKeyId) -> bool {
        false
    }
}
