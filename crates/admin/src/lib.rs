//! The control plane: documents, services, health and status.
//!
//! It decides what the catalog shall be and says how the process does; serving requests is the data plane's.

pub mod document;
