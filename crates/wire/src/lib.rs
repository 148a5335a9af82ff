//! Bytes to formats and back: peek, splice, SSE, usage taps and native errors of the four wires. Pure.
//!
//! A request passes through [`peek`] (what routing must know), [`recode`] (the few values that must change) and
//! [`splice`] (the change itself, by byte span). Its answer passes by a [`tap`], which reads what accounting needs and
//! keeps no event. [`error`] and [`lists`] write what we say ourselves, in the caller's own dialect.
//!
//! [`convert`] is the other way: where client and upstream speak different wires, documents and streams are decoded and
//! written anew, and what cannot be carried is named in [`loss`].
//!
//! Nothing here reads a clock or does I/O, and no input makes it panic. Nothing recurses on the depth of its input, but
//! for conversion, which takes no JSON nested deeper than 128.
#![allow(clippy::struct_excessive_bools, reason = "what a document says is a list of independent facts")]

mod anthropic;
pub mod convert;
pub mod error;
pub mod estimate;
pub mod form;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gemini;
mod ir;
pub mod json;
pub mod lists;
pub mod loss;
mod openai_chat;
mod openai_responses;
pub mod peek;
pub mod recode;
pub mod splice;
pub mod sse;
pub mod state;
pub mod tap;
pub mod usage;

pub use error::{Class, ErrorFacts, Problem, Rendered, read_error, render, render_stream};
pub use form::peek_form;
pub use lists::{Dialect, ListedModel, Page};
pub use loss::{Loss, Lost};
pub use peek::{Kind, Peek, PeekError, peek};
pub use splice::{Edit, splice};
pub use sse::{ArrayFramer, UsageFilter};
pub use tap::{Frame, Seen, StreamTap, WholeTap};
pub use usage::Usage;

/// A protocol, whoever speaks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI Chat Completions, and the `/v1` routes that resemble it.
    Chat,
    /// OpenAI Responses.
    Responses,
    /// Gemini `generateContent`.
    Gemini,
}
