//! The cells: what an upstream does, and what must come of it.

use super::RESPONSE_MAX;
use crate::endings::first_content;
use domain::{
    format::{ApiFormat, Family},
    schedule::adaptive::LimitKind,
};
use serde_json::json;
use std::time::Duration;
use testkit::{At, ErrorShape, Limit, Reply, bytes};

/// One fault, and what must come of it.
pub(super) struct Cell {
    pub name: String,
    pub fault: Fault,
    /// The verdict as the candidate's row has it, with the deadline that led to it.
    pub recorded: &'static str,
    /// The status in that row; none if no head came.
    pub status: Option<u16>,
    pub effect: Effect,
    pub comes: Comes,
    /// What the upstream sent reaches the client unchanged, where it reaches it.
    pub same_bytes: bool,
}

/// What the upstream does.
#[derive(Clone)]
pub(super) enum Fault {
    Reply(Box<Reply>),
    /// The same over TCP.
    OnSocket(Box<Reply>),
    /// Nobody listens.
    Refuses,
    /// It takes connections, and says nothing to a TLS handshake.
    MuteAtTls,
}

/// What becomes of the key.
#[derive(Clone, Copy)]
pub(super) enum Effect {
    None,
    /// One failure in the breaker's window.
    Counts,
    /// It rests so long for a limit of this kind.
    Rests(LimitKind, Duration),
    /// It rests five minutes for this model.
    RestsForModel,
    /// Its circuit opens at once.
    Opens,
}

/// What becomes of the request.
pub(super) enum Comes {
    /// It was no fault.
    Served,
    /// The next candidate serves; without one, an error of the gateway's own.
    Next(Own),
    /// The next candidate serves; without one, the upstream's own answer with this status.
    NextOrItsOwn(u16),
    /// The upstream's own answer; nobody else is asked.
    ItsOwn(u16),
    /// It breaks off.
    Broken,
}

/// The gateway's own error, with seconds for `Retry-After`.
pub(super) enum Own {
    Upstream,
    Timeout,
    RateLimited(u64),
    Overloaded(Option<u64>),
}

impl Cell {
    /// The verdict alone.
    pub(super) fn verdict(&self) -> &'static str {
        self.recorded.split(':').next().unwrap()
    }

    fn new(name: impl Into<String>, fault: Fault, recorded: &'static str, status: Option<u16>, comes: Comes) -> Self {
        let effect = match recorded.split(':').next().unwrap() {
            "key_unusable" => Effect::Opens,
            "not_permitted" => Effect::RestsForModel,
            "overloaded" | "transient" | "endpoint_fault" => Effect::Counts,
            _ => Effect::None,
        };
        Self { name: name.into(), fault, recorded, status, effect, comes, same_bytes: true }
    }

    fn of(name: impl Into<String>, reply: Reply, recorded: &'static str, status: Option<u16>, comes: Comes) -> Self {
        Self::new(name, Fault::Reply(Box::new(reply)), recorded, status, comes)
    }

    fn changed(mut self) -> Self {
        self.same_bytes = false;
        self
    }
}

fn answer() -> Reply {
    Reply::text(["one ", "two ", "three ", "four"]).usage(12, 9)
}

fn transient(name: &str, reply: Reply, status: Option<u16>) -> Cell {
    Cell::of(name, reply, "transient", status, Comes::Next(Own::Upstream))
}

fn late(name: &str, reply: Reply, recorded: &'static str, status: Option<u16>) -> Cell {
    Cell::of(name, reply, recorded, status, Comes::Next(Own::Timeout))
}

/// What only sockets can do.
pub(super) fn sockets() -> Vec<Cell> {
    let reset = Fault::OnSocket(Box::new(answer().reset_after(At::Nothing)));
    let cell = |name, fault| Cell::new(name, fault, "transient", None, Comes::Next(Own::Upstream));
    vec![cell("a refused connection", Fault::Refuses), cell("a reset before the head", reset)]
}

/// The matrix of one wire, for streams or whole answers.
pub(super) fn cells(format: ApiFormat, stream: bool) -> Vec<Cell> {
    let mut all = before_the_commit(format, stream);
    all.extend(stalls(stream));
    all.extend(if stream { broken_streams(format) } else { broken_wholes() });
    all.extend(bodiless());
    all.extend(no_api(stream));
    all.extend(vendors(format, stream));
    all.extend(limits(format));
    all
}

/// Connections and bodies that break while another candidate can still serve.
fn before_the_commit(format: ApiFormat, stream: bool) -> Vec<Cell> {
    let flood = format!("HTTP/1.1 200 OK\r\nx-flood: {}", "x".repeat(200 * 1024));
    let mut cells = vec![
        Cell::new(
            "silence in the TLS handshake",
            Fault::MuteAtTls,
            "transient: connect",
            None,
            Comes::Next(Own::Timeout),
        ),
        transient("a close before the head", answer().cut_after(At::Nothing), None),
        transient("no HTTP", Reply::verbatim("SSH-2.0-OpenSSH_9.6\r\n"), None),
        transient("a head that floods", Reply::verbatim(flood), None),
        transient("a close after the head", answer().cut_after(At::Head), Some(200)),
        transient("a close in the first bytes", answer().cut_after(bytes(30)), Some(200)),
        transient("bad chunking after the head", answer().bad_chunk_after(At::Head), Some(200)),
        transient("bad chunking in the first bytes", answer().bad_chunk_after(bytes(30)), Some(200)),
        transient("a coding that is none", answer().bad_gzip(), Some(200)),
        transient("a coded body that ends early", answer().gzip().cut_after(bytes(15)), Some(200)),
    ];
    if stream && format != ApiFormat::Gemini {
        cells.push(transient("a stream that only begins", answer().cut_after(1), Some(200)));
    }
    if !stream {
        cells.push(transient("a close before the end", answer().chunked().cut_after(1), Some(200)));
    }
    cells
}

/// Silence, and drips that are as bad. What keeps within the deadlines is served.
fn stalls(stream: bool) -> Vec<Cell> {
    let first = if stream { "transient: first_event" } else { "transient: timeout" };
    let long = Reply::text(["x".repeat(600)]).usage(12, 9);
    let mut cells = vec![
        late("silence before the head", answer().stall_after(At::Nothing), first, None),
        late("silence after the head", answer().stall_after(At::Head), first, Some(200)),
        late("silence in the first bytes", answer().stall_after(bytes(30)), first, Some(200)),
        late("a drip that takes too long", long.drip(1, Duration::from_secs(1)), first, Some(200)),
        Cell::of("a drip", answer().drip(64, Duration::from_millis(10)), "success", Some(200), Comes::Served),
    ];
    let refusal = |status, of: &str| Reply::raw(status, &[("content-type", "application/json")], of.to_owned());
    let half = r#"{"type":"error","error":{"type":"invalid_request_error","message":"half a wo"#;
    let (named, callers) = if stream {
        ("overloaded: first_event", "callers_fault: first_event")
    } else {
        ("overloaded: timeout", "callers_fault: timeout")
    };
    let stalls = refusal(503, half).stall_after(bytes(30));
    cells.push(Cell::of("a 503 whose body stalls", stalls, named, Some(503), Comes::Next(Own::Timeout)));
    let stalls = refusal(400, half).stall_after(bytes(30));
    cells.push(Cell::of("a 400 whose body stalls", stalls, callers, Some(400), Comes::ItsOwn(400)).changed());
    let breaks = refusal(400, half).chunked().cut_after(1);
    cells.push(Cell::of("a 400 that breaks off", breaks, "callers_fault", Some(400), Comes::ItsOwn(400)).changed());
    cells
}

/// Streams that break after their first content.
fn broken_streams(format: ApiFormat) -> Vec<Cell> {
    let after = first_content(format) + 1;
    let cell = |name: &str, reply, recorded| Cell::of(name, reply, recorded, Some(200), Comes::Broken).changed();
    let event = |name: &str, overloaded, recorded| {
        let own = Cell::of(name, answer().error_event_after(after, overloaded), recorded, Some(200), Comes::Broken);
        // The error event that came is the one that leaves.
        Cell { same_bytes: true, ..own }
    };
    let slow = Duration::from_secs(301);
    let steady = Duration::from_secs(299);
    vec![
        cell("a close in mid-stream", answer().cut_after(after), "transient"),
        cell("a reset in mid-stream", answer().reset_after(after), "transient"),
        cell("bad chunking in mid-stream", answer().bad_chunk_after(after), "transient"),
        cell("silence in mid-stream", answer().stall_after(after), "transient: idle"),
        cell("a stream without an end", answer().endless(), "transient"),
        cell("a drip slower than the deadline", answer().gap(slow), "transient: idle"),
        Cell::of("a drip within it", answer().gap(steady), "success", Some(200), Comes::Served),
        event("an error in mid-stream", false, "transient"),
        event("overload in mid-stream", true, "overloaded"),
    ]
}

/// Whole answers that break after 256 KiB.
fn broken_wholes() -> Vec<Cell> {
    let long = || Reply::text(["x".repeat(600 * 1024)]).usage(12, 9);
    let cell = |name: &str, reply, recorded| Cell::of(name, reply, recorded, Some(200), Comes::Broken);
    let most = usize::try_from(RESPONSE_MAX).unwrap();
    vec![
        cell("a close after its commit", long().cut_after(bytes(500 * 1024)), "transient"),
        cell("a reset after its commit", long().reset_after(bytes(500 * 1024)), "transient"),
        cell("bad chunking after its commit", long().bad_chunk_after(bytes(500 * 1024)), "transient"),
        cell("silence after its commit", long().stall_after(bytes(500 * 1024)), "transient: timeout"),
        cell("a body without an end", answer().endless(), "transient"),
        cell("a body that is too long", Reply::text(["x".repeat(most)]), "transient"),
        // Pieces at 0, 80, 160, 240 and 320 seconds: each silence is short, and the whole attempt too long.
        cell(
            "a drip after its commit",
            long().chunked_at([280 * 1024, 10 * 1024]).gap(Duration::from_secs(80)),
            "transient: timeout",
        ),
    ]
}

/// Statuses that come without a word.
fn bodiless() -> Vec<Cell> {
    let rests = |kind| Effect::Rests(kind, Duration::from_secs(5));
    let cell = |status: u16, verdict, comes| {
        Cell::of(format!("a bare {status}"), Reply::error(ErrorShape::Empty(status)), verdict, Some(status), comes)
    };
    let upstream = || Comes::Next(Own::Upstream);
    let mut cells = Vec::new();
    for (statuses, verdict) in [
        (&[401, 402][..], "key_unusable"),
        (&[403], "not_permitted"),
        (&[301, 302, 307, 308, 404, 405], "endpoint_fault"),
        (&[200, 204, 408, 409, 425, 500, 501, 502, 599], "transient"),
    ] {
        cells.extend(statuses.iter().map(|status| cell(*status, verdict, upstream())));
    }
    cells.push(cell(504, "transient", Comes::Next(Own::Timeout)));
    for status in [503, 529] {
        cells.push(cell(status, "overloaded", Comes::Next(Own::Overloaded(None))));
    }
    for status in [400, 413, 422] {
        cells.push(cell(status, "callers_fault", Comes::ItsOwn(status)).changed());
    }
    let limited = cell(429, "rate_limited", Comes::Next(Own::RateLimited(5)));
    cells.push(Cell { effect: rests(LimitKind::Unknown), ..limited });
    cells
}

/// What answers is no API, or not this one.
fn no_api(stream: bool) -> Vec<Cell> {
    let cell = |name: &str, reply, verdict, status, comes| Cell::of(name, reply, verdict, Some(status), comes);
    let page = |status, verdict, comes| {
        cell(&format!("a page in a {status}"), Reply::error(ErrorShape::Html(status)), verdict, status, comes)
    };
    let json = [("content-type", "application/json")];
    let upstream = || Comes::Next(Own::Upstream);
    let elsewhere = ErrorShape::Redirect("https://elsewhere.example/".to_owned());
    let text = |status, body: &str| Reply::raw(status, &[("content-type", "text/plain")], body.to_owned());
    let unknown = |reply: Reply| reply.header("content-encoding", "lzma");
    let limited = Reply::error(ErrorShape::Empty(429));
    let mut cells = vec![
        page(200, "endpoint_fault", upstream()),
        page(400, "endpoint_fault", upstream()),
        page(401, "key_unusable", upstream()),
        page(403, "endpoint_fault", upstream()),
        page(404, "endpoint_fault", upstream()),
        page(500, "transient", upstream()),
        page(502, "transient", upstream()),
        page(503, "overloaded", Comes::Next(Own::Overloaded(None))),
        page(504, "transient", Comes::Next(Own::Timeout)),
        cell("a page that says it is JSON", Reply::raw(200, &json, "<html></html>"), "endpoint_fault", 200, upstream()),
        cell("a redirect", Reply::error(elsewhere), "endpoint_fault", 307, upstream()),
        cell("another server's 404", text(404, "404 page not found"), "endpoint_fault", 404, upstream()),
        cell("words for a 500", text(500, "upstream connect error"), "transient", 500, upstream()),
        cell("truncated JSON", Reply::error(ErrorShape::TruncatedJson), "transient", 200, upstream()),
        cell("broken JSON", Reply::error(ErrorShape::BrokenJson), "transient", 200, upstream()),
        cell("a coding nobody knows", unknown(answer()), "endpoint_fault", 200, upstream()),
        Cell {
            effect: Effect::Rests(LimitKind::Unknown, Duration::from_secs(5)),
            ..cell("a 429 in such a coding", unknown(limited), "rate_limited", 429, Comes::Next(Own::RateLimited(5)))
        },
    ];
    if stream {
        let events = |body: &str| Reply::raw(200, &[("content-type", "text/event-stream")], body.to_owned());
        cells.push(cell("no event at all", events(""), "transient", 200, upstream()));
        cells.push(cell("comments alone", events(": ping\n\n: ping\n\n"), "transient", 200, upstream()));
    }
    cells
}

/// The vendors' own errors.
fn vendors(format: ApiFormat, stream: bool) -> Vec<Cell> {
    let family = format.family();
    let (anthropic, gemini) = (family == Family::Anthropic, family == Family::Gemini);
    let by = |anthropic: u16, openai: u16, gemini: u16| match family {
        Family::Anthropic => anthropic,
        Family::Chat | Family::Responses => openai,
        Family::Gemini => gemini,
    };
    let error =
        |name: &str, shape, verdict, status, comes| Cell::of(name, Reply::error(shape), verdict, Some(status), comes);
    let upstream = || Comes::Next(Own::Upstream);
    let overloaded = |after| Comes::Next(Own::Overloaded(after));
    let busy = by(529, 503, 503);
    let mut cells = vec![
        error("a bad key", ErrorShape::BadKey, "key_unusable", by(401, 401, 400), upstream()),
        error("an account that is off", ErrorShape::AccountDisabled, "key_unusable", by(400, 401, 403), upstream()),
        error("no permission", ErrorShape::PermissionDenied, "not_permitted", 403, upstream()),
        error("overload", ErrorShape::Overloaded, "overloaded", busy, overloaded(None)),
        Cell::of(
            "overload for three seconds",
            Reply::error(ErrorShape::Overloaded).header("retry-after", "3"),
            "overloaded",
            Some(busy),
            overloaded(Some(3)),
        ),
        error("a 500", ErrorShape::Server, "transient", 500, upstream()),
        error("a 504", ErrorShape::Timeout, "transient", 504, Comes::Next(Own::Timeout)),
        error("a 500 in an array", ErrorShape::InArray(Box::new(ErrorShape::Server)), "transient", 500, upstream()),
        error(
            "overload in another's words",
            ErrorShape::Nested(Box::new(ErrorShape::Overloaded)),
            "overloaded",
            busy,
            overloaded(None),
        ),
        Cell::of(
            "a 500 inside a 200",
            Reply::error(ErrorShape::Server).status(200),
            "transient",
            Some(200),
            upstream(),
        ),
        Cell::of(
            "overload inside a 200",
            Reply::error(ErrorShape::Overloaded).status(200),
            "overloaded",
            Some(200),
            overloaded(None),
        ),
        Cell::of(
            "a bad key inside a 200",
            Reply::error(ErrorShape::BadKey).status(200),
            "key_unusable",
            Some(200),
            upstream(),
        ),
        error("a model it does not have", ErrorShape::UnknownModel, "unknown_model", 404, Comes::NextOrItsOwn(404)),
        Cell::of("an id it does not have", unknown_id(family), "callers_fault", Some(404), Comes::ItsOwn(404)),
        error("too long a prompt", ErrorShape::ContextTooLong, "callers_fault", 400, Comes::ItsOwn(400)),
        error("a prompt it will not answer", ErrorShape::ContentPolicy, "callers_fault", 400, Comes::ItsOwn(400)),
        error("too large a body", ErrorShape::TooLarge, "callers_fault", 413, Comes::ItsOwn(413)),
        error(
            "a wrong field",
            ErrorShape::InvalidRequest { field: "max_tokens".to_owned(), message: "must be positive".to_owned() },
            "callers_fault",
            400,
            Comes::ItsOwn(400),
        ),
        Cell::of(
            "a refusal of 200 KiB",
            Reply::error(ErrorShape::InvalidRequest { field: "x".to_owned(), message: "x".repeat(200 * 1024) }),
            "callers_fault",
            Some(400),
            Comes::ItsOwn(400),
        )
        .changed(),
    ];
    if !gemini {
        // Gemini says of no credit what it says of any quota.
        cells.push(error("no credit", ErrorShape::CreditExhausted, "key_unusable", by(400, 429, 0), upstream()));
        cells.push(error("no money", ErrorShape::PaymentRequired, "key_unusable", by(402, 429, 0), upstream()));
    }
    if !anthropic && !gemini {
        let shape = ErrorShape::UnsupportedParameter("top_k".to_owned());
        cells.push(error("a parameter it does not have", shape, "cannot_do", 400, Comes::NextOrItsOwn(400)));
    }
    if stream {
        for (name, as_overload, verdict) in [("an error", false, "transient"), ("overload", true, "overloaded")] {
            let comes = || if as_overload { overloaded(None) } else { upstream() };
            let first = answer().error_event_after(0, as_overload);
            cells.push(Cell::of(format!("{name} as the first event"), first, verdict, Some(200), comes()));
            if family == Family::Responses {
                let failed = answer().failed_after(2, as_overload);
                cells.push(Cell::of(format!("{name} as a failed response"), failed, verdict, Some(200), comes()));
            }
        }
    }
    cells
}

/// A native 404 that is not about the model.
fn unknown_id(family: Family) -> Reply {
    let said = match family {
        Family::Anthropic => {
            json!({ "type": "error", "error": { "type": "not_found_error", "message": "No such file." }, "request_id": "req_1" })
        }
        Family::Chat | Family::Responses => {
            json!({ "error": { "message": "No such file.", "type": "invalid_request_error", "param": "id", "code": null } })
        }
        Family::Gemini => json!({ "error": { "code": 404, "message": "No such file.", "status": "NOT_FOUND" } }),
    };
    Reply::raw(404, &[("content-type", "application/json")], said.to_string())
}

/// 429 in each shape: which limit it is about, and how long the key rests.
fn limits(format: ApiFormat) -> Vec<Cell> {
    let family = format.family();
    let (anthropic, gemini) = (family == Family::Anthropic, family == Family::Gemini);
    let cell = |name: String, reply: Reply, kind, after_s: u64| Cell {
        effect: Effect::Rests(kind, Duration::from_secs(after_s)),
        ..Cell::of(name, reply, "rate_limited", Some(429), Comes::Next(Own::RateLimited(after_s)))
    };
    let mut cells = Vec::new();
    for (limit, kind) in [
        (Limit::Requests, LimitKind::Rpm),
        (Limit::Tokens, LimitKind::Tpm),
        // Anthropic says it as tokens that are used up.
        (Limit::Daily, if anthropic { LimitKind::Tpm } else { LimitKind::Quota }),
        (Limit::Concurrent, LimitKind::Concurrent),
        (Limit::Bare, LimitKind::Unknown),
    ] {
        let told = Reply::error(ErrorShape::RateLimited { limit, retry_after_s: Some(7) });
        cells.push(cell(format!("{limit:?}, for seven seconds"), told, kind, 7));
        let spent = match limit {
            Limit::Requests | Limit::Tokens => true,
            Limit::Daily => anthropic,
            Limit::Concurrent | Limit::Bare => false,
        };
        // Without `Retry-After`, the reset of what is spent counts.
        let rest_s = if spent && !gemini { 60 } else { 5 };
        let untold = Reply::error(ErrorShape::RateLimited { limit, retry_after_s: None });
        cells.push(cell(format!("{limit:?}"), untold, kind, rest_s));
    }
    let bare = || Reply::error(ErrorShape::Empty(429));
    let dated = [("date", "Thu, 01 Jan 2026 00:00:00 GMT"), ("retry-after", "Thu, 01 Jan 2026 00:00:09 GMT")];
    let dated = dated.iter().fold(bare(), |reply, (name, value)| reply.header(name, value));
    cells.push(cell("until a date".to_owned(), dated, LimitKind::Unknown, 9));
    let ms = bare().header("retry-after-ms", "1500");
    cells.push(Cell {
        effect: Effect::Rests(LimitKind::Unknown, Duration::from_millis(1500)),
        ..cell("for milliseconds".to_owned(), ms, LimitKind::Unknown, 2)
    });
    cells.push(cell("a page".to_owned(), Reply::error(ErrorShape::Html(429)), LimitKind::Unknown, 5));
    let inside = Reply::error(ErrorShape::RateLimited { limit: Limit::Requests, retry_after_s: Some(7) }).status(200);
    let inside = cell("inside a 200".to_owned(), inside, LimitKind::Rpm, 7);
    cells.push(Cell { status: Some(200), ..inside });
    cells
}
