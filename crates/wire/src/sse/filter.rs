//! Hides the usage chunk that we asked an upstream for and the caller did not.

use bytes::Bytes;

use crate::{
    Wire,
    tap::{Frame, StreamTap},
};

/// Bytes of a frame that are held until it is known what it is. A longer frame is no bare usage chunk and passes.
pub const HELD_MAX: usize = 64 * 1024;

/// Takes the chunk that holds only usage out of a chat stream, and leaves every other byte.
#[derive(Debug)]
pub struct UsageFilter {
    tap: StreamTap,
    /// The frame under way, as far as it came in earlier pushes.
    held: Vec<Bytes>,
    held_len: usize,
    /// The frame under way is too long to be held.
    passing: bool,
    /// The LF of a CRLF that ended a frame we took out.
    drop_lf: bool,
}

impl Default for UsageFilter {
    fn default() -> Self {
        Self::new()
    }
}

impl UsageFilter {
    /// A filter at the start of a stream.
    pub fn new() -> Self {
        Self { tap: StreamTap::new(Wire::Chat), held: Vec::new(), held_len: 0, passing: false, drop_lf: false }
    }

    /// Passes `bytes` on to `out`, less the usage chunk.
    pub fn push(&mut self, mut bytes: Bytes, out: &mut Vec<Bytes>) {
        if bytes.is_empty() {
            return; // and what the next byte is to be told by stays
        }
        let dropping = std::mem::take(&mut self.drop_lf);
        if !self.tap.mid_frame() && self.tap.after_cr() && bytes.first() == Some(&b'\n') {
            // It ends the frame before, and shares that one's fate.
            self.tap.next(&bytes[..1]);
            let line_end = bytes.split_to(1);
            if !dropping {
                out.push(line_end);
            }
        }
        // Frames that pass leave together, in as few pieces as they came in.
        let (mut pass_from, mut frame_from) = (0, 0);
        while frame_from < bytes.len() {
            let (read, frame) = self.tap.next(&bytes[frame_from..]);
            let end = frame_from + read;
            let Some(frame) = frame else { break };
            if frame == Frame::UsageOnly && !self.passing {
                self.forget();
                pass(&bytes, pass_from, frame_from, out);
                pass_from = end;
                self.drop_lf = self.tap.after_cr();
            } else {
                self.release(out);
            }
            self.passing = false;
            frame_from = end;
        }
        let rest = bytes.len() - frame_from;
        if self.passing || self.held_len + rest > HELD_MAX {
            self.passing = true;
            self.release(out);
            frame_from = bytes.len();
        }
        pass(&bytes, pass_from, frame_from, out);
        if frame_from < bytes.len() {
            self.held_len += rest;
            self.held.push(bytes.slice(frame_from..));
        }
    }

    /// The stream has ended: passes on what was kept back.
    pub fn finish(&mut self, out: &mut Vec<Bytes>) {
        if self.tap.finish() == Some(Frame::UsageOnly) {
            self.forget();
        }
        self.release(out);
    }

    fn release(&mut self, out: &mut Vec<Bytes>) {
        out.append(&mut self.held);
        self.held_len = 0;
    }

    fn forget(&mut self) {
        self.held.clear();
        self.held_len = 0;
    }
}

fn pass(bytes: &Bytes, from: usize, to: usize, out: &mut Vec<Bytes>) {
    if from < to {
        out.push(bytes.slice(from..to));
    }
}
