//! Chat requests and answers into the IR.

use super::types;
use crate::{
    Usage, Wire,
    convert::{Refused, take_format, take_params},
    ir::{
        Choice, Extra, Finish, Function, Json, Kind, Media, Part, Request, Response, Role, Source, Think, Tool, Turn,
    },
};

const WIRE: Wire = Wire::Chat;

fn part(kind: Kind, at: &str, rest: Json) -> Part {
    Part::new(kind, WIRE, at, rest)
}

pub(crate) fn request(mut body: Json) -> Result<Request, Refused> {
    let messages = body.take_array("messages").ok_or_else(|| Refused::invalid("/messages", "not a list"))?;
    let turns = messages.into_iter().enumerate().map(|(at, message)| turn(message, &format!("/messages/{at}")));
    let turns = turns.collect::<Result<_, _>>()?;
    let wanted = |tools: &Json| matches!(tools, Json::Array(tools) if !tools.is_empty());
    let tools = body.take_if("tools", wanted).and_then(Json::array).unwrap_or_default();
    let mut tools: Vec<Tool> =
        tools.into_iter().enumerate().map(|(at, one)| tool(one, &format!("/tools/{at}"))).collect();
    if let Some(whole) = body.take("web_search_options") {
        tools.push(Tool::WebSearch { whole, extra: Extra::new(WIRE, "/web_search_options", Json::empty()) });
    }
    let effort = body.take_str("reasoning_effort");
    let off = effort.as_deref() == Some("none");
    Ok(Request {
        model: body.take_str("model").unwrap_or_default(),
        stream: body.take_if("stream", |stream| stream.bool() == Some(true)).is_some(),
        params: take_params(WIRE, &mut body),
        system: Vec::new(),
        system_plain: false,
        turns,
        tools,
        choice: choice(&mut body),
        parallel: body.take_bool("parallel_tool_calls"),
        format: take_format(&mut body, "response_format", "response_format.json_schema"),
        think: Think { off, effort: effort.filter(|_| !off), ..Think::default() },
        extra: Extra::new(WIRE, "", body),
    })
}

fn choice(body: &mut Json) -> Option<Choice> {
    let choice = body.take("tool_choice")?;
    let named = |tool: &Json| {
        let name = tool.at("function.name").str().or_else(|| tool.at("custom.name").str());
        name.map(str::to_owned)
    };
    let known = match (choice.str(), choice.get("type").str()) {
        (Some("auto"), _) => Some(Choice::Auto),
        (Some("none"), _) => Some(Choice::None),
        (Some("required"), _) => Some(Choice::Required),
        (None, Some("function" | "custom")) => named(&choice).map(|name| Choice::Named(vec![name])),
        (None, Some("allowed_tools")) if choice.at("allowed_tools.mode").str() == Some("required") => {
            match choice.at("allowed_tools.tools") {
                Json::Array(tools) if tools.len() > 1 => {
                    tools.iter().map(named).collect::<Option<_>>().map(Choice::Named)
                }
                _ => None,
            }
        }
        _ => None,
    };
    if known.is_none() {
        body.put("tool_choice", choice);
    }
    known
}

fn turn(mut message: Json, at: &str) -> Result<Turn, Refused> {
    let role = match message.take_str("role").as_deref() {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("system") => Role::System,
        Some("developer") => Role::Developer,
        Some("tool") => return result(message, at),
        _ => return Err(Refused::invalid(format!("{at}/role"), "not a role of this format")),
    };
    let mut parts = Vec::new();
    if role == Role::Assistant {
        thoughts(&mut message, at, &mut parts);
    }
    let plain = content(&mut message, at, &mut parts)?;
    if role == Role::Assistant {
        spoken(&mut message, at, &mut parts)?;
    }
    Ok(Turn { role, parts, plain, extra: Extra::new(WIRE, at, message) })
}

/// Takes a message's content; whether it was a string.
fn content(message: &mut Json, at: &str, parts: &mut Vec<Part>) -> Result<bool, Refused> {
    let wanted = |content: &Json| !content.is_null() && !matches!(content, Json::Array(items) if items.is_empty());
    let at = format!("{at}/content");
    match message.take_if("content", wanted) {
        None => Ok(false),
        Some(Json::String(text)) => {
            parts.push(part(Kind::Text(text), &at, Json::empty()));
            Ok(true)
        }
        Some(Json::Array(items)) => {
            parts.extend(items.into_iter().enumerate().map(|(index, item)| piece(item, &format!("{at}/{index}"))));
            Ok(false)
        }
        Some(_) => Err(Refused::invalid(at, "neither a string nor a list")),
    }
}

fn piece(mut item: Json, at: &str) -> Part {
    let media = |what, source, name, detail| Kind::Media { what, source, name, detail };
    let kind = item.get("type").str().unwrap_or_default().to_owned();
    let kind = match kind.as_str() {
        "text" => item.take_str("text").map(Kind::Text),
        "refusal" => item.take_str("refusal").map(Kind::Refusal),
        "image_url" => item
            .take_str("image_url.url")
            .map(|url| media(Media::Image, Source::of_url(url), None, item.take_str("image_url.detail"))),
        "input_audio" => item.at("input_audio.format").str().map(str::to_owned).and_then(|format| {
            let data = item.take_str("input_audio.data")?;
            item.take("input_audio.format");
            Some(media(Media::Audio, Source::Base64 { mime: format!("audio/{format}"), data }, None, None))
        }),
        "file" if item.at("file.file_data").str().is_some_and(|data| data.starts_with("data:")) => {
            let source = item.take_str("file.file_data").map(Source::of_url);
            source.map(|source| media(Media::Document, source, item.take_str("file.filename"), None))
        }
        "file" => item.take_str("file.file_id").map(|id| media(Media::Document, Source::File(id), None, None)),
        _ => None,
    };
    match kind {
        Some(kind) => {
            item.take("type");
            part(kind, at, item)
        }
        None => part(Kind::Foreign(item), at, Json::empty()),
    }
}

/// Names under which peers show thoughts.
pub(crate) const THOUGHTS: [&str; 2] = ["reasoning_content", "reasoning"];

fn thoughts(message: &mut Json, at: &str, parts: &mut Vec<Part>) {
    let mut said: Vec<_> = THOUGHTS.iter().filter_map(|name| Some((*name, message.take_str(name)?))).collect();
    // Some say it under both names, or nothing under one.
    said.sort_by_key(|(_, text)| text.is_empty());
    let mut said = said.into_iter();
    let Some((name, text)) = said.next() else { return };
    let mut again = Json::empty();
    match said.next() {
        Some((other, same)) if same.is_empty() || same == text => again.put(other, same),
        Some((other, more)) => message.put(other, more),
        None => {}
    }
    let kind = Kind::Thinking { texts: vec![text], signature: None, redacted: false };
    let mut thought = part(kind, &format!("{at}/{name}"), Json::empty());
    // Only this wire says it twice.
    thought.item = (!again.is_void()).then(|| Box::new(Extra::new(WIRE, at, again)));
    parts.push(thought);
}

/// Takes what only an assistant says: a refusal, and calls.
fn spoken(message: &mut Json, at: &str, parts: &mut Vec<Part>) -> Result<(), Refused> {
    if let Some(text) = message.take_str("refusal") {
        let mut refusal = part(Kind::Refusal(text), &format!("{at}/refusal"), Json::empty());
        // It stands beside the content, not in it.
        refusal.item = Some(Box::new(Extra::new(WIRE, at, Json::empty())));
        parts.push(refusal);
    }
    let wanted = |calls: &Json| matches!(calls, Json::Array(calls) if !calls.is_empty());
    let calls = message.take_if("tool_calls", wanted).and_then(Json::array).unwrap_or_default();
    for (index, mut call) in calls.into_iter().enumerate() {
        let at = format!("{at}/tool_calls/{index}");
        let kind = if call.get("type").str() == Some("custom") { "custom" } else { "function" };
        let custom = kind == "custom";
        let name = call.take_str(&format!("{kind}.name"));
        let arguments = call.take_str(if custom { "custom.input" } else { "function.arguments" });
        let Some(name) = name else { return Err(Refused::invalid(at, "a call without a name")) };
        call.take_word("type", kind);
        let id = call.take_str("id");
        parts.push(part(Kind::Call { id, name, arguments: arguments.unwrap_or_default(), custom }, &at, call));
    }
    Ok(())
}

fn result(mut message: Json, at: &str) -> Result<Turn, Refused> {
    let mut inner = Vec::new();
    let plain = content(&mut message, at, &mut inner)?;
    let id = message.take_str("tool_call_id");
    let kind = Kind::Result { id, name: None, content: inner, plain, error: None, custom: false };
    let parts = vec![part(kind, at, message)];
    Ok(Turn { role: Role::User, parts, plain: false, extra: Extra::new(WIRE, at, Json::empty()) })
}

fn tool(mut tool: Json, at: &str) -> Tool {
    let custom = tool.get("type").str() == Some("custom");
    let kind = if custom { "custom" } else { "function" };
    let known = tool.get("type").str() == Some(kind);
    if !known || tool.at(&format!("{kind}.name")).str().is_none() {
        return Tool::Foreign { whole: tool, extra: Extra::new(WIRE, at, Json::empty()) };
    }
    tool.take("type");
    Tool::Function(Function {
        name: tool.take_str(&format!("{kind}.name")).unwrap_or_default(),
        description: tool.take_str(&format!("{kind}.description")),
        schema: tool.take("function.parameters"),
        openapi: false,
        strict: tool.take_bool("function.strict"),
        custom,
        extra: Extra::new(WIRE, at, tool),
    })
}

pub(crate) fn response(mut body: Json) -> Result<Response, Refused> {
    let mut choices = body.take_array("choices").ok_or_else(|| Refused::invalid("/choices", "not a list"))?;
    if choices.is_empty() {
        return Err(Refused::invalid("/choices", "empty"));
    }
    let mut choice = choices.remove(0);
    let mut message = choice.take("message").ok_or_else(|| Refused::invalid("/choices/0/message", "missing"))?;
    let at = "/choices/0/message";
    let mut parts = Vec::new();
    thoughts(&mut message, at, &mut parts);
    content(&mut message, at, &mut parts)?;
    spoken(&mut message, at, &mut parts)?;
    message.take_word("role", "assistant");
    choice.put("message", message);
    let finish_words = choice.take("finish_reason").unwrap_or_default();
    let usage_object = body.take("usage").unwrap_or_default();
    body.take_word("object", "chat.completion");
    Ok(Response {
        id: body.take_str("id"),
        model: body.take_str("model"),
        created: body.take("created").and_then(|created| created.u64()),
        parts,
        finish: finish_words.str().map_or(Finish::Stop, types::finish),
        stop: None,
        usage: if usage_object.is_null() { Usage::default() } else { types::usage(&usage_object) },
        usage_object,
        finish_words,
        inner: Some(Box::new(Extra::new(WIRE, "/choices/0", choice))),
        others: choices,
        extra: Extra::new(WIRE, "", body),
    })
}
