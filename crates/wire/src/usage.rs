//! The one usage vector that all four wires are brought to.

/// Tokens of one answer in disjoint parts: their sum is the total, except that `reasoning` is a part of `output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens that no cache served or stored.
    pub input: u64,
    /// Prompt tokens read from a cache.
    pub cache_read: u64,
    /// Prompt tokens written to a cache for five minutes, or for a time the vendor does not name.
    pub cache_write_5m: u64,
    /// Prompt tokens written to a cache for an hour.
    pub cache_write_1h: u64,
    /// All that was generated.
    pub output: u64,
    /// The part of `output` that was thinking; for information.
    pub reasoning: u64,
    /// The vendor reported at least one count above zero.
    pub reported: bool,
    /// The vendor gave a total, and it is not the sum of the parts.
    pub disagrees: bool,
}

impl Usage {
    /// Input, cache and output together.
    pub const fn total(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write_5m)
            .saturating_add(self.cache_write_1h)
            .saturating_add(self.output)
    }
}
