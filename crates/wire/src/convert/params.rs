//! Values that mean the same on several wires: taken by name, put by name, and changed where a wire bounds them.

use super::{Quirks, Refused, names::digest};
use crate::{
    Wire,
    ir::{Format, Json, Param, Request, params_of, rest},
    loss::{Loss, step},
};

/// Takes all that [`params_of`] names out of a body.
pub(crate) fn take_params(wire: Wire, body: &mut Json) -> Vec<(Param, Json)> {
    params_of(wire).iter().filter_map(|(param, path)| Some((*param, body.take(path)?))).collect()
}

fn pointer(wire: Wire, param: Param) -> String {
    let path = params_of(wire).iter().find(|(own, _)| *own == param).map_or("", |(_, path)| path);
    path.split('.').fold(String::new(), |pointer, key| step(&pointer, key))
}

fn path_on(wire: Wire, param: Param) -> Option<&'static str> {
    params_of(wire).iter().find(|(own, _)| *own == param).map(|(_, path)| *path)
}

/// Longest id of a user (`OpenAI`).
const USER_ID_MAX: usize = 64;
/// Least `max_output_tokens` (Responses).
const OUTPUT_MIN: u64 = 16;

/// Puts the request's values into a body of `wire`.
pub(crate) fn put_params(
    request: &Request,
    wire: Wire,
    quirks: Quirks,
    body: &mut Json,
    loss: &mut Loss,
) -> Result<(), Refused> {
    let from = request.wire();
    if from == wire {
        for (param, value) in &request.params {
            body.put_some(path_on(wire, *param).unwrap_or_default(), Some(value.clone()));
        }
        return Ok(());
    }
    for (param, value) in &request.params {
        put(request, wire, quirks, body, loss, (*param, value))?;
    }
    if wire == Wire::Responses && request.param(Param::Store).is_none() {
        body.put("store", false);
    }
    Ok(())
}

fn put(
    request: &Request,
    wire: Wire,
    quirks: Quirks,
    body: &mut Json,
    loss: &mut Loss,
    (param, value): (Param, &Json),
) -> Result<(), Refused> {
    let from = request.wire();
    let note = |loss: &mut Loss, reason| loss.note(pointer(from, param), reason);
    let mut lose = |reason| loss.add(pointer(from, param), reason);
    let openai = matches!(wire, Wire::Chat | Wire::Responses);
    match param {
        Param::MaxTokens | Param::OldMaxTokens => {
            if param == Param::OldMaxTokens && request.param(Param::MaxTokens).is_some() {
                note(loss, "the newer name of it is given too");
                return Ok(());
            }
            let path = match wire {
                Wire::Chat if quirks.old_max_tokens => "max_tokens",
                _ => path_on(wire, Param::MaxTokens).unwrap_or_default(),
            };
            let least = wire == Wire::Responses && value.u64().is_some_and(|tokens| tokens < OUTPUT_MIN);
            if least {
                note(loss, "raised to 16, the least the target takes");
            }
            body.put(path, if least { Json::from(OUTPUT_MIN) } else { value.clone() });
        }
        Param::Temperature | Param::TopP | Param::TopK if wire == Wire::Anthropic => {
            if !quirks.sampling {
                lose("the target's version refuses sampling values");
            } else if request.think.asked() {
                lose("the target refuses it together with thinking");
            } else if param == Param::TopP && request.param(Param::Temperature).is_some() {
                lose("the target takes temperature or top_p, not both");
            } else if param == Param::Temperature && value.f64().is_some_and(|value| value > 1.0) {
                note(loss, "lowered to 1, the most the target takes");
                body.put("temperature", 1u64);
            } else {
                body.put(path_on(wire, param).unwrap_or_default(), value.clone());
            }
        }
        Param::Stop => {
            let most = match wire {
                Wire::Chat => 4,
                Wire::Gemini => 5,
                _ => usize::MAX,
            };
            let Some(path) = path_on(wire, Param::Stop) else {
                lose("the target has no stop sequences");
                return Ok(());
            };
            let mut stops = match value {
                Json::String(_) => vec![value.clone()],
                Json::Array(stops) => stops.clone(),
                _ => return Err(Refused::invalid(pointer(from, param), "not a list of strings")),
            };
            if stops.len() > most {
                lose("more stop sequences than the target takes");
                stops.truncate(most);
            }
            body.put(path, stops);
        }
        Param::Count if value.u64() == Some(1) => {}
        Param::Count => match path_on(wire, param) {
            Some(path) => body.put(path, value.clone()),
            None => return Err(Refused::unsupported(pointer(from, param), "the target answers once")),
        },
        Param::UserId | Param::SafetyId => put_user(request, wire, body, loss, (param, value)),
        Param::Metadata if !openai => lose("the target has no metadata"),
        Param::Store if wire != Wire::Chat && wire != Wire::Responses => {
            if value.bool() != Some(false) {
                lose("the target keeps no answers");
            }
        }
        Param::Tier => match path_on(wire, param) {
            _ if value.str() == Some("auto") => {}
            Some(path) if from != Wire::Anthropic && wire != Wire::Anthropic => body.put(path, value.clone()),
            _ => lose("the target has no such service tier"),
        },
        Param::Logprobs if wire == Wire::Responses => {
            if value.bool() == Some(true) {
                body.put("include", vec![Json::from("message.output_text.logprobs")]);
            }
        }
        Param::TopLogprobs if from == Wire::Responses && value.u64() == Some(0) => {}
        Param::TopLogprobs if from == Wire::Responses && path_on(wire, Param::Logprobs).is_some() => {
            body.put(path_on(wire, Param::Logprobs).unwrap_or_default(), true);
            body.put(path_on(wire, param).unwrap_or_default(), value.clone());
        }
        Param::Logprobs if value.bool() == Some(false) => {}
        // How a stream is padded, and that it reports usage, is between the client and this side.
        Param::ServiceOptions => {
            rest(value, &pointer(from, param), &["include_usage", "include_obfuscation"], loss);
        }
        Param::Include => include(wire, value, body, loss),
        Param::Truncation => {
            if value.str() != Some("disabled") {
                lose("the target does not cut its prompt");
            }
        }
        _ => match path_on(wire, param) {
            Some(path) => body.put(path, value.clone()),
            // Others cache unasked, or where marks are set.
            None if matches!(param, Param::CacheKey | Param::CacheRetention) => {
                note(loss, "the target caches by other means");
            }
            None => lose("the target has no such value"),
        },
    }
    Ok(())
}

/// What a Responses client wants to see beside the answer. Whether reasoning is shown sealed is decided on this side.
fn include(wire: Wire, words: &Json, body: &mut Json, loss: &mut Loss) {
    let Json::Array(words) = words else { return };
    for (at, word) in words.iter().enumerate() {
        match (word.str(), path_on(wire, Param::Logprobs)) {
            (Some(SEALED_REASONING), _) => {}
            (Some("message.output_text.logprobs"), Some(path)) => body.put(path, true),
            _ => loss.note(format!("/include/{at}"), "the target has nothing of the kind to show"),
        }
    }
}

/// The word that asks for reasoning which only its issuer can read.
pub(super) const SEALED_REASONING: &str = "reasoning.encrypted_content";

fn put_user(request: &Request, wire: Wire, body: &mut Json, loss: &mut Loss, (param, value): (Param, &Json)) {
    let from = request.wire();
    let Some(id) = value.str() else {
        loss.add(pointer(from, param), "not a string");
        return;
    };
    match (wire, param) {
        (Wire::Gemini, _) => loss.note(pointer(from, param), "the target has no user"),
        (Wire::Anthropic, Param::UserId) if request.param(Param::SafetyId).is_some() => {
            loss.note(pointer(from, param), "the safety identifier is carried in its place");
        }
        (Wire::Anthropic, _) => body.put("metadata.user_id", id),
        (_, Param::UserId) if from != Wire::Anthropic => body.put("user", id),
        _ => {
            let id = if id.chars().count() > USER_ID_MAX { digest(id) } else { id.to_owned() };
            // Anthropic's clients name the session in it, and what is marked for caching there is found by it here.
            if from == Wire::Anthropic {
                body.put("prompt_cache_key", id.as_str());
            }
            body.put("safety_identifier", id);
        }
    }
}

/// Takes the form of the answer out: its type stands at `at`, its schema and what belongs to it below `within`.
pub(crate) fn take_format(body: &mut Json, at: &str, within: &str) -> Option<Format> {
    let kind = format!("{at}.type");
    let below = |name: &str| format!("{within}.{name}");
    if body.take_word(&kind, "text") {
        return Some(Format::Text);
    }
    if body.take_word(&kind, "json_object") {
        return Some(Format::Json);
    }
    if !matches!(body.at(&below("schema")), Json::Object(_)) {
        return None;
    }
    body.take_word(&kind, "json_schema");
    Some(Format::Schema {
        schema: body.take(&below("schema"))?,
        name: body.take_str(&below("name")),
        description: body.take_str(&below("description")),
        strict: body.take_bool(&below("strict")),
        openapi: false,
    })
}

/// Puts the form of the answer where [`take_format`] finds it. A schema from another wire gets a name, which both want.
pub(crate) fn put_format(request: &Request, body: &mut Json, wire: Wire, at: &str, within: &str) {
    let kind = format!("{at}.type");
    let below = |name: &str| format!("{within}.{name}");
    let same = request.wire() == wire;
    match &request.format {
        Some(Format::Text) if same => body.put(&kind, "text"),
        Some(Format::Text) | None => {}
        Some(Format::Json) => body.put(&kind, "json_object"),
        Some(Format::Schema { name, description, schema, strict, .. }) => {
            body.put(&kind, "json_schema");
            body.put_some(&below("name"), name.as_deref().or_else(|| (!same).then_some("answer")));
            body.put_some(&below("description"), description.as_ref());
            body.put(&below("schema"), schema.clone());
            body.put_some(&below("strict"), *strict);
        }
    }
}
