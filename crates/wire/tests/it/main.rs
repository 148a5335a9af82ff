//! What this crate promises, over recorded traffic and over what nobody would send.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod corpus;
mod edits;
mod frames;
mod hostile;
mod oracle;
mod support;
