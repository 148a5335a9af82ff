//! The IR into Responses requests and answers.

use std::collections::BTreeSet;

use super::{
    input::WIRE,
    items,
    output::{self, Shell},
    types,
};
use crate::{
    convert::{Answer, Quirks, Refused, put_format, put_params, search_tool},
    ir::{Choice, Function, Json, Kind, Request, Response, Role, Tool, join_text, object},
    loss::Loss,
};

pub(crate) fn request(request: &Request, quirks: Quirks, loss: &mut Loss) -> Result<Json, Refused> {
    let same = request.wire() == WIRE;
    let mut body = request.extra.open(WIRE, loss);
    body.put("model", &request.model);
    if !request.system.is_empty() {
        request.system.iter().for_each(|part| drop(part.extra.open(WIRE, loss)));
        body.put("instructions", join_text(&request.system, "\n\n", loss));
    }
    let mut input = Vec::with_capacity(request.turns.len());
    for turn in &request.turns {
        if same {
            input.extend(items::same(turn, loss)?);
        } else {
            input.extend(items::from_others(turn, loss)?);
        }
    }
    match request.turns.as_slice() {
        [only] if same && only.extra.at == "/input" => {
            body.put("input", only.parts.first().and_then(crate::ir::Part::text).unwrap_or_default());
        }
        _ => body.put("input", input),
    }
    put_params(request, WIRE, quirks, &mut body, loss)?;
    let tools: Vec<Json> = request.tools.iter().map(|one| tool(one, loss)).collect();
    let has_tools = same || !tools.is_empty();
    if !tools.is_empty() {
        body.put("tools", tools);
    }
    body.put_some("tool_choice", request.choice.as_ref().filter(|_| has_tools).map(|one| choice(request, one)));
    body.put_some("parallel_tool_calls", request.parallel.filter(|_| has_tools));
    put_format(request, &mut body, WIRE, "text.format", "text.format");
    body.put_some("reasoning.effort", request.think.as_effort());
    match (same, request.think.show) {
        (true, _) => body.put_some("reasoning.summary", request.think.summary.as_ref()),
        (false, Some(true)) => body.put("reasoning.summary", "auto"),
        // Anthropic shows thoughts unless it is told not to.
        (false, None) if request.think.asked() && request.wire() == crate::Wire::Anthropic => {
            body.put("reasoning.summary", "auto");
        }
        _ => {}
    }
    if !same && request.think.asked() {
        let mut include = body.take_array("include").unwrap_or_default();
        include.push("reasoning.encrypted_content".into());
        body.put("include", include);
    }
    if request.stream {
        body.put("stream", true);
    }
    Ok(body)
}

fn tool(tool: &Tool, loss: &mut Loss) -> Json {
    match tool {
        Tool::Function(one) => function(one, loss),
        Tool::Namespace { name, tools, extra } => {
            let mut out = extra.open(WIRE, loss);
            out.put("type", "namespace");
            out.put("name", name);
            out.put("tools", tools.iter().map(|one| function(one, loss)).collect::<Vec<_>>());
            out
        }
        Tool::WebSearch { extra, whole } if extra.wire != WIRE => search_tool(whole, extra, WIRE, loss),
        Tool::WebSearch { whole, .. } | Tool::Foreign { whole, .. } => whole.clone(),
    }
}

fn function(function: &Function, loss: &mut Loss) -> Json {
    let same = function.extra.wire == WIRE;
    let mut tool = function.extra.open(WIRE, loss);
    tool.put("type", if function.custom { "custom" } else { "function" });
    tool.put("name", &function.name);
    tool.put_some("description", function.description.as_ref());
    tool.put_some("parameters", function.schema.clone());
    if same || function.custom {
        tool.put_some("strict", function.strict);
    } else {
        tool.add(&[("parameters".into(), object! { "type": "object", "properties": Json::empty() })]);
        // Here tools are strict unless they say otherwise.
        tool.put("strict", function.strict.unwrap_or(false));
    }
    tool
}

fn choice(request: &Request, choice: &Choice) -> Json {
    let customs: BTreeSet<&str> = request
        .tools
        .iter()
        .filter_map(|tool| match tool {
            Tool::Function(one) if one.custom => Some(one.name.as_str()),
            _ => None,
        })
        .collect();
    let named = |name: &String| {
        let custom = customs.contains(name.as_str());
        object! { "type": if custom { "custom" } else { "function" }, "name": name }
    };
    match choice {
        Choice::Auto => "auto".into(),
        Choice::None => "none".into(),
        Choice::Required => "required".into(),
        Choice::Named(names) if names.len() == 1 => named(&names[0]),
        Choice::Named(names) => object! {
            "type": "allowed_tools", "mode": "required", "tools": names.iter().map(named).collect::<Vec<_>>(),
        },
    }
}

pub(crate) fn response(response: &Response, answer: &Answer<'_>, loss: &mut Loss) -> Json {
    if response.extra.wire == WIRE {
        return same(response, loss);
    }
    response.extra.open(WIRE, loss);
    if let Some(inner) = &response.inner {
        inner.open(WIRE, loss);
    }
    response.lose_others(loss);
    let shell = Shell { seed: answer.seed, created: answer.created, echo: &answer.memory.echo };
    let model = answer.model.or(response.model.as_deref()).unwrap_or_default();
    let mut list: Vec<Json> = Vec::new();
    let is_text = |kind: &Kind| matches!(kind, Kind::Text(_) | Kind::Refusal(_));
    for run in response.parts.chunk_by(|one, next| is_text(&one.kind) && is_text(&next.kind)) {
        let id = list.len();
        if is_text(&run[0].kind) {
            let pieces = run.iter().filter_map(|part| items::piece(part, Role::Assistant, loss).ok().flatten());
            list.push(output::message(&shell, id, pieces.collect()));
            continue;
        }
        match items::single(&run[0], loss) {
            Ok(Some(mut item)) => {
                output::give_id(&shell, id, &mut item);
                if answer.memory.hide_sealed {
                    item.take("encrypted_content");
                }
                list.push(item);
            }
            // It was named.
            Ok(None) if matches!(run[0].kind, Kind::Foreign(_)) => {}
            Ok(None) | Err(_) => run[0].extra.lose("", "the target has no such content", loss),
        }
    }
    let finish = response.ending();
    output::whole(&shell, model, types::ending(finish), list, types::usage_object(&response.usage))
}

fn same(response: &Response, loss: &mut Loss) -> Json {
    let mut body = response.extra.open(WIRE, loss);
    body.put_some("id", response.id.as_ref());
    body.put("object", "response");
    body.put_some("created_at", response.created);
    body.put_some("model", response.model.as_ref());
    body.add(response.finish_words.members());
    let mut list: Vec<Json> = Vec::new();
    let mut rest = response.parts.as_slice();
    while let Some((first, _)) = rest.split_first() {
        let Some(shell) = &first.item else {
            list.extend(items::single(first, loss).ok().flatten());
            rest = &rest[1..];
            continue;
        };
        let more = rest[1..].iter().take_while(|part| part.item.is_none() && is_content(part)).count();
        let (run, after) = rest.split_at(1 + more);
        let mut item = shell.open(WIRE, loss);
        item.put("type", "message");
        item.put("role", "assistant");
        let pieces = run.iter().filter_map(|part| items::piece(part, Role::Assistant, loss).ok().flatten());
        item.put("content", pieces.collect::<Vec<_>>());
        list.push(item);
        rest = after;
    }
    body.put("output", list);
    if !response.usage_object.is_null() {
        body.put("usage", response.usage_object.clone());
    }
    body
}

/// It is a part of a message, not an item.
fn is_content(part: &crate::ir::Part) -> bool {
    part.extra.at.contains("/content/")
}
