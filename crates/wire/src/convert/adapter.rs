//! What changes in a stream between any two wires.

use super::{
    Answer, PARTS_MAX,
    adapt::{made_id, sealed, unwrapped, wants_signed},
    names::fit_id,
};
use crate::{
    Wire,
    ir::{Delta, Event, Opening, Place},
};

/// [`super::adapt::response`], for a stream: what must be known whole waits for the end of its part.
#[derive(Debug, Default)]
pub(crate) struct Adapter {
    /// The input of a custom tool, as arguments.
    wrapped: Option<String>,
    signature: Option<String>,
    redacted: bool,
    /// The part that is open is a thought that is shown.
    thought: bool,
    calls: u64,
    /// The part that is open, or was last, is a text.
    text: bool,
    /// Signatures that trail a text are left out, as [`super::adapt::trails`] says.
    no_trails: bool,
    /// One is open.
    trailing: bool,
    /// What it said and where, for a call that may follow.
    trail: Option<(String, Option<Place>)>,
    /// None did: where it stands.
    left_out: Option<Place>,
    /// Where what comes next stands.
    place: Option<Place>,
}

impl Adapter {
    /// For a stream from one wire to another, or the same.
    ///
    /// `choice` is which of several answers it is: ids of calls differ in all of them.
    pub(crate) fn new(from: Wire, to: Wire, choice: u64) -> Self {
        Self { no_trails: from == Wire::Gemini && to != from, calls: choice * PARTS_MAX as u64, ..Self::default() }
    }

    /// Hands `event` on as the client is to see it.
    pub(crate) fn pass(
        &mut self,
        event: Event,
        (from, to): (Wire, Wire),
        answer: &Answer<'_>,
        mut give: impl FnMut(Event),
    ) {
        match event {
            Event::Place(place) => {
                self.place = Some(place.clone());
                give(Event::Place(place));
            }
            Event::Open(Opening::Call { id, name, custom }) => {
                let wrapped = answer.memory.customs.contains(&name);
                self.wrapped = wrapped.then(String::new);
                self.text = false;
                if let Some((signature, place)) = self.trail.take() {
                    give_place(place, &mut give);
                    give(Event::Open(Opening::Redacted));
                    give(Event::Delta(Delta::Signature(sealed(&signature, true, from, answer))));
                    give(Event::Close);
                    give_place(self.place.clone(), &mut give);
                }
                let mut id = id.unwrap_or_else(|| made_id(answer, self.calls));
                fit_id(&mut id, to);
                self.calls += 1;
                give(Event::Open(Opening::Call { id: Some(id), name, custom: custom || wrapped }));
            }
            Event::Open(Opening::Redacted) if self.text && self.no_trails => self.trailing = true,
            Event::Open(opening) => {
                self.leave_out();
                self.text = opening == Opening::Text;
                self.redacted = opening == Opening::Redacted;
                self.thought = opening == Opening::Thinking;
                give(Event::Open(opening));
            }
            Event::Delta(Delta::Signature(piece)) if self.trailing => {
                let place = &self.place;
                self.trail.get_or_insert_with(|| (String::new(), place.clone())).0.push_str(&piece);
            }
            Event::Close if self.trailing => self.trailing = false,
            Event::Delta(Delta::Text(text)) => match &mut self.wrapped {
                Some(arguments) => arguments.push_str(&text),
                None => give(Event::Delta(Delta::Text(text))),
            },
            Event::Delta(Delta::Signature(piece)) => self.signature.get_or_insert_default().push_str(&piece),
            Event::Close => {
                if let Some(arguments) = self.wrapped.take() {
                    give(Event::Delta(Delta::Text(unwrapped(&arguments))));
                }
                let unsigned = std::mem::take(&mut self.thought) && wants_signed(to) && from != to;
                if let Some(signature) = self.signature.take().or_else(|| unsigned.then(String::new)) {
                    give(Event::Delta(Delta::Signature(sealed(&signature, self.redacted, from, answer))));
                }
                give(Event::Close);
            }
            event => {
                if matches!(event, Event::Finish { .. } | Event::End) {
                    self.leave_out();
                }
                give(event);
            }
        }
    }

    fn leave_out(&mut self) {
        if let Some((_, place)) = self.trail.take() {
            self.left_out = place;
        }
    }

    /// Where a signature behind a text stands that was left out since this was asked.
    pub(crate) fn left_out(&mut self) -> Option<String> {
        self.left_out.take().map(|place| place.signature(true))
    }

    /// Bytes that wait.
    pub(crate) fn held(&self) -> usize {
        let trail = self.trail.as_ref().map(|(signature, _)| signature);
        [self.wrapped.as_ref(), self.signature.as_ref(), trail].into_iter().flatten().map(String::len).sum()
    }
}

fn give_place(place: Option<Place>, give: &mut impl FnMut(Event)) {
    if let Some(place) = place {
        give(Event::Place(place));
    }
}
