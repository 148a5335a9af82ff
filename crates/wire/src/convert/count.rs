//! Requests that count tokens, and what they are answered. Chat has none: there the gateway's own estimate answers.

use super::{Answered, Asked, Converted, Quirks, Refused, parse, request};
use crate::{
    Usage, Wire, gemini,
    ir::{Json, object},
    lists::token_count,
    loss::Loss,
};

/// Members of a request that a count knows, on the wires that refuse others.
const fn members(wire: Wire) -> &'static [&'static str] {
    match wire {
        Wire::Anthropic => &["model", "messages", "system", "tools", "tool_choice", "thinking", "output_config"],
        Wire::Responses => {
            &["model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text"]
        }
        Wire::Chat | Wire::Gemini => &[],
    }
}

const NO_COUNT: &str = "this format has no way to count tokens";

/// Converts a request to count the tokens of a prompt: `/v1/messages/count_tokens`, `/v1/responses/input_tokens` and
/// `:countTokens`.
///
/// # Errors
/// As [`request`]; and neither side may be [`Wire::Chat`].
pub fn count_request(
    from: Wire,
    to: Wire,
    body: &[u8],
    asked: &Asked<'_>,
    quirks: Quirks,
) -> Result<Converted, Refused> {
    if from == Wire::Chat || to == Wire::Chat {
        return Err(Refused::unsupported("", NO_COUNT));
    }
    let mut body = parse(body)?;
    if from == Wire::Gemini {
        gemini::camel(&mut body);
    }
    if let Some(whole) = body.take_if("generateContentRequest", |whole| from == Wire::Gemini && !whole.is_void()) {
        body = whole;
        let model = body.take_str("model").unwrap_or_default();
        body.put("model", model.strip_prefix("models/").unwrap_or(&model));
    }
    let mut converted = request(from, to, &body.to_bytes(), asked, quirks)?;
    let mut there = parse(&converted.bytes)?;
    if to == Wire::Gemini {
        let model = asked.model.unwrap_or_else(|| body.get("model").str().unwrap_or_default());
        there.put("model", format!("models/{model}"));
        there = object! { "generateContentRequest": there };
    } else {
        let known = there.into_members().into_iter().filter(|(name, _)| members(to).contains(&name.as_str()));
        there = Json::Object(known.collect());
    }
    converted.bytes = there.to_bytes();
    converted.stream = false;
    Ok(converted)
}

/// Converts the answer to a [`count_request`].
///
/// # Errors
/// There is no number in it; or neither side may be [`Wire::Chat`].
pub fn counted(from: Wire, to: Wire, body: &[u8]) -> Result<Answered, Refused> {
    if from == Wire::Chat || to == Wire::Chat {
        return Err(Refused::unsupported("", NO_COUNT));
    }
    let name = if from == Wire::Gemini { "totalTokens" } else { "input_tokens" };
    let missing = || Refused::invalid(format!("/{name}"), "missing, or not a number");
    let tokens = parse(body)?.get(name).u64().ok_or_else(missing)?;
    Ok(Answered { bytes: token_count(to, tokens), usage: Usage::default(), loss: Loss::default() })
}
