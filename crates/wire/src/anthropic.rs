//! Anthropic Messages.

pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod stream;
mod types;
