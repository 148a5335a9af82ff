//! Chat streams, both ways.

use super::{decode::THOUGHTS, types};
use crate::{
    Usage, Wire,
    convert::stream::{Context, unnamed},
    convert::{Refused, cite, probs},
    error::render_stream,
    ir::{Citation, Delta, Event, Finish, Json, Opening, Place, Serial, lose_usage, object, rest},
    loss::{Loss, step},
};

/// Keys of the parts that are not calls; calls come after them, by their index.
const TEXT: u64 = 0;
const REFUSAL: u64 = 1;
const THOUGHT: u64 = 2;
const CALLS: u64 = 16;

/// Where the message stands in the whole answer: pieces are named by their place in it.
const MESSAGE: &str = "/choices/0/message";

/// The place of a part.
fn place(key: u64) -> Place {
    let member = match key {
        TEXT => "content".to_owned(),
        REFUSAL => "refusal".to_owned(),
        THOUGHT => THOUGHTS[0].to_owned(),
        call => format!("tool_calls/{}", call.saturating_sub(CALLS)),
    };
    Place::new(Wire::Chat, format!("{MESSAGE}/{member}"))
}

/// Reads a Chat stream.
#[derive(Debug)]
pub(crate) struct Decoder {
    serial: Serial,
    started: bool,
    finished: bool,
    /// The key of the last call, for peers that send no index.
    last_call: u64,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { serial: Serial::new(place), started: false, finished: false, last_call: 0 }
    }
}

impl Decoder {
    pub(crate) fn event(&mut self, mut event: Json, out: &mut Vec<Event>, loss: &mut Loss) -> Result<(), Refused> {
        if !event.get("error").is_null() {
            out.push(Event::Error(Box::new(crate::read_error(&event.to_bytes()))));
            return Ok(());
        }
        if !self.started {
            self.started = true;
            let (id, model) = (event.take_str("id"), event.take_str("model"));
            out.push(Event::Start { id, model, usage: Usage::default() });
        }
        let mut choices = event.take_array("choices").unwrap_or_default();
        for choice in &mut choices {
            match choice.get("index").u64().unwrap_or_default() {
                0 => self.choice(choice, out, loss)?,
                index => loss.add(format!("/choices/{index}"), "a converted answer is one candidate"),
            }
        }
        // Moonshot reports usage within the choice.
        let within = choices.first_mut().and_then(|choice| choice.take("usage"));
        let within = within.map(|usage| (usage, "/choices/0/usage"));
        if let Some((usage, at)) = event.take("usage").map(|usage| (usage, "/usage")).or(within) {
            lose_usage(Wire::Chat, &usage, at, loss);
            out.push(Event::Usage(types::usage(&usage)));
        }
        // Ids and times are made anew; padding, and which machine answered how fast, are none of the answer.
        const KNOWN: [&str; 8] =
            ["id", "object", "created", "model", "choices", "obfuscation", "service_tier", "system_fingerprint"];
        rest(&event, "", &KNOWN, loss);
        Ok(())
    }

    fn choice(&mut self, choice: &mut Json, out: &mut Vec<Event>, loss: &mut Loss) -> Result<(), Refused> {
        let mut delta = choice.take("delta").unwrap_or_default();
        // Some say it under both names.
        let [thought, again] = THOUGHTS.map(|name| delta.take_str(name).filter(|text| !text.is_empty()));
        if thought.is_some() && again.is_some() && thought != again {
            loss.add(step(MESSAGE, THOUGHTS[1]), "only the source format has it");
        }
        if let Some(text) = thought.or(again) {
            self.text(THOUGHT, Opening::Thinking, text, out)?;
        }
        if let Some(text) = delta.take_str("content") {
            self.text(TEXT, Opening::Text, text, out)?;
        }
        if let Some(text) = delta.take_str("refusal") {
            self.text(REFUSAL, Opening::Refusal, text, out)?;
        }
        for (at, call) in delta.take_array("tool_calls").unwrap_or_default().into_iter().enumerate() {
            self.call(at as u64, call, out, loss)?;
        }
        for annotation in delta.take_array("annotations").unwrap_or_default() {
            match cite::openai(&annotation) {
                Some(citation) if self.serial.is_open(TEXT) => {
                    self.serial.delta(TEXT, Delta::Citation(Box::new(citation)), out)?;
                }
                _ => loss.add(step(MESSAGE, "annotations"), "only the source format has it"),
            }
        }
        let likely = probs::take(choice, "logprobs.content", || "/choices/0/logprobs/content".to_owned(), loss);
        if !likely.is_empty() {
            if self.serial.is_open(TEXT) {
                self.serial.delta(TEXT, Delta::Probs(likely), out)?;
            } else {
                loss.add("/choices/0/logprobs/content", probs::NO_TEXT);
            }
        }
        rest(choice.get("logprobs"), "/choices/0/logprobs", &[], loss);
        rest(&delta, MESSAGE, &["role"], loss);
        rest(choice, "/choices/0", &["index", "finish_reason", "logprobs"], loss);
        if let Some(reason) = choice.get("finish_reason").str().filter(|_| !self.finished) {
            self.finished = true;
            self.serial.close_all(out);
            out.push(Event::Finish { finish: types::finish(reason), stop: None });
        }
        Ok(())
    }

    fn text(&mut self, key: u64, opening: Opening, text: String, out: &mut Vec<Event>) -> Result<(), Refused> {
        if text.is_empty() {
            return Ok(());
        }
        for other in [TEXT, REFUSAL, THOUGHT].into_iter().filter(|other| *other != key) {
            self.serial.close(other, out);
        }
        if !self.serial.is_open(key) {
            self.serial.open(key, opening, out)?;
        }
        self.serial.delta(key, Delta::Text(text), out).map(drop)
    }

    fn call(&mut self, at: u64, mut call: Json, out: &mut Vec<Event>, loss: &mut Loss) -> Result<(), Refused> {
        let id = call.take_str("id").filter(|id| !id.is_empty());
        let key = match call.get("index").u64() {
            Some(index) => CALLS.saturating_add(index),
            None if id.is_some() => self.last_call.max(CALLS).saturating_add(at + 1),
            None => self.last_call,
        };
        let custom = call.get("type").str() == Some("custom") || !call.get("custom").is_null();
        let kind = if custom { "custom" } else { "function" };
        let mut tool = call.take(kind).unwrap_or_default();
        let name = tool.take_str("name").filter(|name| !name.is_empty());
        let piece = tool.take_str(if custom { "input" } else { "arguments" }).filter(|piece| !piece.is_empty());
        let at = || place(key).at;
        if !tool.is_void() {
            rest(&tool, &step(&at(), kind), &[], loss);
        }
        if call.members().len() > 1 {
            rest(&call, &at(), &["index", "type"], loss);
        }
        if !self.serial.is_open(key) {
            // An index that was used before, and has ended: only a new name begins a new call.
            let Some(name) = name else {
                if piece.is_some_and(|piece| !piece.trim().is_empty()) {
                    loss.add(at(), "a piece of a call that is not open");
                }
                return Ok(());
            };
            for other in [TEXT, REFUSAL, THOUGHT] {
                self.serial.close(other, out);
            }
            self.serial.open(key, Opening::Call { id, name, custom }, out)?;
        }
        self.last_call = key;
        let Some(piece) = piece else { return Ok(()) };
        // Blanks behind the end of a call's arguments have no place, and need none.
        if !self.serial.delta(key, Delta::Text(piece), out)? {
            loss.add(at(), "a piece of a call that is not open");
        }
        Ok(())
    }

    /// Bytes that wait.
    pub(crate) const fn held(&self) -> usize {
        self.serial.held()
    }

    /// `[DONE]`, which ends the answer whatever came before.
    pub(crate) fn done(&mut self, out: &mut Vec<Event>) {
        self.serial.close_all(out);
        if !std::mem::replace(&mut self.finished, true) {
            out.push(Event::Finish { finish: Finish::Stop, stop: None });
        }
        out.push(Event::End);
    }

    /// Whether the upstream has said why generation ended.
    pub(crate) const fn finished(&self) -> bool {
        self.finished
    }

    /// The end of the bytes: an end of the answer only behind its finish.
    pub(crate) fn end(&mut self, out: &mut Vec<Event>) {
        if self.finished {
            out.push(Event::End);
        }
    }
}

/// Writes a Chat stream.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    /// Which of several answers it writes.
    choice: u64,
    started: bool,
    model: String,
    usage: Usage,
    open: Option<Open>,
    /// Index of the next call.
    calls: u64,
    finished: bool,
    /// Characters of text before the part that is open, and with it.
    begun: u64,
    written: u64,
    /// What the open text rests on: it is said when the text is.
    cited: Vec<Citation>,
    /// Where what is written stands in the source, and whether it is hidden there.
    place: Option<Place>,
    redacted: bool,
}

#[derive(Clone, Copy, Debug)]
enum Open {
    Text,
    Refusal,
    Thinking,
    Call { custom: bool },
}

impl Encoder {
    /// Writes one of several answers.
    pub(crate) fn of(choice: u64) -> Self {
        Self { choice, ..Self::default() }
    }

    pub(crate) fn event(&mut self, event: Event, context: &Context, out: &mut Vec<u8>, loss: &mut Loss) {
        if let Event::Place(place) = event {
            self.place = Some(place);
            return;
        }
        if !self.started && !matches!(event, Event::Error(_)) {
            self.started = true;
            let upstream = if let Event::Start { model, .. } = &event { model.as_deref() } else { None };
            context.model.as_deref().or(upstream).unwrap_or_default().clone_into(&mut self.model);
            self.chunk(object! { "role": "assistant", "content": "" }, Json::Null, context, out);
        }
        match event {
            Event::Start { usage, .. } | Event::Usage(usage) => self.usage = usage,
            Event::Place(_) => {}
            Event::Open(opening) => self.open(opening, context, out),
            Event::Delta(delta) => self.delta(delta, context, out, loss),
            Event::Close => self.close(context, out),
            Event::Finish { finish, .. } => {
                self.finished = true;
                let reason = types::finish_reason(finish.with_calls(self.calls > 0));
                self.chunk(Json::empty(), reason.into(), context, out);
            }
            Event::Error(facts) => {
                let problem = crate::convert::problem(500, &facts, context.model.as_deref(), &context.request_id);
                out.extend(render_stream(Wire::Chat, &problem));
            }
            Event::End => self.end(context, out),
        }
    }

    fn head(&self, context: &Context) -> Json {
        object! {
            "id": format!("chatcmpl-{}", context.seed),
            "object": "chat.completion.chunk",
            "created": context.created,
            "model": &self.model,
        }
    }

    fn chunk(&self, delta: Json, finish_reason: Json, context: &Context, out: &mut Vec<u8>) {
        self.said(delta, Vec::new(), finish_reason, context, out);
    }

    fn said(&self, delta: Json, likely: Vec<Json>, finish_reason: Json, context: &Context, out: &mut Vec<u8>) {
        let mut chunk = self.head(context);
        let likely = (!likely.is_empty()).then(|| object! { "content": likely, "refusal": Json::Null });
        let mut choice = object! { "index": self.choice, "delta": delta };
        choice.put("logprobs", likely.unwrap_or(Json::Null));
        choice.put("finish_reason", finish_reason);
        chunk.put("choices", vec![choice]);
        if context.memory.include_usage {
            chunk.put("usage", Json::Null);
        }
        unnamed(&chunk, b"\n\n", out);
    }

    fn open(&mut self, opening: Opening, context: &Context, out: &mut Vec<u8>) {
        self.redacted = opening == Opening::Redacted;
        self.open = Some(match opening {
            Opening::Text => {
                self.begun = self.written;
                Open::Text
            }
            Opening::Refusal => Open::Refusal,
            Opening::Thinking | Opening::Redacted => Open::Thinking,
            Opening::Call { id, name, custom } => {
                let (name, _) = context.memory.client_name(&name);
                let id = id.unwrap_or_else(|| format!("call_{}", self.calls));
                let mut call = object! { "index": self.calls, "id": id };
                if custom {
                    call.put("type", "custom");
                    call.put("custom", object! { "name": name, "input": "" });
                } else {
                    call.put("type", "function");
                    call.put("function", object! { "name": name, "arguments": "" });
                }
                self.calls += 1;
                self.chunk(object! { "tool_calls": vec![call] }, Json::Null, context, out);
                Open::Call { custom }
            }
        });
    }

    fn delta(&mut self, delta: Delta, context: &Context, out: &mut Vec<u8>, loss: &mut Loss) {
        let text = match delta {
            Delta::Text(text) => text,
            Delta::Signature(_) => {
                let at = self.place.as_ref().map(|place| place.signature(self.redacted));
                loss.add(at.unwrap_or_default(), "the target has no signatures");
                return;
            }
            Delta::Citation(citation) => {
                self.cited.push(*citation);
                return;
            }
            Delta::Probs(likely) => {
                self.said(object! { "content": "" }, probs::to_openai(&likely), Json::Null, context, out);
                return;
            }
        };
        let delta = match self.open {
            Some(Open::Text) => {
                self.written += text.chars().count() as u64;
                object! { "content": text }
            }
            Some(Open::Refusal) => object! { "refusal": text },
            Some(Open::Thinking) if context.show_thoughts => object! { "reasoning_content": text },
            Some(Open::Thinking) => {
                let at = self.place.as_ref().map(|place| place.at.clone());
                loss.add(at.unwrap_or_default(), "thoughts are not shown");
                return;
            }
            Some(Open::Call { custom }) => {
                let mut call = object! { "index": self.calls.saturating_sub(1) };
                call.put(if custom { "custom.input" } else { "function.arguments" }, text);
                object! { "tool_calls": vec![call] }
            }
            None => return,
        };
        self.chunk(delta, Json::Null, context, out);
    }

    /// Bytes that wait for the end of a text.
    pub(crate) fn held(&self) -> usize {
        self.cited.iter().map(Citation::held).sum()
    }

    fn close(&mut self, context: &Context, out: &mut Vec<u8>) {
        self.open = None;
        if self.cited.is_empty() {
            return;
        }
        let length = self.written - self.begun;
        let cited = std::mem::take(&mut self.cited);
        let cited = cited.iter().map(|citation| cite::to_openai(citation, self.begun, length, true));
        self.chunk(object! { "annotations": cited.collect::<Vec<_>>() }, Json::Null, context, out);
    }

    fn end(&mut self, context: &Context, out: &mut Vec<u8>) {
        if !self.finished {
            let reason = types::finish_reason(Finish::Stop.with_calls(self.calls > 0));
            self.chunk(Json::empty(), reason.into(), context, out);
        }
        if context.memory.include_usage {
            let mut chunk = self.head(context);
            chunk.put("choices", Vec::new());
            chunk.put("usage", types::usage_object(&self.usage));
            unnamed(&chunk, b"\n\n", out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}
