//! An upstream's error, in the words of another wire.

use crate::{
    Wire,
    error::{Class, ErrorFacts, Problem, Rendered, read_error, render},
};

/// What kind of failure an upstream's error is. A failure of *our* credentials is the upstream's, never the client's.
pub fn class_of(status: u16, facts: &ErrorFacts) -> Class {
    let words = [&facts.code, &facts.kind, &facts.reason].into_iter().flatten();
    for word in words {
        let class = match word.as_str() {
            "context_length_exceeded" => Class::TooLong,
            "model_not_found" => Class::UnknownModel,
            "unsupported_parameter" | "unsupported_value" => Class::Unsupported,
            "rate_limit_exceeded" | "rate_limit_error" | "RESOURCE_EXHAUSTED" => Class::RateLimited,
            "overloaded_error" | "server_is_overloaded" | "UNAVAILABLE" => Class::Overloaded,
            "timeout_error" | "DEADLINE_EXCEEDED" => Class::Timeout,
            "not_found_error" | "NOT_FOUND" => Class::NotFound,
            "request_too_large" => Class::BodyTooLarge,
            // Our credentials, our bill, our rights; or the upstream itself.
            "insufficient_quota"
            | "billing_error"
            | "API_KEY_INVALID"
            | "invalid_api_key"
            | "authentication_error"
            | "UNAUTHENTICATED"
            | "permission_error"
            | "PERMISSION_DENIED"
            | "api_error"
            | "server_error"
            | "INTERNAL" => Class::Upstream,
            _ => continue,
        };
        return class;
    }
    let says = |words: &str| facts.message.as_deref().is_some_and(|message| message.contains(words));
    if says("prompt is too long") || says("input token count") || says("maximum context length") {
        return Class::TooLong;
    }
    match facts.http.filter(|_| status == 200).unwrap_or(status) {
        401..=403 => Class::Upstream,
        404 => Class::NotFound,
        405 => Class::MethodNotAllowed,
        408 => Class::RequestTimeout,
        413 => Class::BodyTooLarge,
        429 => Class::RateLimited,
        503 | 529 => Class::Overloaded,
        504 => Class::Timeout,
        400..=499 => Class::BadRequest,
        _ => Class::Upstream,
    }
}

/// An upstream's error answer as `to` writes it. What the body says is cut to what an error may hold; it is not
/// cleaned of the provider's names: that is for whoever knows them.
pub fn error(to: Wire, status: u16, body: &[u8], model: Option<&str>, request_id: &str) -> Rendered {
    let facts = read_error(body);
    render(to, &problem(status, &facts, model, request_id))
}

pub(crate) fn problem<'a>(
    status: u16,
    facts: &'a ErrorFacts,
    model: Option<&'a str>,
    request_id: &'a str,
) -> Problem<'a> {
    Problem {
        class: class_of(status, facts),
        message: facts.message.as_deref().unwrap_or("the upstream failed"),
        param: facts.param.as_deref(),
        model,
        request_id,
        retry_after_ms: facts.retry_delay_ms,
    }
}
