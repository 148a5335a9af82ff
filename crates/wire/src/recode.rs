//! Which values of a same-wire request change. Each function names one change; [`crate::splice`] makes them.

mod sealed;

use std::ops::Range;

use crate::{
    Wire, form,
    json::{Reader, Token},
    peek::{Bare, Field, MaxField, Peek, Slot},
    splice::Edit,
};

pub use sealed::{Issuer, STRIP_SEALED, Unsealed, strip_sealed};

/// Puts `name` in the place of the model; `None` if it is that already, or the body names none.
pub fn set_model(peek: &Peek, name: &str) -> Option<Edit> {
    let model = peek.model.as_ref().filter(|model| model.value != name)?;
    let with = if peek.form.is_some() { name.as_bytes().to_vec() } else { quoted(name) };
    Some(Edit { at: model.span.clone(), with, name: "model" })
}

/// Names the model in a body that names none, on a route whose vendor has a default.
pub fn add_model(peek: &Peek, name: &str) -> Option<Edit> {
    if peek.model.is_some() {
        return None;
    }
    if let Some(boundary) = &peek.form {
        let part = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{name}\r\n");
        return Some(replace(&(peek.root_open..peek.root_open), part.as_bytes(), "model"));
    }
    let member = [br#""model":"#, quoted(name).as_slice()].concat();
    Some(first_member(peek, &String::from_utf8_lossy(&member), "model"))
}

/// Puts `name` wherever a Gemini body repeats the path's model, which the vendor wants to be the same.
pub fn set_model_echoes(peek: &Peek, name: &str) -> Vec<Edit> {
    const PREFIX: &str = "models/";
    let differs = |echo: &&Field<String>| echo.value.strip_prefix(PREFIX).unwrap_or(&echo.value) != name;
    let edit = |echo: &Field<String>| replace(&echo.span, &quoted(&format!("{PREFIX}{name}")), "model");
    peek.model_echoes.iter().filter(differs).map(edit).collect()
}

/// The name of the edit that asks a chat stream for its usage.
pub const ASK_USAGE: &str = "stream_options.include_usage";

/// Asks a chat stream for its usage; `None` if the caller did.
pub fn ask_usage(peek: &Peek) -> Option<Edit> {
    const NAME: &str = ASK_USAGE;
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
        .map(|given| replace(&given.tokens.span, number.as_bytes(), given.field.name()))
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
/// Members without which a request is none ([`NEEDED`]) stay. No edit if the body is not an object. An edit of
/// another kind within a member that goes is void: a maximum that must hold is not to be stripped.
pub fn strip_params(body: &[u8], names: &[String]) -> Vec<Edit> {
    let mut edits: Vec<Edit> = Vec::new();
    // Where a run of members that go begins, and how long it is so far.
    let mut run: Option<Range<usize>> = None;
    let mut kept_end = None;
    let mut members = Members::new(body);
    while edits.len() < STRIPS_MAX
        && let Some((key, span)) = members.next()
    {
        let goes = !NEEDED.contains(&key.as_str()) && names.contains(&key);
        match (goes, run.take()) {
            (true, None) => run = Some(kept_end.unwrap_or(span.start)..span.end),
            (true, Some(earlier)) => run = Some(earlier.start..span.end),
            (false, Some(gone)) => {
                // With a member before it, its comma goes; at the front, the one behind it.
                let end = if kept_end.is_some() { gone.end } else { span.start };
                edits.push(strip(gone.start..end));
                kept_end = Some(span.end);
            }
            (false, None) => kept_end = Some(span.end),
        }
    }
    edits.extend(run.map(strip));
    edits
}

/// Takes the parts of a form called `names` out of it, whole; [`NEEDED`] ones stay.
pub fn strip_parts(boundary: &str, body: &[u8], names: &[String]) -> Vec<Edit> {
    let line = form::boundary_line(boundary);
    let Ok(mut parts) = form::Parts::new(&line, body) else { return Vec::new() };
    let mut edits = Vec::new();
    while let Ok(Some(part)) = parts.next() {
        let goes = |name: &String| name.as_bytes() == part.head.name && !NEEDED.contains(&name.as_str());
        if names.iter().any(goes) {
            edits.push(strip(part.span));
        }
    }
    edits
}

/// Most separate places that [`strip_params`] edits: a body that repeats a member without end costs no more memory than this.
pub const STRIPS_MAX: usize = 1024;

/// Members of the root that bound what is generated, or hold the one that does.
pub const MAXIMA: [&str; 5] =
    ["max_tokens", "max_completion_tokens", "max_output_tokens", "generationConfig", "generation_config"];

/// Members that [`strip_params`] never takes.
pub const NEEDED: [&str; 4] = ["contents", "input", "messages", "model"];

/// Whether the body's object has a member of one of these names.
pub fn has_any(body: &[u8], names: &[&str]) -> bool {
    let mut members = Members::new(body);
    while let Some((key, _)) = members.next() {
        if names.contains(&key.as_str()) {
            return true;
        }
    }
    false
}

fn strip(at: Range<usize>) -> Edit {
    Edit { at, with: Vec::new(), name: "strip_params" }
}

/// The members of a body's root.
struct Members<'a> {
    reader: Reader<'a>,
    depth: usize,
}

impl<'a> Members<'a> {
    fn new(body: &'a [u8]) -> Self {
        Self { reader: Reader::new(body), depth: 0 }
    }

    /// The next member's name, and where it lies from its name to its value's end. `None` at the end, or where the body stops
    /// being JSON.
    fn next(&mut self) -> Option<(String, Range<usize>)> {
        let mut member: Option<(String, usize)> = None;
        while let Some(token) = self.reader.next().ok()? {
            match token {
                Token::Open { array: true } if self.depth == 0 => return None,
                Token::Open { .. } => self.depth += 1,
                Token::Close => self.depth -= 1,
                Token::Key(key) if self.depth == 1 => {
                    let name = key.key().map(|key| String::from_utf8_lossy(&key).into_owned()).unwrap_or_default();
                    member = Some((name, self.reader.start()));
                    continue;
                }
                _ => {}
            }
            if self.depth == 1
                && let Some((name, start)) = member.take()
            {
                return Some((name, start..self.reader.end()));
            }
        }
        None
    }
}

fn new_maximum(wire: Wire, peek: &Peek, number: &str, chat_field: &str) -> Option<Edit> {
    let (field, key) = match wire {
        Wire::Anthropic => (MaxField::MaxTokens, "max_tokens"),
        Wire::Chat if chat_field == "max_tokens" => (MaxField::MaxTokens, chat_field),
        Wire::Chat => (MaxField::MaxCompletionTokens, chat_field),
        Wire::Responses => (MaxField::MaxOutputTokens, "max_output_tokens"),
        Wire::Gemini => (MaxField::GeminiMaxOutputTokens, "maxOutputTokens"),
    };
    let name = field.name();
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
