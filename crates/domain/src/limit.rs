//! Counters behind the limits: plain state, time passed in.

pub mod concurrency;
pub mod key;
pub mod rate;
pub mod window;
