//! Documents against a real database, and the routes of a running process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod check;
mod circuits;
mod example;
mod export;
mod generated;
mod http;
mod money;
mod prune;
mod quotas;
mod refused;
mod support;
mod updates;
