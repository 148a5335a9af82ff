//! Words and counts of the Chat Completions format.

use crate::{
    Usage,
    ir::{Finish, Json, object},
};

/// Why a choice ended.
pub(crate) fn finish(reason: &str) -> Finish {
    match reason {
        "tool_calls" | "function_call" => Finish::ToolCalls,
        "length" => Finish::Length,
        "content_filter" => Finish::Filter,
        _ => Finish::Stop,
    }
}

pub(crate) const fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopSequence | Finish::Pause | Finish::Malformed => "stop",
        Finish::ToolCalls => "tool_calls",
        Finish::Length => "length",
        Finish::Filter => "content_filter",
    }
}

pub(crate) fn usage(object: &Json) -> Usage {
    let count = |path: &str| object.at(path).u64().unwrap_or_default();
    let cached = count("prompt_tokens_details.cached_tokens");
    let written = count("prompt_tokens_details.cache_write_tokens");
    let usage = Usage {
        input: count("prompt_tokens").saturating_sub(cached).saturating_sub(written),
        cache_read: cached,
        cache_write_5m: written,
        output: count("completion_tokens"),
        reasoning: count("completion_tokens_details.reasoning_tokens"),
        ..Usage::default()
    };
    Usage { reported: usage.total() > 0, ..usage }
}

pub(crate) fn usage_object(usage: &Usage) -> Json {
    let written = usage.cache_write_5m.saturating_add(usage.cache_write_1h);
    let prompt = usage.input.saturating_add(usage.cache_read).saturating_add(written);
    object! {
        "prompt_tokens": prompt,
        "completion_tokens": usage.output,
        "total_tokens": usage.total(),
        "prompt_tokens_details": object! { "cached_tokens": usage.cache_read, "cache_write_tokens": written },
        "completion_tokens_details": object! { "reasoning_tokens": usage.reasoning },
    }
}
