//! The vendors' errors: status, headers and body of each kind on each wire.

use std::time::Duration;

use crate::clock::Clock;
use crate::ids;
use crate::json::{Json, o};
use crate::wires::{self, Wire};

/// What went wrong, in terms that every wire has words for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorShape {
    /// The credential is not known: 401; Gemini says 400 `API_KEY_INVALID`.
    BadKey,
    /// The account has been switched off.
    AccountDisabled,
    /// The account has no money left: OpenAI 429 `insufficient_quota`, Anthropic 400 "credit balance is too low".
    CreditExhausted,
    /// As [`ErrorShape::CreditExhausted`], with 402 where the wire has it (Anthropic `billing_error`).
    PaymentRequired,
    /// The credential may not use this model: 403.
    PermissionDenied,
    /// There is no such model: 404.
    UnknownModel,
    /// The prompt does not fit: 400.
    ContextTooLong,
    /// A plain 400 about this field.
    InvalidRequest {
        /// The field's path.
        field: String,
        /// The vendor's words.
        message: String,
    },
    /// The model cannot do what this parameter asks for: 400.
    UnsupportedParameter(String),
    /// The prompt was refused by a filter: 400.
    ContentPolicy,
    /// The body is too large: 413.
    TooLarge,
    /// A limit was met: 429.
    RateLimited {
        /// Which one.
        limit: Limit,
        /// When to come back, in seconds: `retry-after` and its relatives, or Gemini's `RetryInfo`.
        retry_after_s: Option<u64>,
    },
    /// The vendor has no capacity: 529 on Anthropic, else 503.
    Overloaded,
    /// An internal error: 500.
    Server,
    /// The vendor ran out of time: 504.
    Timeout,
    /// A page of HTML, as a balancer in front of the vendor sends, with this status.
    Html(u16),
    /// No body at all, with this status.
    Empty(u16),
    /// The beginning of a good answer, with a proper HTTP end.
    TruncatedJson,
    /// Something that is no JSON, under a JSON content type.
    BrokenJson,
    /// A redirect to this place.
    Redirect(String),
    /// A JSON array around the vendor's error, as Gemini sends for streams without `alt=sse`.
    InArray(Box<Self>),
    /// A vendor's error as text inside another one's message, as chained gateways send.
    Nested(Box<Self>),
}

/// Which limit a 429 is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Requests per minute.
    Requests,
    /// Tokens per minute.
    Tokens,
    /// A quota per day.
    Daily,
    /// Requests at the same time.
    Concurrent,
    /// A 429 that says nothing about its reason.
    Bare,
}

impl ErrorShape {
    /// A limit of requests per minute, over in a second.
    pub const fn rate_limited() -> Self {
        Self::RateLimited { limit: Limit::Requests, retry_after_s: Some(1) }
    }
}

/// An error as one wire writes it.
pub(crate) struct Laid {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// What an error's text may name.
pub(crate) struct About<'a> {
    pub(crate) wire: Wire,
    pub(crate) model: &'a str,
    pub(crate) serial: u64,
    pub(crate) clock: Clock,
}

const HTML: &str = "<html>\r\n<head><title>Bad gateway</title></head>\r\n<body>\r\n<center><h1>Bad gateway</h1></center>\r\n\
                    <hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n";

pub(crate) fn lay_out(shape: &ErrorShape, about: &About<'_>) -> Laid {
    let json = content_type(about.wire);
    let plain =
        |status, content_type, body: &str| Laid { status, content_type, headers: Vec::new(), body: body.to_owned() };
    match shape {
        ErrorShape::Html(status) => plain(*status, "text/html; charset=UTF-8", HTML),
        ErrorShape::Empty(status) => plain(*status, json, ""),
        ErrorShape::TruncatedJson => plain(200, json, truncated(about.wire)),
        ErrorShape::BrokenJson => plain(200, json, "{\"id\": oops, this is no JSON"),
        ErrorShape::Redirect(to) => Laid { headers: vec![("location".to_owned(), to.clone())], ..plain(307, json, "") },
        ErrorShape::InArray(inner) => {
            let inner = lay_out(inner, about);
            Laid { body: format!("[{}]", inner.body), ..inner }
        }
        ErrorShape::Nested(inner) => {
            let inner = lay_out(inner, about);
            let said = Said { message: format!("upstream said: {}", inner.body), ..said(&ErrorShape::Server, about) };
            Laid { body: dressed(&said, about), ..inner }
        }
        native => {
            let said = said(native, about);
            let headers = limit_headers(native, about);
            Laid { status: said.status, content_type: json, headers, body: dressed(&said, about) }
        }
    }
}

/// What a stream that fails says of it.
pub(crate) struct Failure {
    /// The body that the error would have by itself.
    pub(crate) body: Json,
    /// OpenAI's inner object.
    pub(crate) error: Json,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

pub(crate) fn failure(overloaded: bool, about: &About<'_>) -> Failure {
    let said = said(if overloaded { &ErrorShape::Overloaded } else { &ErrorShape::Server }, about);
    let error = o! {
        "type": said.kind, "code": said.code.unwrap_or(said.kind), "message": &said.message, "param": Json::null(),
    };
    let body = body(&said, about);
    Failure { body, error, code: said.code.unwrap_or(said.kind), message: said.message }
}

const fn content_type(wire: Wire) -> &'static str {
    match wire {
        Wire::Gemini => "application/json; charset=UTF-8",
        Wire::Anthropic | Wire::Chat | Wire::Responses => "application/json",
    }
}

const fn truncated(wire: Wire) -> &'static str {
    match wire {
        Wire::Anthropic => {
            "{\"id\":\"msg_01Cut\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"te"
        }
        Wire::Chat => "{\"id\":\"chatcmpl-Cut\",\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"mess",
        Wire::Responses => "{\"id\":\"resp_0cut\",\"object\":\"response\",\"status\":\"completed\",\"outp",
        Wire::Gemini => "{\"candidates\": [{\"content\": {\"parts\": [{\"te",
    }
}

/// One error in the words of one vendor.
struct Said {
    status: u16,
    /// `type` (OpenAI, Anthropic) or `status` (Gemini).
    kind: &'static str,
    /// OpenAI's `code`.
    code: Option<&'static str>,
    /// OpenAI's `param`.
    param: Option<String>,
    message: String,
    /// Gemini's `details`.
    details: Vec<Json>,
}

fn said(shape: &ErrorShape, about: &About<'_>) -> Said {
    match about.wire {
        Wire::Anthropic => anthropic(shape, about.model),
        Wire::Chat | Wire::Responses => openai(shape, about.model),
        Wire::Gemini => gemini(shape, about.model),
    }
}

fn body(said: &Said, about: &About<'_>) -> Json {
    match about.wire {
        Wire::Anthropic => o! {
            "type": "error",
            "error": o! { "type": said.kind, "message": &said.message },
            "request_id": request_id(about.serial),
        },
        Wire::Chat | Wire::Responses => o! { "error": o! {
            "message": &said.message, "type": said.kind, "param": said.param.as_ref(), "code": said.code,
        }},
        Wire::Gemini => {
            let error = o! { "code": said.status, "message": &said.message, "status": said.kind };
            let details =
                if said.details.is_empty() { Vec::new() } else { vec![("details", said.details.clone().into())] };
            o! { "error": error.with(&details) }
        }
    }
}

/// The body as the vendor spaces it.
fn dressed(said: &Said, about: &About<'_>) -> String {
    match about.wire {
        Wire::Chat | Wire::Responses => body(said, about).pretty(4).into_string(),
        wire => wires::dressed(wire, &body(said, about)),
    }
}

/// Anthropic's id of a request, in the `request-id` header and in error bodies.
pub(crate) fn request_id(serial: u64) -> String {
    ids::id("req_011", serial, 21)
}

mod words;
use words::{anthropic, gemini, openai};

fn limit_headers(shape: &ErrorShape, about: &About<'_>) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    let mut set = |name: &str, value: String| headers.push((name.to_owned(), value));
    if *shape == ErrorShape::CreditExhausted && about.wire != Wire::Gemini {
        set("x-should-retry", "false".to_owned());
    }
    let ErrorShape::RateLimited { limit, retry_after_s } = shape else { return headers };
    if about.wire == Wire::Gemini {
        return headers; // Google's limits and waits stand in the body
    }
    if let Some(seconds) = retry_after_s {
        set("retry-after", seconds.to_string());
    }
    let wait_s = retry_after_s.unwrap_or(60);
    match (about.wire, limit) {
        (_, Limit::Bare) => {}
        (Wire::Anthropic, limit) => {
            set("x-should-retry", "true".to_owned());
            let reset = about.clock.rfc3339_in(Duration::from_secs(wait_s));
            for family in ["requests", "tokens", "input-tokens", "output-tokens"] {
                let spent = match limit {
                    Limit::Requests => family == "requests",
                    Limit::Tokens | Limit::Daily => family != "requests",
                    Limit::Concurrent | Limit::Bare => false,
                };
                let most = if family == "requests" { 50 } else { 40_000 };
                set(&format!("anthropic-ratelimit-{family}-limit"), most.to_string());
                set(&format!("anthropic-ratelimit-{family}-remaining"), if spent { 0 } else { most - 1 }.to_string());
                set(&format!("anthropic-ratelimit-{family}-reset"), reset.clone());
            }
        }
        (_, limit) => {
            if let Some(seconds) = retry_after_s {
                set("retry-after-ms", (seconds * 1_000).to_string());
            }
            for (family, most, spent) in
                [("requests", 500, *limit == Limit::Requests), ("tokens", 30_000, *limit == Limit::Tokens)]
            {
                set(&format!("x-ratelimit-limit-{family}"), most.to_string());
                set(&format!("x-ratelimit-remaining-{family}"), if spent { 0 } else { most - 1 }.to_string());
                set(
                    &format!("x-ratelimit-reset-{family}"),
                    if spent { format!("{wait_s}s") } else { "120ms".to_owned() },
                );
            }
        }
    }
    headers
}
