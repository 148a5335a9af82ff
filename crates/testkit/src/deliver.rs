//! An answer on its way: head, frames, and what breaks them.

use std::fmt::Write as _;
use std::future::ready;
use std::io;
use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::time::sleep;

use crate::errors::{self, About};
use crate::fault::{At, Break, Gzip, Plan, recut};
use crate::http::Conn;
use crate::received::{Ended, Log, Slot};
use crate::reply::{Content, Reply};
use crate::wires::{self, Ask, Wire};

/// An answer laid out for one request.
pub(crate) struct Laid {
    head: String,
    frames: Vec<Bytes>,
    chunked: bool,
    plan: Plan,
    /// After which frame an endless answer goes on, and with what.
    again: Option<(usize, Bytes)>,
    error_event: Option<Bytes>,
    /// Sent in place of everything.
    verbatim: Option<Bytes>,
}

/// What became of a connection after an answer.
pub(crate) enum After {
    /// It may carry another request.
    Open(Conn),
    /// It is closed, or about to be.
    Closed,
}

/// Lays a reply out in the words of the wire that asked.
pub(crate) fn lay_out(reply: Reply, ask: &Ask, as_sse: bool) -> Laid {
    let Reply { content, status, headers: changes, plan } = reply;
    let about = About { wire: ask.wire, model: &ask.model, serial: ask.serial, clock: ask.clock };
    let mut headers: Vec<(String, String)> = Vec::new();
    let (mut code, mut is_stream, mut again, mut error_event, mut verbatim) = (200, false, None, None, None);
    let frames = match content {
        Content::Verbatim(bytes) => {
            verbatim = Some(bytes);
            Vec::new()
        }
        Content::Raw(bytes) => vec![bytes],
        Content::Error(shape) => {
            let laid = errors::lay_out(&shape, &about);
            code = laid.status;
            headers = vendor_headers(ask, laid.content_type);
            headers.extend(laid.headers);
            if laid.body.is_empty() { Vec::new() } else { vec![laid.body.into()] }
        }
        Content::Answer(answer) if ask.stream => {
            is_stream = true;
            let frames = wires::stream(&answer, ask);
            let first = wires::first_content(ask.wire);
            again = frames.get(first).filter(|_| plan.endless).map(|frame| (first, frame.clone()));
            error_event = match plan.breaks {
                Some((_, Break::ErrorEvent { overloaded })) => {
                    Some(wires::error_event(ask.wire, &errors::event(overloaded, &about)))
                }
                _ => None,
            };
            let as_array = ask.wire == Wire::Gemini && !as_sse;
            let kind = if as_array { json_type(ask.wire) } else { stream_type(ask.wire) };
            headers = vendor_headers(ask, kind);
            if as_array { array(&frames) } else { frames }
        }
        Content::Answer(answer) => {
            headers = vendor_headers(ask, json_type(ask.wire));
            again = plan.endless.then(|| (0, Bytes::from_static(&[b' '; 1024])));
            vec![wires::whole(&answer, ask)]
        }
    };
    for (name, value) in changes {
        headers.retain(|(known, _)| !known.eq_ignore_ascii_case(&name));
        headers.extend(value.map(|value| (name, value)));
    }
    let frames = coded(frames, plan.gzip, &mut headers);
    let frames = if plan.sizes.is_empty() { frames } else { recut(&frames, &plan.sizes) };
    let code = status.unwrap_or(code);
    let is_chunked = plan.chunked.unwrap_or(is_stream) || again.is_some();
    let head = head(code, &headers, (!is_chunked).then(|| frames.iter().map(Bytes::len).sum()), plan.close);
    Laid { head, frames, chunked: is_chunked, plan, again, error_event, verbatim }
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
            headers.push(("x-request-id", crate::ids::hex("req_", ask.serial, 32)));
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
        let data = text.trim_start_matches("data: ").trim_end();
        let before = if index == 0 { "[" } else { ",\r\n" };
        let after = if index == last { "]" } else { "" };
        Bytes::from(format!("{before}{data}{after}"))
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

fn framed(frame: &[u8], chunked: bool) -> Vec<u8> {
    if !chunked {
        return frame.to_vec();
    }
    let mut out = format!("{:x}\r\n", frame.len()).into_bytes();
    out.extend_from_slice(frame);
    out.extend_from_slice(b"\r\n");
    out
}

/// Hands an answer over.
pub(crate) async fn deliver(mut conn: Conn, laid: Laid, log: &Log, slot: Slot, min_gap: Duration) -> After {
    let mut run = Run { log, slot };
    match run.send(&mut conn, laid, min_gap).await {
        Ok(Outcome::Whole { close }) => {
            log.ended(slot, Ended::Whole);
            if close { After::Closed } else { After::Open(conn) }
        }
        Ok(Outcome::Broken) => {
            log.ended(slot, Ended::Broken);
            After::Closed
        }
        Ok(Outcome::Reset) => {
            log.ended(slot, Ended::Broken);
            conn.reset();
            After::Closed
        }
        Ok(Outcome::Abandoned) | Err(_) => {
            log.ended(slot, Ended::Abandoned);
            After::Closed
        }
    }
}

enum Outcome {
    Whole { close: bool },
    Broken,
    Reset,
    Abandoned,
}

struct Run<'a> {
    log: &'a Log,
    slot: Slot,
}

impl Run<'_> {
    async fn send(&mut self, conn: &mut Conn, laid: Laid, min_gap: Duration) -> io::Result<Outcome> {
        let Laid { head, frames, chunked, plan, again, error_event, verbatim } = laid;
        let gap = plan.gap.max(if chunked { min_gap } else { Duration::ZERO });
        if !plan.delay.is_zero() && !conn.while_here(sleep(plan.delay)).await {
            return Ok(Outcome::Abandoned);
        }
        if let Some(gate) = &plan.hold_head
            && !conn.while_here(gate.wait()).await
        {
            return Ok(Outcome::Abandoned);
        }
        if let Some(bytes) = verbatim {
            conn.write(&bytes).await?;
            self.log.sent(self.slot, &bytes);
            return Ok(Outcome::Whole { close: true });
        }
        let plain = plan.breaks.is_none() && plan.holds.is_empty() && gap.is_zero() && again.is_none();
        if plain && (plan.one_write || frames.len() <= 1) {
            let mut all = head.into_bytes();
            for frame in &frames {
                all.extend_from_slice(&framed(frame, chunked));
                self.log.sent(self.slot, frame);
            }
            if chunked {
                all.extend_from_slice(b"0\r\n\r\n");
            }
            conn.write(&all).await?;
            return Ok(Outcome::Whole { close: plan.close });
        }
        if let Some((At::Nothing, how)) = plan.breaks {
            return break_off(conn, how).await;
        }
        conn.write(head.as_bytes()).await?;
        if let Some((At::Head, how)) = plan.breaks {
            return break_off(conn, how).await;
        }
        let mut bytes_sent = 0;
        for (index, frame) in frames.iter().enumerate() {
            if index > 0 && !gap.is_zero() && !conn.while_here(sleep(gap)).await {
                return Ok(Outcome::Abandoned);
            }
            for (_, gate) in plan.holds.iter().filter(|(at, _)| *at == index) {
                if !conn.while_here(gate.wait()).await {
                    return Ok(Outcome::Abandoned);
                }
            }
            match plan.breaks {
                Some((At::Frames(at), Break::ErrorEvent { .. })) if at == index => break,
                Some((At::Frames(at), how)) if at == index => return break_off(conn, how).await,
                Some((At::Bytes(at), how)) if at < bytes_sent + frame.len() => {
                    let part = &frame[..at - bytes_sent];
                    if !part.is_empty() {
                        self.frame(conn, part, chunked).await?;
                    }
                    return break_off(conn, how).await;
                }
                _ => {}
            }
            self.frame(conn, frame, chunked).await?;
            bytes_sent += frame.len();
            if let Some((after, more)) = &again
                && *after == index
            {
                return self.for_ever(conn, more, chunked).await;
            }
        }
        if let Some(event) = &error_event {
            self.frame(conn, event, chunked).await?;
        } else if let Some((_, how)) = plan.breaks {
            // The place lies behind the end: the body is whole, its end is not.
            return break_off(conn, how).await;
        }
        if chunked {
            conn.write(b"0\r\n\r\n").await?;
        }
        Ok(Outcome::Whole { close: plan.close })
    }

    async fn frame(&mut self, conn: &mut Conn, frame: &[u8], chunked: bool) -> io::Result<()> {
        conn.write(&framed(frame, chunked)).await?;
        self.log.sent(self.slot, frame);
        Ok(())
    }

    async fn for_ever(&mut self, conn: &mut Conn, more: &[u8], chunked: bool) -> io::Result<Outcome> {
        loop {
            // Yields, so that a client which leaves is noticed.
            if !conn.while_here(ready(())).await {
                return Ok(Outcome::Abandoned);
            }
            self.frame(conn, more, chunked).await?;
            tokio::task::yield_now().await;
        }
    }
}

async fn break_off(conn: &mut Conn, how: Break) -> io::Result<Outcome> {
    match how {
        Break::Stall => {
            conn.left().await;
            Ok(Outcome::Abandoned)
        }
        Break::Cut | Break::ErrorEvent { .. } => Ok(Outcome::Broken),
        Break::Reset => Ok(Outcome::Reset),
        Break::BadChunk => {
            conn.write(b"zz\r\nno chunk\r\n").await?;
            Ok(Outcome::Broken)
        }
    }
}

#[cfg(test)]
impl Laid {
    /// Head and body as text.
    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.head, String::from_utf8_lossy(&self.frames.concat()))
    }
}
