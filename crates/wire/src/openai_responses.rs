//! `OpenAI` Responses.

pub(crate) mod decode;
pub(crate) mod encode;
mod input;
mod items;
mod output;
pub(crate) mod stream;
mod types;

pub(crate) use input::is_elsewhere;
pub(crate) use output::is_own_thought;

use crate::ir::{Json, Members};

/// Members of a request that an answer repeats.
const REPEATED: [&str; 16] = [
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "truncation",
    "user",
];

/// The members of a request that an answer repeats.
pub(crate) fn echo(body: &Json) -> Members {
    let members = body.members().iter().filter(|(name, _)| REPEATED.contains(&name.as_str()));
    members.cloned().collect()
}

/// Takes out of an answer what its request said, the time it was done at, and what its tools used where they used none of
/// it: that tells the client nothing.
pub(crate) fn drop_echo(answer: &mut Json) {
    const MORE: [&str; 8] = [
        "background",
        "completed_at",
        "frequency_penalty",
        "include",
        "presence_penalty",
        "previous_response_id",
        "prompt_cache_retention",
        "top_logprobs",
    ];
    for name in REPEATED.iter().chain(&MORE) {
        answer.take(name);
    }
    if let Some(used) = answer.take("tool_usage").and_then(counted) {
        answer.put("tool_usage", used);
    }
}

/// What is left of counts without those of zero.
fn counted(counts: Json) -> Option<Json> {
    match counts {
        Json::Number(number) if number.as_f64() == Some(0.0) => None,
        Json::Object(members) => {
            let members: Members =
                members.into_iter().filter_map(|(name, value)| Some((name, counted(value)?))).collect();
            (!members.is_empty()).then_some(Json::Object(members))
        }
        value => Some(value),
    }
}
