//! Takes what a walker finds in an answer: the state of one event, and what it adds up to.

use super::{ISSUED_MAX, Seen, counts::Counts, place::Place};
use crate::{
    Wire,
    error::ErrorFacts,
    gemini,
    json::{Sink, Want},
    state::{Issued, What, fingerprint},
};

/// What an event's type says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// It has none.
    #[default]
    Untyped,
    Start,
    Delta,
    /// A delta whose data is not text.
    Binary,
    /// It sums up, and may carry usage (`message_delta`).
    Summary,
    Closing,
    /// It closes, and says that the answer failed.
    Failed,
    Error,
    Ping,
    Other,
}

impl Kind {
    pub(super) fn of(wire: Wire, name: &[u8]) -> Self {
        match wire {
            Wire::Anthropic => match name {
                b"message_start" => Self::Start,
                b"content_block_delta" | b"content_block_start" => Self::Delta,
                b"message_delta" => Self::Summary,
                b"message_stop" => Self::Closing,
                b"error" => Self::Error,
                b"ping" => Self::Ping,
                // A whole message.
                b"message" => Self::Untyped,
                _ if name.ends_with(b"_delta") => Self::Delta,
                _ => Self::Other,
            },
            Wire::Responses => match name {
                b"response.created"
                | b"response.queued"
                | b"response.in_progress"
                | b"response.output_item.added"
                | b"response.content_part.added"
                | b"response.reasoning_summary_part.added" => Self::Start,
                b"response.completed" | b"response.incomplete" => Self::Closing,
                b"response.failed" => Self::Failed,
                b"error" => Self::Error,
                b"keepalive" | b"ping" => Self::Ping,
                b"response.audio.delta" | b"response.output_audio.delta" => Self::Binary,
                _ if name.ends_with(b".delta") || name.ends_with(b".done") || name.ends_with(b".partial_image") => {
                    Self::Delta
                }
                _ => Self::Other,
            },
            Wire::Chat => match name {
                b"error" => Self::Error,
                b"ping" => Self::Ping,
                b"transcript.text.delta" => Self::Delta,
                b"image_generation.partial_image" | b"image_edit.partial_image" | b"speech.audio.delta" => Self::Binary,
                b"image_generation.completed"
                | b"image_edit.completed"
                | b"transcript.text.done"
                | b"speech.audio.done" => Self::Closing,
                _ => Self::Untyped,
            },
            Wire::Gemini => match name {
                b"error" => Self::Error,
                b"ping" => Self::Ping,
                _ => Self::Untyped,
            },
        }
    }
}

/// One event, or a whole body.
#[derive(Debug, Default)]
pub(super) struct Event {
    pub(super) kind: Kind,
    pub(super) content: bool,
    text: u64,
    delta_text: u64,
    usage: Counts,
    pub(super) has_usage: bool,
    pub(super) has_choices: bool,
    pub(super) has_error: bool,
    /// A choice finished in it.
    pub(super) finished: bool,
    /// The prompt was refused, so that there is no choice to finish.
    pub(super) blocked: bool,
    /// Rare, and boxed to keep the usual event small.
    fault: Option<Box<ErrorFacts>>,
}

/// Up to this many choices are told apart.
const CHOICES: u64 = 128;

/// The sink of the taps.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(super) wire: Wire,
    root: Place,
    pub(super) seen: Seen,
    known: Counts,
    pub(super) event: Event,
    choice: u64,
    choice_finished: bool,
    choices_seen: u128,
    choices_finished: u128,
}

impl Facts {
    pub(super) fn new(wire: Wire) -> Self {
        let root = match wire {
            Wire::Anthropic => Place::AnthropicRoot,
            Wire::Chat => Place::ChatRoot,
            Wire::Responses => Place::ResponsesRoot,
            Wire::Gemini => Place::GeminiRoot,
        };
        Self::at(wire, root)
    }

    /// A sink that reads error bodies of any dialect.
    pub(crate) fn of_errors() -> Self {
        Self::at(Wire::Chat, Place::ErrorRoot)
    }

    fn at(wire: Wire, root: Place) -> Self {
        Self {
            wire,
            root,
            seen: Seen::default(),
            known: Counts::default(),
            event: Event::default(),
            choice: 0,
            choice_finished: false,
            choices_seen: 0,
            choices_finished: 0,
        }
    }

    /// The error found, whether or not it had an object of its own.
    pub(crate) fn into_fault(self) -> ErrorFacts {
        self.event.fault.map(|fault| *fault).unwrap_or_default()
    }

    /// Ends an event. Of a `broken` one only the text counts: its other values may be half of what was sent.
    pub(super) fn commit(&mut self, broken: bool) {
        let counts_delta = self.event.kind == Kind::Delta;
        let text = self.event.text + if counts_delta { self.event.delta_text } else { 0 };
        self.seen.output_text_bytes = self.seen.output_text_bytes.saturating_add(text);
        self.seen.broken_json |= broken;
        if broken {
            self.event = Event::default();
            return;
        }
        self.take_usage();
        let failed = matches!(self.event.kind, Kind::Failed | Kind::Error);
        if self.event.has_error || failed {
            self.seen.error = Some(self.event.fault.take().map(|fault| *fault).unwrap_or_default());
        }
        self.seen.all_choices_finished = self.choices_seen != 0 && self.choices_seen == self.choices_finished;
    }

    /// Prepares for the next event.
    pub(super) fn clear_event(&mut self) {
        self.event = Event::default();
    }

    fn take_usage(&mut self) {
        // An event of a type we do not know may use the same words for something else.
        let known_type = matches!(self.event.kind, Kind::Untyped | Kind::Start | Kind::Summary);
        if !self.event.usage.any() || (self.wire == Wire::Anthropic && !known_type) {
            return;
        }
        let reported = std::mem::take(&mut self.event.usage);
        if self.wire == Wire::Gemini {
            // Each report is whole, and the last one counts.
            self.known = reported;
        } else {
            self.known.merge(&reported);
        }
        self.seen.usage = self.known.usage(self.wire);
    }

    fn issue(&mut self, what: What, text: &[u8]) {
        let issued = Issued { what, thing: fingerprint(text) };
        let known = &mut self.seen.issued;
        if !text.is_empty() && known.len() < ISSUED_MAX && !known.contains(&issued) {
            known.push(issued);
        }
    }

    fn keep(slot: &mut Option<String>, text: &[u8]) {
        *slot = Some(String::from_utf8_lossy(text).into_owned());
    }

    /// Takes a field of an error; no other place.
    fn fault(&mut self, place: Place, text: &[u8]) {
        let fault = self.event.fault.get_or_insert_default();
        match place {
            Place::FaultCode => {
                if let Some(status) = std::str::from_utf8(text).ok().and_then(|code| code.parse().ok()) {
                    fault.http = http_status(status);
                }
                Self::keep(&mut fault.code, text);
            }
            Place::FaultKind => Self::keep(&mut fault.kind, text),
            Place::FaultMessage => Self::keep(&mut fault.message, text),
            Place::FaultParam => Self::keep(&mut fault.param, text),
            Place::FaultReason => Self::keep(&mut fault.reason, text),
            Place::FaultRetryDelay => fault.retry_delay_ms = std::str::from_utf8(text).ok().and_then(duration_ms),
            Place::FaultQuotaId => {
                let daily = memchr::memmem::find(text, b"PerDay").is_some();
                if daily || fault.quota_id.is_none() {
                    Self::keep(&mut fault.quota_id, text);
                }
            }
            Place::LooseMessage if fault.message.is_none() => Self::keep(&mut fault.message, text),
            Place::LooseKind if fault.kind.is_none() && text != b"error" => Self::keep(&mut fault.kind, text),
            _ => {}
        }
    }
}

impl Sink for Facts {
    type Place = Place;
    const NOWHERE: Place = Place::None;

    fn root(&self) -> Place {
        self.root
    }

    fn child(&self, of: Place, key: &[u8]) -> Place {
        of.child(key)
    }

    fn item(&self, of: Place) -> Place {
        of.item()
    }

    fn want(&self, place: Place) -> Want {
        match place {
            // The first one is the answer's.
            Place::Id if self.seen.id.is_some() => Want::Skip,
            Place::Model if self.seen.model.is_some() => Want::Skip,
            _ => place.want(),
        }
    }

    fn open(&mut self, place: Place, array: bool) {
        match place {
            Place::Choice => {
                self.event.has_choices = true;
                (self.choice, self.choice_finished) = (0, false);
            }
            Place::GeminiCandidate => (self.choice, self.choice_finished) = (0, false),
            Place::OpenAiUsage | Place::AnthropicUsage | Place::GeminiUsage => self.event.has_usage = true,
            Place::Error if !array => {
                self.event.has_error = true;
                self.event.fault.get_or_insert_default().native = true;
            }
            Place::ChatCall
            | Place::ChatFunction
            | Place::Solid
            | Place::AnthropicBlock
            | Place::Item
            | Place::GeminiCall
            | Place::GeminiCode
                if !array =>
            {
                self.event.content = true;
            }
            _ => {}
        }
    }

    fn close(&mut self, place: Place, bytes: u64) {
        match place {
            Place::Choice | Place::GeminiCandidate => {
                let bit = 1u128 << self.choice.min(CHOICES - 1);
                self.choices_seen |= bit;
                if std::mem::take(&mut self.choice_finished) {
                    self.choices_finished |= bit;
                }
            }
            // In an array of documents, each has its own report.
            Place::GeminiRoot => self.take_usage(),
            // `{}` is where arguments begin that come in pieces.
            Place::Data if bytes > 2 => {
                self.event.text += bytes;
                self.event.content = true;
            }
            _ => {}
        }
    }

    fn counted(&mut self, place: Place, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.event.content = true;
        match place {
            Place::DeltaText => self.event.delta_text += bytes,
            Place::Text | Place::ContentParts => self.event.text += bytes,
            _ => {}
        }
    }

    fn kept(&mut self, place: Place, text: &[u8], cut: bool) {
        if let Some(what) = place.issues() {
            return self.issue(what, text);
        }
        self.seen.cut |= cut;
        if place == Place::Id && self.wire == Wire::Responses {
            self.issue(What::Stored, text);
        }
        let seen = &mut self.seen;
        match place {
            Place::Type => self.event.kind = Kind::of(self.wire, text),
            Place::Id => Self::keep(&mut seen.id, text),
            Place::Model => Self::keep(&mut seen.model, text),
            Place::Status => Self::keep(&mut seen.status, text),
            Place::Finish => Self::keep(&mut seen.finish, text),
            Place::ChoiceFinish if !matches!(text, b"" | b"FINISH_REASON_UNSPECIFIED") => {
                Self::keep(&mut seen.finish, text);
                seen.malformed_call |= self.wire == Wire::Gemini && gemini::is_malformed(text);
                self.choice_finished = true;
                self.event.finished = true;
            }
            Place::BlockReason if text != b"BLOCK_REASON_UNSPECIFIED" => {
                Self::keep(&mut seen.finish, text);
                self.event.blocked = true;
            }
            Place::Error => {
                self.event.has_error = true;
                self.fault(Place::FaultMessage, text);
            }
            Place::LooseDetail => self.fault(Place::LooseMessage, text),
            // Words for "not yet".
            Place::ChoiceFinish | Place::BlockReason => {}
            _ => self.fault(place, text),
        }
    }

    fn number(&mut self, place: Place, value: u64) {
        match place {
            Place::ChoiceIndex => self.choice = value,
            Place::Sequence => self.seen.sequence = Some(value),
            Place::FaultCode => self.event.fault.get_or_insert_default().http = http_status(value),
            _ => {
                if let Some(count) = place.count() {
                    self.event.usage.set(count, value);
                }
            }
        }
    }
}

fn http_status(code: u64) -> Option<u16> {
    u16::try_from(code).ok().filter(|code| (100..600).contains(code))
}

/// Milliseconds of a duration as protocol buffers write it in JSON: `34s`, `1.5s`. Rounded down.
fn duration_ms(text: &str) -> Option<u64> {
    let (whole, fraction) = text.strip_suffix('s').map(|text| text.split_once('.').unwrap_or((text, "")))?;
    let thousandths = fraction
        .bytes()
        .chain(*b"000")
        .take(3)
        .try_fold(0, |sum, digit| Some(sum * 10 + u64::from(char::from(digit).to_digit(10)?)))?;
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(thousandths)
}
