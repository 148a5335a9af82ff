//! A stream from one wire to another, pushed through in whatever pieces it comes.

use super::{
    Answer, EVENT_MAX, Memory, Refused,
    adapt::{self, MALFORMED},
    adapter::Adapter,
    choices::Choices,
};
use crate::{
    ErrorFacts, Problem, Usage, Wire, anthropic,
    error::render_stream,
    gemini,
    ir::{Event, Finish, Json},
    json,
    loss::Loss,
    openai_chat, openai_responses,
    sse::{Fields, Lines},
};

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The upstream completed it, and so is what was written.
    Whole,
    /// The upstream broke off: nothing that completes was written, and an error event is still to be.
    Cut,
    /// The upstream sent an error, which was written.
    Failed,
}

/// Converts one stream.
#[derive(Debug)]
pub struct Stream {
    from: Wire,
    to: Wire,
    lines: Lines,
    frame: Frame,
    decoder: Decoder,
    encoder: Encoder,
    adapter: Adapter,
    /// Further answers of the same stream, where both wires have them.
    choices: Choices,
    context: Context,
    events: Vec<Event>,
    usage: Usage,
    error: Option<Box<ErrorFacts>>,
    finished: bool,
    ended: bool,
    loss: Loss,
}

/// [`Answer`], owned.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) model: Option<String>,
    pub(crate) seed: String,
    pub(crate) created: u64,
    pub(crate) memory: Memory,
    issuer: Option<String>,
    pub(crate) show_thoughts: bool,
    pub(crate) request_id: String,
}

impl Context {
    pub(crate) fn answer(&self) -> Answer<'_> {
        Answer {
            model: self.model.as_deref(),
            seed: &self.seed,
            created: self.created,
            memory: &self.memory,
            issuer: self.issuer.as_deref(),
            show_thoughts: self.show_thoughts,
            request_id: &self.request_id,
        }
    }
}

#[derive(Debug)]
enum Decoder {
    Anthropic(anthropic::stream::Decoder),
    Chat(openai_chat::stream::Decoder),
    Responses(openai_responses::stream::Decoder),
    Gemini(gemini::stream::Decoder),
}

#[derive(Debug)]
enum Encoder {
    Anthropic(anthropic::stream::Encoder),
    Chat(openai_chat::stream::Encoder),
    Responses(Box<openai_responses::stream::Encoder>),
    Gemini(gemini::stream::Encoder),
}

/// The frame that is being read.
#[derive(Debug, Default)]
struct Frame {
    data: Vec<u8>,
    lines: usize,
    too_large: bool,
}

impl Fields for Frame {
    fn event(&mut self, _piece: &[u8]) {}

    fn data_line(&mut self) {
        if self.lines > 0 {
            self.data(b"\n");
        }
        self.lines += 1;
    }

    fn data(&mut self, piece: &[u8]) {
        if self.data.len() + piece.len() > EVENT_MAX {
            self.too_large = true;
        } else {
            self.data.extend_from_slice(piece);
        }
    }
}

impl Stream {
    /// A stream of `from`, to be written as `to`.
    pub fn new(from: Wire, to: Wire, answer: &Answer<'_>) -> Self {
        Self {
            from,
            to,
            lines: Lines::default(),
            frame: Frame::default(),
            decoder: match from {
                Wire::Anthropic => Decoder::Anthropic(anthropic::stream::Decoder::default()),
                Wire::Chat => Decoder::Chat(openai_chat::stream::Decoder::default()),
                Wire::Responses => Decoder::Responses(openai_responses::stream::Decoder::default()),
                Wire::Gemini => Decoder::Gemini(gemini::stream::Decoder::default()),
            },
            encoder: match to {
                Wire::Anthropic => Encoder::Anthropic(anthropic::stream::Encoder::default()),
                Wire::Chat => Encoder::Chat(openai_chat::stream::Encoder::default()),
                Wire::Responses => Encoder::Responses(Box::default()),
                Wire::Gemini => Encoder::Gemini(gemini::stream::Encoder::default()),
            },
            adapter: Adapter::new(from, to, 0),
            choices: Choices::new(from, to),
            context: Context {
                model: answer.model.map(str::to_owned),
                seed: answer.seed.to_owned(),
                created: answer.created,
                memory: answer.memory.clone(),
                issuer: answer.issuer.map(str::to_owned),
                show_thoughts: answer.show_thoughts,
                request_id: answer.request_id.to_owned(),
            },
            events: Vec::new(),
            usage: Usage::default(),
            error: None,
            finished: false,
            ended: false,
            loss: Loss::default(),
        }
    }

    /// Takes bytes as they come, and writes what they complete to `out`.
    ///
    /// # Errors
    /// [`Refused`]: what came is no event of its wire, or too large. What was written before stays good; the stream
    /// is over.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Refused> {
        while !bytes.is_empty() {
            let (read, ended) = self.lines.next(bytes, &mut self.frame);
            bytes = &bytes[read..];
            if self.frame.too_large {
                return Err(Refused::TooLarge);
            }
            if ended {
                self.frame_ended(out)?;
            }
        }
        Ok(())
    }

    /// The upstream has nothing more to say.
    ///
    /// # Errors
    /// As [`Stream::feed`].
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<Ending, Refused> {
        if self.lines.in_frame() {
            self.frame_ended(out)?;
        }
        // Where one of several answers broke off, so did the stream.
        if !self.ended && self.choices.finished() {
            let mut events = std::mem::take(&mut self.events);
            match &mut self.decoder {
                Decoder::Chat(decoder) => decoder.end(&mut events),
                Decoder::Gemini(decoder) => decoder.end(&mut events),
                // These two have a last event of their own.
                Decoder::Anthropic(_) | Decoder::Responses(_) => {}
            }
            self.write(events, out);
        }
        Ok(match (self.error.is_some(), self.ended) {
            (true, _) => Ending::Failed,
            (false, true) => Ending::Whole,
            (false, false) => Ending::Cut,
        })
    }

    /// Ends what was written so far with an error, where the upstream cannot: it broke off, or was too slow.
    pub fn fail(&mut self, problem: &Problem<'_>, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        match &self.encoder {
            Encoder::Anthropic(_) => out.extend(render_stream(Wire::Anthropic, problem)),
            Encoder::Chat(_) => out.extend(render_stream(Wire::Chat, problem)),
            Encoder::Responses(encoder) => encoder.fail(problem, &self.context, out),
            Encoder::Gemini(_) => out.extend(render_stream(Wire::Gemini, problem)),
        }
    }

    /// Where the last frame of `written` begins: once the answer has [`ended`](Self::ended), the frame that completes it.
    pub fn last_frame(written: &[u8]) -> usize {
        // What is written here has no other blank lines than those that end its frames.
        let text = written.trim_ascii_end();
        let after_break = memchr::memmem::rfind(text, b"\n\n").map(|at| at + 2);
        let after_crlf = memchr::memmem::rfind(text, b"\r\n\r\n").map(|at| at + 4);
        after_break.max(after_crlf).unwrap_or(0)
    }

    /// Tokens reported so far.
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// The upstream has said why generation ended.
    pub const fn finished(&self) -> bool {
        self.finished
    }

    /// The frame that completes the answer has been written: whatever comes is ignored.
    pub const fn ended(&self) -> bool {
        self.ended
    }

    /// The error that the upstream sent within the stream.
    pub fn error(&self) -> Option<&ErrorFacts> {
        self.error.as_deref()
    }

    /// What was not carried so far.
    pub const fn loss(&self) -> &Loss {
        &self.loss
    }

    /// Bytes held for what is not complete yet.
    pub fn held(&self) -> usize {
        let encoder = match &self.encoder {
            Encoder::Responses(encoder) => encoder.held(),
            Encoder::Gemini(encoder) => encoder.held(),
            Encoder::Chat(encoder) => encoder.held(),
            // It holds nothing.
            Encoder::Anthropic(_) => 0,
        };
        let decoder = match &self.decoder {
            Decoder::Anthropic(decoder) => decoder.held(),
            Decoder::Chat(decoder) => decoder.held(),
            Decoder::Responses(decoder) => decoder.held(),
            // An event at a time: all it says goes on at once.
            Decoder::Gemini(_) => 0,
        };
        self.frame.data.len() + self.adapter.held() + self.choices.held() + decoder + encoder
    }

    fn frame_ended(&mut self, out: &mut Vec<u8>) -> Result<(), Refused> {
        let had_data = std::mem::take(&mut self.frame.lines) > 0;
        let data = std::mem::take(&mut self.frame.data);
        if had_data && !self.ended {
            let result = self.frame_read(&data, out);
            // One buffer serves all frames, unless one was large.
            if data.capacity() <= 64 * 1024 {
                self.frame.data = data;
                self.frame.data.clear();
            }
            return result;
        }
        Ok(())
    }

    fn frame_read(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Refused> {
        let data = json::trim(data);
        if data.is_empty() {
            return Ok(());
        }
        let mut events = std::mem::take(&mut self.events);
        if data == b"[DONE]" {
            if let Decoder::Chat(decoder) = &mut self.decoder {
                decoder.done(&mut events);
            }
        } else {
            let mut body = Json::parse_event(data).map_err(|_| Refused::invalid("", "an event is not valid JSON"))?;
            let failed = self.choices.event(&mut body, &self.context, out, &mut self.loss)?;
            events.extend(failed);
            match &mut self.decoder {
                Decoder::Anthropic(decoder) => decoder.event(body, &mut events, &mut self.loss)?,
                Decoder::Chat(decoder) => decoder.event(body, &mut events, &mut self.loss)?,
                Decoder::Responses(decoder) => decoder.event(body, &mut events, &mut self.loss)?,
                Decoder::Gemini(decoder) => decoder.event(body, &mut events, &mut self.loss),
            }
        }
        self.write(events, out);
        if self.held() > EVENT_MAX { Err(Refused::TooLarge) } else { Ok(()) }
    }

    fn write(&mut self, mut events: Vec<Event>, out: &mut Vec<u8>) {
        let Self { encoder, adapter, choices, context, loss, .. } = self;
        for mut event in events.drain(..) {
            if self.ended {
                break;
            }
            match &event {
                Event::Start { usage, .. } | Event::Usage(usage) => self.usage = *usage,
                // Nothing is written of a call that is none: the answer has failed.
                Event::Finish { finish: Finish::Malformed, .. } if self.to != self.from => {
                    let facts = malformed();
                    event = Event::Error(facts.clone());
                    self.error = Some(facts);
                    self.ended = true;
                }
                Event::Finish { finish, stop } => {
                    if self.to != self.from {
                        adapt::ending(*finish, stop.as_deref(), self.to, loss);
                    }
                    self.finished = true;
                }
                Event::Error(facts) => {
                    self.error = Some(facts.clone());
                    self.ended = true;
                }
                Event::End => {
                    self.ended = true;
                    choices.end(context, out, loss);
                }
                _ => {}
            }
            adapter.pass(event, (self.from, self.to), &context.answer(), |event| match encoder {
                Encoder::Anthropic(encoder) => encoder.event(event, context, out, loss),
                Encoder::Chat(encoder) => encoder.event(event, context, out, loss),
                Encoder::Responses(encoder) => encoder.event(event, context, out, loss),
                Encoder::Gemini(encoder) => encoder.event(event, context, out, loss),
            });
            if let Some(at) = adapter.left_out() {
                loss.add(at, adapt::TRAILS);
            }
        }
        events.clear();
        events.shrink_to(EVENTS_KEPT);
        self.events = events;
    }
}

/// The error that a call which is none is told as.
pub(super) fn malformed() -> Box<ErrorFacts> {
    Box::new(ErrorFacts { message: Some(MALFORMED.to_owned()), ..ErrorFacts::default() })
}

/// Room for events that is kept from one frame to the next.
const EVENTS_KEPT: usize = 256;

/// Writes an event with its name, as Anthropic and Responses have it.
pub(crate) fn named(name: &str, data: &Json, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
    unnamed(data, b"\n\n", out);
}

/// Writes an event without a name.
pub(crate) fn unnamed(data: &Json, end: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    data.write(out);
    out.extend_from_slice(end);
}
