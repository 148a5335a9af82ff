//! `OpenAI` Responses.

pub(crate) mod decode;
pub(crate) mod encode;
mod input;
mod items;
mod output;
pub(crate) mod stream;
mod types;

use crate::ir::Json;

/// The members of a request that an answer repeats.
pub(crate) fn echo(body: &Json) -> Vec<(String, Json)> {
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
    let members = body.members().iter().filter(|(name, _)| REPEATED.contains(&name.as_str()));
    members.cloned().collect()
}
