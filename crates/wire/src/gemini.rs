//! Gemini `generateContent`.

pub(crate) mod decode;
pub(crate) mod encode;
mod parts;
pub(crate) mod stream;
mod types;

pub(crate) use types::{camel, is_malformed};
