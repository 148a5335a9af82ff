//! Messages requests and answers into the IR.

use super::types;
use crate::{
    Usage, Wire,
    convert::{Refused, take_params},
    ir::{
        Choice, Extra, Finish, Format, Function, Json, Kind, Media, Part, Request, Response, Role, Source, Think, Tool,
        Turn,
    },
};

const WIRE: Wire = Wire::Anthropic;

pub(crate) fn request(mut body: Json) -> Result<Request, Refused> {
    let (system, system_plain) = match body.take("system") {
        None => (Vec::new(), false),
        Some(content) => content_of(content, "/system")?,
    };
    let messages = body.take_array("messages").ok_or_else(|| Refused::invalid("/messages", "not a list"))?;
    let turns = messages.into_iter().enumerate().map(|(at, message)| turn(message, &format!("/messages/{at}")));
    let turns = turns.collect::<Result<_, _>>()?;
    let wanted = |tools: &Json| matches!(tools, Json::Array(tools) if !tools.is_empty());
    let tools = body.take_if("tools", wanted).and_then(Json::array).unwrap_or_default();
    let tools = tools.into_iter().enumerate().map(|(at, one)| tool(one, &format!("/tools/{at}"))).collect();
    let parallel = body.take_bool("tool_choice.disable_parallel_tool_use").map(|off| !off);
    let choice = choice(&mut body);
    let think = think(&mut body);
    let format = format(&mut body);
    Ok(Request {
        model: body.take_str("model").unwrap_or_default(),
        stream: body.take_if("stream", |stream| stream.bool() == Some(true)).is_some(),
        params: take_params(WIRE, &mut body),
        system,
        system_plain,
        turns,
        tools,
        choice,
        parallel,
        format,
        think,
        extra: Extra::new(WIRE, "", body),
    })
}

fn choice(body: &mut Json) -> Option<Choice> {
    let kind = body.take_if("tool_choice.type", |kind| matches!(kind.str(), Some("auto" | "any" | "none" | "tool")))?;
    Some(match kind.str() {
        Some("any") => Choice::Required,
        Some("none") => Choice::None,
        Some("tool") => Choice::Named(body.take_str("tool_choice.name").into_iter().collect()),
        _ => Choice::Auto,
    })
}

fn think(body: &mut Json) -> Think {
    let mut think = Think { effort: body.take_str("output_config.effort"), ..Think::default() };
    think.summary = body.take_str("thinking.display");
    think.show = think.summary.as_deref().map(|display| display != "omitted");
    if body.take_word("thinking.type", "disabled") {
        think.off = true;
    } else if body.take_word("thinking.type", "adaptive") {
        think.adaptive = true;
    } else if body.at("thinking.budget_tokens").u64().is_some() && body.take_word("thinking.type", "enabled") {
        think.budget = body.take("thinking.budget_tokens").and_then(|budget| budget.u64());
    }
    think
}

fn format(body: &mut Json) -> Option<Format> {
    let wanted = body.at("output_config.format");
    if wanted.get("type").str() != Some("json_schema") || !matches!(wanted.get("schema"), Json::Object(_)) {
        return None;
    }
    body.take_str("output_config.format.type");
    let schema = body.take("output_config.format.schema")?;
    let name = body.take_str("output_config.format.name");
    Some(Format::Schema { name, description: None, schema, strict: None, openapi: false })
}

fn turn(mut message: Json, at: &str) -> Result<Turn, Refused> {
    let role = match message.take_str("role").as_deref() {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("system") => Role::System,
        _ => return Err(Refused::invalid(format!("{at}/role"), "not user, assistant or system")),
    };
    let content = message.take("content").ok_or_else(|| Refused::invalid(format!("{at}/content"), "missing"))?;
    let (parts, plain) = content_of(content, &format!("{at}/content"))?;
    Ok(Turn { role, parts, plain, extra: Extra::new(WIRE, at, message) })
}

/// Content is a string, or a list of blocks.
fn content_of(content: Json, at: &str) -> Result<(Vec<Part>, bool), Refused> {
    match content {
        Json::String(text) => Ok((vec![Part::new(Kind::Text(text), WIRE, at, Json::empty())], true)),
        Json::Array(blocks) => {
            let parts = blocks.into_iter().enumerate().map(|(index, one)| block(one, &format!("{at}/{index}")));
            Ok((parts.collect::<Result<_, _>>()?, false))
        }
        _ => Err(Refused::invalid(at, "neither a string nor a list")),
    }
}

fn block(mut block: Json, at: &str) -> Result<Part, Refused> {
    let kind = block.get("type").str().unwrap_or_default().to_owned();
    let missing = |member: &str| Refused::invalid(format!("{at}/{member}"), "missing, or not of its type");
    let text = |block: &mut Json, member: &str| block.take_str(member).ok_or_else(|| missing(member));
    let kind = match kind.as_str() {
        "text" => Kind::Text(text(&mut block, "text")?),
        "image" | "document" => {
            let what = if kind == "image" { Media::Image } else { Media::Document };
            let Some(source) = source(&mut block) else {
                return Ok(Part::new(Kind::Foreign(block), WIRE, at, Json::empty()));
            };
            let name = if what == Media::Document { block.take_str("title") } else { None };
            Kind::Media { what, source, name, detail: None }
        }
        "tool_use" => Kind::Call {
            id: Some(text(&mut block, "id")?),
            name: text(&mut block, "name")?,
            arguments: block.take("input").ok_or_else(|| missing("input"))?.to_text(),
            custom: false,
        },
        "tool_result" => {
            let id = Some(text(&mut block, "tool_use_id")?);
            let wanted = |content: &Json| match content {
                Json::Array(blocks) => !blocks.is_empty(),
                content => content.str().is_some(),
            };
            let (content, plain) = match block.take_if("content", wanted) {
                Some(content) => content_of(content, &format!("{at}/content"))?,
                None => (Vec::new(), false),
            };
            Kind::Result { id, name: None, content, plain, error: block.take_bool("is_error"), custom: false }
        }
        "thinking" => Kind::Thinking {
            texts: vec![text(&mut block, "thinking")?],
            signature: block.take_str("signature"),
            redacted: false,
        },
        "redacted_thinking" => {
            Kind::Thinking { texts: Vec::new(), signature: Some(text(&mut block, "data")?), redacted: true }
        }
        _ => return Ok(Part::new(Kind::Foreign(block), WIRE, at, Json::empty())),
    };
    block.take_str("type");
    Ok(Part::new(kind, WIRE, at, block))
}

fn source(block: &mut Json) -> Option<Source> {
    let found = block.get("source");
    let text = |member: &str| found.get(member).str().map(str::to_owned);
    let (source, members): (_, &[&str]) = match found.get("type").str()? {
        "base64" => {
            (Source::Base64 { mime: text("media_type")?, data: text("data")? }, &["type", "media_type", "data"])
        }
        "url" => (Source::Url { url: text("url")?, mime: None }, &["type", "url"]),
        "file" => (Source::File(text("file_id")?), &["type", "file_id"]),
        "text" => (Source::Text(text("data")?), &["type", "media_type", "data"]),
        _ => return None,
    };
    for member in members {
        block.take(&format!("source.{member}"));
    }
    Some(source)
}

fn tool(mut tool: Json, at: &str) -> Tool {
    let kind = tool.get("type").str().unwrap_or("custom");
    if kind.starts_with("web_search") {
        return Tool::WebSearch { whole: tool, extra: Extra::new(WIRE, at, Json::empty()) };
    }
    if kind != "custom" || tool.get("name").str().is_none() {
        return Tool::Foreign { whole: tool, extra: Extra::new(WIRE, at, Json::empty()) };
    }
    Tool::Function(Function {
        name: tool.take_str("name").unwrap_or_default(),
        description: tool.take_str("description"),
        schema: tool.take("input_schema"),
        openapi: false,
        strict: tool.take_bool("strict"),
        custom: false,
        extra: Extra::new(WIRE, at, tool),
    })
}

pub(crate) fn response(mut body: Json) -> Result<Response, Refused> {
    let blocks = body.take_array("content").ok_or_else(|| Refused::invalid("/content", "not a list"))?;
    let parts = blocks.into_iter().enumerate().map(|(at, one)| block(one, &format!("/content/{at}")));
    let parts = parts.collect::<Result<_, _>>()?;
    let finish_words = body.take("stop_reason").unwrap_or_default();
    let usage_object = body.take("usage").unwrap_or_default();
    body.take_word("type", "message");
    body.take_word("role", "assistant");
    Ok(Response {
        id: body.take_str("id"),
        model: body.take_str("model"),
        created: None,
        parts,
        finish: finish_words.str().map_or(Finish::Stop, types::finish),
        stop: body.take_str("stop_sequence"),
        usage: types::usage(&usage_object, Usage::default()),
        usage_object,
        finish_words,
        inner: None,
        others: Vec::new(),
        extra: Extra::new(WIRE, "", body),
    })
}
