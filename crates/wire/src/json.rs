//! JSON without a tree: a checking reader over a whole body, and a push walker over bytes as they stream by. Both are
//! iterative; neither allocates for what it skips.

mod read;
mod text;
mod walk;

pub(crate) use read::{ReadError, Reader, Token};
pub(crate) use text::{Text, trim, trim_start, unescape, wide};
pub(crate) use walk::{Sink, Walker, Want};

/// Deepest nesting of a request's body.
pub const MAX_DEPTH: usize = 1024;

#[cfg(test)]
mod tests;
