//! The store from the outside, on real files and an embedded database.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod catalog;
mod follow;
mod journal;
mod kill;
mod lease;
mod live;
#[path = "../../src/sample.rs"]
mod sample;
mod schema;
