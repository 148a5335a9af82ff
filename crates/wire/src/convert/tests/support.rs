//! Short ways to convert, and what answers have in common whatever wire they are on.

use proptest::prelude::ProptestConfig;
use serde_json::Value;

use super::fold::Fold;
use crate::{
    Usage, Wire,
    convert::{Answer, Asked, Converted, Ending, Memory, Quirks, Stream, decode_response, parse, request, response},
    ir::{Event, Json, Kind, Response},
    loss::Loss,
    sse::{Fields, Lines},
};

/// 10,000 cases of each law, unless `PROPTEST_CASES` says otherwise.
pub(super) fn many() -> ProptestConfig {
    const UNSET: u32 = 256;
    let config = ProptestConfig::default();
    let cases = if config.cases == UNSET { 10_000 } else { config.cases };
    ProptestConfig { cases, failure_persistence: None, ..config }
}

/// A tenth of that, where a case is large.
pub(super) fn some() -> ProptestConfig {
    ProptestConfig { cases: (many().cases / 10).max(1), ..many() }
}

pub(super) const WIRES: [Wire; 4] = [Wire::Anthropic, Wire::Chat, Wire::Responses, Wire::Gemini];

pub(super) fn word(wire: Wire) -> &'static str {
    match wire {
        Wire::Anthropic => "anthropic",
        Wire::Chat => "chat",
        Wire::Responses => "responses",
        Wire::Gemini => "gemini",
    }
}

pub(super) fn memory() -> Memory {
    Memory { include_usage: true, ..Memory::default() }
}

pub(super) fn answer(memory: &Memory) -> Answer<'_> {
    Answer {
        model: Some("asked"),
        seed: "s1",
        created: 7,
        memory,
        issuer: Some("pk1"),
        show_thoughts: true,
        request_id: "req_1",
    }
}

pub(super) fn convert(from: Wire, to: Wire, body: &Value) -> Converted {
    let asked = Asked { issuer: Some("pk1"), ..Asked::default() };
    let body = serde_json::to_vec(body).unwrap();
    request(from, to, &body, &asked, Quirks::default()).unwrap_or_else(|error| panic!("{from:?}-{to:?}: {error}"))
}

pub(super) fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
}

/// The request on the other wire, as JSON.
pub(super) fn asked(from: Wire, to: Wire, body: &Value) -> Value {
    value(&convert(from, to, body).bytes)
}

pub(super) fn answered(from: Wire, to: Wire, body: &[u8]) -> (Vec<u8>, Loss) {
    let memory = memory();
    let answered = response(from, to, body, &answer(&memory)).unwrap();
    (answered.bytes, answered.loss)
}

/// A stream that comes in these pieces, converted.
pub(super) fn stream<'a>(
    from: Wire,
    to: Wire,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<u8>, Ending, Loss, Usage) {
    let memory = memory();
    let mut stream = Stream::new(from, to, &answer(&memory));
    let mut out = Vec::new();
    for piece in pieces {
        stream.feed(piece, &mut out).unwrap();
    }
    let ending = stream.finish(&mut out).unwrap();
    (out, ending, stream.loss().clone(), stream.usage())
}

/// Events as a stream has them.
pub(super) fn sse(events: &[Value]) -> String {
    events.iter().fold(String::new(), |text, event| text + &format!("data: {event}\n\n"))
}

#[derive(Default)]
struct Data(Vec<u8>);

impl Fields for Data {
    fn event(&mut self, _: &[u8]) {}
    fn data_line(&mut self) {}
    fn data(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
    }
}

/// The data of every frame.
pub(super) fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut lines, mut data, mut rest) = (Lines::default(), Data::default(), bytes);
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let (read, ended) = lines.next(rest, &mut data);
        rest = &rest[read..];
        if ended && !data.0.is_empty() {
            frames.push(std::mem::take(&mut data.0));
        }
    }
    // The last one may lack its blank line.
    frames.extend(Some(data.0).filter(|data| !data.is_empty()));
    frames
}

/// The stream's events as the IR has them.
pub(super) fn events(wire: Wire, bytes: &[u8]) -> Vec<Event> {
    let mut out = Vec::new();
    let mut loss = Loss::default();
    macro_rules! read {
        ($decoder:expr, $done:expr, $end:expr) => {{
            let mut decoder = $decoder;
            for frame in frames(bytes) {
                if frame == b"[DONE]" {
                    $done(&mut decoder, &mut out);
                } else {
                    decoder.event(Json::parse(&frame).unwrap(), &mut out, &mut loss).unwrap();
                }
            }
            $end(&mut decoder, &mut out);
        }};
    }
    use crate::{anthropic, gemini, openai_chat, openai_responses};
    match wire {
        Wire::Anthropic => {
            read!(anthropic::stream::Decoder::default(), |_: &mut _, _: &mut _| {}, |_: &mut _, _: &mut _| {})
        }
        Wire::Chat => read!(
            openai_chat::stream::Decoder::default(),
            openai_chat::stream::Decoder::done,
            openai_chat::stream::Decoder::end
        ),
        Wire::Responses => {
            read!(openai_responses::stream::Decoder::default(), |_: &mut _, _: &mut _| {}, |_: &mut _, _: &mut _| {})
        }
        Wire::Gemini => {
            let mut decoder = gemini::stream::Decoder::default();
            for frame in frames(bytes) {
                decoder.event(Json::parse(&frame).unwrap(), &mut out, &mut loss);
            }
            decoder.end(&mut out);
        }
    }
    out
}

/// The whole answer that a stream spells.
pub(super) fn folded(wire: Wire, bytes: &[u8]) -> Option<Response> {
    let mut fold = Fold::new(wire);
    for event in events(wire, bytes) {
        fold.add(event);
    }
    fold.finish()
}

pub(super) fn whole(wire: Wire, bytes: &[u8]) -> Response {
    decode_response(wire, parse(bytes).unwrap()).unwrap()
}

/// What an answer says, apart from how its wire cuts it.
#[derive(Debug, PartialEq)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) refusal: String,
    pub(super) thoughts: String,
    pub(super) signatures: Vec<String>,
    pub(super) calls: Vec<(Option<String>, String, Value)>,
    pub(super) finish: String,
    pub(super) usage: (u64, u64, u64, u64, u64),
}

pub(super) fn said(response: &Response) -> Said {
    let mut said = Said {
        text: String::new(),
        refusal: String::new(),
        thoughts: String::new(),
        signatures: Vec::new(),
        calls: Vec::new(),
        finish: format!("{:?}", response.ending()),
        usage: {
            let usage = response.usage;
            let written = usage.cache_write_5m + usage.cache_write_1h;
            (usage.input, usage.cache_read, written, usage.output, usage.reasoning)
        },
    };
    for part in &response.parts {
        match &part.kind {
            Kind::Text(text) => said.text.push_str(text),
            Kind::Refusal(text) => said.refusal.push_str(text),
            Kind::Thinking { texts, signature, .. } => {
                said.thoughts.push_str(&texts.join("\n\n"));
                said.signatures.extend(signature.clone());
            }
            Kind::Call { id, name, arguments, .. } => {
                let arguments = if arguments.is_empty() { "{}" } else { arguments };
                let arguments = serde_json::from_str(arguments).unwrap_or_else(|_| Value::String(arguments.to_owned()));
                said.calls.push((id.clone(), name.clone(), arguments));
            }
            _ => {}
        }
        if let Some(signature) = part.extra.rest.get("thoughtSignature").str() {
            said.signatures.push(signature.to_owned());
        }
    }
    said
}
