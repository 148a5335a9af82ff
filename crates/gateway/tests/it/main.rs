//! The whole gateway, over real sockets, against scripted upstreams.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod books;
mod commands;
mod demo;
mod egress;
mod ends;
mod full;
mod hostile;
mod live;
mod money;
mod operators;
mod outage;
mod schedule;
mod simulate;
mod state;
mod support;
mod tls;
mod torture;
mod wires;
