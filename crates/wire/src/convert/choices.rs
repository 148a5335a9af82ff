//! Further answers within one stream: `n` of Chat and `candidateCount` of Gemini.
//!
//! Each is a stream of its own, read out of the events that bring all of them and written beside the first; how the
//! whole ends is the first one's to say.

use super::{
    Refused,
    adapter::Adapter,
    list_of,
    stream::{Context, malformed},
};
use crate::{
    Wire, gemini,
    ir::{Event, Finish, Json},
    loss::Loss,
    openai_chat,
};

/// Most answers of one stream (`OpenAI` takes 128).
const CHOICES_MAX: u64 = 128;

/// All but the first.
#[derive(Debug)]
pub(super) struct Choices {
    from: Wire,
    to: Wire,
    /// Both wires have several.
    open: bool,
    lanes: Vec<Lane>,
}

#[derive(Debug)]
struct Lane {
    choice: u64,
    decoder: Decoder,
    encoder: Encoder,
    adapter: Adapter,
}

#[derive(Debug)]
enum Decoder {
    Chat(openai_chat::stream::Decoder),
    Gemini(gemini::stream::Decoder),
}

#[derive(Debug)]
enum Encoder {
    Chat(openai_chat::stream::Encoder),
    Gemini(gemini::stream::Encoder),
}

impl Choices {
    pub(super) fn new(from: Wire, to: Wire) -> Self {
        Self { from, to, open: list_of(from).is_some() && list_of(to).is_some(), lanes: Vec::new() }
    }

    /// Takes all answers but the first out of an event, and writes what they say; gives the error that ends the stream.
    ///
    /// # Errors
    /// What they say is no event of its wire, or they are too many.
    pub(super) fn event(
        &mut self,
        event: &mut Json,
        context: &Context,
        out: &mut Vec<u8>,
        loss: &mut Loss,
    ) -> Result<Option<Event>, Refused> {
        let (true, Some(list)) = (self.open, list_of(self.from)) else { return Ok(None) };
        let is_further = |choice: &Json| choice.get("index").u64().is_some_and(|index| index > 0);
        if !matches!(event.get(list), Json::Array(all) if all.iter().any(is_further)) {
            return Ok(None);
        }
        let (further, first): (Vec<Json>, Vec<Json>) =
            event.take_array(list).unwrap_or_default().into_iter().partition(is_further);
        event.put(list, first);
        // Whose model it is stands beside all of them.
        let name = if self.from == Wire::Gemini { "modelVersion" } else { "model" };
        let model = event.get(name).str().map(str::to_owned);
        for mut choice in further {
            let index = choice.get("index").u64().unwrap_or_default();
            if index >= CHOICES_MAX {
                return Err(Refused::TooLarge);
            }
            choice.put("index", 0u64);
            let mut alone = Json::empty();
            alone.put(list, vec![choice]);
            alone.put_some(name, model.as_deref());
            let (mut events, mut lost) = (Vec::new(), Loss::default());
            let lane = self.lane(index);
            match &mut lane.decoder {
                Decoder::Chat(decoder) => decoder.event(alone, &mut events, &mut lost)?,
                Decoder::Gemini(decoder) => decoder.event(alone, &mut events, &mut lost),
            }
            if events.iter().any(|event| matches!(event, Event::Finish { finish: Finish::Malformed, .. })) {
                return Ok(Some(Event::Error(malformed())));
            }
            self.write(index, events, context, out, &mut lost);
            loss.absorb(lost, &format!("/{list}/0"), &format!("/{list}/{index}"));
        }
        Ok(None)
    }

    /// Whether the upstream has said of each why it ended.
    pub(super) fn finished(&self) -> bool {
        self.lanes.iter().all(|lane| match &lane.decoder {
            Decoder::Chat(decoder) => decoder.finished(),
            Decoder::Gemini(decoder) => decoder.finished(),
        })
    }

    /// The first answer is about to end the stream: the others end before it.
    pub(super) fn end(&mut self, context: &Context, out: &mut Vec<u8>, loss: &mut Loss) {
        for index in self.lanes.iter().map(|lane| lane.choice).collect::<Vec<_>>() {
            let mut events = Vec::new();
            match &mut self.lane(index).decoder {
                Decoder::Chat(decoder) => decoder.done(&mut events),
                Decoder::Gemini(decoder) => decoder.end(&mut events),
            }
            // Chat's last events are of the whole stream; Gemini's last one is that of the candidate.
            events.retain(|event| self.to == Wire::Gemini || *event != Event::End);
            let mut lost = Loss::default();
            self.write(index, events, context, out, &mut lost);
            let list = list_of(self.from).unwrap_or_default();
            loss.absorb(lost, &format!("/{list}/0"), &format!("/{list}/{index}"));
        }
    }

    /// Bytes that wait.
    pub(super) fn held(&self) -> usize {
        let held = |lane: &Lane| {
            let decoder = match &lane.decoder {
                Decoder::Chat(decoder) => decoder.held(),
                Decoder::Gemini(_) => 0,
            };
            let encoder = match &lane.encoder {
                Encoder::Chat(encoder) => encoder.held(),
                Encoder::Gemini(encoder) => encoder.held(),
            };
            lane.adapter.held() + decoder + encoder
        };
        self.lanes.iter().map(held).sum()
    }

    fn lane(&mut self, choice: u64) -> &mut Lane {
        let at = self.lanes.iter().position(|lane| lane.choice == choice).unwrap_or_else(|| {
            let decoder = if self.from == Wire::Chat {
                Decoder::Chat(openai_chat::stream::Decoder::default())
            } else {
                Decoder::Gemini(gemini::stream::Decoder::default())
            };
            let encoder = if self.to == Wire::Chat {
                Encoder::Chat(openai_chat::stream::Encoder::of(choice))
            } else {
                Encoder::Gemini(gemini::stream::Encoder::of(choice))
            };
            let adapter = Adapter::new(self.from, self.to, choice);
            self.lanes.push(Lane { choice, decoder, encoder, adapter });
            self.lanes.len() - 1
        });
        &mut self.lanes[at]
    }

    fn write(&mut self, choice: u64, events: Vec<Event>, context: &Context, out: &mut Vec<u8>, loss: &mut Loss) {
        let wires = (self.from, self.to);
        let lane = self.lane(choice);
        // Usage is that of all answers together, and stands beside them.
        for event in events.into_iter().filter(|event| !matches!(event, Event::Usage(_))) {
            lane.adapter.pass(event, wires, &context.answer(), |event| match &mut lane.encoder {
                Encoder::Chat(encoder) => encoder.event(event, context, out, loss),
                Encoder::Gemini(encoder) => encoder.event(event, context, out, loss),
            });
            if let Some(at) = lane.adapter.left_out() {
                loss.add(at, super::adapt::TRAILS);
            }
        }
    }
}
