//! `OpenAI` Chat Completions, and what servers that resemble it add.

pub(crate) mod decode;
pub(crate) mod encode;
mod messages;
pub(crate) mod stream;
mod types;
