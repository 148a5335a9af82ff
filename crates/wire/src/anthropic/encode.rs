//! The IR into Messages requests and answers.

use super::types;
use crate::{
    Wire,
    convert::{Answer, Asked, Quirks, Refused, cite, probs, put_params, search_tool},
    ir::{
        Choice, Format, Function, Json, Kind, Media, Part, Request, Response, Role, Source, Tool, Turn,
        arguments_object, object,
    },
    loss::Loss,
};

const WIRE: Wire = Wire::Anthropic;

/// The maximum that is asked for when neither the caller nor the model names one; the hold assumes the same.
const DEFAULT_MAX_TOKENS: u64 = 16_384;

pub(crate) fn request(request: &Request, asked: &Asked<'_>, quirks: Quirks, loss: &mut Loss) -> Result<Json, Refused> {
    let same = request.wire() == WIRE;
    let mut body = request.extra.open(WIRE, loss);
    body.put("model", &request.model);
    put_params(request, WIRE, quirks, &mut body, loss)?;
    if body.get("max_tokens").is_null() && !same {
        body.put("max_tokens", asked.output_limit.unwrap_or(DEFAULT_MAX_TOKENS));
    }
    let turns = system(request, &mut body, loss)?;
    let messages = if same {
        let messages = turns.iter().map(|turn| same_turn(turn, loss));
        messages.collect::<Result<Vec<_>, _>>()?
    } else {
        merged(turns, quirks, loss)?
    };
    body.put("messages", messages);
    let tools = tools(request, loss);
    if !tools.is_empty() {
        body.put("tools", tools);
    }
    choice(request, &mut body, loss);
    think(request, &mut body, loss);
    format(request, &mut body, loss);
    if request.stream {
        body.put("stream", true);
    }
    if matches!(request.wire(), Wire::Chat | Wire::Responses) {
        mark_cache(&mut body);
    }
    Ok(body)
}

/// Puts the system text; the turns that are left are the conversation.
fn system<'r>(request: &'r Request, body: &mut Json, loss: &mut Loss) -> Result<&'r [Turn], Refused> {
    let same = request.wire() == WIRE;
    let is_system = |turn: &&Turn| !same && matches!(turn.role, Role::System | Role::Developer);
    let leading = request.turns.iter().take_while(is_system).count();
    let (head, turns) = request.turns.split_at(leading);
    for turn in head {
        turn.extra.open(WIRE, loss);
    }
    let parts = request.system.iter().chain(head.iter().flat_map(|turn| &turn.parts));
    if request.system_plain && same {
        body.put("system", request.system.first().and_then(Part::text).unwrap_or_default());
        return Ok(turns);
    }
    let blocks = blocks(parts, loss)?;
    if !blocks.is_empty() || (same && !body.get("system").is_null()) {
        body.put("system", blocks);
    }
    Ok(turns)
}

fn same_turn(turn: &Turn, loss: &mut Loss) -> Result<Json, Refused> {
    let mut message = turn.extra.open(WIRE, loss);
    message.put("role", role(turn.role));
    if let Some(text) = turn.parts.first().and_then(Part::text).filter(|_| turn.plain) {
        message.put("content", text);
    } else {
        let mut content = Vec::with_capacity(turn.parts.len());
        for part in &turn.parts {
            content.extend(block(part, true, loss)?);
        }
        message.put("content", content);
    }
    Ok(message)
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::System | Role::Developer => "system",
    }
}

/// Neighbours of one role become one message, results before all else; the first one is the user's.
fn merged(turns: &[Turn], quirks: Quirks, loss: &mut Loss) -> Result<Vec<Json>, Refused> {
    let mut messages: Vec<(&'static str, Vec<Json>)> = Vec::new();
    for turn in turns {
        turn.extra.open(WIRE, loss);
        let wrapped = matches!(turn.role, Role::System | Role::Developer) && !quirks.system_turns;
        let mut content = blocks(&turn.parts, loss)?;
        if wrapped {
            for block in &mut content {
                let text = block.get("text").str().unwrap_or_default();
                block.put("text", format!("<system-reminder>\n{text}\n</system-reminder>"));
            }
        }
        let role = if wrapped { "user" } else { role(turn.role) };
        if content.is_empty() {
            continue;
        }
        match messages.last_mut() {
            Some((last, blocks)) if *last == role => blocks.extend(content),
            _ => messages.push((role, content)),
        }
    }
    if messages.is_empty() {
        return Err(Refused::invalid("", "there is no message that the target could take"));
    }
    if messages.first().is_some_and(|(role, _)| *role == "assistant") {
        messages.insert(0, ("user", vec![object! { "type": "text", "text": "." }]));
    }
    Ok(messages
        .into_iter()
        .map(|(role, mut content)| {
            if role == "user" {
                content.sort_by_key(|block| block.get("type").str() != Some("tool_result"));
            }
            object! { "role": role, "content": content }
        })
        .collect())
}

fn blocks<'p>(parts: impl IntoIterator<Item = &'p Part>, loss: &mut Loss) -> Result<Vec<Json>, Refused> {
    let mut blocks = Vec::new();
    for part in parts {
        blocks.extend(block(part, false, loss)?);
    }
    Ok(blocks)
}

fn block(part: &Part, keep_empty: bool, loss: &mut Loss) -> Result<Option<Json>, Refused> {
    if let Kind::Foreign(whole) = &part.kind {
        if part.extra.wire != WIRE {
            part.extra.lose("", "the target has no such block", loss);
        }
        return Ok((part.extra.wire == WIRE).then(|| whole.clone()));
    }
    let mut block = part.extra.open(WIRE, loss);
    match &part.kind {
        Kind::Text(text) | Kind::Refusal(text) => {
            if text.is_empty() && !keep_empty {
                return Ok(None);
            }
            block.put("type", "text");
            block.put("text", text);
            if !part.citations.is_empty() {
                block.put("citations", part.citations.iter().map(cite::to_anthropic).collect::<Vec<_>>());
            }
        }
        Kind::Media { what, source, name, detail } => {
            media(part, *what, source, name.as_deref(), detail.as_deref(), &mut block, loss)?
        }
        Kind::Call { id, name, arguments, .. } => {
            block.put("type", "tool_use");
            block.put("id", id.as_deref().unwrap_or(name));
            block.put("name", name);
            block.put("input", arguments_object(arguments));
        }
        Kind::Result { id, name, content, plain, error, .. } => {
            block.put("type", "tool_result");
            block.put("tool_use_id", id.as_ref().or(name.as_ref()).map_or("", String::as_str));
            if *plain {
                block.put("content", content.first().and_then(Part::text).unwrap_or_default());
            } else if !content.is_empty() {
                let inner = content.iter().map(|part| self::block(part, keep_empty, loss));
                let inner = inner.collect::<Result<Vec<_>, _>>()?;
                block.put("content", inner.into_iter().flatten().collect::<Vec<_>>());
            }
            block.put_some("is_error", *error);
        }
        Kind::Thinking { signature, redacted: true, .. } => {
            block.put("type", "redacted_thinking");
            block.put("data", signature.as_deref().unwrap_or_default());
        }
        Kind::Thinking { texts, signature, .. } => {
            block.put("type", "thinking");
            block.put("thinking", texts.join("\n\n"));
            block.put_some("signature", signature.as_ref());
        }
        Kind::Foreign(_) => {}
    }
    Ok(Some(block))
}

fn media(
    part: &Part,
    what: Media,
    source: &Source,
    name: Option<&str>,
    detail: Option<&str>,
    block: &mut Json,
    loss: &mut Loss,
) -> Result<(), Refused> {
    let kind = match what {
        Media::Image => "image",
        Media::Document => "document",
        Media::Audio | Media::Video => {
            return Err(Refused::unsupported(&part.extra.at, "the target takes no audio and no video"));
        }
    };
    if detail.is_some() {
        part.lose_detail("the target has no resolutions", loss);
    }
    block.put("type", kind);
    match source {
        Source::Base64 { mime, data } => {
            block.put("source.type", "base64");
            block.put("source.media_type", mime);
            block.put("source.data", data);
        }
        Source::Url { url, .. } => {
            block.put("source.type", "url");
            block.put("source.url", url);
        }
        Source::Text(text) => {
            block.put("source.type", "text");
            block.put("source.media_type", "text/plain");
            block.put("source.data", text);
        }
        Source::File(id) if part.extra.wire == WIRE => {
            block.put("source.type", "file");
            block.put("source.file_id", id);
        }
        Source::File(_) => return Err(Refused::unsupported(&part.extra.at, "a file id is of one vendor alone")),
    }
    if what == Media::Document {
        block.put_some("title", name);
    }
    Ok(())
}

fn tools(request: &Request, loss: &mut Loss) -> Vec<Json> {
    let only = match &request.choice {
        // A list of allowed tools has no place: the others are left out.
        Some(Choice::Named(names)) if names.len() > 1 && request.wire() != WIRE => Some(names),
        _ => None,
    };
    let mut tools = Vec::new();
    for tool in &request.tools {
        match tool {
            Tool::Function(one) if only.is_none_or(|names| names.contains(&one.name)) => {
                tools.push(function(one, request.wire() == WIRE, loss));
            }
            Tool::WebSearch { whole, extra } if extra.wire != WIRE => {
                tools.push(search_tool(whole, extra, WIRE, loss));
            }
            Tool::WebSearch { whole, .. } | Tool::Foreign { whole, .. } => tools.push(whole.clone()),
            Tool::Function(_) | Tool::Namespace { .. } => {}
        }
    }
    tools
}

fn function(function: &Function, same: bool, loss: &mut Loss) -> Json {
    let mut tool = function.extra.open(WIRE, loss);
    tool.put("name", &function.name);
    tool.put_some("description", function.description.as_ref());
    match function.schema.clone() {
        Some(schema) => tool.put("input_schema", schema),
        None if same => {}
        None => tool.put("input_schema", object! { "type": "object", "properties": Json::empty() }),
    }
    tool.put_some("strict", function.strict.filter(|strict| same || *strict));
    tool
}

fn choice(request: &Request, body: &mut Json, loss: &mut Loss) {
    let same = request.wire() == WIRE;
    let forced = !same && request.think.asked();
    if !same && request.tools.is_empty() {
        return;
    }
    let kind = match &request.choice {
        None => None,
        Some(Choice::Auto) => Some("auto"),
        Some(Choice::None) => Some("none"),
        Some(_) if forced => {
            loss.note(request.choice_pointer(), "the target takes no forced tool together with thinking");
            Some("auto")
        }
        Some(Choice::Named(names)) if names.len() == 1 || same => Some("tool"),
        Some(Choice::Required | Choice::Named(_)) => Some("any"),
    };
    if let Some(kind) = kind.or_else(|| (!same && request.parallel == Some(false)).then_some("auto")) {
        body.put("tool_choice.type", kind);
    }
    if let Some(Choice::Named(names)) = request.choice.as_ref().filter(|_| kind == Some("tool")) {
        body.put_some("tool_choice.name", names.first());
    }
    if same || request.parallel == Some(false) {
        body.put_some("tool_choice.disable_parallel_tool_use", request.parallel.map(|parallel| !parallel));
    }
}

fn think(request: &Request, body: &mut Json, loss: &mut Loss) {
    let think = &request.think;
    if think.off {
        body.put("thinking.type", "disabled");
    }
    if request.wire() == WIRE {
        if think.adaptive {
            body.put("thinking.type", "adaptive");
        }
        if let Some(budget) = think.budget {
            body.put("thinking.type", "enabled");
            body.put("thinking.budget_tokens", budget);
        }
        body.put_some("thinking.display", think.summary.as_ref());
        body.put_some("output_config.effort", think.effort.as_ref());
    } else if think.asked() {
        let max = body.get("max_tokens").u64();
        match think.as_budget(max) {
            Some(budget) => {
                body.put("thinking.type", "enabled");
                body.put("thinking.budget_tokens", budget);
            }
            None => loss.note(request.think_pointer(), "the target thinks with 1,024 tokens or more"),
        }
    }
}

fn format(request: &Request, body: &mut Json, loss: &mut Loss) {
    match &request.format {
        Some(Format::Schema { schema, name, .. }) => {
            body.put("output_config.format.type", "json_schema");
            body.put("output_config.format.schema", schema.clone());
            body.put_some("output_config.format.name", name.as_ref().filter(|_| request.wire() == WIRE));
        }
        Some(Format::Json) => loss.add(request.format_pointer(), "the target makes JSON by a schema alone"),
        Some(Format::Text) | None => {}
    }
}

/// Marks what is worth caching: the tools, the system text and the conversation so far. `OpenAI` caches unasked.
fn mark_cache(body: &mut Json) {
    let mark = |block: Option<&mut Json>| {
        if let Some(block) = block {
            block.put("cache_control.type", "ephemeral");
        }
    };
    let Json::Object(members) = body else { return };
    for (name, value) in members {
        match (name.as_str(), value) {
            ("system" | "tools", Json::Array(items)) => mark(items.last_mut()),
            ("messages", Json::Array(messages)) => {
                let last = messages.iter_mut().rev().find(|message| message.get("role").str() == Some("user"));
                if let Some(Json::Object(members)) = last {
                    let content = members.iter_mut().find(|(name, _)| name == "content");
                    if let Some((_, Json::Array(blocks))) = content {
                        mark(blocks.last_mut());
                    }
                }
            }
            _ => {}
        }
    }
}

pub(crate) fn response(response: &Response, answer: &Answer<'_>, loss: &mut Loss) -> Json {
    let same = response.extra.wire == WIRE;
    let mut body = response.extra.open(WIRE, loss);
    let id = response.id.clone().filter(|_| same).unwrap_or_else(|| format!("msg_{}", answer.seed));
    body.put("id", id);
    body.put("type", "message");
    body.put("role", "assistant");
    let model = answer.model.filter(|_| !same).or(response.model.as_deref());
    body.put("model", model.unwrap_or_default());
    if let Some(inner) = &response.inner {
        inner.open(WIRE, loss);
    }
    response.lose_others(loss);
    probs::lose(&response.parts, loss);
    let mut content = Vec::new();
    for part in &response.parts {
        // Generated audio has no place, and an answer cannot be refused any more.
        match block(part, same, loss) {
            Ok(block) => content.extend(block),
            Err(_) => part.extra.lose("", "the target has no such content", loss),
        }
    }
    body.put("content", content);
    let ending = || Json::from(types::stop_reason(response.ending()));
    body.put("stop_reason", if same { response.finish_words.clone() } else { ending() });
    body.put("stop_sequence", response.stop.as_ref());
    let usage = || types::usage_object(&response.usage);
    body.put("usage", if same { response.usage_object.clone() } else { usage() });
    body
}
