//! Words and counts of the Messages format.

use crate::{
    Usage,
    ir::{Finish, Json, object},
};

/// Why a message ended.
pub(crate) fn finish(stop_reason: &str) -> Finish {
    match stop_reason {
        "tool_use" => Finish::ToolCalls,
        "stop_sequence" => Finish::StopSequence,
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "refusal" => Finish::Filter,
        "pause_turn" => Finish::Pause,
        _ => Finish::Stop,
    }
}

pub(crate) const fn stop_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Malformed => "end_turn",
        Finish::ToolCalls => "tool_use",
        Finish::StopSequence => "stop_sequence",
        Finish::Length => "max_tokens",
        Finish::Filter => "refusal",
        Finish::Pause => "pause_turn",
    }
}

/// The counts of a usage object; what it does not name, or names as zero, stays as it was.
pub(crate) fn usage(object: &Json, before: Usage) -> Usage {
    let count = |path: &str, before: u64| object.at(path).u64().filter(|count| *count > 0).unwrap_or(before);
    let written = count("cache_creation_input_tokens", 0);
    let hour = count("cache_creation.ephemeral_1h_input_tokens", before.cache_write_1h);
    let named = count("cache_creation.ephemeral_5m_input_tokens", 0);
    let five = match (named, written.saturating_sub(hour)) {
        (0, 0) => before.cache_write_5m,
        (0, rest) => rest,
        (named, _) => named,
    };
    let usage = Usage {
        input: count("input_tokens", before.input),
        cache_read: count("cache_read_input_tokens", before.cache_read),
        cache_write_5m: five,
        cache_write_1h: hour,
        output: count("output_tokens", before.output),
        reasoning: count("output_tokens_details.thinking_tokens", before.reasoning),
        ..before
    };
    Usage { reported: before.reported || usage.total() > 0, ..usage }
}

pub(crate) fn usage_object(usage: &Usage) -> Json {
    let mut object = object! {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write_5m.saturating_add(usage.cache_write_1h),
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": object! {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.output,
    };
    if usage.reasoning > 0 {
        object.put("output_tokens_details.thinking_tokens", usage.reasoning);
    }
    object
}
