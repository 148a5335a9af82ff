//! Responses requests and answers into the IR.

use super::{
    input::{WIRE, part, piece, single, turn},
    types,
};
use crate::{
    Usage,
    convert::{Refused, take_format, take_params},
    ir::{Choice, Extra, Function, Json, Kind, Request, Response, Role, Think, Tool, Turn},
};

pub(crate) fn request(mut body: Json) -> Result<Request, Refused> {
    let turns = match body.take("input") {
        Some(Json::String(text)) => vec![Turn {
            role: Role::User,
            parts: vec![part(Kind::Text(text), "/input", Json::empty())],
            plain: true,
            extra: Extra::new(WIRE, "/input", Json::empty()),
        }],
        Some(Json::Array(items)) => {
            let turns = items.into_iter().enumerate().map(|(at, item)| turn(item, &format!("/input/{at}")));
            turns.collect::<Result<_, _>>()?
        }
        _ => return Err(Refused::invalid("/input", "neither a string nor a list")),
    };
    let system = body.take_str("instructions");
    let system = system.map(|text| part(Kind::Text(text), "/instructions", Json::empty()));
    let wanted = |tools: &Json| matches!(tools, Json::Array(tools) if !tools.is_empty());
    let tools = body.take_if("tools", wanted).and_then(Json::array).unwrap_or_default();
    let tools = tools.into_iter().enumerate().map(|(at, one)| tool(one, &format!("/tools/{at}"))).collect();
    let effort = body.take_str("reasoning.effort");
    let off = effort.as_deref() == Some("none");
    let summary = body.take_str("reasoning.summary");
    Ok(Request {
        model: body.take_str("model").unwrap_or_default(),
        stream: body.take_if("stream", |stream| stream.bool() == Some(true)).is_some(),
        params: take_params(WIRE, &mut body),
        system: system.into_iter().collect(),
        system_plain: true,
        turns,
        tools,
        choice: choice(&mut body),
        parallel: body.take_bool("parallel_tool_calls"),
        format: take_format(&mut body, "text.format", "text.format"),
        think: Think {
            off,
            effort: effort.filter(|_| !off),
            show: summary.is_some().then_some(true),
            summary,
            ..Think::default()
        },
        extra: Extra::new(WIRE, "", body),
    })
}

fn choice(body: &mut Json) -> Option<Choice> {
    let choice = body.take("tool_choice")?;
    let named = |tool: &Json| tool.get("name").str().map(str::to_owned);
    let known = match (choice.str(), choice.get("type").str()) {
        (Some("auto"), _) => Some(Choice::Auto),
        (Some("none"), _) => Some(Choice::None),
        (Some("required"), _) => Some(Choice::Required),
        (None, Some("function" | "custom")) => named(&choice).map(|name| Choice::Named(vec![name])),
        (None, Some("allowed_tools")) if choice.get("mode").str() == Some("required") => match choice.get("tools") {
            Json::Array(tools) if tools.len() > 1 => tools.iter().map(named).collect::<Option<_>>().map(Choice::Named),
            _ => None,
        },
        _ => None,
    };
    if known.is_none() {
        body.put("tool_choice", choice);
    }
    known
}

fn tool(mut tool: Json, at: &str) -> Tool {
    let node = |rest| Extra::new(WIRE, at, rest);
    match tool.get("type").str().unwrap_or_default() {
        "function" | "custom" => match function(tool, at) {
            Ok(function) => Tool::Function(function),
            Err(whole) => Tool::Foreign { whole, extra: node(Json::empty()) },
        },
        "namespace" if namespace_is_plain(&tool) => {
            tool.take("type");
            let name = tool.take_str("name").unwrap_or_default();
            let inner = tool.take_array("tools").unwrap_or_default().into_iter().enumerate();
            let tools = inner.filter_map(|(index, one)| function(one, &format!("{at}/tools/{index}")).ok()).collect();
            Tool::Namespace { name, tools, extra: node(tool) }
        }
        kind if kind.starts_with("web_search") => Tool::WebSearch { whole: tool, extra: node(Json::empty()) },
        _ => Tool::Foreign { whole: tool, extra: node(Json::empty()) },
    }
}

fn namespace_is_plain(tool: &Json) -> bool {
    let plain =
        |one: &Json| matches!(one.get("type").str(), Some("function" | "custom")) && one.get("name").str().is_some();
    tool.get("name").str().is_some() && matches!(tool.get("tools"), Json::Array(tools) if tools.iter().all(plain))
}

fn function(mut tool: Json, at: &str) -> Result<Function, Json> {
    let custom = tool.get("type").str() == Some("custom");
    let Some(name) = tool.take_str("name") else { return Err(tool) };
    tool.take("type");
    Ok(Function {
        name,
        description: tool.take_str("description"),
        schema: tool.take("parameters"),
        openapi: false,
        strict: tool.take_bool("strict"),
        custom,
        extra: Extra::new(WIRE, at, tool),
    })
}

pub(crate) fn response(mut body: Json) -> Result<Response, Refused> {
    if body.get("status").str() == Some("failed") {
        return Err(Refused::invalid("/status", "the response failed"));
    }
    let items = body.take_array("output").ok_or_else(|| Refused::invalid("/output", "not a list"))?;
    let finish = types::finish(&body);
    let mut finish_words = Json::empty();
    for name in ["status", "incomplete_details"] {
        if let Some(value) = body.take_if(name, |_| true) {
            finish_words.put(name, value);
        }
    }
    let mut parts = Vec::new();
    for (at, mut item) in items.into_iter().enumerate() {
        let at = format!("/output/{at}");
        if item.get("type").str() != Some("message") {
            parts.push(single(item, &at)?);
            continue;
        }
        let content = item.take_array("content").unwrap_or_default();
        let pieces = content.into_iter().enumerate();
        let mut pieces: Vec<_> =
            pieces.map(|(index, one)| piece(one, Role::Assistant, &format!("{at}/content/{index}"))).collect();
        if pieces.is_empty() {
            item.put("content", Vec::new());
            parts.push(part(Kind::Foreign(item), &at, Json::empty()));
            continue;
        }
        item.take_word("type", "message");
        item.take_word("role", "assistant");
        pieces[0].item = Some(Box::new(Extra::new(WIRE, &at, item)));
        parts.extend(pieces);
    }
    let usage_object = body.take("usage").unwrap_or_default();
    body.take_word("object", "response");
    Ok(Response {
        id: body.take_str("id"),
        model: body.take_str("model"),
        created: body.take_if("created_at", |created| created.u64().is_some()).and_then(|created| created.u64()),
        parts,
        finish,
        stop: None,
        usage: if usage_object.is_null() { Usage::default() } else { types::usage(&usage_object) },
        usage_object,
        finish_words,
        inner: None,
        others: Vec::new(),
        extra: Extra::new(WIRE, "", body),
    })
}
