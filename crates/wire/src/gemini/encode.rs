//! The IR into Gemini requests and answers.

use super::{
    parts::{self, WIRE},
    types,
};
use crate::{
    Wire,
    convert::{Answer, Quirks, Refused, cite, probs, put_params, search_tool, to_openapi},
    ir::{
        CallNames, Choice, Format, Function, Json, Kind, Param, Part, Request, Response, Role, Tool, Turn, call_names,
        object,
    },
    loss::Loss,
};

/// What stands in for the signature of a call that another vendor's model made.
const UNSIGNED: &str = "skip_thought_signature_validator";

pub(crate) fn request(request: &Request, quirks: Quirks, loss: &mut Loss) -> Result<Json, Refused> {
    let same = request.wire() == WIRE;
    let mut body = request.extra.open(WIRE, loss);
    let is_system = |turn: &&Turn| !same && matches!(turn.role, Role::System | Role::Developer);
    let leading = request.turns.iter().take_while(is_system).count();
    let (head, turns) = request.turns.split_at(leading);
    let names = call_names(&request.turns);
    let mut system = Vec::new();
    for part in request.system.iter().chain(head.iter().flat_map(|turn| &turn.parts)) {
        system.extend(parts::encode(part, &names, loss)?);
    }
    match request.system.as_slice() {
        [Part { kind: Kind::Text(text), extra, .. }] if same && extra.at == "/systemInstruction" => {
            body.put("systemInstruction", text);
        }
        _ if !system.is_empty() => body.put("systemInstruction.parts", system),
        _ => {}
    }
    let contents = if same {
        let contents = turns.iter().map(|turn| same_turn(turn, &names, loss));
        contents.collect::<Result<Vec<_>, _>>()?
    } else {
        merged(turns, &names, quirks.signed_calls, loss)?
    };
    body.put("contents", contents);
    put_params(request, WIRE, quirks, &mut body, loss)?;
    tools(request, quirks, &mut body, loss);
    choice(request, &mut body, loss);
    format(request, quirks, &mut body, loss);
    think(request, &mut body);
    if same && !request.model.is_empty() {
        body.put("model", &request.model);
    }
    Ok(body)
}

/// Whether a model refuses a call of the history that no thought has signed: Gemini's do from the third generation on, and
/// such is the latest of each kind (`gemini-flash-latest`).
pub fn signs_calls(model: &str) -> bool {
    model.split("gemini-").skip(1).any(|kind| {
        let digits = kind.len() - kind.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
        match &kind[..digits] {
            "" => kind.ends_with("-latest"),
            // One that no number holds is no lower.
            generation => generation.parse::<u32>().map_or(true, |generation| generation >= 3),
        }
    })
}

fn same_turn(turn: &Turn, names: &CallNames<'_>, loss: &mut Loss) -> Result<Json, Refused> {
    let mut content = turn.extra.open(WIRE, loss);
    if !turn.plain {
        content.put("role", if turn.role == Role::Assistant { "model" } else { "user" });
    }
    let mut list = Vec::with_capacity(turn.parts.len());
    for part in &turn.parts {
        list.extend(parts::encode(part, names, loss)?);
    }
    if !list.is_empty() {
        content.put("parts", list);
    }
    Ok(content)
}

/// Neighbours of one role become one content.
fn merged(turns: &[Turn], names: &CallNames<'_>, third: bool, loss: &mut Loss) -> Result<Vec<Json>, Refused> {
    let mut contents: Vec<(&'static str, Vec<Json>)> = Vec::new();
    for turn in turns {
        turn.extra.open(WIRE, loss);
        let (mut list, _) = parts::encode_signed(&turn.parts, names, loss)?;
        if matches!(turn.role, Role::System | Role::Developer) {
            for item in &mut list {
                let text = item.get("text").str().unwrap_or_default();
                item.put("text", format!("<system-reminder>\n{text}\n</system-reminder>"));
            }
        }
        let role = if turn.role == Role::Assistant { "model" } else { "user" };
        if list.is_empty() {
            continue;
        }
        match contents.last_mut() {
            Some((last, items)) if *last == role => items.extend(list),
            _ => contents.push((role, list)),
        }
    }
    let contents = contents.into_iter().map(|(role, mut list)| {
        let first = list.iter_mut().find(|item| !item.get("functionCall").is_null());
        if let Some(call) = first.filter(|call| third && call.get("thoughtSignature").is_null()) {
            call.put("thoughtSignature", UNSIGNED);
        }
        object! { "role": role, "parts": list }
    });
    Ok(contents.collect())
}

fn tools(request: &Request, quirks: Quirks, body: &mut Json, loss: &mut Loss) {
    // On this wire tools stand in groups; those of other wires make one.
    let group_of = |at: &str| at.split('/').nth(2).unwrap_or_default().to_owned();
    let mut groups: Vec<(String, Json)> = Vec::new();
    for tool in &request.tools {
        let (at, member) = match tool {
            Tool::Function(one) if one.extra.wire == WIRE => (group_of(&one.extra.at), None),
            Tool::Function(_) => (String::new(), None),
            Tool::WebSearch { whole, extra } if extra.wire != WIRE => {
                ("search".to_owned(), Some(search_tool(whole, extra, WIRE, loss)))
            }
            Tool::WebSearch { whole, extra } | Tool::Foreign { whole, extra } => {
                (group_of(&extra.at), Some(whole.clone()))
            }
            Tool::Namespace { .. } => continue,
        };
        if groups.last().is_none_or(|(last, _)| *last != at) {
            groups.push((at, Json::empty()));
        }
        let Some((_, group)) = groups.last_mut() else { continue };
        match (tool, member) {
            (Tool::Function(one), _) => {
                let mut list = group.take_array("functionDeclarations").unwrap_or_default();
                list.push(function(one, quirks, loss));
                group.put("functionDeclarations", list);
            }
            (_, Some(member)) => group.add(member.members()),
            _ => {}
        }
    }
    if !groups.is_empty() {
        body.put("tools", groups.into_iter().map(|(_, group)| group).collect::<Vec<_>>());
    }
}

fn function(function: &Function, quirks: Quirks, loss: &mut Loss) -> Json {
    let mut tool = function.extra.open(WIRE, loss);
    tool.put("name", &function.name);
    tool.put_some("description", function.description.as_ref());
    let Some(schema) = &function.schema else { return tool };
    if function.extra.wire == WIRE {
        tool.put(if function.openapi { "parameters" } else { "parametersJsonSchema" }, schema.clone());
        return tool;
    }
    if function.strict == Some(true) {
        loss.note(function.pointer("strict"), "the target has no strict tools");
    }
    if quirks.json_schema {
        tool.put("parametersJsonSchema", schema.clone());
    } else {
        tool.put("parameters", to_openapi(schema, &function.schema_pointer(), loss));
    }
    tool
}

fn choice(request: &Request, body: &mut Json, loss: &mut Loss) {
    let same = request.wire() == WIRE;
    if request.parallel == Some(false) {
        loss.add(request.parallel_pointer(), "the target cannot keep calls from being parallel");
    }
    if !same && request.tools.is_empty() {
        return;
    }
    let (mode, names) = match &request.choice {
        None => return,
        Some(Choice::Auto) => ("AUTO", None),
        Some(Choice::None) => ("NONE", None),
        Some(Choice::Required) => ("ANY", None),
        Some(Choice::Named(names)) => ("ANY", Some(names)),
    };
    body.put("toolConfig.functionCallingConfig.mode", mode);
    if let Some(names) = names {
        let names: Vec<Json> = names.iter().map(Json::from).collect();
        body.put("toolConfig.functionCallingConfig.allowedFunctionNames", names);
    }
}

fn format(request: &Request, quirks: Quirks, body: &mut Json, loss: &mut Loss) {
    let Some(format) = request.format.as_ref().filter(|format| **format != Format::Text) else { return };
    body.put("generationConfig.responseMimeType", "application/json");
    if let Format::Schema { schema, openapi, .. } = format {
        if *openapi {
            body.put("generationConfig.responseSchema", schema.clone());
        } else if quirks.json_schema || request.wire() == WIRE {
            body.put("generationConfig.responseJsonSchema", schema.clone());
        } else {
            body.put("generationConfig.responseSchema", to_openapi(schema, request.schema_pointer(), loss));
        }
    }
}

fn think(request: &Request, body: &mut Json) {
    let think = &request.think;
    let put = |body: &mut Json, name: &str, value: Json| {
        body.put(&format!("generationConfig.thinkingConfig.{name}"), value);
    };
    if think.off {
        put(body, "thinkingBudget", 0u64.into());
    }
    if request.wire() == WIRE {
        if let Some(level) = &think.summary {
            put(body, "thinkingLevel", level.into());
        }
        if let Some(budget) = think.budget {
            put(body, "thinkingBudget", budget.into());
        }
        if think.adaptive {
            put(body, "thinkingBudget", (-1i64).into());
        }
        if let Some(show) = think.show {
            put(body, "includeThoughts", show.into());
        }
    } else if think.asked() {
        let max = request.param(Param::MaxTokens).and_then(Json::u64);
        if think.adaptive && think.effort.is_none() {
            put(body, "thinkingBudget", (-1i64).into());
        } else if let Some(budget) = think.as_budget(max) {
            put(body, "thinkingBudget", budget.into());
        }
        // Anthropic shows thoughts unless it is told not to.
        if think.show.unwrap_or(request.wire() == Wire::Anthropic) {
            put(body, "includeThoughts", true.into());
        }
    }
}

pub(crate) fn response(response: &Response, answer: &Answer<'_>, loss: &mut Loss) -> Json {
    let same = response.extra.wire == WIRE;
    let mut body = response.extra.open(WIRE, loss);
    let mut candidate = response.inner.as_ref().map_or_else(Json::empty, |inner| inner.open(WIRE, loss));
    if !same {
        response.lose_others(loss);
    }
    let (mut list, mut places) = (Vec::new(), Vec::new());
    if same {
        list.extend(
            response.parts.iter().filter_map(|part| parts::encode(part, &CallNames::new(), loss).ok().flatten()),
        );
    } else {
        match parts::encode_signed(&response.parts, &CallNames::new(), loss) {
            Ok(encoded) => (list, places) = encoded,
            Err(refused) => loss.add(refused.pointer(), "the target has no such content"),
        }
    }
    if !same || response.inner.is_some() {
        let cited = response.parts.iter().enumerate().flat_map(|(at, part)| {
            let place = places.get(at).copied().flatten().zip(part.text());
            part.citations.iter().map(move |citation| (citation, place))
        });
        if let Some(grounding) = cite::to_gemini(cited) {
            candidate.put("groundingMetadata", grounding);
        }
        let likely: Vec<_> = response.parts.iter().flat_map(|part| part.probs.iter().cloned()).collect();
        if !likely.is_empty() {
            candidate.put("logprobsResult", probs::to_gemini(&likely));
        }
        if !list.is_empty() {
            candidate.put("content.parts", list);
        }
        if !same || !candidate.get("content").is_null() {
            candidate.put("content.role", "model");
        }
        if same {
            candidate.put_some("finishReason", Some(response.finish_words.clone()).filter(|words| !words.is_null()));
        } else {
            candidate.put("finishReason", types::finish_reason(response.ending()));
            candidate.put("index", 0u64);
        }
        let mut candidates = vec![candidate];
        candidates.extend(response.others.iter().filter(|_| same).cloned());
        body.put("candidates", candidates);
    }
    if same {
        body.put_some("usageMetadata", Some(response.usage_object.clone()).filter(|usage| !usage.is_null()));
        body.put_some("modelVersion", response.model.as_ref());
        body.put_some("responseId", response.id.as_ref());
    } else {
        body.put("usageMetadata", types::usage_object(&response.usage));
        body.put("modelVersion", answer.model.or(response.model.as_deref()).unwrap_or_default());
        body.put("responseId", answer.seed);
    }
    body
}
