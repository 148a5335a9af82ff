//! The control plane: documents, services, health and status.
//!
//! It decides what the catalog shall be and says how the process does; serving requests is the data plane's.

mod apply;
mod check;
mod circuits;
pub mod document;
mod export;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod http;
mod money;

pub use apply::{Action, ApplyError, ApplyOptions, Change, FieldChange, MintedKey, Report, Resolver, apply, preview};
pub use check::{Checked, Finding, Level, check};
pub use circuits::reset_circuit;
pub use export::{ExportError, Secrets, export};
pub use money::{book, reset_quota};
