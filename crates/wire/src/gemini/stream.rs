//! Gemini streams, both ways: every event is an answer, of which the parts add up.

use super::types;
use crate::{
    Usage, Wire,
    convert::{
        cite, probs,
        stream::{Context, unnamed},
    },
    error::render_stream,
    ir::{Citation, Delta, Event, Finish, Json, Opening, Place, arguments_object, lose_usage, object, rest},
    loss::{Loss, step},
};

/// Reads a Gemini stream.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    started: bool,
    finished: bool,
    /// A text is open, and whether it is a thought.
    open: Option<bool>,
}

impl Decoder {
    pub(crate) fn event(&mut self, mut event: Json, out: &mut Vec<Event>, loss: &mut Loss) {
        if !event.get("error").is_null() {
            out.push(Event::Error(Box::new(crate::read_error(&event.to_bytes()))));
            return;
        }
        types::camel(&mut event);
        if !self.started {
            self.started = true;
            let (id, model) = (event.take_str("responseId"), event.take_str("modelVersion"));
            let counted = event.get("usageMetadata");
            let usage = if counted.is_null() { Usage::default() } else { types::usage(counted) };
            out.push(Event::Start { id, model, usage });
        }
        let mut candidates = event.take_array("candidates").unwrap_or_default();
        for candidate in &mut candidates {
            match candidate.get("index").u64().unwrap_or_default() {
                0 => self.candidate(candidate, out, loss),
                index => loss.add(format!("/candidates/{index}"), "a converted answer is one candidate"),
            }
        }
        if let Some(usage) = event.take("usageMetadata") {
            lose_usage(Wire::Gemini, &usage, "/usageMetadata", loss);
            out.push(Event::Usage(types::usage(&usage)));
        }
        rest(event.get("promptFeedback"), "/promptFeedback", &["blockReason"], loss);
        // The time is the gateway's.
        rest(&event, "", &["responseId", "modelVersion", "createTime", "candidates", "promptFeedback"], loss);
        if event.at("promptFeedback.blockReason").str().is_some() && !self.finished {
            self.finish(Finish::Filter, out);
        }
    }

    fn candidate(&mut self, candidate: &mut Json, out: &mut Vec<Event>, loss: &mut Loss) {
        for (at, part) in candidate.take_array("content.parts").unwrap_or_default().into_iter().enumerate() {
            self.part(part, at, out, loss);
        }
        self.grounding(candidate, out);
        if self.open == Some(false) {
            let likely = probs::take_gemini(candidate, loss);
            if !likely.is_empty() {
                out.push(Event::Delta(Delta::Probs(likely)));
            }
        }
        rest(candidate.get("content"), "/candidates/0/content", &["role"], loss);
        rest(candidate, "/candidates/0", &["index", "finishReason", "content"], loss);
        if let Some(reason) = candidate.get("finishReason").str().filter(|_| !self.finished) {
            self.finish(types::finish(reason), out);
        }
    }

    /// What the text rests on, as far as there is text: passages are not known of one that came in pieces.
    fn grounding(&mut self, candidate: &mut Json, out: &mut Vec<Event>) {
        if self.open != Some(false) {
            return;
        }
        let found = cite::gemini(candidate.get("groundingMetadata"), |_| None);
        if !found.is_empty() {
            candidate.take("groundingMetadata.groundingChunks");
            out.extend(found.into_iter().map(|(_, citation)| Event::Delta(Delta::Citation(Box::new(citation)))));
        }
    }

    fn finish(&mut self, finish: Finish, out: &mut Vec<Event>) {
        self.finished = true;
        self.close(out);
        out.push(Event::Finish { finish, stop: None });
    }

    fn close(&mut self, out: &mut Vec<Event>) {
        if self.open.take().is_some() {
            out.push(Event::Close);
        }
    }

    fn part(&mut self, mut part: Json, index: usize, out: &mut Vec<Event>, loss: &mut Loss) {
        let at = || step("/candidates/0/content/parts", &index.to_string());
        let thought = part.take("thought").and_then(|thought| thought.bool()) == Some(true);
        let signature = part.take_str("thoughtSignature");
        if let Some(text) = part.take_str("text") {
            if !part.is_void() {
                rest(&part, &at(), &[], loss);
            }
            if !thought && self.open == Some(false) && signature.is_some() {
                // A text that is open goes on: the signature, of thoughts before it, waits until it has been said.
                if !text.is_empty() {
                    self.text(false, text, &at, out);
                }
                self.signature(signature, &at, out);
                return;
            } else if !thought {
                self.signature(signature, &at, out);
            } else if let Some(signature) = signature {
                self.text(true, text, &at, out);
                out.push(Event::Place(Place::new(Wire::Gemini, at())));
                out.push(Event::Delta(Delta::Signature(signature)));
                self.close(out);
                return;
            }
            if !text.is_empty() {
                self.text(thought, text, &at, out);
            }
            return;
        }
        self.signature(signature, &at, out);
        if let Some(name) = part.take_str("functionCall.name") {
            self.close(out);
            let id = part.take_str("functionCall.id");
            out.push(Event::Place(Place::new(Wire::Gemini, at())));
            out.push(Event::Open(Opening::Call { id, name, custom: false }));
            if let Some(arguments) = part.take("functionCall.args") {
                out.push(Event::Delta(Delta::Text(arguments.to_text())));
            }
            out.push(Event::Close);
            if !part.is_void() {
                rest(&part, &at(), &[], loss);
            }
        } else if !part.is_void() {
            loss.add(at(), "only the source format has it");
        }
    }

    fn text(&mut self, thought: bool, text: String, at: &impl Fn() -> String, out: &mut Vec<Event>) {
        if self.open != Some(thought) {
            self.close(out);
            self.open = Some(thought);
            out.push(Event::Place(Place::new(Wire::Gemini, at())));
            out.push(Event::Open(if thought { Opening::Thinking } else { Opening::Text }));
        }
        out.push(Event::Delta(Delta::Text(text)));
    }

    /// A signature is that of the thoughts before it; if none were shown, of some that were not.
    fn signature(&mut self, signature: Option<String>, at: &impl Fn() -> String, out: &mut Vec<Event>) {
        let Some(signature) = signature else { return };
        out.push(Event::Place(Place::new(Wire::Gemini, at())));
        if self.open != Some(true) {
            self.close(out);
            out.push(Event::Open(Opening::Redacted));
        }
        self.open = None;
        out.push(Event::Delta(Delta::Signature(signature)));
        out.push(Event::Close);
    }

    /// Whether the upstream has said why generation ended.
    pub(crate) const fn finished(&self) -> bool {
        self.finished
    }

    /// The end of the bytes: usage may come behind the finish.
    pub(crate) fn end(&mut self, out: &mut Vec<Event>) {
        if self.finished {
            out.push(Event::End);
        }
    }
}

/// Writes a Gemini stream.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    /// Which of several answers it writes.
    choice: u64,
    model: Option<String>,
    usage: Usage,
    finish: Finish,
    open: Option<Open>,
    /// The signature of thoughts, which stands on the part after them.
    signature: Option<String>,
    /// What the texts rest on: it is said at the end.
    cited: Vec<Citation>,
}

#[derive(Debug)]
enum Open {
    Text,
    Thought,
    /// A call goes out whole.
    Call {
        id: Option<String>,
        name: String,
        arguments: String,
    },
}

impl Encoder {
    /// Writes one of several answers.
    pub(crate) fn of(choice: u64) -> Self {
        Self { choice, ..Self::default() }
    }

    /// Bytes held of a call that is not whole.
    pub(crate) fn held(&self) -> usize {
        let call = match &self.open {
            Some(Open::Call { id, name, arguments }) => {
                id.as_ref().map_or(0, String::len) + name.len() + arguments.len()
            }
            _ => 0,
        };
        let cited: usize = self.cited.iter().map(Citation::held).sum();
        cited + call + self.signature.as_ref().map_or(0, String::len)
    }

    pub(crate) fn event(&mut self, event: Event, context: &Context, out: &mut Vec<u8>, _loss: &mut Loss) {
        match event {
            Event::Start { model, usage, .. } => {
                self.usage = usage;
                self.model = context.model.clone().or(model);
            }
            Event::Place(_) => {}
            Event::Open(opening) => {
                let thinks = matches!(opening, Opening::Thinking | Opening::Redacted);
                if let Some(signature) = self.signature.take_if(|_| thinks) {
                    self.part(object! { "text": "", "thoughtSignature": signature }, context, out);
                }
                self.open = Some(match opening {
                    Opening::Text | Opening::Refusal => Open::Text,
                    Opening::Thinking | Opening::Redacted => Open::Thought,
                    Opening::Call { id, name, .. } => {
                        let (name, _) = context.memory.client_name(&name);
                        Open::Call { id, name, arguments: String::new() }
                    }
                });
            }
            Event::Delta(delta) => self.delta(delta, context, out),
            Event::Close => {
                if let Some(Open::Call { id, name, arguments }) = self.open.take() {
                    let mut part = Json::empty();
                    part.put_some("functionCall.id", id);
                    part.put("functionCall.name", name);
                    part.put("functionCall.args", arguments_object(&arguments));
                    self.signed(part, context, out);
                }
            }
            Event::Usage(usage) => self.usage = usage,
            Event::Finish { finish, .. } => self.finish = finish,
            Event::Error(facts) => {
                let problem = crate::convert::problem(500, &facts, context.model.as_deref(), &context.request_id);
                out.extend(render_stream(Wire::Gemini, &problem));
            }
            Event::End => {
                let mut candidate = object! { "content": object! { "role": "model" } };
                if let Some(signature) = self.signature.take() {
                    candidate.put("content.parts", vec![object! { "text": "", "thoughtSignature": signature }]);
                }
                candidate.put("finishReason", types::finish_reason(self.finish));
                candidate.put_some("groundingMetadata", cite::to_gemini(self.cited.iter().map(|one| (one, None))));
                self.chunk(candidate, context, out);
            }
        }
    }

    fn delta(&mut self, delta: Delta, context: &Context, out: &mut Vec<u8>) {
        match (&mut self.open, delta) {
            (Some(Open::Text), Delta::Text(text)) => self.signed(object! { "text": text }, context, out),
            (Some(Open::Thought), Delta::Text(text)) => {
                self.part(object! { "text": text, "thought": true }, context, out);
            }
            (Some(Open::Call { arguments, .. }), Delta::Text(text)) => arguments.push_str(&text),
            (_, Delta::Signature(signature)) => self.signature = Some(signature),
            (_, Delta::Citation(citation)) => self.cited.push(*citation),
            (_, Delta::Probs(likely)) => {
                let mut candidate = object! { "content": object! { "role": "model" } };
                candidate.put("logprobsResult", probs::to_gemini(&likely));
                self.chunk(candidate, context, out);
            }
            _ => {}
        }
    }

    fn signed(&mut self, mut part: Json, context: &Context, out: &mut Vec<u8>) {
        part.put_some("thoughtSignature", self.signature.take());
        self.part(part, context, out);
    }

    fn part(&self, part: Json, context: &Context, out: &mut Vec<u8>) {
        self.chunk(object! { "content": object! { "role": "model", "parts": vec![part] } }, context, out);
    }

    fn chunk(&self, mut candidate: Json, context: &Context, out: &mut Vec<u8>) {
        candidate.put("index", self.choice);
        let model = self.model.as_deref().or(context.model.as_deref()).unwrap_or_default();
        let mut chunk = object! { "candidates": vec![candidate] };
        // It counts all answers, and the first one tells it.
        chunk.put_some("usageMetadata", (self.choice == 0).then(|| types::usage_object(&self.usage)));
        chunk.put("modelVersion", model);
        chunk.put("responseId", &context.seed);
        unnamed(&chunk, b"\r\n\r\n", out);
    }
}
