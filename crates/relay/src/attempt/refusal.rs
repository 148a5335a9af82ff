//! An upstream's refusal: its body, and what it means.

use super::{
    exchange::{Failure, Within},
    limits, verdict,
};
use crate::{
    body::Source,
    coding::{Coding, decode},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// Bytes of a refusal that are read.
const ERROR_MAX: usize = 64 * 1024;

/// An upstream's refusal, as it came.
pub(crate) struct Refused {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// At most [`ERROR_MAX`] bytes, decoded.
    pub body: Bytes,
    /// More came than was read.
    pub cut: bool,
}

/// Reads a refusal and judges it. One that breaks off or stalls is judged by what came: the status says enough.
pub(super) async fn read(
    status: StatusCode,
    headers: HeaderMap,
    mut source: Source,
    coding: std::result::Result<Option<Coding>, ()>,
    within: Within,
) -> Box<Failure> {
    let (mut raw, mut cut, mut deadline) = (Vec::new(), false, None);
    loop {
        let piece = match within.of(source.next()).await {
            Ok(None) => break,
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(_))) => {
                cut = true;
                break;
            }
            Err(passed) => {
                (cut, deadline) = (true, Some(passed));
                break;
            }
        };
        let room = ERROR_MAX - raw.len();
        raw.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            cut = true;
            break;
        }
    }
    let body = match coding {
        Ok(Some(coding)) => decode(coding, &raw, ERROR_MAX as u64).unwrap_or_default(),
        Ok(None) => raw,
        Err(()) => Vec::new(),
    };
    let facts = wire::read_error(&body);
    let verdict = verdict::judge(status.as_u16(), &facts);
    let message = facts.message.clone().unwrap_or_else(|| format!("status {status}"));
    let mut failure = Failure::new(verdict, message);
    failure.deadline = deadline;
    failure.hints = limits::read(&headers, &facts);
    failure.retry_after = failure.hints.retry_after;
    failure.status = Some(status.as_u16());
    failure.facts = facts;
    failure.answer = Some(Refused { status, headers, body: body.into(), cut });
    failure
}
