//! JSON without a tree: a checking reader over a whole body, and a push walker over bytes as they stream by.

/// Deepest nesting of a request's body.
pub const MAX_DEPTH: usize = 1024;
