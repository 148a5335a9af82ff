//! Server-sent events: finding frames, hiding the usage chunk a caller did not ask for, framing Gemini's array.

mod array;
mod filter;
mod lines;

pub use array::ArrayFramer;
pub use filter::{HELD_MAX, UsageFilter};
pub(crate) use lines::{Fields, Lines};
