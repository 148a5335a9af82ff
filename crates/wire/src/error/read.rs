//! Reads an upstream's error body, whatever it is.

use super::ErrorFacts;
use crate::{
    json::Walker,
    tap::{Facts, KEPT_MAX},
};

/// Bytes of an error body that are looked at.
pub const READ_MAX: usize = 64 * 1024;

/// Bodies within bodies that are looked into: gateways wrap an error as text into one of their own.
const NESTED: usize = 3;

/// What an error body says. Tolerant: HTML, arrays, JSON within a string, a bare `detail`, plain text, a cut end.
pub fn read_error(body: &[u8]) -> ErrorFacts {
    let body = &body[..body.len().min(READ_MAX)];
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    let mut facts = match body.first() {
        Some(b'<') => return ErrorFacts { html: true, ..ErrorFacts::default() },
        Some(b'{' | b'[') => read_json(body),
        Some(_) => {
            let text = String::from_utf8_lossy(&body[..body.len().min(KEPT_MAX)]).into_owned();
            ErrorFacts { message: Some(text), ..ErrorFacts::default() }
        }
        None => ErrorFacts::default(),
    };
    for _ in 0..NESTED {
        let Some(inner) = facts.message.as_deref().and_then(within) else { break };
        let last = inner.message.is_none();
        facts = merge(facts, inner);
        if last {
            break;
        }
    }
    facts
}

fn read_json(body: &[u8]) -> ErrorFacts {
    let (mut facts, mut walker) = (Facts::of_errors(), Walker::new());
    walker.feed(body, &mut facts);
    facts.into_fault()
}

/// The error body that a message holds, behind some words perhaps.
fn within(message: &str) -> Option<ErrorFacts> {
    let body = message.get(message.find('{')?..)?;
    let facts = read_json(body.as_bytes());
    (facts.native || facts.message.is_some()).then_some(facts)
}

/// The inner body knows better what happened; the outer one fills the gaps.
fn merge(outer: ErrorFacts, inner: ErrorFacts) -> ErrorFacts {
    ErrorFacts {
        code: inner.code.or(outer.code),
        kind: inner.kind.or(outer.kind),
        message: inner.message.or(outer.message),
        reason: inner.reason.or(outer.reason),
        param: inner.param.or(outer.param),
        http: inner.http.or(outer.http),
        retry_delay_ms: inner.retry_delay_ms.or(outer.retry_delay_ms),
        quota_id: inner.quota_id.or(outer.quota_id),
        native: inner.native || outer.native,
        html: outer.html,
    }
}
