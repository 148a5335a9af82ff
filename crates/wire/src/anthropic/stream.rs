//! Messages streams, both ways.

use super::types;
use crate::{
    Usage, Wire,
    convert::Refused,
    convert::stream::{Context, named},
    error::{Problem, render_stream},
    ir::{Delta, Event, Finish, Json, Opening, Serial, object},
    loss::{Loss, step},
};

/// Reads a Messages stream.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    serial: Serial,
    usage: Usage,
    /// A call's whole input, if it came with the start of its block.
    early: Vec<(u64, String)>,
    /// Blocks that were opened, and are left out.
    skipped: Vec<u64>,
}

impl Decoder {
    pub(crate) fn event(&mut self, mut event: Json, out: &mut Vec<Event>, loss: &mut Loss) -> Result<(), Refused> {
        let index = event.get("index").u64().unwrap_or_default();
        match event.get("type").str().unwrap_or_default() {
            "message_start" => {
                self.usage = types::usage(event.at("message.usage"), self.usage);
                let (id, model) = (event.take_str("message.id"), event.take_str("message.model"));
                out.push(Event::Start { id, model, usage: self.usage });
            }
            "content_block_start" => self.open(index, event, out, loss),
            "content_block_delta" => return self.delta(index, event, out, loss),
            "content_block_stop" => {
                self.skipped.retain(|skipped| *skipped != index);
                if let Some(at) = self.early.iter().position(|(block, _)| *block == index) {
                    let (_, input) = self.early.swap_remove(at);
                    self.serial.delta(index, Delta::Text(input), out);
                }
                self.serial.close(index, out);
            }
            "message_delta" => {
                if !event.get("usage").is_null() {
                    self.usage = types::usage(event.get("usage"), self.usage);
                    out.push(Event::Usage(self.usage));
                }
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
            // Pings, and what later versions add.
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, index: u64, mut event: Json, out: &mut Vec<Event>, loss: &mut Loss) {
        let kind = event.at("content_block.type").str().unwrap_or_default().to_owned();
        let first = |event: &mut Json, member: &str| event.take_str(member).filter(|text| !text.is_empty());
        match kind.as_str() {
            "text" => {
                self.serial.open(index, Opening::Text, out);
                let text = first(&mut event, "content_block.text");
                text.map(|text| self.serial.delta(index, Delta::Text(text), out));
            }
            "thinking" => {
                self.serial.open(index, Opening::Thinking, out);
                let text = first(&mut event, "content_block.thinking");
                text.map(|text| self.serial.delta(index, Delta::Text(text), out));
            }
            "redacted_thinking" => {
                self.serial.open(index, Opening::Redacted, out);
                let data = first(&mut event, "content_block.data");
                data.map(|data| self.serial.delta(index, Delta::Signature(data), out));
            }
            "tool_use" => {
                let (id, name) = (event.take_str("content_block.id"), event.take_str("content_block.name"));
                let opening = Opening::Call { id, name: name.unwrap_or_default(), custom: false };
                self.serial.open(index, opening, out);
                let input = event.take("content_block.input").filter(|input| !input.members().is_empty());
                self.early.extend(input.map(|input| (index, input.to_text())));
            }
            _ => {
                loss.add(step("/content", &index.to_string()), "only the source format has it");
                self.skipped.push(index);
            }
        }
    }

    fn delta(&mut self, index: u64, mut event: Json, out: &mut Vec<Event>, loss: &mut Loss) -> Result<(), Refused> {
        if self.skipped.contains(&index) {
            return Ok(());
        }
        let text = |event: &mut Json, member: &str| event.take_str(member).unwrap_or_default();
        let delta = match event.at("delta.type").str().unwrap_or_default() {
            "text_delta" => Delta::Text(text(&mut event, "delta.text")),
            "thinking_delta" => Delta::Text(text(&mut event, "delta.thinking")),
            "signature_delta" => Delta::Signature(text(&mut event, "delta.signature")),
            "input_json_delta" => {
                let piece = text(&mut event, "delta.partial_json");
                if piece.is_empty() {
                    return Ok(());
                }
                // Pieces replace what came with the start.
                self.early.retain(|(block, _)| *block != index);
                Delta::Text(piece)
            }
            _ => {
                loss.add(step("/content", &index.to_string()), "a delta that only the source format has");
                return Ok(());
            }
        };
        match self.serial.delta(index, delta, out) {
            true => Ok(()),
            false if self.serial.is_open(index) => Err(Refused::TooLarge),
            false => Err(Refused::invalid("/index", "a delta for a block that is not open")),
        }
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
    pub(crate) fn event(&mut self, event: Event, context: &Context, out: &mut Vec<u8>, _loss: &mut Loss) {
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
            Event::Start { .. } => {}
            Event::Open(opening) => self.open(opening, context, out),
            Event::Delta(delta) => self.delta(&delta, out),
            Event::Close => self.close(out),
            Event::Usage(usage) => self.usage = usage,
            Event::Finish { finish, stop } => (self.finish, self.stop) = (finish, stop),
            Event::Error(facts) => {
                let problem = crate::convert::problem(500, &facts, context.model.as_deref(), &context.seed);
                out.extend(render_stream(Wire::Anthropic, &Problem { request_id: &context.seed, ..problem }));
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
