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

/// Takes out of an answer what its request said, and the time it was done at: neither tells the client anything.
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
}
