//! The data plane against scripted upstreams.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod attempts;
mod bytes;
mod chosen;
mod completions;
mod convert;
mod converted_endings;
mod counting;
mod egress;
mod endings;
mod explain;
mod faults;
mod http2;
mod kept;
mod lists;
mod losses;
mod media;
mod metered;
mod money;
mod refusals;
mod schedule;
mod state;
mod support;
mod upward;
