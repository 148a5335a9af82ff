//! The scripted upstream held to the vendors' words, and the tree held to its own rules.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod tidy;
