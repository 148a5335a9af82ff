//! Which values of a same-wire request change. Each function names one change; [`crate::splice`] makes them.

use std::ops::Range;

use crate::{
    Wire,
    peek::{Bare, MaxField, Peek, Slot},
    splice::Edit,
};

/// Puts `name` in the place of the model; `None` if it is that already, or the body names none.
pub fn set_model(peek: &Peek, name: &str) -> Option<Edit> {
    let model = peek.model.as_ref().filter(|model| model.value != name)?;
    Some(Edit { at: model.span.clone(), with: quoted(name), name: "model" })
}

/// Asks a chat stream for its usage; `None` if the caller did.
pub fn ask_usage(peek: &Peek) -> Option<Edit> {
    const NAME: &str = "stream_options.include_usage";
    const MEMBER: &str = r#""include_usage":true"#;
    if let Some(asked) = &peek.include_usage {
        return (!asked.value).then(|| Edit { at: asked.span.clone(), with: b"true".to_vec(), name: NAME });
    }
    match &peek.stream_options {
        Slot::Absent => Some(first_member(peek, &format!(r#""stream_options":{{{MEMBER}}}"#), NAME)),
        Slot::Null(at) => Some(Edit { at: at.clone(), with: format!("{{{MEMBER}}}").into_bytes(), name: NAME }),
        Slot::Object { span, empty } => Some(insert(span.start + 1, MEMBER, *empty, NAME)),
        Slot::Other => None,
    }
}

/// Lowers every maximum that is above `value`, or sets one where the caller gave none; a thinking budget of `value` or more
/// becomes `value` − 1. `chat_field` is the field to set on the chat wire.
pub fn set_maximum(wire: Wire, peek: &Peek, value: u64, chat_field: &str) -> Vec<Edit> {
    let number = value.to_string();
    let mut edits: Vec<Edit> = peek
        .maxima
        .iter()
        .filter(|given| given.tokens.value > value)
        .map(|given| replace(&given.tokens.span, number.as_bytes(), field_name(given.field)))
        .collect();
    if peek.maxima.is_empty() {
        edits.extend(new_maximum(wire, peek, &number, chat_field));
    }
    if let Some(budget) = peek.thinking.budget.as_ref().filter(|budget| budget.value >= value) {
        edits.push(replace(&budget.span, value.saturating_sub(1).to_string().as_bytes(), "thinking_budget"));
    }
    edits
}

/// Asks for an hour in every `cache_control` that names no TTL.
pub fn add_ttl(peek: &Peek) -> Vec<Edit> {
    const NAME: &str = "cache_control.ttl";
    let edit = |bare: &Bare| match bare {
        Bare::Last(at) => replace(&(*at..*at), br#","ttl":"1h""#, NAME),
        Bare::Only(at) => replace(&(*at..*at), br#""ttl":"1h""#, NAME),
        Bare::Null(at) => replace(at, br#""1h""#, NAME),
    };
    peek.cache.bare.iter().map(edit).collect()
}

/// Takes the members called `names` out of the body's object, with the commas that separate them.
///
/// Members without which the body is none (`model`, `messages`, `contents`, `input`) stay. No edit if the body is not an object.
pub fn strip_params(body: &[u8], names: &[String]) -> Vec<Edit> {
    let _ = (body, names);
    Vec::new()
}

fn new_maximum(wire: Wire, peek: &Peek, number: &str, chat_field: &str) -> Option<Edit> {
    let (field, key) = match wire {
        Wire::Anthropic => (MaxField::MaxTokens, "max_tokens"),
        Wire::Chat if chat_field == "max_tokens" => (MaxField::MaxTokens, chat_field),
        Wire::Chat => (MaxField::MaxCompletionTokens, chat_field),
        Wire::Responses => (MaxField::MaxOutputTokens, "max_output_tokens"),
        Wire::Gemini => (MaxField::GeminiMaxOutputTokens, "maxOutputTokens"),
    };
    let name = field_name(field);
    if let Some((_, at)) = peek.null_maxima.iter().find(|(null, _)| *null == field) {
        return Some(replace(at, number.as_bytes(), name));
    }
    let key = quoted(key);
    let member = format!("{}:{number}", String::from_utf8_lossy(&key));
    if wire != Wire::Gemini {
        return Some(first_member(peek, &member, name));
    }
    match &peek.generation_config {
        Slot::Absent => Some(first_member(peek, &format!(r#""generationConfig":{{{member}}}"#), name)),
        Slot::Null(at) => Some(replace(at, format!("{{{member}}}").as_bytes(), name)),
        Slot::Object { span, empty } => Some(insert(span.start + 1, &member, *empty, name)),
        Slot::Other => None,
    }
}

const fn field_name(field: MaxField) -> &'static str {
    match field {
        MaxField::MaxTokens => "max_tokens",
        MaxField::MaxCompletionTokens => "max_completion_tokens",
        MaxField::MaxOutputTokens => "max_output_tokens",
        MaxField::GeminiMaxOutputTokens => "generationConfig.maxOutputTokens",
    }
}

fn first_member(peek: &Peek, member: &str, name: &'static str) -> Edit {
    insert(peek.root_open, member, peek.root_empty, name)
}

/// Inserts a member at the front of an object whose inside begins at `at`.
fn insert(at: usize, member: &str, alone: bool, name: &'static str) -> Edit {
    let comma = if alone { "" } else { "," };
    Edit { at: at..at, with: format!("{member}{comma}").into_bytes(), name }
}

fn replace(at: &Range<usize>, with: &[u8], name: &'static str) -> Edit {
    Edit { at: at.clone(), with: with.to_vec(), name }
}

fn quoted(text: &str) -> Vec<u8> {
    serde_json::Value::from(text).to_string().into_bytes()
}

#[cfg(test)]
mod tests;
