//! Messages streams, both ways.

use super::types;
use crate::{
    Usage, Wire,
    convert::stream::{Context, named},
    convert::{EVENT_MAX, PARTS_MAX, Refused, cite, probs},
    error::render_stream,
    ir::{Delta, Event, Finish, Json, Opening, Place, Serial, lose_usage, object, rest},
    loss::{Loss, step},
};

/// Reads a Messages stream.
#[derive(Debug)]
pub(crate) struct Decoder {
    serial: Serial,
    usage: Usage,
    /// A call's whole input, if it came with the start of its block.
    early: Vec<(u64, String)>,
    /// Bytes of these inputs.
    early_bytes: usize,
    /// Blocks that were opened, and are left out.
    skipped: Vec<u64>,
}

impl Default for Decoder {
    fn default() -> Self {
        let place = |index: u64| Place::new(Wire::Anthropic, format!("/content/{index}"));
        Self {
            serial: Serial::new(place),
            usage: Usage::default(),
            early: Vec::new(),
            early_bytes: 0,
            skipped: Vec::new(),
        }
    }
}

impl Decoder {
    pub(crate) fn event(&mut self, mut event: Json, out: &mut Vec<Event>, loss: &mut Loss) -> Result<(), Refused> {
        let index = event.get("index").u64().unwrap_or_default();
        match event.get("type").str().unwrap_or_default() {
            "message_start" => {
                let mut message = event.take("message").unwrap_or_default();
                self.usage(message.get("usage"), loss);
                let (id, model) = (message.take_str("id"), message.take_str("model"));
                rest(&message, "", &["type", "role", "content", "usage"], loss);
                rest(&event, "", &["type"], loss);
                out.push(Event::Start { id, model, usage: self.usage });
            }
            "content_block_start" => return self.open(index, event, out, loss),
            "content_block_delta" => return self.delta(index, event, out, loss),
            "content_block_stop" => {
                self.skipped.retain(|skipped| *skipped != index);
                if let Some(at) = self.early.iter().position(|(block, _)| *block == index) {
                    let (_, input) = self.early.swap_remove(at);
                    self.early_bytes -= input.len();
                    self.serial.delta(index, Delta::Text(input), out)?;
                }
                self.serial.close(index, out);
            }
            "message_delta" => {
                if !event.get("usage").is_null() {
                    self.usage(event.get("usage"), loss);
                    out.push(Event::Usage(self.usage));
                }
                rest(event.get("delta"), "", &["stop_reason", "stop_sequence"], loss);
                rest(&event, "", &["type", "delta", "usage"], loss);
                if let Some(reason) = event.at("delta.stop_reason").str() {
                    let finish = types::finish(reason);
                    self.serial.close_all(out);
                    out.push(Event::Finish { finish, stop: event.at("delta.stop_sequence").str().map(str::to_owned) });
                }
            }
            "message_stop" => {
                self.serial.close_all(out);
                out.push(Event::End);
            }
            "error" => out.push(Event::Error(Box::new(crate::read_error(&event.to_bytes())))),
            "ping" => {}
            // What later versions add.
            kind if !loss.knows("", kind) => loss.add(step("", kind), "an event that only the source format has"),
            _ => {}
        }
        Ok(())
    }

    /// Bytes that wait.
    pub(crate) const fn held(&self) -> usize {
        self.serial.held() + self.early_bytes
    }

    fn usage(&mut self, usage: &Json, loss: &mut Loss) {
        lose_usage(Wire::Anthropic, usage, "/usage", loss);
        self.usage = types::usage(usage, self.usage);
    }

    fn open(&mut self, index: u64, mut event: Json, out: &mut Vec<Event>, loss: &mut Loss) -> Result<(), Refused> {
        let mut block = event.take("content_block").unwrap_or_default();
        rest(&event, "", &["type", "index"], loss);
        let kind = block.take_str("type").unwrap_or_default();
        let mut first = None;
        let opening = match kind.as_str() {
            "text" => {
                first = block.take_str("text").map(Delta::Text);
                Opening::Text
            }
            "thinking" => {
                first = block.take_str("thinking").map(Delta::Text);
                Opening::Thinking
            }
            "redacted_thinking" => {
                first = block.take_str("data").map(Delta::Signature);
                Opening::Redacted
            }
            "tool_use" => {
                let (id, name) = (block.take_str("id"), block.take_str("name"));
                if let Some(input) = block.take("input").filter(|input| !input.members().is_empty()) {
                    let input = input.to_text();
                    self.early_bytes += input.len();
                    self.early.push((index, input));
                }
                // The model called it itself, as models do.
                block.take_if("caller", |caller| caller.get("type").str() == Some("direct"));
                Opening::Call { id, name: name.unwrap_or_default(), custom: false }
            }
            _ => {
                loss.add(step("/content", &index.to_string()), "only the source format has it");
                self.skipped.push(index);
                return self.bounded();
            }
        };
        self.serial.open(index, opening, out)?;
        if let Some(delta) = first.filter(|delta| !delta.is_empty()) {
            self.serial.delta(index, delta, out)?;
        }
        let signature = block.take_str("signature").filter(|signature| !signature.is_empty());
        if let Some(signature) = signature.filter(|_| kind == "thinking") {
            self.serial.delta(index, Delta::Signature(signature), out)?;
        }
        if !block.is_void() {
            rest(&block, &step("/content", &index.to_string()), &[], loss);
        }
        self.bounded()
    }

    /// Blocks that are not closed are remembered, and a stream may open as many as it likes.
    fn bounded(&self) -> Result<(), Refused> {
        let many = self.early.len().max(self.skipped.len()) > PARTS_MAX;
        if many || self.early_bytes > EVENT_MAX { Err(Refused::TooLarge) } else { Ok(()) }
    }

    fn delta(&mut self, index: u64, mut event: Json, out: &mut Vec<Event>, loss: &mut Loss) -> Result<(), Refused> {
        if self.skipped.contains(&index) {
            return Ok(());
        }
        let mut delta = event.take("delta").unwrap_or_default();
        let read = match delta.get("type").str().unwrap_or_default() {
            "text_delta" => delta.take_str("text").map(Delta::Text),
            "thinking_delta" => delta.take_str("thinking").map(Delta::Text),
            "signature_delta" => delta.take_str("signature").map(Delta::Signature),
            "input_json_delta" => {
                let piece = delta.take_str("partial_json").filter(|piece| !piece.is_empty());
                // Pieces replace what came with the start.
                if piece.is_some() && !self.early.is_empty() {
                    self.early.retain(|(block, _)| *block != index);
                    self.early_bytes = self.early.iter().map(|(_, input)| input.len()).sum();
                }
                piece.map(Delta::Text)
            }
            "citations_delta" => {
                let citation = cite::anthropic(delta.get("citation"));
                let at = step(&step("/content", &index.to_string()), "citations");
                let why = if citation.is_some() { cite::WORDS } else { "only the source format has it" };
                loss.add(at, why);
                delta.take("citation");
                citation.map(|citation| Delta::Citation(Box::new(citation)))
            }
            _ => {
                loss.add(step("/content", &index.to_string()), "a delta that only the source format has");
                return Ok(());
            }
        };
        if delta.members().len() > 1 {
            rest(&delta, &step("/content", &index.to_string()), &["type"], loss);
        }
        rest(&event, "", &["type", "index"], loss);
        let Some(delta) = read else { return Ok(()) };
        if self.serial.delta(index, delta, out)? {
            return Ok(());
        }
        Err(Refused::invalid("/index", "a delta for a block that is not open"))
    }
}

/// Writes a Messages stream.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    started: bool,
    /// The index of the next block.
    next: u64,
    open: Option<Block>,
    usage: Usage,
    finish: Finish,
    stop: Option<String>,
    calls: bool,
    /// Where what is written stands in the source.
    place: Option<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Block {
    Text,
    Thinking,
    /// Its start waits for the data, which it must hold.
    Redacted,
    Call,
}

impl Encoder {
    pub(crate) fn event(&mut self, event: Event, context: &Context, out: &mut Vec<u8>, loss: &mut Loss) {
        if let Event::Place(place) = event {
            self.place = Some(place);
            return;
        }
        if !self.started && !matches!(event, Event::Error(_)) {
            let model = match &event {
                Event::Start { model, usage, .. } => {
                    self.usage = *usage;
                    model.as_deref()
                }
                _ => None,
            };
            self.start(model, context, out);
        }
        match event {
            Event::Start { .. } | Event::Place(_) => {}
            Event::Open(opening) => self.open(opening, context, out),
            Event::Delta(Delta::Probs(_)) => {
                loss.add(self.place.as_ref().map(Place::probs).unwrap_or_default(), probs::NONE);
            }
            Event::Delta(delta) => self.delta(&delta, out),
            Event::Close => self.close(out),
            Event::Usage(usage) => self.usage = usage,
            Event::Finish { finish, stop } => (self.finish, self.stop) = (finish, stop),
            Event::Error(facts) => {
                let problem = crate::convert::problem(500, &facts, context.model.as_deref(), &context.request_id);
                out.extend(render_stream(Wire::Anthropic, &problem));
            }
            Event::End => self.end(out),
        }
    }

    fn start(&mut self, model: Option<&str>, context: &Context, out: &mut Vec<u8>) {
        self.started = true;
        let message = object! {
            "id": format!("msg_{}", context.seed),
            "type": "message",
            "role": "assistant",
            "model": context.model.as_deref().or(model).unwrap_or_default(),
            "content": Vec::new(),
            "stop_reason": Json::Null,
            "stop_sequence": Json::Null,
            "usage": types::usage_object(&self.usage),
        };
        named("message_start", &object! { "type": "message_start", "message": message }, out);
    }

    fn block(&mut self, block: Block, content: Json, out: &mut Vec<u8>) {
        let event = object! { "type": "content_block_start", "index": self.next, "content_block": content };
        named("content_block_start", &event, out);
        self.open = Some(block);
    }

    fn open(&mut self, opening: Opening, context: &Context, out: &mut Vec<u8>) {
        match opening {
            Opening::Text | Opening::Refusal => {
                self.block(Block::Text, object! { "type": "text", "text": "" }, out);
            }
            Opening::Thinking => {
                self.block(Block::Thinking, object! { "type": "thinking", "thinking": "", "signature": "" }, out);
            }
            Opening::Redacted => self.open = Some(Block::Redacted),
            Opening::Call { id, name, .. } => {
                self.calls = true;
                let (name, _) = context.memory.client_name(&name);
                let id = id.unwrap_or_else(|| format!("call_{}", self.next));
                let content = object! { "type": "tool_use", "id": id, "name": name, "input": Json::empty() };
                self.block(Block::Call, content, out);
            }
        }
    }

    fn delta(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        let delta = match (delta, self.open) {
            (Delta::Signature(data), Some(Block::Redacted)) => {
                self.block(Block::Text, object! { "type": "redacted_thinking", "data": data }, out);
                return;
            }
            (Delta::Signature(signature), Some(Block::Thinking)) => {
                object! { "type": "signature_delta", "signature": signature }
            }
            (Delta::Citation(citation), Some(Block::Text)) => {
                object! { "type": "citations_delta", "citation": cite::to_anthropic(citation) }
            }
            (Delta::Text(text), Some(Block::Text)) => object! { "type": "text_delta", "text": text },
            (Delta::Text(text), Some(Block::Thinking)) => object! { "type": "thinking_delta", "thinking": text },
            (Delta::Text(text), Some(Block::Call)) => object! { "type": "input_json_delta", "partial_json": text },
            _ => return,
        };
        let event = object! { "type": "content_block_delta", "index": self.next, "delta": delta };
        named("content_block_delta", &event, out);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some_and(|block| block != Block::Redacted) {
            let event = object! { "type": "content_block_stop", "index": self.next };
            named("content_block_stop", &event, out);
            self.next += 1;
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.close(out);
        let finish = self.finish.with_calls(self.calls);
        let delta = object! { "stop_reason": types::stop_reason(finish), "stop_sequence": self.stop.as_ref() };
        let usage = types::usage_object(&self.usage);
        named("message_delta", &object! { "type": "message_delta", "delta": delta, "usage": usage }, out);
        named("message_stop", &object! { "type": "message_stop" }, out);
    }
}
