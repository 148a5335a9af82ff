//! The scripted upstream held to the vendors' words by a client of another make, and the tree held to its own rules.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod client;
mod faults;
mod fold;
mod framing;
mod media;
mod program;
mod scripts;
mod tidy;
mod wires;
