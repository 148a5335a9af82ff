//! Writes a Responses stream: every part is announced, spelled, and said again whole.

use crate::{
    Problem, Seen, Usage, Wire,
    convert::{
        cite, probs,
        stream::{Context, named},
    },
    error::render_stream_after,
    ir::{Citation, Delta, Event, Finish, Json, Opening, TokenProb, object},
    loss::Loss,
    openai_responses::{
        items::summary,
        output::{self, Shell, item_id},
        types,
    },
};

/// Writes a Responses stream.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    started: bool,
    model: String,
    sequence: u64,
    usage: Usage,
    finish: Finish,
    open: Option<Open>,
    /// Items that are done: the last event repeats them.
    done: Vec<Json>,
    /// Bytes of the items, done and open.
    held: usize,
}

#[derive(Debug)]
enum Open {
    /// A message, the parts of it that are done, and the one that is spelled.
    Message {
        content: Vec<Json>,
        part: Option<(bool, String)>,
        /// What that one rests on.
        cited: Vec<Citation>,
        /// How likely its tokens were.
        likely: Vec<Json>,
    },
    Reasoning {
        text: String,
        signature: Option<String>,
        shown: bool,
    },
    Call {
        item: Json,
        custom: bool,
        input: String,
    },
}

impl Encoder {
    /// Bytes held for the events that repeat everything.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    pub(crate) fn event(&mut self, event: Event, context: &Context, out: &mut Vec<u8>, _loss: &mut Loss) {
        if !self.started && !matches!(event, Event::Error(_) | Event::Place(_)) {
            let upstream = if let Event::Start { model, .. } = &event { model.as_deref() } else { None };
            context.model.as_deref().or(upstream).unwrap_or_default().clone_into(&mut self.model);
            self.start(context, out);
        }
        match event {
            Event::Start { usage, .. } | Event::Usage(usage) => self.usage = usage,
            Event::Place(_) => {}
            Event::Open(opening) => self.open(opening, context, out),
            Event::Delta(delta) => self.delta(delta, context, out),
            Event::Close => self.close(context, out),
            Event::Finish { finish, .. } => self.finish = finish,
            Event::Error(facts) => {
                self.fail(
                    &crate::convert::problem(500, &facts, context.model.as_deref(), &context.request_id),
                    context,
                    out,
                );
            }
            Event::End => self.end(context, out),
        }
    }

    /// Ends the stream with an error.
    pub(crate) fn fail(&self, problem: &Problem<'_>, context: &Context, out: &mut Vec<u8>) {
        let seen = Seen {
            id: Some(format!("resp_{}", context.seed)),
            model: context.model.clone().or_else(|| Some(self.model.clone())),
            sequence: self.sequence.checked_sub(1),
            ..Seen::default()
        };
        out.extend(render_stream_after(Wire::Responses, problem, &seen));
    }

    /// Writes an event with its number.
    fn say(&mut self, kind: &str, mut members: Json, out: &mut Vec<u8>) {
        members.put("type", kind);
        members.put("sequence_number", self.sequence);
        self.sequence += 1;
        named(kind, &members, out);
    }

    fn start(&mut self, context: &Context, out: &mut Vec<u8>) {
        self.started = true;
        let response = output::whole(&shell(context), &self.model, ("in_progress", Json::Null), Vec::new(), Json::Null);
        self.say("response.created", object! { "response": response.clone() }, out);
        self.say("response.in_progress", object! { "response": response }, out);
    }

    fn at(&self) -> u64 {
        self.done.len() as u64
    }

    fn add_item(&mut self, item: Json, out: &mut Vec<u8>) {
        let at = self.at();
        self.say("response.output_item.added", object! { "output_index": at, "item": item }, out);
    }

    fn id(&self, kind: &str, context: &Context) -> String {
        item_id(&shell(context), kind, self.done.len())
    }

    fn open(&mut self, opening: Opening, context: &Context, out: &mut Vec<u8>) {
        if let Opening::Text | Opening::Refusal = opening {
            let refusal = opening == Opening::Refusal;
            if !matches!(self.open, Some(Open::Message { .. })) {
                let item = object! {
                    "type": "message", "id": self.id("message", context), "status": "in_progress",
                    "role": "assistant", "content": Vec::new(),
                };
                self.add_item(item, out);
                self.open =
                    Some(Open::Message { content: Vec::new(), part: None, cited: Vec::new(), likely: Vec::new() });
            }
            let content_index = match &mut self.open {
                Some(Open::Message { content, part, .. }) => {
                    *part = Some((refusal, String::new()));
                    content.len() as u64
                }
                _ => 0,
            };
            let members = object! {
                "item_id": self.id("message", context), "output_index": self.at(), "content_index": content_index,
                "part": text_part(refusal, "", Vec::new(), &[]),
            };
            self.say("response.content_part.added", members, out);
            return;
        }
        self.close_message(context, out);
        match opening {
            Opening::Thinking | Opening::Redacted => {
                let item = object! { "type": "reasoning", "id": self.id("reasoning", context), "summary": Vec::new() };
                self.add_item(item, out);
                self.open = Some(Open::Reasoning { text: String::new(), signature: None, shown: false });
            }
            Opening::Call { id, name, custom } => {
                let kind = if custom { "custom_tool_call" } else { "function_call" };
                let (name, namespace) = context.memory.client_name(&name);
                let mut item = object! {
                    "type": kind, "call_id": id.unwrap_or_else(|| format!("call_{}", self.done.len())), "name": name,
                };
                item.put_some("namespace", namespace);
                item.put("id", self.id(kind, context));
                self.held += item.members().iter().filter_map(|(_, value)| value.str()).map(str::len).sum::<usize>();
                let mut start = item.clone();
                start.put(if custom { "input" } else { "arguments" }, "");
                start.put("status", "in_progress");
                self.add_item(start, out);
                self.open = Some(Open::Call { item, custom, input: String::new() });
            }
            Opening::Text | Opening::Refusal => {}
        }
    }

    fn delta(&mut self, delta: Delta, context: &Context, out: &mut Vec<u8>) {
        let at = self.at();
        let id = |encoder: &Self, kind: &str| encoder.id(kind, context);
        let Some(mut open) = self.open.take() else { return };
        match (&mut open, delta) {
            (Open::Message { cited, .. }, Delta::Citation(citation)) => {
                self.held += citation.held();
                cited.push(*citation);
            }
            (Open::Message { content, likely, .. }, Delta::Probs(probs)) => {
                self.held += probs.iter().map(TokenProb::held).sum::<usize>();
                let told = probs::to_openai(&probs);
                likely.extend(told.iter().cloned());
                let members = object! {
                    "item_id": id(self, "message"), "output_index": at, "content_index": content.len() as u64,
                    "delta": "", "logprobs": told,
                };
                self.say("response.output_text.delta", members, out);
            }
            (Open::Message { content, part: Some((refusal, whole)), .. }, Delta::Text(text)) => {
                whole.push_str(&text);
                self.held += text.len();
                let kind = if *refusal { "response.refusal.delta" } else { "response.output_text.delta" };
                let mut members = object! {
                    "item_id": id(self, "message"), "output_index": at, "content_index": content.len() as u64,
                    "delta": text,
                };
                if !*refusal {
                    members.put("logprobs", Vec::new());
                }
                self.say(kind, members, out);
            }
            (Open::Reasoning { text: whole, shown, .. }, Delta::Text(text)) => {
                if !std::mem::replace(shown, true) {
                    let members = object! {
                        "item_id": id(self, "reasoning"), "output_index": at, "summary_index": 0u64,
                        "part": object! { "type": "summary_text", "text": "" },
                    };
                    self.say("response.reasoning_summary_part.added", members, out);
                }
                whole.push_str(&text);
                self.held += text.len();
                let members = object! {
                    "item_id": id(self, "reasoning"), "output_index": at, "summary_index": 0u64, "delta": text,
                };
                self.say("response.reasoning_summary_text.delta", members, out);
            }
            (Open::Reasoning { signature, .. }, Delta::Signature(piece)) => {
                self.held += piece.len();
                signature.get_or_insert_default().push_str(&piece);
            }
            (Open::Call { custom, input, .. }, Delta::Text(text)) => {
                input.push_str(&text);
                self.held += text.len();
                let (event, kind) = match custom {
                    true => ("response.custom_tool_call_input.delta", "custom_tool_call"),
                    false => ("response.function_call_arguments.delta", "function_call"),
                };
                let members = object! { "item_id": id(self, kind), "output_index": at, "delta": text };
                self.say(event, members, out);
            }
            _ => {}
        }
        self.open = Some(open);
    }

    /// A part ends: a message stays open for the text that may follow.
    fn close(&mut self, context: &Context, out: &mut Vec<u8>) {
        let at = self.at();
        match self.open.take() {
            Some(Open::Message { mut content, part: Some((refusal, text)), cited, likely }) => {
                let place = |members: &mut Json, id: String| {
                    members.put("item_id", id);
                    members.put("output_index", at);
                    members.put("content_index", content.len() as u64);
                };
                let length = text.chars().count() as u64;
                let cited: Vec<Json> = cited.iter().map(|one| cite::to_openai(one, 0, length, false)).collect();
                for (index, annotation) in (0u64..).zip(&cited) {
                    let mut added = object! { "annotation_index": index, "annotation": annotation.clone() };
                    place(&mut added, self.id("message", context));
                    self.say("response.output_text.annotation.added", added, out);
                }
                let mut said = if refusal {
                    object! { "refusal": &text }
                } else {
                    object! { "text": &text, "logprobs": likely.clone() }
                };
                place(&mut said, self.id("message", context));
                self.say(if refusal { "response.refusal.done" } else { "response.output_text.done" }, said, out);
                let part = text_part(refusal, &text, cited, &likely);
                let mut ended = object! { "part": part.clone() };
                place(&mut ended, self.id("message", context));
                self.say("response.content_part.done", ended, out);
                content.push(part);
                self.open = Some(Open::Message { content, part: None, cited: Vec::new(), likely: Vec::new() });
            }
            Some(Open::Reasoning { text, signature, shown }) => {
                let id = self.id("reasoning", context);
                let texts: Vec<String> = if shown { vec![text] } else { Vec::new() };
                for text in &texts {
                    let place = object! { "item_id": &id, "output_index": at, "summary_index": 0u64 };
                    let mut said = place.clone();
                    said.put("text", text);
                    self.say("response.reasoning_summary_text.done", said, out);
                    let mut ended = place;
                    ended.put("part", object! { "type": "summary_text", "text": text });
                    self.say("response.reasoning_summary_part.done", ended, out);
                }
                let mut item = object! { "type": "reasoning", "id": id, "summary": summary(&texts) };
                item.put_some("encrypted_content", signature.filter(|_| !context.memory.hide_sealed));
                self.item_done(item, out);
            }
            Some(Open::Call { mut item, custom, input }) => {
                let (event, member) = if custom {
                    ("response.custom_tool_call_input.done", "input")
                } else {
                    ("response.function_call_arguments.done", "arguments")
                };
                let mut said = object! { "item_id": item.get("id").clone(), "output_index": at };
                said.put(member, &input);
                if !custom {
                    said.put("name", item.get("name").clone());
                }
                self.say(event, said, out);
                item.put(member, input);
                item.put("status", "completed");
                self.item_done(item, out);
            }
            open => self.open = open,
        }
    }

    fn item_done(&mut self, item: Json, out: &mut Vec<u8>) {
        let at = self.at();
        self.say("response.output_item.done", object! { "output_index": at, "item": item.clone() }, out);
        self.held += ITEM;
        self.done.push(item);
    }

    fn close_message(&mut self, context: &Context, out: &mut Vec<u8>) {
        if let Some(Open::Message { .. }) = self.open {
            self.close(context, out);
        }
        if let Some(Open::Message { content, .. }) = self.open.take() {
            let item = output::message(&shell(context), self.done.len(), content);
            self.item_done(item, out);
        }
    }

    fn end(&mut self, context: &Context, out: &mut Vec<u8>) {
        self.close_message(context, out);
        let (status, details) = types::ending(self.finish);
        let output = std::mem::take(&mut self.done);
        let usage = types::usage_object(&self.usage);
        let response = output::whole(&shell(context), &self.model, (status, details), output, usage);
        let kind = if status == "incomplete" { "response.incomplete" } else { "response.completed" };
        self.say(kind, object! { "response": response }, out);
    }
}

/// About what an item takes beside its text.
const ITEM: usize = 256;

fn shell(context: &Context) -> Shell<'_> {
    Shell { seed: &context.seed, created: context.created, echo: &context.memory.echo }
}

fn text_part(refusal: bool, text: &str, annotations: Vec<Json>, likely: &[Json]) -> Json {
    if refusal {
        object! { "type": "refusal", "refusal": text }
    } else {
        object! { "type": "output_text", "text": text, "annotations": annotations, "logprobs": likely.to_vec() }
    }
}
