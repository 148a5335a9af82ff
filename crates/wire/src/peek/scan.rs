//! The pass over the body.

use super::{
    BARE_MAX, Bare, ECHOES_MAX, Field, Kind, MODEL_MAX, MODEL_TYPE, Maximum, Peek, PeekError, Slot,
    level::{Level, Note},
    named::Count,
    place::{Media, Place, is_inline},
};
use crate::{
    Wire,
    json::{Reader, Text, Token, wide},
};

/// Longest of the other strings that are kept, in bytes; a longer one is cut.
const HINT_MAX: usize = 1024;
/// Text that a number in a prompt of token ids stands for: half of it is the one token it is.
const TOKEN_ID: u64 = 2;

pub(super) struct Scan<'a> {
    wire: Wire,
    reader: Reader<'a>,
    levels: Vec<Level>,
    given_once: u32,
    peek: Peek,
    named: Count,
}

impl<'a> Scan<'a> {
    pub(super) fn new(wire: Wire, body: &'a [u8]) -> Self {
        let peek = Peek { choices: 1, ..Peek::default() };
        Self {
            wire,
            reader: Reader::new(body),
            levels: Vec::with_capacity(16),
            given_once: 0,
            peek,
            named: Count::default(),
        }
    }

    pub(super) fn run(mut self, kind: Kind) -> Result<Peek, PeekError> {
        let mut first = true;
        while let Some(token) = self.reader.next()? {
            if std::mem::take(&mut first) {
                let Token::Open { array: false } = token else {
                    return Err(PeekError::NotAnObject);
                };
                self.peek.root_open = self.reader.end();
                self.peek.root_empty = true;
                self.push(Place::Root, false);
                continue;
            }
            self.token(token)?;
        }
        if self.peek.model.is_none() && self.wire != Wire::Gemini && kind != Kind::Metered {
            return Err(PeekError::MissingModel);
        }
        Ok(self.peek)
    }

    fn token(&mut self, token: Token<'a>) -> Result<(), PeekError> {
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        match token {
            Token::Key(key) => {
                level.empty = false;
                level.named = match level.place {
                    Place::None | Place::Free => Place::None,
                    of => key.key().map_or(Place::None, |key| of.child(self.wire, &key)),
                };
                let (of, named) = (level.place, level.named);
                return if matches!(of, Place::Root | Place::GenerationConfig) { self.once(named) } else { Ok(()) };
            }
            Token::Close => {
                if let Some(level) = self.levels.pop() {
                    self.close(level);
                }
                return Ok(());
            }
            _ => {}
        }
        level.empty = false;
        let place = if level.array { level.place.item() } else { level.named.of(&token) };
        level.note.members += u32::from(place != Place::BlockType && !matches!(token, Token::Null));
        match token {
            Token::Open { array } => self.open(place, array),
            Token::Text(text) => self.text(place, text),
            Token::Number(digits) => self.number(place, digits),
            Token::Bool(value) => self.boolean(place, value),
            _ => {
                self.null(place);
                Ok(())
            }
        }
    }

    fn once(&mut self, place: Place) -> Result<(), PeekError> {
        let Some((bit, name)) = place.once(self.wire) else { return Ok(()) };
        if self.given_once & bit != 0 {
            return Err(PeekError::DuplicateKey(name));
        }
        self.given_once |= bit;
        Ok(())
    }

    fn push(&mut self, place: Place, array: bool) {
        let start = self.reader.start();
        let level = Level { place, array, start, empty: true, named: Place::None, note: Note::default() };
        self.levels.push(level);
    }

    fn open(&mut self, mut place: Place, array: bool) -> Result<(), PeekError> {
        self.check_type(place)?;
        match place {
            // One message, without its array.
            Place::Messages | Place::Prompt | Place::Documents if !array => {
                self.peek.messages += 1;
                place = Place::Block;
            }
            Place::Content if !array => place = Place::Block,
            Place::Signature | Place::ItemId | Place::UsedId => place = Place::Free,
            Place::Citations if !array => place = Place::Free,
            Place::Block if array => place = Place::Content,
            Place::Block if self.levels.last().is_some_and(|level| level.place == Place::Messages) => {
                self.peek.messages += 1;
            }
            // A prompt of token ids, among several.
            Place::Prompt if self.levels.last().is_some_and(|level| level.place == Place::Prompt) => {
                self.peek.messages += 1;
            }
            Place::Remote | Place::Kept => self.peek.uncountable = true,
            Place::CacheControl if !array => self.peek.cache.any = true,
            // No mark: there is no place in it for a TTL.
            Place::CacheControl => place = Place::None,
            Place::StreamOptions | Place::GenerationConfig if array => {
                self.other(place);
                place = Place::None;
            }
            _ => {}
        }
        self.push(place, array);
        Ok(())
    }

    fn close(&mut self, level: Level) {
        let span = level.start..self.reader.end();
        let note = level.note;
        if level.place == Place::Block {
            self.issued(note);
        }
        match level.place {
            Place::Root if self.levels.is_empty() => self.peek.root_empty = level.empty,
            Place::StreamOptions => self.peek.stream_options = Slot::Object { span, empty: level.empty },
            Place::GenerationConfig => self.peek.generation_config = Slot::Object { span, empty: level.empty },
            Place::Free | Place::Citations => self.count_raw(&level),
            Place::Query => {
                self.count_raw(&level);
                self.peek.query_bytes += span.len() as u64;
            }
            Place::System => self.peek.system = Some(span),
            Place::Tools => self.peek.tools_span = Some(span),
            Place::Tool => {
                self.peek.tools += u32::from(!note.declares);
                self.count_raw(&level);
            }
            Place::Declaration => {
                self.peek.tools += 1;
                // The tool is two levels up, above its array.
                if let Some(tool) = self.levels.iter_mut().rev().nth(1) {
                    tool.note.declares = true;
                }
            }
            Place::Source(media) => self.source(note.media.unwrap_or(media), note),
            Place::Block if note.media == Some(Media::Image) => self.peek.images += note.unsorted,
            Place::Block => self.peek.documents += note.unsorted,
            Place::Reasoning => self.peek.thinking.asked |= !level.empty && !note.off,
            Place::ThinkConfig => self.peek.thinking.asked |= note.on && !note.off,
            Place::CacheControl if !note.ttl && self.peek.cache.bare.len() < BARE_MAX => {
                let at = span.end - 1;
                self.peek.cache.bare.push(if level.empty { Bare::Only(at) } else { Bare::Last(at) });
            }
            _ => {}
        }
    }

    /// What only its issuer understands of an input item.
    fn issued(&mut self, note: Note) {
        if let Some((from, to)) = note.sealed {
            if note.compacted {
                // Without it the conversation has no beginning: it goes to its issuer, or nowhere.
                self.named.kept(&mut self.peek, from..to);
            } else {
                self.named.sealed(&mut self.peek, from..to, false);
            }
        }
        let Some((from, to)) = note.id else { return };
        // A thought that came along needs no id.
        if note.thought && !note.signed {
            self.peek.written |= note.written;
            self.named.sealed(&mut self.peek, from..to, true);
        } else if note.refers || note.members == 1 || (note.picture && !note.drawn) {
            self.peek.uncountable = true;
            self.named.id(&mut self.peek, from..to);
        }
    }

    /// Counts a whole value as it stands.
    fn count_raw(&mut self, level: &Level) {
        let raw = self.reader.since(level.start);
        self.count(raw.len() as u64, wide(raw) as u64);
    }

    fn count(&mut self, bytes: u64, wide: u64) {
        self.peek.text_bytes += bytes;
        self.peek.wide_bytes += wide;
    }

    fn count_text(&mut self, text: &Text<'_>) {
        self.count(text.len() as u64, text.wide() as u64);
    }

    /// Content with its data in it, or a name for content that is elsewhere.
    fn source(&mut self, media: Media, note: Note) {
        self.peek.uncountable |= note.remote || media == Media::Timed;
        if note.data.is_none() && !note.remote {
            return;
        }
        match (media, note.data) {
            (Media::Timed, _) => {}
            (Media::Image, _) => self.peek.images += 1,
            (_, Some((bytes, wide))) if note.textual => self.count(bytes, wide),
            (Media::Document, _) => self.peek.documents += 1,
            (Media::Unknown, _) => {
                if let Some(block) = self.note() {
                    block.unsorted += 1;
                }
            }
        }
    }

    fn note(&mut self) -> Option<&mut Note> {
        self.levels.last_mut().map(|level| &mut level.note)
    }

    fn field<T>(&self, value: T) -> Field<T> {
        Field { value, span: self.reader.start()..self.reader.end() }
    }

    fn text(&mut self, place: Place, text: Text<'a>) -> Result<(), PeekError> {
        let inside = self.reader.start() + 1..self.reader.end() - 1;
        match place {
            Place::Model => {
                if text.len() == 0 || text.len() > MODEL_MAX {
                    return Err(PeekError::WrongType { field: "model", expected: MODEL_TYPE });
                }
                self.peek.model = Some(self.field(text.bounded(MODEL_MAX)));
            }
            Place::Stream | Place::Max(_) | Place::Choices | Place::BestOf => return self.check_type(place),
            Place::ModelEcho => {
                if self.peek.model_echoes.len() < ECHOES_MAX {
                    let echo = self.field(text.bounded(MODEL_MAX));
                    self.peek.model_echoes.push(echo);
                }
            }
            Place::UserId => self.peek.metadata_user_id = Some(text.bounded(HINT_MAX)),
            Place::CacheKey => self.peek.prompt_cache_key = Some(text.bounded(HINT_MAX)),
            Place::PreviousId => {
                self.peek.uncountable = true;
                self.peek.previous_response_id = Some(text.bounded(HINT_MAX));
                self.named.id(&mut self.peek, inside);
            }
            Place::Signature => {
                self.count_text(&text);
                let late = self.wire == Wire::Responses;
                if let Some(note) = self.note() {
                    note.signed = true;
                    note.sealed = late.then_some((inside.start, inside.end));
                }
                if !late {
                    self.named.sealed(&mut self.peek, inside, false);
                }
            }
            Place::ItemId => {
                self.count_text(&text);
                if let Some(note) = self.note() {
                    note.id = Some((inside.start, inside.end));
                    note.written = crate::openai_responses::is_own_thought(&text.word());
                }
            }
            Place::ToolHome | Place::KeptId => self.named.id(&mut self.peek, inside),
            Place::UsedId => {
                self.count_text(&text);
                self.named.used(&mut self.peek, inside);
            }
            Place::StreamOptions | Place::GenerationConfig => self.other(place),
            Place::Messages | Place::Prompt | Place::Documents => {
                self.peek.messages += 1;
                self.count_text(&text);
                if place == Place::Prompt && self.levels.len() == 1 {
                    self.peek.prompt_chars += text.chars() as u64;
                }
            }
            Place::Query => {
                self.count_text(&text);
                self.peek.query_bytes += text.len() as u64;
            }
            Place::System => {
                self.peek.system = Some(self.reader.start()..self.reader.end());
                self.count_text(&text);
            }
            // A search result's `source` is no more than its address.
            Place::Content | Place::Block | Place::Free | Place::Citations | Place::Source(Media::Unknown) => {
                self.count_text(&text);
            }
            Place::SourceMark => self.peek.written |= text.len() == 0,
            Place::Remote => self.remote(place),
            Place::Kept | Place::FileId => {
                self.remote(place);
                self.named.id(&mut self.peek, inside);
            }
            Place::ImageData => {
                self.peek.images += 1;
                if let Some(note) = self.note() {
                    note.drawn = text.len() > 0;
                }
            }
            Place::Reference(media) | Place::Source(media @ Media::Image) => self.reference(media, &text),
            Place::Source(_) => self.peek.uncountable = true,
            _ => self.word(place, &text),
        }
        Ok(())
    }

    /// Strings out of closed sets of words.
    fn word(&mut self, place: Place, text: &Text<'_>) {
        let word = text.word();
        let word = word.as_ref();
        match place {
            Place::ThinkType => self.peek.thinking.asked |= matches!(word, b"enabled" | b"adaptive"),
            Place::BareEffort => self.peek.thinking.asked |= !is_no_effort(word),
            Place::StreamFormat => self.peek.as_events = word == b"sse",
            Place::Modalities => self.peek.image_output |= word.eq_ignore_ascii_case(b"image"),
            Place::BlockType => {
                let elsewhere = matches!(word, b"item_reference" | b"container_upload" | b"audio" | b"video");
                self.peek.uncountable |= elsewhere;
                self.count_text(text);
            }
            Place::ToolType => self.peek.image_output |= word == b"image_generation",
            _ => {}
        }
        let Some(note) = self.note() else { return };
        match place {
            Place::BlockType => {
                note.refers = word == b"item_reference";
                note.thought = word == b"reasoning";
                note.compacted = word == b"compaction";
                note.picture = word == b"image_generation_call";
                if word == b"image" {
                    note.media = Some(Media::Image);
                }
            }
            Place::Effort if is_no_effort(word) => note.off = true,
            Place::ThinkLevel => note.on = true,
            Place::SourceType => note.textual |= word == b"text",
            Place::MediaType if word.starts_with(b"image/") => note.media = Some(Media::Image),
            Place::MediaType if word.starts_with(b"audio/") || word.starts_with(b"video/") => {
                note.media = Some(Media::Timed);
            }
            Place::MediaType => note.textual |= word.starts_with(b"text/"),
            Place::SourceData => note.data = Some((text.len() as u64, text.wide() as u64)),
            Place::CacheTtl => {
                note.ttl = true;
                self.peek.cache.one_hour |= word == b"1h";
            }
            _ => {}
        }
    }

    /// A URL: content if it is a data URL, else a name for it.
    fn reference(&mut self, media: Media, text: &Text<'_>) {
        let data = is_inline(&text.word()).then_some((0, 0));
        match self.levels.last_mut() {
            // Other members may tell what it is.
            Some(Level { place: Place::Source(_), note, .. }) => {
                note.remote |= data.is_none();
                note.data = note.data.or(data);
            }
            _ => self.source(media, Note { data, remote: data.is_none(), ..Note::default() }),
        }
    }

    fn remote(&mut self, place: Place) {
        self.peek.uncountable = true;
        if place == Place::FileId
            && let Some(note) = self.note()
        {
            note.remote = true;
        }
    }

    fn number(&mut self, place: Place, digits: &[u8]) -> Result<(), PeekError> {
        let value = whole(digits);
        match (place, value) {
            (Place::Max(field), Some(value)) => {
                let tokens = self.field(value);
                self.peek.maxima.push(Maximum { field, tokens });
            }
            (Place::Choices | Place::BestOf, Some(value)) => self.peek.choices = self.peek.choices.max(value),
            (Place::Model | Place::Stream | Place::Max(_) | Place::Choices | Place::BestOf, _) => {
                return self.check_type(place);
            }
            (Place::Budget, Some(value)) => {
                self.peek.thinking.budget = Some(self.field(value));
                if let Some(note) = self.note() {
                    (note.on, note.off) = (value > 0, value == 0);
                }
            }
            // Gemini's −1: as much as it likes.
            (Place::Budget, None) => {
                if let Some(note) = self.note() {
                    note.on = true;
                }
            }
            (Place::Prompt, _) => {
                self.peek.messages = self.peek.messages.max(1);
                self.count(TOKEN_ID, 0);
            }
            (Place::StreamOptions | Place::GenerationConfig, _) => self.other(place),
            (Place::Free | Place::Citations | Place::Signature | Place::ItemId | Place::UsedId, _) => {
                self.count(digits.len() as u64, 0)
            }
            (Place::Remote | Place::Kept, _) => self.remote(place),
            _ => {}
        }
        Ok(())
    }

    fn boolean(&mut self, place: Place, value: bool) -> Result<(), PeekError> {
        match place {
            Place::Stream => self.peek.stream = Some(self.field(value)),
            Place::IncludeUsage => self.peek.include_usage = Some(self.field(value)),
            Place::Background => self.peek.background |= value,
            Place::Store => self.peek.unstored = !value,
            Place::Model | Place::Max(_) | Place::Choices | Place::BestOf => return self.check_type(place),
            Place::ShowThoughts => {
                if let Some(note) = self.note() {
                    note.on |= value;
                }
            }
            Place::StreamOptions | Place::GenerationConfig => self.other(place),
            Place::Remote | Place::Kept => self.remote(place),
            _ => {}
        }
        Ok(())
    }

    /// Null is "not given"; but its place is taken.
    fn null(&mut self, place: Place) {
        let at = self.reader.start()..self.reader.end();
        match place {
            Place::Max(field) => self.peek.null_maxima.push((field, at)),
            Place::IncludeUsage => self.peek.include_usage = Some(Field { value: false, span: at }),
            Place::StreamOptions => self.peek.stream_options = Slot::Null(at),
            Place::GenerationConfig => self.peek.generation_config = Slot::Null(at),
            Place::CacheTtl => {
                if self.peek.cache.bare.len() < BARE_MAX {
                    self.peek.cache.bare.push(Bare::Null(at));
                }
                if let Some(note) = self.note() {
                    note.ttl = true;
                }
            }
            _ => {}
        }
    }

    /// Refuses a value that is not what `place` must hold.
    fn check_type(&self, place: Place) -> Result<(), PeekError> {
        match place.expects(self.wire) {
            Some((field, expected)) => Err(PeekError::WrongType { field, expected }),
            None => Ok(()),
        }
    }

    fn other(&mut self, place: Place) {
        match place {
            Place::StreamOptions => self.peek.stream_options = Slot::Other,
            _ => self.peek.generation_config = Slot::Other,
        }
    }
}

fn is_no_effort(word: &[u8]) -> bool {
    matches!(word, b"none" | b"minimal" | b"")
}

/// A non-negative integer as written in JSON.
fn whole(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}
