//! Words, counts and spellings of the Gemini format.

use crate::{
    Usage,
    ir::{Finish, Json, object},
};

/// Why a candidate ended.
pub(crate) fn finish(reason: &str) -> Finish {
    match reason {
        "MAX_TOKENS" => Finish::Length,
        "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "IMAGE_SAFETY" | "LANGUAGE" => {
            Finish::Filter
        }
        "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" => Finish::Malformed,
        _ => Finish::Stop,
    }
}

/// Whether a candidate ended in a call that is none.
pub(crate) fn is_malformed(reason: &[u8]) -> bool {
    std::str::from_utf8(reason).is_ok_and(|reason| finish(reason) == Finish::Malformed)
}

/// Calls end with `STOP` too: clients know no other word, and stop their tool loop at one.
pub(crate) const fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::ToolCalls | Finish::StopSequence | Finish::Pause => "STOP",
        Finish::Length => "MAX_TOKENS",
        Finish::Filter => "SAFETY",
        Finish::Malformed => "MALFORMED_FUNCTION_CALL",
    }
}

pub(crate) fn usage(object: &Json) -> Usage {
    let count = |name: &str| object.get(name).u64().unwrap_or_default();
    let (cached, thoughts) = (count("cachedContentTokenCount"), count("thoughtsTokenCount"));
    let prompt = count("promptTokenCount").saturating_add(count("toolUsePromptTokenCount"));
    let usage = Usage {
        input: prompt.saturating_sub(cached),
        cache_read: cached,
        output: count("candidatesTokenCount").saturating_add(thoughts),
        reasoning: thoughts,
        ..Usage::default()
    };
    Usage { reported: usage.total() > 0, ..usage }
}

pub(crate) fn usage_object(usage: &Usage) -> Json {
    let written = usage.cache_write_5m.saturating_add(usage.cache_write_1h);
    let mut object = object! {
        "promptTokenCount": usage.input.saturating_add(usage.cache_read).saturating_add(written),
        "candidatesTokenCount": usage.output.saturating_sub(usage.reasoning),
        "totalTokenCount": usage.total(),
    };
    if usage.cache_read > 0 {
        object.put("cachedContentTokenCount", usage.cache_read);
    }
    if usage.reasoning > 0 {
        object.put("thoughtsTokenCount", usage.reasoning.min(usage.output));
    }
    object
}

/// Members whose contents are the caller's own: their names stay as they are.
const OWN: [&str; 7] =
    ["args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema", "labels"];

/// Brings `snake_case` names, which the vendor takes too, to the ones it documents.
pub(crate) fn camel(value: &mut Json) {
    match value {
        Json::Array(items) => items.iter_mut().for_each(camel),
        Json::Object(members) => {
            for (name, value) in members {
                if name.contains('_') {
                    *name = camel_name(name).into();
                }
                if !OWN.contains(&name.as_str()) {
                    camel(value);
                }
            }
        }
        _ => {}
    }
}

fn camel_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for letter in name.chars() {
        match letter {
            '_' => upper = true,
            letter if std::mem::take(&mut upper) => out.push(letter.to_ascii_uppercase()),
            letter => out.push(letter),
        }
    }
    out
}
