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

/// Reads what an upstream says about its refusal, up to [`ERROR_MAX`] bytes; true if that is not all of it. What came is in
/// `body`, also where it is not waited for any longer.
pub(crate) async fn gather(source: &mut Source, body: &mut Vec<u8>) -> bool {
    loop {
        match source.next().await {
            None => return false,
            Some(Err(_)) => return true,
            Some(Ok(piece)) => {
                let room = ERROR_MAX - body.len();
                body.extend_from_slice(&piece[..piece.len().min(room)]);
                if piece.len() > room {
                    return true;
                }
            }
        }
    }
}

/// Reads a refusal and judges it. One that breaks off or stalls is judged by what came: the status says enough.
pub(super) async fn read(
    status: StatusCode,
    headers: HeaderMap,
    mut source: Source,
    coding: std::result::Result<Option<Coding>, ()>,
    within: Within,
) -> Box<Failure> {
    let mut raw = Vec::new();
    let (cut, deadline) = match within.of(gather(&mut source, &mut raw)).await {
        Ok(cut) => (cut, None),
        Err(passed) => (true, Some(passed)),
    };
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
