//! Wiring of the one binary: configuration, commands, listeners and jobs.
//!
//! [`cli::run`] is the program. [`app::start`] is a whole gateway in this process, as `serve` and the tests run it.

pub mod app;
mod books;
mod catalog;
pub mod cli;
pub mod config;
mod convert;
pub mod demo;
mod explain;
mod front;
mod jobs;
mod lines;
mod listen;
mod out;
mod serve;
mod simulate;
mod status;
mod telemetry;
