//! The data plane against scripted upstreams.

mod attempts;
mod bytes;
mod counting;
mod endings;
mod lists;
mod refusals;
mod support;
mod upward;
