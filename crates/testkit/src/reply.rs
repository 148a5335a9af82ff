//! What the upstream is to answer: words, thoughts, tool calls, errors or raw bytes, and how they are handed over.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::errors::ErrorShape;
use crate::fault::{At, Break, Failing, Gate, Gzip, Plan};

/// One answer of the upstream. The same reply serves a streamed and a whole answer on every wire: the request decides.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(crate) content: Content,
    pub(crate) status: Option<u16>,
    /// Set, or with `None` removed, after the vendor's own headers.
    pub(crate) headers: Vec<(String, Option<String>)>,
    pub(crate) plan: Plan,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Answer(Answer),
    Error(ErrorShape),
    /// A body that is sent as it is; headers come from the reply alone.
    Raw(Bytes),
    /// A whole HTTP message that is sent as it is, then the connection closes.
    Verbatim(Bytes),
}

/// What a model says, before a wire lays it out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) parts: Vec<Part>,
    pub(crate) stop: Option<Stop>,
    pub(crate) usage: Option<Usage>,
}

#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// Text, in the pieces of its deltas.
    Text(Vec<String>),
    /// Thoughts, in the pieces of their deltas; signed on wires that sign.
    Thinking(Vec<String>),
    /// Thoughts that only the vendor can read.
    Redacted,
    /// A tool call; `arguments` is JSON text as the model wrote it, which need not be valid.
    Tool { id: Option<String>, name: String, arguments: String },
}

/// Why an answer ended. Unset, it is a tool call's end if the answer holds a call, else [`Stop::End`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The model was done.
    End,
    /// The maximum of output tokens was reached.
    MaxTokens,
    /// This stop string was met.
    Sequence(String),
    /// The vendor's filter, or a refusal. Without a word said, Gemini has blocked the prompt.
    Filter,
    /// `pause_turn` on Anthropic; a plain end elsewhere.
    Pause,
}

/// The tokens an answer reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Plain input tokens, without those read from or written to a cache.
    pub input: u64,
    /// All output tokens, thoughts included.
    pub output: u64,
    /// Input tokens read from a cache.
    pub cache_read: u64,
    /// Input tokens written to a cache for 5 minutes.
    pub cache_write_5m: u64,
    /// Input tokens written to a cache for an hour.
    pub cache_write_1h: u64,
    /// The part of `output` that was thinking.
    pub reasoning: u64,
}

impl Usage {
    pub(crate) const fn cache_write(self) -> u64 {
        self.cache_write_5m + self.cache_write_1h
    }

    /// Input with everything a cache read or wrote, as OpenAI counts.
    pub(crate) const fn all_input(self) -> u64 {
        self.input + self.cache_read + self.cache_write()
    }
}

/// What a reply says.
impl Reply {
    fn new(content: Content) -> Self {
        Self { content, status: None, headers: Vec::new(), plan: Plan::default() }
    }

    /// Text; a stream sends one delta for each piece.
    pub fn text<P: Into<String>>(pieces: impl IntoIterator<Item = P>) -> Self {
        Self::nothing().say(pieces)
    }

    /// An answer without content, to be filled by [`Reply::say`], [`Reply::thinking`] and [`Reply::tool`] in any order.
    pub fn nothing() -> Self {
        Self::new(Content::Answer(Answer::default()))
    }

    /// A vendor's error.
    pub fn error(shape: ErrorShape) -> Self {
        Self::new(Content::Error(shape))
    }

    /// Any bytes as a body, with these headers and no others but `content-length` (or `transfer-encoding`, after
    /// [`Reply::chunked`]).
    pub fn raw(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Self {
        let mut reply = Self::new(Content::Raw(body.into()));
        reply.status = Some(status);
        reply.headers = headers.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
        reply
    }

    /// Any bytes at all in place of an HTTP message; then the connection closes.
    pub fn verbatim(message: impl Into<Bytes>) -> Self {
        Self::new(Content::Verbatim(message.into()))
    }

    fn answer(mut self, change: impl FnOnce(&mut Answer)) -> Self {
        if let Content::Answer(answer) = &mut self.content {
            change(answer);
        }
        self
    }

    fn part(self, part: Part) -> Self {
        self.answer(|answer| answer.parts.push(part))
    }

    /// One more text block.
    pub fn say<P: Into<String>>(self, pieces: impl IntoIterator<Item = P>) -> Self {
        self.part(Part::Text(pieces.into_iter().map(Into::into).collect()))
    }

    /// A thinking block (Anthropic), reasoning item with a summary (Responses), `reasoning_content` (chat) or thought part
    /// (Gemini).
    pub fn thinking(self, text: &str) -> Self {
        self.part(Part::Thinking(pieces_of(text)))
    }

    /// Thoughts the client cannot read: `redacted_thinking` (Anthropic), an encrypted reasoning item (Responses); nothing
    /// on the other wires.
    pub fn redacted_thinking(self) -> Self {
        self.part(Part::Redacted)
    }

    /// A tool call with an id of the vendor's form.
    pub fn tool(self, name: &str, arguments: &Value) -> Self {
        self.part(Part::Tool { id: None, name: name.to_owned(), arguments: arguments.to_string() })
    }

    /// A tool call with this id, whose arguments are the given text, be it JSON or not.
    pub fn tool_as(self, id: &str, name: &str, arguments: &str) -> Self {
        let part = Part::Tool { id: Some(id.to_owned()), name: name.to_owned(), arguments: arguments.to_owned() };
        self.part(part)
    }

    /// Plain input and all output tokens. Unset, they are computed from sizes as the crate's table says.
    pub fn usage(self, input: u64, output: u64) -> Self {
        self.count(|usage| (usage.input, usage.output) = (input, output))
    }

    /// Cache tokens, beside the plain input.
    pub fn cache(self, read: u64, write_5m: u64, write_1h: u64) -> Self {
        self.count(|usage| (usage.cache_read, usage.cache_write_5m, usage.cache_write_1h) = (read, write_5m, write_1h))
    }

    /// How much of the output was thinking.
    pub fn reasoning(self, tokens: u64) -> Self {
        self.count(|usage| usage.reasoning = tokens)
    }

    fn count(self, change: impl FnOnce(&mut Usage)) -> Self {
        self.answer(|answer| change(answer.usage.get_or_insert_default()))
    }

    /// Why the answer ends.
    pub fn stop_reason(self, stop: Stop) -> Self {
        self.answer(|answer| answer.stop = Some(stop))
    }

    /// Another status. On an error, 200 makes it an error inside a good answer.
    pub const fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Sets a header in place of the vendor's of that name.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), Some(value.to_owned())));
        self
    }

    /// Leaves a vendor's header out.
    pub fn without_header(mut self, name: &str) -> Self {
        self.headers.push((name.to_owned(), None));
        self
    }
}

/// How a reply is handed over.
impl Reply {
    fn plan(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        change(&mut self.plan);
        self
    }

    /// Cuts the bytes of the body anew at these sizes, in turn, from the first again after the last: `[1]` sends every byte
    /// alone. The pieces are the frames that gaps, holds and breaks count.
    pub fn chunked_at(self, sizes: impl IntoIterator<Item = usize>) -> Self {
        self.plan(|plan| plan.sizes = sizes.into_iter().collect())
    }

    /// Waits before the head.
    pub fn delay_start(self, wait: Duration) -> Self {
        self.plan(|plan| plan.delay = wait)
    }

    /// Waits between frames.
    pub fn gap(self, wait: Duration) -> Self {
        self.plan(|plan| plan.gap = wait)
    }

    /// A slow drip: `size` bytes, then a gap, and so on.
    pub fn drip(self, size: usize, gap: Duration) -> Self {
        self.chunked_at([size]).gap(gap)
    }

    /// Waits for the gate before frame number `frame`, counted from 0.
    pub fn hold(self, frame: usize, gate: &Gate) -> Self {
        self.plan(|plan| plan.holds.push((frame, gate.clone())))
    }

    /// Waits for the gate before the head.
    pub fn hold_head(self, gate: &Gate) -> Self {
        self.plan(|plan| plan.hold_head = Some(gate.clone()))
    }

    fn breaks(self, at: impl Into<At>, how: Break) -> Self {
        self.plan(|plan| plan.breaks = Some((at.into(), how)))
    }

    /// Sends nothing more from there on, and keeps the connection open until the client leaves.
    pub fn stall_after(self, at: impl Into<At>) -> Self {
        self.breaks(at, Break::Stall)
    }

    /// Closes the connection there, cleanly for TCP, without the end of the answer.
    pub fn cut_after(self, at: impl Into<At>) -> Self {
        self.breaks(at, Break::Cut)
    }

    /// Resets the connection there. What was sent right before may be lost with it, as it is in the wild. In process,
    /// where there is no TCP, it is a cut.
    pub fn reset_after(self, at: impl Into<At>) -> Self {
        self.breaks(at, Break::Reset)
    }

    /// Sends a chunk whose size is no number there, then closes.
    pub fn bad_chunk_after(self, at: impl Into<At>) -> Self {
        self.chunked().breaks(at, Break::BadChunk)
    }

    /// Ends a stream with the wire's own error event after so many events; the body itself ends properly.
    pub fn error_event_after(self, events: usize, overloaded: bool) -> Self {
        self.plan(|plan| plan.fails = Some(Failing { after: events, overloaded, as_status: false }))
    }

    /// As [`Reply::error_event_after`], but Responses says `response.failed`.
    pub fn failed_after(self, events: usize, overloaded: bool) -> Self {
        self.plan(|plan| plan.fails = Some(Failing { after: events, overloaded, as_status: true }))
    }

    /// Never ends: a stream repeats its first content delta, a whole body goes on with blanks, until the client leaves.
    pub fn endless(self) -> Self {
        self.plan(|plan| plan.endless = true)
    }

    /// Codes the body with gzip; a stream is flushed after every frame.
    pub fn gzip(self) -> Self {
        self.plan(|plan| plan.gzip = Gzip::Good)
    }

    /// Says gzip, and is not.
    pub fn bad_gzip(self) -> Self {
        self.plan(|plan| plan.gzip = Gzip::Bad)
    }

    /// Head and all frames leave in one write (without gaps, holds or breaks).
    pub fn in_one_write(self) -> Self {
        self.plan(|plan| plan.one_write = true)
    }

    /// Chunked, also where a `content-length` is usual.
    pub fn chunked(self) -> Self {
        self.plan(|plan| plan.chunked = Some(true))
    }

    /// With a `content-length`, also for a stream.
    pub fn with_length(self) -> Self {
        self.plan(|plan| plan.chunked = Some(false))
    }

    /// Closes the connection after the answer, and says so.
    pub fn then_close(self) -> Self {
        self.plan(|plan| plan.close = true)
    }
}

/// A text in pieces of twelve characters: several deltas for all but the shortest.
pub(crate) fn pieces_of(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(12).map(|piece| piece.iter().collect()).collect()
}
