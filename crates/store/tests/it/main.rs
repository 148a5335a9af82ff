//! The store from the outside, on real files and an embedded database.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod catalog;
mod follow;
mod journal;
mod lease;
#[path = "../../src/sample.rs"]
mod sample;
mod schema;
