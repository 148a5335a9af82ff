//! A scripted upstream: one HTTP/1.1 server that answers as all four vendors do, down to the bytes, and misbehaves on
//! demand.
//!
//! [`Upstream`] is the server, over TCP or inside the process; a [`Reply`] is one answer; [`Gate`] stops an answer at a
//! known place. What is not scripted is answered by directives in the prompt, as the `directive` module describes, so that
//! real client programs can be led through errors and tool calls. Nothing here reads the real clock but through tokio, so
//! paused time holds it still.
//!
//! Unset usage is a token for each four bytes of the request and of the answer.
#![allow(clippy::return_self_not_must_use, reason = "a script is built by chains whose end is always used")]

mod clock;
mod deliver;
mod directive;
mod errors;
mod fault;
mod http;
mod ids;
mod json;
mod laid;
mod media;
mod received;
mod reply;
mod reuse;
mod route;
#[cfg(feature = "servers")]
pub mod servers;
mod upstream;
mod wires;

pub use errors::{ErrorShape, Limit};
pub use fault::{At, Gate, bytes};
pub use received::{Ended, Received};
pub use reply::{Reply, Stop, Usage};
pub use upstream::{Options, Upstream};
pub use wires::Wire;
