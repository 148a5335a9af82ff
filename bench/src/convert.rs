//! What conversion costs: a stream's events and a request of 300 kB, from every wire to every other, beside what is done to
//! those that stay on their wire.

mod traffic;

use anyhow::Result;
use std::{fmt::Write, hint::black_box};
use wire::{
    StreamTap, Wire,
    convert::{self, Answer, Asked, Memory, Quirks, Stream},
    peek::{self, Kind},
};

use crate::plan::cpu_ns;

/// Measurements of which the median counts.
const ROUNDS: usize = 31;
/// Events of a stream.
const EVENTS: u32 = 2_000;
/// Bytes that come at a time.
const CHUNK: usize = 4 * 1024;

const WIRES: [(Wire, &str); 4] =
    [(Wire::Anthropic, "Anthropic"), (Wire::Chat, "Chat"), (Wire::Responses, "Responses"), (Wire::Gemini, "Gemini")];

/// Measures all pairs; a part of the report.
pub(crate) fn section() -> Result<String> {
    let mut text = "\n## Conversion\n\nEvents of a few words each, and a request of 300 kB with 20 tools and a history of text and calls, read and \
                    written by the library alone. *Same wire* is what happens to those that need no conversion: a look for what is billed and \
                    routed by. Bars: 3 µs per event, 2 ms per request.\n\n| from | to | CPU µs per event | CPU ms per 300 kB request |\n\
                    | --- | --- | ---: | ---: |\n"
        .to_owned();
    let mut worst = (0, 0);
    for (from, name) in WIRES {
        let (events, body) = (traffic::stream(from, EVENTS), traffic::request(from, 300_000));
        let event = median(|| watch(from, &events)) / i64::from(EVENTS);
        let request = median(|| look(from, &body));
        writeln!(text, "| {name} | same wire | {} | {} |", micro(event), milli(request))?;
        for (to, other) in WIRES.into_iter().filter(|(to, _)| *to != from) {
            let event = median(|| pass(from, to, &events)) / i64::from(EVENTS);
            let request = median(|| ask(from, to, &body));
            worst = (worst.0.max(event), worst.1.max(request));
            writeln!(text, "| {name} | {other} | {} | {} |", micro(event), milli(request))?;
        }
    }
    let met = |met: bool| if met { "met" } else { "**not met**" };
    let (event, request) = worst;
    writeln!(
        text,
        "\nThe dearest event costs {} µs (bar {}), the dearest request {} ms (bar {}).",
        micro(event),
        met(event <= 3_000),
        milli(request),
        met(request <= 2_000_000)
    )?;
    Ok(text)
}

fn micro(ns: i64) -> String {
    format!("{}.{:02}", ns / 1_000, ns % 1_000 / 10)
}

fn milli(ns: i64) -> String {
    format!("{}.{:03}", ns / 1_000_000, ns % 1_000_000 / 1_000)
}

fn median(mut work: impl FnMut()) -> i64 {
    let mut rounds: Vec<i64> = (0..ROUNDS)
        .map(|_| {
            let began = cpu_ns();
            work();
            cpu_ns() - began
        })
        .collect();
    rounds.sort_unstable();
    rounds[ROUNDS / 2]
}

/// What is done to a stream that stays on its wire.
fn watch(wire: Wire, events: &[u8]) {
    let mut tap = StreamTap::new(wire);
    for mut chunk in events.chunks(CHUNK) {
        while !chunk.is_empty() {
            let (read, frame) = tap.next(chunk);
            black_box(frame);
            chunk = &chunk[read..];
        }
    }
    black_box(tap.finish());
}

/// What is done to a request that stays on its wire.
fn look(wire: Wire, body: &[u8]) {
    // What was written here is well formed.
    let _ = black_box(peek::peek(wire, Kind::Metered, body));
}

fn pass(from: Wire, to: Wire, events: &[u8]) {
    let memory = Memory::default();
    let answer = Answer {
        model: Some("asked"),
        seed: "0191f3c8a2b4",
        created: 7,
        memory: &memory,
        issuer: None,
        show_thoughts: true,
        request_id: "req_0191f3c8a2b4",
    };
    let mut stream = Stream::new(from, to, &answer);
    let mut out = Vec::with_capacity(CHUNK * 4);
    for chunk in events.chunks(CHUNK) {
        out.clear();
        let _ = black_box(stream.feed(chunk, &mut out));
    }
    let _ = black_box(stream.finish(&mut out));
}

fn ask(from: Wire, to: Wire, body: &[u8]) {
    let _ = black_box(convert::request(from, to, body, &Asked::default(), Quirks::default()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::convert::Ending;

    #[test]
    fn what_is_measured_is_converted() {
        let memory = Memory::default();
        let answer = Answer {
            model: None,
            seed: "s",
            created: 7,
            memory: &memory,
            issuer: None,
            show_thoughts: true,
            request_id: "r",
        };
        for (from, name) in WIRES {
            let (events, body) = (traffic::stream(from, 20), traffic::request(from, 30_000));
            assert!(peek::peek(from, Kind::Metered, &body).is_ok(), "{name}");
            for (to, other) in WIRES {
                let mut out = Vec::new();
                let mut stream = Stream::new(from, to, &answer);
                stream.feed(&events, &mut out).unwrap();
                assert_eq!(stream.finish(&mut out).unwrap(), Ending::Whole, "{name}-{other}");
                assert_eq!(String::from_utf8(out).unwrap().matches(traffic::WORDS).count() % 20, 0, "{name}-{other}");
                let there = convert::request(from, to, &body, &Asked::default(), Quirks::default()).unwrap();
                assert!(there.bytes.len() > body.len() * 9 / 10, "{name}-{other}");
            }
        }
    }
}
