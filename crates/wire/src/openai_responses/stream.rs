//! Responses streams, both ways.

mod write;

pub(crate) use write::Encoder;

use super::{drop_echo, types};
use crate::{
    Usage, Wire,
    convert::{PARTS_MAX, Refused, cite, probs},
    ir::{Delta, Event, Json, Opening, Place, Serial, TokenProb, lose_usage, rest},
    loss::{Loss, step},
};

/// The place of a part: its item, and where it is in it.
const fn key(item: u64, within: u64) -> u64 {
    item.wrapping_shl(24) | (within & 0xff_ffff)
}

/// The place of what an item is as a whole: a call, or reasoning.
const WHOLE: u64 = 0xff_ffff;

/// Members of a delta that are carried, or number and pad it.
const DELTA: [&str; 8] =
    ["type", "sequence_number", "item_id", "output_index", "content_index", "summary_index", "delta", "obfuscation"];

/// Members of an item that are carried, said before, or the vendor's name of it.
const ITEM: [&str; 10] =
    ["type", "id", "status", "role", "content", "summary", "name", "arguments", "input", "call_id"];

/// Members of the last event's response that are carried, made anew or said before.
const SHELL: [&str; 10] =
    ["service_tier", "id", "object", "created_at", "status", "error", "incomplete_details", "model", "output", "usage"];

/// Starts and ends of what the deltas and items say.
const SAID: [&str; 15] = [
    "response.created",
    "response.queued",
    "response.in_progress",
    "response.content_part.added",
    "response.content_part.done",
    "response.output_text.done",
    "response.refusal.done",
    "response.reasoning_summary_part.added",
    "response.reasoning_summary_part.done",
    "response.reasoning_summary_text.done",
    "response.reasoning_text.done",
    "response.function_call_arguments.done",
    "response.custom_tool_call_input.done",
    "response.rate_limits.updated",
    "keepalive",
];

/// Why what only this wire has goes no further.
const ONLY_SOURCE: &str = "only the source format has it";

/// Where the part with a key stands.
fn place(key: u64) -> Place {
    let (item, within) = (key >> 24, key & WHOLE);
    let at = if within == WHOLE { format!("/output/{item}") } else { format!("/output/{item}/content/{within}") };
    Place::new(Wire::Responses, at)
}

/// Reads a Responses stream.
#[derive(Debug)]
pub(crate) struct Decoder {
    serial: Serial,
    started: bool,
    /// Parts of items that are not done.
    seen: Vec<(u64, Came)>,
    /// The last summary part of the reasoning that is open.
    summary: Option<(u64, u64)>,
}

/// What events brought of a part, so that what its item says of that is no news.
#[derive(Clone, Copy, Debug, Default)]
struct Came {
    text: bool,
    sources: bool,
    probs: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { serial: Serial::new(place), started: false, seen: Vec::new(), summary: None }
    }
}

impl Decoder {
    pub(crate) fn event(&mut self, mut event: Json, out: &mut Vec<Event>, loss: &mut Loss) -> Result<(), Refused> {
        let item = event.get("output_index").u64().unwrap_or_default();
        let content = event.get("content_index").u64().unwrap_or_default();
        let kind = event.get("type").str().unwrap_or_default().to_owned();
        match kind.as_str() {
            "response.created" | "response.in_progress" if !self.started => {
                self.started = true;
                let (id, model) = (event.take_str("response.id"), event.take_str("response.model"));
                out.push(Event::Start { id, model, usage: Usage::default() });
            }
            "response.output_item.added" => return self.added(item, &mut event, out, loss),
            "response.output_text.delta" => {
                let place = key(item, content);
                let likely =
                    probs::take(&mut event, "logprobs", || format!("/output/{item}/content/{content}/logprobs"), loss);
                rest(&event, "", &DELTA, loss);
                self.piece(place, Opening::Text, event, out)?;
                if !likely.is_empty() && self.serial.is_open(place) {
                    self.mark(place)?.probs = true;
                }
                return self.likely(place, likely, || format!("/output/{item}/content/{content}"), out, loss);
            }
            "response.refusal.delta" => {
                rest(&event, "", &DELTA, loss);
                return self.piece(key(item, content), Opening::Refusal, event, out);
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                rest(&event, "", &DELTA, loss);
                let index = event.get("summary_index").u64().unwrap_or(content);
                if self.summary.replace((item, index)).is_some_and(|(before, last)| before == item && last != index) {
                    self.put(key(item, WHOLE), Opening::Thinking, "\n\n".to_owned(), out)?;
                }
                return self.piece(key(item, WHOLE), Opening::Thinking, event, out);
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                rest(&event, "", &DELTA, loss);
                let text = event.take_str("delta").unwrap_or_default();
                if !text.is_empty() && self.serial.is_open(key(item, WHOLE)) {
                    self.mark(key(item, WHOLE))?.text = true;
                    return self.give(key(item, WHOLE), Delta::Text(text), out);
                }
            }
            "response.output_item.done" => return self.done(item, event, out, loss),
            "response.completed" | "response.incomplete" => {
                self.serial.close_all(out);
                let mut response = event.take("response").unwrap_or_default();
                if !response.get("usage").is_null() {
                    lose_usage(Wire::Responses, response.get("usage"), "/usage", loss);
                    out.push(Event::Usage(types::usage(response.get("usage"))));
                }
                out.push(Event::Finish { finish: types::finish(&response), stop: None });
                out.push(Event::End);
                drop_echo(&mut response);
                rest(&response, "", &SHELL, loss);
            }
            "response.failed" | "error" => {
                let usage = event.at("response.usage");
                if !usage.is_null() {
                    out.push(Event::Usage(types::usage(usage)));
                }
                out.push(Event::Error(Box::new(crate::read_error(&event.to_bytes()))));
            }
            "response.output_text.annotation.added" => {
                let place = key(item, content);
                match cite::openai(event.get("annotation")) {
                    Some(citation) if self.serial.is_open(place) => {
                        self.mark(place)?.sources = true;
                        return self.give(place, Delta::Citation(Box::new(citation)), out);
                    }
                    _ => loss.add(format!("/output/{item}/content/{content}/annotations"), ONLY_SOURCE),
                }
            }
            kind if SAID.contains(&kind) || loss.knows("/output", &item.to_string()) => {}
            // What later versions add.
            kind if !loss.knows("", kind) => loss.add(step("", kind), "an event that only the source format has"),
            _ => {}
        }
        Ok(())
    }

    /// Bytes that wait.
    pub(crate) const fn held(&self) -> usize {
        self.serial.held() + self.seen.len() * size_of::<(u64, Came)>()
    }

    fn added(&mut self, item: u64, event: &mut Json, out: &mut Vec<Event>, loss: &mut Loss) -> Result<(), Refused> {
        match event.at("item.type").str().unwrap_or_default() {
            kind @ ("function_call" | "custom_tool_call") => {
                let custom = kind == "custom_tool_call";
                let (id, name) = (event.take_str("item.call_id"), event.take_str("item.name"));
                let whole = key(item, WHOLE);
                if self.seen.iter().any(|(seen, _)| *seen == whole) {
                    return Err(Refused::invalid("/output_index", "an item that was added before"));
                }
                self.remember(whole)?;
                return self.serial.open(whole, Opening::Call { id, name: name.unwrap_or_default(), custom }, out);
            }
            "message" | "reasoning" => {}
            _ => loss.add(step("/output", &item.to_string()), ONLY_SOURCE),
        }
        Ok(())
    }

    fn remember(&mut self, key: u64) -> Result<(), Refused> {
        if self.seen.len() >= PARTS_MAX {
            return Err(Refused::TooLarge);
        }
        self.seen.push((key, Came::default()));
        Ok(())
    }

    fn mark(&mut self, key: u64) -> Result<&mut Came, Refused> {
        let known = self.seen.iter().position(|(seen, _)| *seen == key);
        if known.is_none() {
            self.remember(key)?;
        }
        let at = known.unwrap_or(self.seen.len() - 1);
        Ok(&mut self.seen[at].1)
    }

    fn came(&self, key: u64) -> Came {
        self.seen.iter().find(|(seen, _)| *seen == key).map(|(_, came)| *came).unwrap_or_default()
    }

    fn give(&mut self, key: u64, delta: Delta, out: &mut Vec<Event>) -> Result<(), Refused> {
        if self.serial.delta(key, delta, out)? {
            return Ok(());
        }
        // A piece for a part that has ended.
        Err(Refused::invalid("/output_index", "a delta for a part that is not open"))
    }

    fn piece(&mut self, key: u64, opening: Opening, mut event: Json, out: &mut Vec<Event>) -> Result<(), Refused> {
        let text = event.take_str("delta").unwrap_or_default();
        self.put(key, opening, text, out)
    }

    fn put(&mut self, key: u64, opening: Opening, text: String, out: &mut Vec<Event>) -> Result<(), Refused> {
        if text.is_empty() {
            return Ok(());
        }
        self.mark(key)?.text = true;
        if !self.serial.is_open(key) {
            self.serial.open(key, opening, out)?;
        }
        self.give(key, Delta::Text(text), out)
    }

    /// How likely the tokens of the text at `at` were.
    fn likely(
        &mut self,
        key: u64,
        likely: Vec<TokenProb>,
        at: impl FnOnce() -> String,
        out: &mut Vec<Event>,
        loss: &mut Loss,
    ) -> Result<(), Refused> {
        if likely.is_empty() {
            return Ok(());
        }
        if !self.serial.is_open(key) {
            loss.add(step(&at(), "logprobs"), probs::NO_TEXT);
            return Ok(());
        }
        self.give(key, Delta::Probs(likely), out)
    }

    /// A part of a message that is complete.
    fn content(
        &mut self,
        place: u64,
        mut part: Json,
        at: &str,
        out: &mut Vec<Event>,
        loss: &mut Loss,
    ) -> Result<(), Refused> {
        let refusal = part.get("type").str() == Some("refusal");
        let text = part.take_str(if refusal { "refusal" } else { "text" });
        let likely = probs::take(&mut part, "logprobs", || step(at, "logprobs"), loss);
        let sources = part.take_array("annotations").unwrap_or_default();
        rest(&part, at, &["type", "text", "refusal"], loss);
        let came = self.came(place);
        if let Some(text) = text.filter(|_| !came.text) {
            let opening = if refusal { Opening::Refusal } else { Opening::Text };
            self.put(place, opening, text, out)?;
        }
        for source in sources.iter().filter(|_| !came.sources) {
            match cite::openai(source) {
                Some(citation) if self.serial.is_open(place) => {
                    self.give(place, Delta::Citation(Box::new(citation)), out)?;
                }
                _ => loss.add(step(at, "annotations"), ONLY_SOURCE),
            }
        }
        if came.probs { Ok(()) } else { self.likely(place, likely, || at.to_owned(), out, loss) }
    }

    /// An item is complete: what did not come in pieces is in it.
    fn done(&mut self, item: u64, mut event: Json, out: &mut Vec<Event>, loss: &mut Loss) -> Result<(), Refused> {
        let whole = key(item, WHOLE);
        match event.at("item.type").str().unwrap_or_default() {
            kind @ ("function_call" | "custom_tool_call") => {
                let member = if kind == "function_call" { "item.arguments" } else { "item.input" };
                if !self.seen.iter().any(|(seen, _)| *seen == whole) {
                    self.added(item, &mut event, out, loss)?;
                }
                if let Some(text) = event.take_str(member).filter(|text| !text.is_empty() && !self.came(whole).text) {
                    self.give(whole, Delta::Text(text), out)?;
                }
            }
            "reasoning" => {
                // What was said in full stands in the content, and what of it may be shown in the summary.
                let mut summary = event.take_array("item.summary").unwrap_or_default();
                if summary.is_empty() {
                    summary = event.take_array("item.content").unwrap_or_default();
                }
                if !self.came(whole).text {
                    let texts: Vec<String> = summary.into_iter().filter_map(|mut part| part.take_str("text")).collect();
                    self.put(whole, Opening::Thinking, texts.join("\n\n"), out)?;
                }
                if let Some(signature) = event.take_str("item.encrypted_content").filter(|text| !text.is_empty()) {
                    if !self.serial.is_open(whole) {
                        self.serial.open(whole, Opening::Redacted, out)?;
                    }
                    self.give(whole, Delta::Signature(signature), out)?;
                }
            }
            "message" => {
                let content = event.take_array("item.content").unwrap_or_default();
                for (at, part) in content.into_iter().enumerate() {
                    self.content(key(item, at as u64), part, &format!("/output/{item}/content/{at}"), out, loss)?;
                }
            }
            _ if !loss.knows("/output", &item.to_string()) => {
                loss.add(step("/output", &item.to_string()), ONLY_SOURCE);
            }
            _ => {}
        }
        if !loss.knows("/output", &item.to_string()) {
            rest(event.get("item"), &step("/output", &item.to_string()), &ITEM, loss);
        }
        for (part, _) in self.seen.iter().filter(|(part, _)| part >> 24 == item) {
            self.serial.close(*part, out);
        }
        self.seen.retain(|(part, _)| part >> 24 != item);
        self.serial.close(whole, out);
        Ok(())
    }
}
