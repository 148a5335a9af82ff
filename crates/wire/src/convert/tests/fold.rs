//! How a stream folds into the whole answer it spells.

use crate::{
    Usage, Wire,
    ir::{Delta, Event, Extra, Finish, Json, Kind, Opening, Part, Response},
};

/// Folds a stream into the answer it spells.
#[derive(Debug)]
pub(crate) struct Fold {
    answer: Response,
    error: bool,
    ended: bool,
}

impl Fold {
    pub(crate) fn new(wire: Wire) -> Self {
        let answer = Response {
            id: None,
            model: None,
            created: None,
            parts: Vec::new(),
            finish: Finish::Stop,
            stop: None,
            usage: Usage::default(),
            usage_object: Json::Null,
            finish_words: Json::Null,
            inner: None,
            others: Vec::new(),
            extra: Extra::new(wire, "", Json::empty()),
        };
        Self { answer, error: false, ended: false }
    }

    pub(crate) fn add(&mut self, event: Event) {
        let wire = self.answer.extra.wire;
        match event {
            Event::Start { id, model, usage } => {
                (self.answer.id, self.answer.model, self.answer.usage) = (id, model, usage);
            }
            Event::Open(opening) => {
                let kind = match opening {
                    Opening::Text => Kind::Text(String::new()),
                    Opening::Refusal => Kind::Refusal(String::new()),
                    Opening::Thinking | Opening::Redacted => {
                        Kind::Thinking { texts: Vec::new(), signature: None, redacted: opening == Opening::Redacted }
                    }
                    Opening::Call { id, name, custom } => Kind::Call { id, name, arguments: String::new(), custom },
                };
                self.answer.parts.push(Part::new(kind, wire, "", Json::empty()));
            }
            Event::Delta(delta) => {
                let Some(part) = self.answer.parts.last_mut() else { return };
                match (&mut part.kind, delta) {
                    (
                        Kind::Text(whole) | Kind::Refusal(whole) | Kind::Call { arguments: whole, .. },
                        Delta::Text(text),
                    ) => {
                        whole.push_str(&text);
                    }
                    (Kind::Thinking { texts, .. }, Delta::Text(text)) => match texts.last_mut() {
                        Some(whole) => whole.push_str(&text),
                        None => texts.push(text),
                    },
                    (Kind::Thinking { signature, .. }, Delta::Signature(text)) => {
                        signature.get_or_insert_default().push_str(&text);
                    }
                    _ => {}
                }
            }
            Event::Close | Event::Place(_) => {}
            Event::Usage(usage) => self.answer.usage = usage,
            Event::Finish { finish, stop } => (self.answer.finish, self.answer.stop) = (finish, stop),
            Event::Error(_) => self.error = true,
            Event::End => self.ended = true,
        }
    }

    /// The whole answer, if the stream came to its end.
    pub(crate) fn finish(self) -> Option<Response> {
        (self.ended && !self.error).then_some(self.answer)
    }
}
