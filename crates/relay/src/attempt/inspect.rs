//! Looking at the beginning of an answer before it is committed: until then another candidate can still serve.

use super::{
    exchange::{Commit, Failure, Result, Tap},
    limits, until, verdict,
};
use domain::schedule::attempt::{Deadline, Verdict};
use http::HeaderMap;
use std::time::Duration;
use tokio::time::Instant;
use wire::{ErrorFacts, Frame, convert::EVENT_MAX};

/// A stream that has begun validly is handed on after this long, content or not.
const START_GRACE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are inspected before it is committed …
const INSPECT_WHOLE: usize = 256 * 1024;
/// … and of a stream, should its first event be larger.
const INSPECT_STREAM: usize = 64 * 1024;

pub(super) async fn stream(
    commit: &mut Commit,
    sent: Instant,
    first_event: Duration,
    idle: Duration,
    total: Instant,
) -> Result<()> {
    let Tap::Stream(tap) = &mut commit.tap else { return Ok(()) };
    let (mut any, mut started, mut read) = (false, None, 0);
    loop {
        let (own, name) = match started {
            Some(at) => (Instant::min(at + START_GRACE, Instant::now() + idle), Deadline::Idle),
            None if any => (Instant::now() + idle, Deadline::Idle),
            None => (sent + first_event, Deadline::FirstEvent),
        };
        let piece = match until(commit.source.next(), own, total).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(error))) => return Err(Failure::new(Verdict::Transient, error.to_string())),
            Ok(None) => {
                // A stream may end without a last blank line.
                let last = tap.finish();
                if commit.recast.is_some() && tap.seen().malformed_call {
                    return Err(malformed());
                }
                return match last {
                    Some(Frame::Content | Frame::UsageOnly) => Ok(()),
                    Some(Frame::Closing) => {
                        commit.closing = commit.passed.pop();
                        Ok(())
                    }
                    Some(Frame::Error) => {
                        Err(error_inside(&commit.headers, &tap.seen().error.clone().unwrap_or_default()))
                    }
                    _ => Err(Failure::new(Verdict::Transient, "the stream ended before its first content")),
                };
            }
            // Begun validly and then slow: the client may as well see the beginning.
            Err(false) if started.is_some_and(|at| Instant::now() >= at + START_GRACE) => return Ok(()),
            Err(total_first) => return Err(Failure::late(if total_first { Deadline::Total } else { name })),
        };
        if read == 0 {
            commit.first_byte_ms = elapsed_ms(sent);
        }
        read += piece.len();
        let mut at = 0;
        while at < piece.len() {
            let (used, frame) = tap.next(&piece[at..]);
            let began = at;
            at += used;
            any |= frame.is_some();
            match frame {
                Some(Frame::Error) => {
                    return Err(error_inside(&commit.headers, &tap.seen().error.clone().unwrap_or_default()));
                }
                Some(Frame::Closing) if tap.seen().error.is_some() && tap.seen().content_events == 0 => {
                    return Err(error_inside(&commit.headers, &tap.seen().error.clone().unwrap_or_default()));
                }
                Some(_) if commit.recast.is_some() && tap.seen().malformed_call => return Err(malformed()),
                Some(Frame::Closing) => {
                    commit.passed.push(piece.slice(..began));
                    commit.closing = Some(piece.slice(began..at));
                    commit.rest = piece.slice(at..);
                    return Ok(());
                }
                Some(Frame::Content | Frame::UsageOnly) => {
                    commit.passed.push(piece.slice(..at));
                    commit.rest = piece.slice(at..);
                    return Ok(());
                }
                Some(Frame::Start) if started.is_none() => started = Some(Instant::now()),
                _ => {}
            }
        }
        commit.passed.push(piece);
        if read >= INSPECT_STREAM {
            return Ok(());
        }
    }
}

pub(super) async fn whole(commit: &mut Commit, sent: Instant, own: Instant, total: Instant) -> Result<()> {
    let mut read = 0;
    loop {
        let piece = match until(commit.source.next(), own, total).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(error))) => return Err(Failure::new(Verdict::Transient, error.to_string())),
            Ok(None) => break,
            Err(total_first) => return Err(Failure::late(if total_first { Deadline::Total } else { Deadline::Whole })),
        };
        if read == 0 {
            commit.first_byte_ms = elapsed_ms(sent);
        }
        read += piece.len();
        if !commit.tap.feed_whole(&piece) {
            return Err(Failure::new(Verdict::Transient, "the answer is not what its content-encoding says"));
        }
        commit.passed.push(piece);
        if commit.source.is_end() {
            break;
        }
        if commit.recast.is_some() {
            // It is converted as a whole.
            if read > EVENT_MAX {
                // The same request would be paid for again, and answered as long.
                return Err(Failure::new(Verdict::EndpointFault, "the answer is longer than can be converted"));
            }
        } else if read >= INSPECT_WHOLE {
            return match commit.tap.seen().and_then(|seen| seen.error.clone()) {
                Some(facts) => Err(error_inside(&commit.headers, &facts)),
                None => Ok(()),
            };
        }
    }
    if read == 0 {
        return Err(Failure::new(Verdict::Transient, "the answer is empty"));
    }
    let starts_like_html = commit.passed.first().is_some_and(|first| first.trim_ascii_start().starts_with(b"<"));
    if starts_like_html {
        return Err(Failure::new(Verdict::EndpointFault, "the answer is an HTML page"));
    }
    if !commit.tap.finish_whole() {
        return Err(Failure::new(Verdict::Transient, "the answer is truncated"));
    }
    commit.complete = true;
    match commit.tap.seen().and_then(|seen| seen.error.clone()) {
        Some(facts) => Err(error_inside(&commit.headers, &facts)),
        None => Ok(()),
    }
}

pub(super) async fn opaque(commit: &mut Commit, sent: Instant, own: Instant, total: Instant) -> Result<()> {
    match until(commit.source.next(), own, total).await {
        Ok(Some(Ok(piece))) => {
            commit.first_byte_ms = elapsed_ms(sent);
            commit.passed.push(piece);
            Ok(())
        }
        Ok(Some(Err(error))) => Err(Failure::new(Verdict::Transient, error.to_string())),
        Ok(None) => Err(Failure::new(Verdict::Transient, "the answer is empty")),
        Err(total_first) => Err(Failure::late(if total_first { Deadline::Total } else { Deadline::Whole })),
    }
}

/// A model of Gemini's wrote a call that is none: no other wire has a word for it, and another try may mend it.
fn malformed() -> Box<Failure> {
    Failure::new(Verdict::MalformedCall, "the model wrote a call that is none")
}

/// An error inside a 2xx.
fn error_inside(headers: &HeaderMap, facts: &ErrorFacts) -> Box<Failure> {
    let message = facts.message.clone().unwrap_or_else(|| "an error inside a success".to_owned());
    let mut failure = Failure::new(verdict::judge(200, facts), message);
    failure.hints = limits::read(headers, facts);
    failure.retry_after = failure.hints.retry_after;
    failure.facts = facts.clone();
    failure
}

fn elapsed_ms(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_millis()).unwrap_or(u32::MAX)
}
