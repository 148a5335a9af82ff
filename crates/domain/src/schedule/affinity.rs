//! Where a caller's prompt cache is warm.
//!
//! Nothing is remembered yet, so no candidate is warm and the spread keeps a caller on one key.

use crate::ids::ProviderKeyId;
use std::marker::PhantomData;

/// The caller's affinity record, if there is one.
#[derive(Debug, Default, Clone, Copy)]
pub struct View<'a> {
    target: Option<ProviderKeyId>,
    state: PhantomData<&'a ()>,
}

impl View<'_> {
    /// The provider key whose cache is warm.
    pub fn target(&self) -> Option<ProviderKeyId> {
        self.target
    }
}
