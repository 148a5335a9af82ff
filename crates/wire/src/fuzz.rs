//! What must hold of any bytes at all: `fuzz/` attacks these functions, and tests replay what it found.
//!
//! Each takes a few bytes that choose (wires, sizes of pieces), then the input. Built for tests and fuzzing only.
#![allow(clippy::missing_panics_doc, reason = "a law that does not hold is what is looked for")]

use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::{
    ArrayFramer, Frame, Kind, Peek, PeekError, Seen, StreamTap, UsageFilter, WholeTap, Wire,
    convert::{Answer, Asked, Ending, Memory, Quirks, Refused, Stream, request, response},
    peek_form, read_error, recode,
};

fn wire(choice: u8) -> Wire {
    [Wire::Anthropic, Wire::Chat, Wire::Responses, Wire::Gemini][usize::from(choice % 4)]
}

fn kind(choice: u8) -> Kind {
    [Kind::Generate, Kind::CountTokens, Kind::Metered][usize::from(choice / 4 % 3)]
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

/// A request's body, behind a byte for wire and kind: what is read is JSON, and every span is that of a value.
pub fn peek(data: &[u8]) {
    let Some((&choice, body)) = data.split_first() else { return };
    let _ = read_error(body);
    match crate::peek(wire(choice), kind(choice), body) {
        Ok(peek) => {
            assert!(is_json(body), "what is no JSON was read");
            let maxima = peek.maxima.iter().map(|given| &given.tokens.span);
            let nulls = peek.null_maxima.iter().map(|(_, span)| span);
            let budget = peek.thinking.budget.iter().map(|field| &field.span);
            let models = peek.model.iter().chain(&peek.model_echoes).map(|field| &field.span);
            let flags = peek.stream.iter().chain(&peek.include_usage).map(|field| &field.span);
            for span in maxima.chain(nulls).chain(budget).chain(models).chain(flags) {
                assert!(is_json(&body[span.clone()]), "{span:?} is no value");
            }
            for named in &peek.named {
                assert!(is_json(&body[named.at.start - 1..=named.at.end]), "{named:?} is no string");
                assert_eq!(named.thing(body), named.thing(body));
            }
        }
        Err(PeekError::NotJson { .. }) => assert!(!is_json(body), "JSON was refused as none"),
        Err(PeekError::NotUtf8 { at }) => assert!(std::str::from_utf8(&body[..at]).is_ok()),
        Err(_) => {}
    }
}

/// A request's body, behind a byte for wire and kind and one for the maximum: the body with every edit made is one
/// that says what the edits were to make it say.
pub fn splice(data: &[u8]) {
    let Some((&[choice, maximum], body)) = data.split_first_chunk() else { return };
    let (wire, kind, maximum) = (wire(choice), kind(choice), u64::from(maximum) + 1);
    let Ok(peek) = crate::peek(wire, kind, body) else { return };
    let body = Bytes::copy_from_slice(body);
    let stripped = crate::splice(&body, recode::strip_params(&body, &["a".into(), "stream".into(), "user".into()]));
    assert!(is_json(&stripped.concat()), "a stripped body is no JSON");

    // What any third thing stands for goes; what is left is read again.
    let issuers = [recode::Issuer::Asked, recode::Issuer::Another, recode::Issuer::Unknown];
    let issuer = |thing: [u8; 16]| issuers[usize::from(thing[0]) % issuers.len()];
    let unsealed = crate::splice(&body, recode::strip_sealed(&body, issuer).edits).concat();
    assert!(is_json(&unsealed), "a body without what was sealed is no JSON");
    let left = recode::strip_sealed(&unsealed, issuer).edits;
    assert!(left.iter().all(|edit| unsealed[edit.at.clone()] == edit.with[..]), "what was to go is still there");

    // A body without members names no model, and asks for no stream.
    let asks = (wire == Wire::Chat && !peek.root_empty).then(|| recode::ask_usage(&peek)).flatten();
    let asked = asks.is_some();
    let mut edits: Vec<_> = recode::set_model(&peek, "na\"me").into_iter().chain(asks).collect();
    edits.extend(recode::set_model_echoes(&peek, "na\"me"));
    edits.extend(recode::set_maximum(wire, &peek, maximum, "max_tokens"));
    edits.extend(recode::add_ttl(&peek));
    let edited = crate::splice(&body, edits).concat();
    let Ok(now) = crate::peek(wire, kind, &edited) else {
        unreachable!("the edited body cannot be read: {}", String::from_utf8_lossy(&edited));
    };
    assert_eq!(now.model.map(|model| model.value), peek.model.map(|_| "na\"me".to_owned()));
    assert!(now.maxima.iter().all(|given| given.tokens.value <= maximum), "a maximum stayed above {maximum}");
    assert!(!asked || now.include_usage.is_some_and(|usage| usage.value), "usage is not asked for");
}

/// A form behind a line with its content type: with its model named anew it is read as before, but for that; with
/// parts taken out it is still a form.
pub fn form(data: &[u8]) {
    let Some(line) = memchr::memchr(b'\n', data) else { return };
    let (Ok(kind), body) = (std::str::from_utf8(&data[..line]), Bytes::copy_from_slice(&data[line + 1..])) else {
        return;
    };
    let Ok(peek) = peek_form(kind, &body) else { return };
    let rename = recode::set_model(&peek, "na\"me").or_else(|| recode::add_model(&peek, "na\"me"));
    let named = crate::splice(&body, rename.into_iter().collect()).concat();
    let now = peek_form(kind, &named).unwrap_or_else(|error| unreachable!("{error}: {}", named.escape_ascii()));
    assert_eq!(now.model.as_ref().map(|model| model.value.as_str()), Some("na\"me"));
    let rest = |peek: &Peek| (peek.images, peek.text_bytes, peek.choices, peek.uncountable);
    assert_eq!(
        (rest(&now), now.stream.as_ref().map(|stream| stream.value)),
        (rest(&peek), peek.stream.as_ref().map(|stream| stream.value))
    );

    let boundary = peek.form.as_deref().unwrap_or_default();
    let edits = recode::strip_parts(boundary, &body, &["n".into(), "user".into()]);
    let stripped = crate::splice(&body, edits).concat();
    match peek_form(kind, &stripped) {
        Ok(now) => {
            assert_eq!((now.choices, now.model.is_some()), (1, peek.model.is_some()));
            assert!(now.images <= peek.images && now.text_bytes <= peek.text_bytes, "stripping added something");
        }
        Err(error) => assert!(error.to_string().ends_with("it has no parts"), "{error}: {}", stripped.escape_ascii()),
    }
}

/// A stream, behind a byte for the size of its pieces: the filter and the framer do the same at any chunking.
pub fn sse(data: &[u8]) {
    let Some((&size, bytes)) = data.split_first() else { return };
    // What is too long to be held passes earlier or later, as its pieces come.
    let bytes = &bytes[..bytes.len().min(crate::sse::HELD_MAX)];
    let whole = filtered(&[bytes]);
    assert!(whole.len() <= bytes.len(), "the filter added bytes");
    assert_eq!(filtered(&pieces(bytes, size)), whole);
    assert_eq!(framed(&pieces(bytes, size)), framed(&[bytes]));
}

/// An answer, behind a byte for the wire and one for the size of its pieces: both taps read the same at any chunking.
pub fn tap(data: &[u8]) {
    let Some((&[choice, size], bytes)) = data.split_first_chunk() else { return };
    let wire = wire(choice);
    assert_eq!(tapped(wire, &pieces(bytes, size)), tapped(wire, &[bytes]));
    assert_eq!(tapped_whole(wire, &pieces(bytes, size)), tapped_whole(wire, &[bytes]));
}

/// A request's body, behind bytes for both wires and the target's quirks: what is written is JSON that its own wire's
/// decoder takes.
pub fn convert_request(data: &[u8]) {
    let Some((&[from, to, quirks], body)) = data.split_first_chunk() else { return };
    let has = |bit: u8| quirks & (1 << bit) != 0;
    let quirks = Quirks {
        old_max_tokens: has(0),
        include_usage: !has(1),
        reasoning_content: has(2),
        thinking_switch: has(3),
        enable_thinking: has(4),
        system_turns: has(5),
        sampling: !has(6),
        json_schema: !has(7),
        web_search: from < 128,
        signed_calls: to >= 128,
    };
    let asked = Asked { model: Some("m"), stream: false, output_limit: Some(4_096), issuer: Some("pk1") };
    let Ok(converted) = request(wire(from), wire(to), body, &asked, quirks) else { return };
    assert!(is_json(&converted.bytes), "what was written is no JSON");
    match request(wire(to), wire(to), &converted.bytes, &asked, quirks) {
        Ok(again) => assert!(is_json(&again.bytes)),
        Err(refused) => {
            assert!(nests(&converted.bytes, &refused), "{refused}: {}", String::from_utf8_lossy(&converted.bytes))
        }
    }
}

/// A whole answer, behind bytes for both wires: what is written is JSON that its own wire's decoder takes.
pub fn convert_response(data: &[u8]) {
    let Some((&[from, to], body)) = data.split_first_chunk() else { return };
    let memory = Memory::default();
    let answer = answer(&memory);
    let Ok(answered) = response(wire(from), wire(to), body, &answer) else { return };
    assert!(is_json(&answered.bytes), "what was written is no JSON");
    if let Err(refused) = response(wire(to), wire(to), &answered.bytes, &answer) {
        assert!(nests(&answered.bytes, &refused), "{refused}: {}", String::from_utf8_lossy(&answered.bytes));
    }
}

/// A stream, behind bytes for both wires and the size of its pieces: the same is written at any chunking, and each
/// event of it is JSON.
pub fn convert_stream(data: &[u8]) {
    let Some((&[from, to, size], bytes)) = data.split_first_chunk() else { return };
    let (from, to) = (wire(from), wire(to));
    let whole = converted(from, to, &[bytes]);
    assert_eq!(converted(from, to, &pieces(bytes, size)), whole);
    for line in whole.0.split(|byte| matches!(byte, b'\n' | b'\r')) {
        if let Some(event) = line.strip_prefix(b"data: ") {
            assert!(event == b"[DONE]" || is_json(event), "no JSON: {}", String::from_utf8_lossy(event));
        }
    }
}

/// Whether a document was refused for its depth alone: what stood in a string may stand in the document now.
fn nests(bytes: &[u8], refused: &Refused) -> bool {
    let deepest = bytes.iter().fold((0_usize, 0_usize), |(depth, deepest), byte| match byte {
        b'[' | b'{' => (depth + 1, deepest.max(depth + 1)),
        b']' | b'}' => (depth.saturating_sub(1), deepest),
        _ => (depth, deepest),
    });
    refused.pointer().is_empty() && deepest.1 > 100
}

fn pieces(bytes: &[u8], size: u8) -> Vec<&[u8]> {
    bytes.chunks(usize::from(size) + 1).collect()
}

fn filtered(pieces: &[&[u8]]) -> Vec<u8> {
    let (mut filter, mut out) = (UsageFilter::new(), Vec::new());
    for piece in pieces {
        filter.push(Bytes::copy_from_slice(piece), &mut out);
    }
    filter.finish(&mut out);
    out.concat()
}

fn framed(pieces: &[&[u8]]) -> Vec<u8> {
    let (mut framer, mut out) = (ArrayFramer::new(), Vec::new());
    for piece in pieces {
        framer.push(piece, &mut out);
    }
    framer.finish(&mut out);
    out
}

fn tapped(wire: Wire, pieces: &[&[u8]]) -> (Vec<Frame>, Seen) {
    let (mut tap, mut frames) = (StreamTap::new(wire), Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let (read, frame) = tap.next(rest);
            assert!(read > 0, "a tap that reads nothing never ends");
            frames.extend(frame);
            rest = &rest[read..];
        }
    }
    frames.extend(tap.finish());
    (frames, tap.seen().clone())
}

fn tapped_whole(wire: Wire, pieces: &[&[u8]]) -> (Seen, bool) {
    let mut tap = WholeTap::new(wire);
    for piece in pieces {
        tap.feed(piece);
    }
    tap.finish();
    (tap.seen().clone(), tap.complete())
}

fn answer(memory: &Memory) -> Answer<'_> {
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

fn converted(from: Wire, to: Wire, pieces: &[&[u8]]) -> (Vec<u8>, Result<Ending, Refused>) {
    let memory = Memory::default();
    let (mut stream, mut out) = (Stream::new(from, to, &answer(&memory)), Vec::new());
    for piece in pieces {
        if let Err(refused) = stream.feed(piece, &mut out) {
            return (out, Err(refused));
        }
    }
    let ending = stream.finish(&mut out);
    (out, ending)
}

#[cfg(test)]
mod tests;
