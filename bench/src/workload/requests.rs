//! The requests, as bytes.

use bytes::Bytes;

use crate::{
    load::Request,
    stack::{CLIENT_KEY, MODEL},
};

/// Content events of a stream in a burst, and of a live one.
pub(super) const EVENTS: usize = 100;
/// Milliseconds between the events of live streams.
pub(super) const LIVE_GAP_MS: u32 = 10;
/// Milliseconds between the events of streams that only stay open.
pub(super) const HELD_GAP_MS: u32 = 200;
/// Content events of streams that only stay open: they outlast what is measured beside them.
pub(super) const HELD_EVENTS: usize = 300;
/// Bytes of a long prompt.
const LARGE: usize = 300_000;

/// A few words, a whole answer.
pub(super) fn small() -> Request {
    chat("", "Say hello.", false)
}

/// A long conversation, a whole answer.
pub(super) fn large() -> Request {
    const LINE: &str = r#"fn main() {\n    let toll = 42; // \"every line\" of a file that an agent has read\n}\n"#;
    let text = LINE.repeat(LARGE.div_ceil(LINE.len()));
    chat(&format!(r#"{{"role":"system","content":"{text}"}},"#), "Say hello.", false)
}

/// A stream of so many content events: in one write, unless the upstream was started with a gap between events.
pub(super) fn stream(events: usize) -> Request {
    chat("", &format!("[[burst {events}]]"), true)
}

/// A chat completion as the official SDKs lay it out. `before` are earlier messages, each with a comma after it.
fn chat(before: &str, prompt: &str, stream: bool) -> Request {
    let stream_fields = if stream { r#","stream":true,"stream_options":{"include_usage":true}"# } else { "" };
    let body = format!(
        r#"{{"messages":[{before}{{"role":"user","content":"{prompt}"}}],"model":"{MODEL}","max_completion_tokens":1000{stream_fields}}}"#
    );
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\n\
         content-type: application/json\r\nuser-agent: OpenAI/Python 2.0.0\r\nx-stainless-lang: python\r\n\
         x-stainless-os: Linux\r\nx-stainless-retry-count: 0\r\nauthorization: Bearer {CLIENT_KEY}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    Request { bytes: Bytes::from([head, body].concat()), ends_with: if stream { b"data: [DONE]\n\n" } else { b"}" } }
}
