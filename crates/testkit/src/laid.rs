//! An answer laid out for one request: head, frames, and how they are handed over.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::errors::{self, About};
use crate::fault::{Gzip, Plan, recut};
use crate::ids;
use crate::json::Json;
use crate::reply::{Content, Reply};
use crate::wires::{self, Ask, Form, Wire};

/// An answer laid out for one request.
pub(crate) struct Laid {
    pub(crate) head: Bytes,
    pub(crate) frames: Vec<Frame>,
    pub(crate) chunked: bool,
    pub(crate) plan: Plan,
    /// After which frame an endless answer goes on, and with what.
    pub(crate) again: Option<(usize, Frame)>,
    /// Everything in one write, if nothing is to happen in between.
    pub(crate) at_once: Option<Bytes>,
}

/// A piece of a body, with its transfer coding around it.
#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) wire: Bytes,
    before: usize,
    after: usize,
}

impl Frame {
    pub(crate) fn new(payload: &[u8], chunked: bool) -> Self {
        if !chunked {
            return Self { wire: Bytes::copy_from_slice(payload), before: 0, after: 0 };
        }
        let mut wire = format!("{:x}\r\n", payload.len()).into_bytes();
        let before = wire.len();
        wire.extend_from_slice(payload);
        wire.extend_from_slice(b"\r\n");
        Self { wire: wire.into(), before, after: 2 }
    }

    /// The piece itself.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.wire[self.before..self.wire.len() - self.after]
    }
}

/// The end of a chunked body.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Content before it is framed.
struct Body {
    code: u16,
    headers: Vec<(String, String)>,
    frames: Vec<Bytes>,
    is_stream: bool,
    again: Option<(usize, Bytes)>,
}

/// Lays a reply out in the words of the wire that asked; `min_gap` is the least pause between the events of a stream.
pub(crate) fn lay_out(reply: Reply, ask: &Ask, min_gap: Duration) -> Laid {
    let Reply { content, status, headers: changes, mut plan } = reply;
    let Body { code, mut headers, frames, is_stream, again } = match content {
        Content::Verbatim(bytes) => return verbatim(&bytes, plan),
        Content::Raw(bytes) => {
            Body { code: 200, headers: Vec::new(), frames: vec![bytes], is_stream: false, again: None }
        }
        Content::Error(shape) => {
            let about = About { wire: ask.wire, model: &ask.model, serial: ask.serial, clock: ask.clock };
            let laid = errors::lay_out(&shape, &about);
            let mut headers = vendor_headers(ask, laid.content_type);
            headers.extend(laid.headers);
            Body { code: laid.status, headers, frames: vec![laid.body.into()], is_stream: false, again: None }
        }
        Content::Answer(answer) if ask.form == Form::Whole => Body {
            code: 200,
            headers: vendor_headers(ask, json_type(ask.wire)),
            frames: vec![wires::whole(&answer, ask)],
            is_stream: false,
            again: plan.endless.then(|| (0, Bytes::from_static(&[b' '; 1024]))),
        },
        Content::Answer(answer) => {
            let mut frames = wires::stream(&answer, ask);
            if let Some(fails) = plan.fails {
                frames.truncate(fails.after);
                frames.push(wires::failure(ask, fails.overloaded, fails.as_status, frames.len()));
            }
            let as_array = ask.form == Form::Array;
            if as_array {
                frames = array(&frames);
            }
            let first = wires::first_content(ask.wire);
            let again = frames.get(first).filter(|_| plan.endless).map(|frame| (first, frame.clone()));
            let kind = if as_array { json_type(ask.wire) } else { stream_type(ask.wire) };
            Body { code: 200, headers: vendor_headers(ask, kind), frames, is_stream: true, again }
        }
    };
    for (name, value) in changes {
        headers.retain(|(known, _)| !known.eq_ignore_ascii_case(&name));
        headers.extend(value.map(|value| (name, value)));
    }
    let frames = coded(frames, plan.gzip, &mut headers);
    let mut frames = if plan.sizes.is_empty() { frames } else { recut(&frames, &plan.sizes) };
    // An empty chunk would be the last one.
    frames.retain(|frame| !frame.is_empty());
    let chunked = plan.chunked.unwrap_or(is_stream) || again.is_some();
    if is_stream {
        plan.gap = plan.gap.max(min_gap);
    }
    let length = (!chunked).then(|| frames.iter().map(Bytes::len).sum());
    let head = head(status.unwrap_or(code), &headers, length, plan.close).into();
    let framed = |frame: &Bytes| Frame::new(frame, chunked);
    let frames = frames.iter().map(framed).collect();
    let again = again.map(|(after, frame)| (after, framed(&frame)));
    let mut laid = Laid { head, frames, chunked, plan, again, at_once: None };
    laid.at_once = laid.joined();
    laid
}

fn verbatim(message: &Bytes, mut plan: Plan) -> Laid {
    plan.close = true;
    let frames = vec![Frame::new(message, false)];
    Laid { head: Bytes::new(), frames, chunked: false, plan, again: None, at_once: Some(message.clone()) }
}

impl Laid {
    /// What is sent, if nothing is to happen before its end.
    fn joined(&self) -> Option<Bytes> {
        let Plan { breaks, holds, gap, one_write, .. } = &self.plan;
        let is_plain = breaks.is_none() && holds.is_empty() && gap.is_zero() && self.again.is_none();
        if !is_plain || !(*one_write || self.frames.len() <= 1) {
            return None;
        }
        let mut all = self.head.to_vec();
        self.frames.iter().for_each(|frame| all.extend_from_slice(&frame.wire));
        if self.chunked {
            all.extend_from_slice(LAST_CHUNK);
        }
        Some(all.into())
    }

    /// The answer to HEAD: what GET would begin with.
    pub(crate) fn without_body(mut self) -> Self {
        self.frames.clear();
        self.again = None;
        self.at_once = Some(self.head.clone());
        self
    }
}

const fn json_type(wire: Wire) -> &'static str {
    match wire {
        Wire::Gemini => "application/json; charset=UTF-8",
        _ => "application/json",
    }
}

const fn stream_type(wire: Wire) -> &'static str {
    match wire {
        Wire::Anthropic | Wire::Chat | Wire::Responses => "text/event-stream; charset=utf-8",
        Wire::Gemini => "text/event-stream",
    }
}

fn vendor_headers(ask: &Ask, content_type: &str) -> Vec<(String, String)> {
    let mut headers: Vec<(&str, String)> =
        vec![("date", ask.clock.imf_fixdate()), ("content-type", content_type.to_owned())];
    match ask.wire {
        Wire::Anthropic => {
            headers.push(("request-id", errors::request_id(ask.serial)));
            headers.push(("anthropic-organization-id", "5f0c1e2d-0000-4000-8000-000000000000".to_owned()));
            headers.push(("server", "cloudflare".to_owned()));
        }
        Wire::Chat | Wire::Responses => {
            headers.push(("x-request-id", ids::hex("req_", ask.serial, 32)));
            headers.push(("openai-organization", "org-testkit".to_owned()));
            headers.push(("openai-processing-ms", "12".to_owned()));
            headers.push(("openai-version", "2020-10-01".to_owned()));
        }
        Wire::Gemini => {
            headers.push(("server", "scaffolding on HTTPServer2".to_owned()));
            headers.push(("vary", "Origin".to_owned()));
        }
    }
    headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn head(code: u16, headers: &[(String, String)], length: Option<usize>, close: bool) -> String {
    let reason = match code {
        200 => "OK",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        _ => "Scripted",
    };
    let mut head = format!("HTTP/1.1 {code} {reason}\r\n");
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    match length {
        Some(length) => drop(write!(head, "content-length: {length}\r\n")),
        None => head.push_str("transfer-encoding: chunked\r\n"),
    }
    if close {
        head.push_str("connection: close\r\n");
    }
    head.push_str("\r\n");
    head
}

/// Events as the elements of one array.
fn array(events: &[Bytes]) -> Vec<Bytes> {
    let last = events.len().saturating_sub(1);
    let element = |(index, event): (usize, &Bytes)| {
        let text = String::from_utf8_lossy(event);
        let data = text.trim_start_matches("data: ").trim_end().to_owned();
        let before = if index == 0 { "[" } else { ",\r\n" };
        let after = if index == last { "]" } else { "" };
        Bytes::from(format!("{before}{}\n{after}", Json::raw(data).pretty(2).as_str()))
    };
    events.iter().enumerate().map(element).collect()
}

fn coded(frames: Vec<Bytes>, gzip: Gzip, headers: &mut Vec<(String, String)>) -> Vec<Bytes> {
    if gzip == Gzip::None {
        return frames;
    }
    headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
    if gzip == Gzip::Bad {
        return frames;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut coded = Vec::with_capacity(frames.len());
    for frame in frames {
        // Writing into memory does not fail.
        let _ = encoder.write_all(&frame).and_then(|()| encoder.flush());
        coded.push(Bytes::from(std::mem::take(encoder.get_mut())));
    }
    if let Ok(tail) = encoder.finish()
        && let Some(last) = coded.last_mut()
    {
        *last = [last.as_ref(), &tail].concat().into();
    }
    coded
}

#[cfg(test)]
impl Laid {
    /// Head and body as text.
    pub(crate) fn text(&self) -> String {
        let body: Vec<&[u8]> = self.frames.iter().map(Frame::payload).collect();
        String::from_utf8_lossy(&[&self.head[..], &body.concat()].concat()).into_owned()
    }
}
