//! Rules, money and schedule: everything that can be decided without reading a clock, a file or a socket.
//!
//! Time, seeds and state come in as parameters, so each decision here can be replayed from its record and tested as a
//! table. The crate knows token counters and provider keys; JSON and HTTP are the business of others.

pub mod bindings;
pub mod catalog;
pub mod egress;
pub mod fault;
pub mod format;
pub mod ids;
pub mod ledger;
pub mod limit;
pub mod money;
pub mod policy;
pub mod ports;
pub mod price;
pub mod records;
pub mod schedule;
pub mod secret;
