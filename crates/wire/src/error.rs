//! What went wrong, in the caller's own dialect: the bodies and mid-stream events that make official clients raise their
//! typed errors; and the reverse, what an upstream's error body says.

mod read;

use serde_json::{Value, json};

use crate::{Wire, tap::Seen};
pub use read::{READ_MAX, read_error};

/// What went wrong, as far as a client is to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The client's key is none, or may not be used.
    BadKey,
    /// The key is good, and may not do this.
    NotAllowed,
    /// No such model for this caller.
    UnknownModel,
    /// No such thing.
    NotFound,
    /// The route does not take this method.
    MethodNotAllowed,
    /// The request is malformed.
    BadRequest,
    /// The request asks for what is not done here.
    Unsupported,
    /// The prompt does not fit the model.
    TooLong,
    /// The body is above the limit of bytes.
    BodyTooLarge,
    /// The body did not arrive in time.
    RequestTimeout,
    /// Too many requests.
    RateLimited,
    /// No money left.
    OutOfMoney,
    /// Our own fault.
    Internal,
    /// The upstream failed: 502.
    Upstream,
    /// Nobody can serve this now: 503.
    Unavailable,
    /// All upstreams are overloaded.
    Overloaded,
    /// All upstreams were too slow: 504.
    Timeout,
}

impl Class {
    /// Every class, in the order of declaration.
    pub const ALL: [Self; 17] = [
        Self::BadKey,
        Self::NotAllowed,
        Self::UnknownModel,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::BadRequest,
        Self::Unsupported,
        Self::TooLong,
        Self::BodyTooLarge,
        Self::RequestTimeout,
        Self::RateLimited,
        Self::OutOfMoney,
        Self::Internal,
        Self::Upstream,
        Self::Unavailable,
        Self::Overloaded,
        Self::Timeout,
    ];
}

/// A failure to tell a client of.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    /// What kind.
    pub class: Class,
    /// The words, where the vendor has none of its own for this class.
    pub message: &'a str,
    /// The field at fault.
    pub param: Option<&'a str>,
    /// The model asked for.
    pub model: Option<&'a str>,
    /// The request's id, as its header shows it.
    pub request_id: &'a str,
    /// When to come back, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The HTTP status.
    pub status: u16,
    /// The JSON body.
    pub body: Vec<u8>,
}

/// What an error body or event of an upstream says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorFacts {
    /// The error's code, where it is a word.
    pub code: Option<String>,
    /// The error's type (`OpenAI`, Anthropic) or status word (Gemini).
    pub kind: Option<String>,
    /// What it says.
    pub message: Option<String>,
    /// The reason in Google's `ErrorInfo`.
    pub reason: Option<String>,
    /// The field at fault.
    pub param: Option<String>,
    /// The HTTP status that the body itself names.
    pub http: Option<u16>,
    /// When to come back (Google's `RetryInfo`), in milliseconds.
    pub retry_delay_ms: Option<u64>,
    /// The quota that was violated (Google's `QuotaFailure`); a daily one, if it is among several.
    pub quota_id: Option<String>,
    /// It is JSON with an error object, as the vendors send it.
    pub native: bool,
    /// It is a page of HTML.
    pub html: bool,
}

/// A class in the words of every dialect: (status, type or status word, and for `OpenAI` the code).
struct Words {
    openai: (u16, &'static str, Option<&'static str>),
    anthropic: (u16, &'static str),
    gemini: (u16, &'static str),
}

const fn words(class: Class) -> Words {
    const INVALID: &str = "invalid_request_error";
    const fn all(
        openai: (u16, &'static str, Option<&'static str>),
        anthropic: (u16, &'static str),
        gemini: (u16, &'static str),
    ) -> Words {
        Words { openai, anthropic, gemini }
    }
    match class {
        Class::BadKey => {
            all((401, INVALID, Some("invalid_api_key")), (401, "authentication_error"), (400, "INVALID_ARGUMENT"))
        }
        Class::NotAllowed => all((403, INVALID, None), (403, "permission_error"), (403, "PERMISSION_DENIED")),
        Class::UnknownModel => {
            all((404, INVALID, Some("model_not_found")), (404, "not_found_error"), (404, "NOT_FOUND"))
        }
        Class::NotFound => all((404, INVALID, None), (404, "not_found_error"), (404, "NOT_FOUND")),
        Class::MethodNotAllowed => all((405, INVALID, None), (405, INVALID), (405, "UNIMPLEMENTED")),
        Class::BadRequest => all((400, INVALID, None), (400, INVALID), (400, "INVALID_ARGUMENT")),
        Class::Unsupported => {
            all((400, INVALID, Some("unsupported_parameter")), (400, INVALID), (400, "INVALID_ARGUMENT"))
        }
        Class::TooLong => {
            all((400, INVALID, Some("context_length_exceeded")), (400, INVALID), (400, "INVALID_ARGUMENT"))
        }
        Class::BodyTooLarge => all((413, INVALID, None), (413, "request_too_large"), (413, "INVALID_ARGUMENT")),
        Class::RequestTimeout => all((408, INVALID, None), (408, "timeout_error"), (408, "DEADLINE_EXCEEDED")),
        Class::RateLimited => {
            all((429, "requests", Some("rate_limit_exceeded")), (429, "rate_limit_error"), (429, "RESOURCE_EXHAUSTED"))
        }
        Class::OutOfMoney => all(
            (429, "insufficient_quota", Some("insufficient_quota")),
            (402, "billing_error"),
            (429, "RESOURCE_EXHAUSTED"),
        ),
        Class::Internal => all((500, "server_error", None), (500, "api_error"), (500, "INTERNAL")),
        Class::Upstream => all((502, "server_error", None), (502, "api_error"), (502, "UNAVAILABLE")),
        Class::Unavailable => all((503, "server_error", None), (503, "api_error"), (503, "UNAVAILABLE")),
        Class::Overloaded => all((503, "server_error", None), (529, "overloaded_error"), (503, "UNAVAILABLE")),
        Class::Timeout => all((504, "server_error", None), (504, "timeout_error"), (504, "DEADLINE_EXCEEDED")),
    }
}

/// The error as a whole answer.
pub fn render(wire: Wire, problem: &Problem<'_>) -> Rendered {
    let words = words(problem.class);
    let (status, body) = match wire {
        Wire::Anthropic => (words.anthropic.0, anthropic(problem, &words)),
        Wire::Chat | Wire::Responses => (words.openai.0, json!({ "error": openai(problem, &words) })),
        Wire::Gemini => (words.gemini.0, gemini(problem, &words)),
    };
    Rendered { status, body: body.to_string().into_bytes() }
}

/// The error as the event that ends a stream, ready to send.
pub fn render_stream(wire: Wire, problem: &Problem<'_>) -> Vec<u8> {
    render_stream_after(wire, problem, &Seen::default())
}

/// [`render_stream`], continuing what the client has seen: on the Responses wire its response id and sequence numbers.
pub fn render_stream_after(wire: Wire, problem: &Problem<'_>, seen: &Seen) -> Vec<u8> {
    let words = words(problem.class);
    let event = match wire {
        Wire::Anthropic => format!("event: error\ndata: {}\n\n", anthropic(problem, &words)),
        Wire::Chat => format!("data: {}\n\n", json!({ "error": openai(problem, &words) })),
        Wire::Responses => format!("event: response.failed\ndata: {}\n\n", failed_response(problem, &words, seen)),
        Wire::Gemini => format!("data: {}\r\n\r\n", gemini(problem, &words)),
    };
    event.into_bytes()
}

fn anthropic(problem: &Problem<'_>, words: &Words) -> Value {
    let message = match (problem.class, problem.model) {
        (Class::BadKey, _) => "invalid x-api-key".to_owned(),
        (Class::UnknownModel, Some(model)) => format!("model: {model}"),
        // Claude Code compacts its history when it reads these words.
        (Class::TooLong, _) => led_by("prompt is too long", problem.message),
        _ => problem.message.to_owned(),
    };
    json!({
        "type": "error",
        "error": { "type": words.anthropic.1, "message": message },
        "request_id": problem.request_id,
    })
}

fn openai(problem: &Problem<'_>, words: &Words) -> Value {
    let message = match (problem.class, problem.model) {
        (Class::BadKey, _) => "Incorrect API key provided".to_owned(),
        (Class::UnknownModel, Some(model)) => {
            format!("The model `{model}` does not exist or you do not have access to it.")
        }
        _ => problem.message.to_owned(),
    };
    json!({ "message": message, "type": words.openai.1, "param": problem.param, "code": words.openai.2 })
}

fn gemini(problem: &Problem<'_>, words: &Words) -> Value {
    let message = match (problem.class, problem.model) {
        (Class::BadKey, _) => "API key not valid. Please pass a valid API key.".to_owned(),
        (Class::UnknownModel, Some(model)) => {
            format!("models/{model} is not found, or is not supported for this method.")
        }
        (Class::TooLong, _) => led_by("input token count exceeds the maximum", problem.message),
        _ => problem.message.to_owned(),
    };
    let mut error = json!({ "code": words.gemini.0, "message": message, "status": words.gemini.1 });
    let details = gemini_details(problem);
    if !details.is_empty() {
        error["details"] = Value::Array(details);
    }
    json!({ "error": error })
}

fn gemini_details(problem: &Problem<'_>) -> Vec<Value> {
    let mut details = Vec::new();
    match problem.class {
        Class::BadKey => details.push(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
        })),
        Class::RateLimited => details.push(quota_failure("RequestsPerMinute", problem.message)),
        Class::OutOfMoney => details.push(quota_failure("Spending", problem.message)),
        Class::BadRequest | Class::Unsupported => details.extend(problem.param.map(|param| {
            json!({
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{ "field": param, "description": problem.message }],
            })
        })),
        _ => {}
    }
    details.extend(problem.retry_after_ms.map(
        |wait_ms| json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": duration(wait_ms) }),
    ));
    details
}

fn quota_failure(id: &str, description: &str) -> Value {
    json!({
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{ "quotaId": id, "description": description }],
    })
}

/// A duration as protocol buffers write it in JSON.
fn duration(ms: u64) -> String {
    match ms % 1000 {
        0 => format!("{}s", ms / 1000),
        rest => format!("{}.{rest:03}s", ms / 1000),
    }
}

fn failed_response(problem: &Problem<'_>, words: &Words, seen: &Seen) -> Value {
    let error = openai(problem, words);
    // This event's error has a code and no type.
    let code = words.openai.2.unwrap_or(words.openai.1);
    let made_id = || format!("resp_{}", problem.request_id.strip_prefix("req_").unwrap_or(problem.request_id));
    json!({
        "type": "response.failed",
        "sequence_number": seen.sequence.map_or(0, |last| last.saturating_add(1)),
        "response": {
            "id": seen.id.clone().unwrap_or_else(made_id),
            "object": "response",
            "status": "failed",
            "error": { "code": code, "message": error["message"] },
            "incomplete_details": null,
            "model": seen.model.as_deref().or(problem.model),
            "output": [],
            "usage": null,
        },
    })
}

/// `message`, beginning with the words that clients look for.
fn led_by(lead: &str, message: &str) -> String {
    let has_lead = message.get(..lead.len()).is_some_and(|start| start.eq_ignore_ascii_case(lead));
    match (has_lead, message.is_empty()) {
        (true, _) => message.to_owned(),
        (false, true) => lead.to_owned(),
        (false, false) => format!("{lead}: {message}"),
    }
}

#[cfg(test)]
mod tests;
