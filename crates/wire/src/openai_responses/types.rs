//! Words and counts of the Responses format.

use crate::{
    Usage,
    ir::{Finish, Json, object},
};

/// Why a response ended, by its status and what it says of an incomplete one.
pub(crate) fn finish(response: &Json) -> Finish {
    match (response.get("status").str(), response.at("incomplete_details.reason").str()) {
        (Some("incomplete"), Some("content_filter")) => Finish::Filter,
        (Some("incomplete"), _) => Finish::Length,
        _ => Finish::Stop,
    }
}

/// Status, and the details of an incomplete response.
pub(crate) fn ending(finish: Finish) -> (&'static str, Json) {
    match finish {
        Finish::Length => ("incomplete", object! { "reason": "max_output_tokens" }),
        Finish::Filter => ("incomplete", object! { "reason": "content_filter" }),
        _ => ("completed", Json::Null),
    }
}

pub(crate) fn usage(object: &Json) -> Usage {
    let count = |path: &str| object.at(path).u64().unwrap_or_default();
    let cached = count("input_tokens_details.cached_tokens");
    let written = count("input_tokens_details.cache_write_tokens");
    let usage = Usage {
        input: count("input_tokens").saturating_sub(cached).saturating_sub(written),
        cache_read: cached,
        cache_write_5m: written,
        output: count("output_tokens"),
        reasoning: count("output_tokens_details.reasoning_tokens"),
        ..Usage::default()
    };
    Usage { reported: usage.total() > 0, ..usage }
}

pub(crate) fn usage_object(usage: &Usage) -> Json {
    let written = usage.cache_write_5m.saturating_add(usage.cache_write_1h);
    object! {
        "input_tokens": usage.input.saturating_add(usage.cache_read).saturating_add(written),
        "input_tokens_details": object! { "cached_tokens": usage.cache_read, "cache_write_tokens": written },
        "output_tokens": usage.output,
        "output_tokens_details": object! { "reasoning_tokens": usage.reasoning },
        "total_tokens": usage.total(),
    }
}
