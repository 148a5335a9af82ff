//! Items of the Responses format into the IR: of a request's input, and of an answer's output.

use crate::{
    Wire,
    convert::Refused,
    ir::{Extra, Json, Key, Kind, Media, Part, Role, Source, Turn},
};

pub(super) const WIRE: Wire = Wire::Responses;

pub(super) fn part(kind: Kind, at: &str, rest: Json) -> Part {
    Part::new(kind, WIRE, at, rest)
}

/// The words of a message's text parts.
pub(super) const fn text_type(role: Role) -> &'static str {
    if matches!(role, Role::Assistant) { "output_text" } else { "input_text" }
}

pub(super) fn turn(mut item: Json, at: &str) -> Result<Turn, Refused> {
    let kind = item.get("type").str().unwrap_or("message");
    if kind != "message" {
        let role = if kind.ends_with("_output") { Role::User } else { Role::Assistant };
        let parts = vec![single(item, at)?];
        return Ok(Turn { role, parts, plain: false, extra: Extra::new(WIRE, at, Json::empty()) });
    }
    let role = match item.take_str("role").as_deref() {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("system") => Role::System,
        Some("developer") => Role::Developer,
        _ => return Err(Refused::invalid(format!("{at}/role"), "not a role of this format")),
    };
    let mut plain = false;
    let wanted = |content: &Json| content.str().is_some() || matches!(content, Json::Array(items) if !items.is_empty());
    let content_at = format!("{at}/content");
    let parts = match item.take_if("content", wanted) {
        Some(Json::String(text)) => {
            plain = true;
            vec![part(Kind::Text(text), &content_at, Json::empty())]
        }
        Some(Json::Array(items)) => {
            let parts = items.into_iter().enumerate();
            parts.map(|(index, one)| piece(one, role, &format!("{content_at}/{index}"))).collect()
        }
        _ if item.get("content").is_void() => Vec::new(),
        _ => return Err(Refused::invalid(content_at, "neither a string nor a list")),
    };
    Ok(Turn { role, parts, plain, extra: Extra::new(WIRE, at, item) })
}

/// A part of a message's content, or of a result.
pub(super) fn piece(mut item: Json, role: Role, at: &str) -> Part {
    let media = |what, source, name, detail| Kind::Media { what, source, name, detail };
    let found = item.get("type").str().unwrap_or_default().to_owned();
    let kind = match found.as_str() {
        "input_text" | "output_text" | "text" => item.take_str("text").map(Kind::Text),
        "refusal" => item.take_str("refusal").map(Kind::Refusal),
        "input_image" => {
            let source = match item.take_str("image_url") {
                Some(url) => Some(Source::of_url(url)),
                None => item.take_str("file_id").map(Source::File),
            };
            source.map(|source| media(Media::Image, source, None, item.take_str("detail")))
        }
        "input_file" => {
            let data = item.get("file_data").str().is_some_and(|data| data.starts_with("data:"));
            let source = if data {
                item.take_str("file_data").map(Source::of_url)
            } else {
                let url = item.take_str("file_url").map(|url| Source::Url { url, mime: None });
                url.or_else(|| item.take_str("file_id").map(Source::File))
            };
            source.map(|source| media(Media::Document, source, item.take_str("filename"), None))
        }
        "input_audio" => item.at("input_audio.format").str().map(str::to_owned).and_then(|format| {
            let data = item.take_str("input_audio.data")?;
            item.take("input_audio.format");
            Some(media(Media::Audio, Source::Base64 { mime: format!("audio/{format}"), data }, None, None))
        }),
        _ => None,
    };
    let Some(kind) = kind else { return part(Kind::Foreign(item), at, Json::empty()) };
    // Text under another name than its role's keeps that name.
    let expected = if matches!(kind, Kind::Text(_)) { text_type(role) } else { &found };
    item.take_word("type", expected);
    part(kind, at, item)
}

/// An item that is no message.
pub(super) fn single(mut item: Json, at: &str) -> Result<Part, Refused> {
    let kind = item.get("type").str().unwrap_or_default().to_owned();
    let missing = |member: &str| Refused::invalid(format!("{at}/{member}"), "missing, or not of its type");
    let custom = kind.starts_with("custom");
    let kind = match kind.as_str() {
        "function_call" | "custom_tool_call" => {
            let name = item.take_str("name").ok_or_else(|| missing("name"))?;
            let arguments = item.take_str(if custom { "input" } else { "arguments" }).unwrap_or_default();
            Kind::Call { id: item.take_str("call_id"), name, arguments, custom }
        }
        "function_call_output" | "custom_tool_call_output" => {
            let output_at = format!("{at}/output");
            let (content, plain) = match item.take("output") {
                Some(Json::String(text)) => (vec![part(Kind::Text(text), &output_at, Json::empty())], true),
                Some(Json::Array(items)) => {
                    let parts = items.into_iter().enumerate();
                    let parts = parts.map(|(index, one)| piece(one, Role::User, &format!("{output_at}/{index}")));
                    (parts.collect(), false)
                }
                _ => return Err(missing("output")),
            };
            Kind::Result { id: item.take_str("call_id"), name: None, content, plain, error: None, custom }
        }
        "reasoning" => match reasoning(&mut item) {
            Some(kind) => kind,
            None => return Ok(part(Kind::Foreign(item), at, Json::empty())),
        },
        _ => return Ok(part(Kind::Foreign(item), at, Json::empty())),
    };
    item.take("type");
    Ok(part(kind, at, item))
}

fn reasoning(item: &mut Json) -> Option<Kind> {
    let plain = |part: &Json| part.get("type").str() == Some("summary_text") && part.members().len() == 2;
    let wanted = |summary: &Json| matches!(summary, Json::Array(parts) if parts.iter().all(plain));
    let summary = item.take_if("summary", wanted)?.array()?;
    let texts: Vec<String> = summary.into_iter().filter_map(|mut part| part.take_str("text")).collect();
    let redacted = texts.is_empty();
    Some(Kind::Thinking { texts, signature: item.take_str("encrypted_content"), redacted })
}

/// Whether an item or a part stands for what its vendor keeps, or is the conversation before it, which only the vendor reads:
/// nothing of it is in here.
pub(crate) fn is_elsewhere(item: &Json) -> bool {
    let kind = item.get("type").str().unwrap_or_default();
    let said = |(name, value): &&(Key, Json)| name.as_str() != "type" && !matches!(value, Json::Null);
    match kind {
        "item_reference" | "compaction" => true,
        "image_generation_call" => item.get("result").str().is_none_or(str::is_empty),
        // A thought may be lost.
        "reasoning" => false,
        _ => item.get("id").str().is_some() && item.members().iter().filter(said).count() == 1,
    }
}
