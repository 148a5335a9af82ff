//! The IR into Chat requests and answers.

use super::{messages, types};
use crate::{
    Wire,
    convert::{Answer, Quirks, Refused, cite, probs, put_format, put_params, search_tool},
    ir::{Choice, Function, Json, Kind, Param, Request, Response, Tool, join_text, object},
    loss::Loss,
};

const WIRE: Wire = Wire::Chat;

pub(crate) fn request(request: &Request, quirks: Quirks, loss: &mut Loss) -> Result<Json, Refused> {
    let same = request.wire() == WIRE;
    let mut body = request.extra.open(WIRE, loss);
    body.put("model", &request.model);
    let mut list = Vec::new();
    if !request.system.is_empty() {
        for part in &request.system {
            part.extra.open(WIRE, loss);
        }
        let text = join_text(&request.system, "\n\n", loss);
        list.push(object! { "role": "system", "content": text });
    }
    if same {
        list.extend(messages::same(&request.turns, loss)?);
    } else {
        list.extend(messages::from_others(&request.turns, quirks, loss)?);
    }
    body.put("messages", list);
    put_params(request, WIRE, quirks, &mut body, loss)?;
    tools(request, &mut body, loss);
    body.put_some(
        "tool_choice",
        request.choice.as_ref().filter(|_| has_tools(request, same)).map(|one| choice(request, one)),
    );
    body.put_some("parallel_tool_calls", request.parallel.filter(|_| has_tools(request, same)));
    put_format(request, &mut body, WIRE, "response_format", "response_format.json_schema");
    think(request, quirks, &mut body, loss);
    if request.stream {
        body.put("stream", true);
        if !same && quirks.include_usage {
            body.put("stream_options.include_usage", true);
        }
    }
    Ok(body)
}

fn has_tools(request: &Request, same: bool) -> bool {
    same || !request.tools.is_empty()
}

fn tools(request: &Request, body: &mut Json, loss: &mut Loss) {
    let mut tools = Vec::new();
    for tool in &request.tools {
        match tool {
            Tool::Function(one) => tools.push(function(one, loss)),
            Tool::WebSearch { whole, extra } if extra.wire == WIRE => body.put("web_search_options", whole.clone()),
            Tool::WebSearch { whole, extra } => {
                body.put("web_search_options", search_tool(whole, extra, WIRE, loss));
            }
            Tool::Foreign { whole, .. } => tools.push(whole.clone()),
            Tool::Namespace { .. } => {}
        }
    }
    if !tools.is_empty() {
        body.put("tools", tools);
    }
}

fn function(function: &Function, loss: &mut Loss) -> Json {
    let mut tool = function.extra.open(WIRE, loss);
    let kind = if function.custom { "custom" } else { "function" };
    tool.put("type", kind);
    tool.put(&format!("{kind}.name"), &function.name);
    tool.put_some(&format!("{kind}.description"), function.description.as_ref());
    tool.put_some("function.parameters", function.schema.clone());
    tool.put_some("function.strict", function.strict);
    tool
}

fn choice(request: &Request, choice: &Choice) -> Json {
    let named = |name: &String| {
        let custom =
            request.tools.iter().any(|tool| matches!(tool, Tool::Function(one) if one.custom && one.name == *name));
        let kind = if custom { "custom" } else { "function" };
        let mut tool = object! { "type": kind };
        tool.put(&format!("{kind}.name"), name);
        tool
    };
    match choice {
        Choice::Auto => "auto".into(),
        Choice::None => "none".into(),
        Choice::Required => "required".into(),
        Choice::Named(names) if names.len() == 1 => named(&names[0]),
        Choice::Named(names) => object! {
            "type": "allowed_tools",
            "allowed_tools": object! { "mode": "required", "tools": names.iter().map(named).collect::<Vec<_>>() },
        },
    }
}

fn think(request: &Request, quirks: Quirks, body: &mut Json, loss: &mut Loss) {
    let think = &request.think;
    let effort = think.as_effort();
    if request.wire() == WIRE || !(quirks.thinking_switch || quirks.enable_thinking) {
        body.put_some("reasoning_effort", effort);
        return;
    }
    if effort.is_none() {
        return;
    }
    if quirks.thinking_switch {
        body.put("thinking.type", if think.off { "disabled" } else { "enabled" });
        if think.budget.is_some() || think.effort.is_some() {
            loss.note(request.think_pointer(), "the target turns thinking on or off, and bounds it not");
        }
    }
    if quirks.enable_thinking {
        body.put("enable_thinking", !think.off);
        let max = request.param(Param::MaxTokens).and_then(Json::u64);
        body.put_some("thinking_budget", think.as_budget(max));
    }
}

pub(crate) fn response(response: &Response, answer: &Answer<'_>, loss: &mut Loss) -> Json {
    let same = response.extra.wire == WIRE;
    let mut body = response.extra.open(WIRE, loss);
    let id = response.id.clone().filter(|_| same).unwrap_or_else(|| format!("chatcmpl-{}", answer.seed));
    body.put("id", id);
    body.put("object", "chat.completion");
    body.put("created", response.created.filter(|_| same).unwrap_or(answer.created));
    body.put("model", answer.model.filter(|_| !same).or(response.model.as_deref()).unwrap_or_default());
    let mut choice = response.inner.as_ref().map_or_else(Json::empty, |inner| inner.open(WIRE, loss));
    if !same {
        choice.put("index", 0u64);
    }
    let mut message = choice.take("message").unwrap_or_else(Json::empty);
    message.put("role", "assistant");
    let mut texts: Vec<&str> = Vec::new();
    let (mut cited, mut start) = (Vec::new(), 0);
    let (mut rest, mut likely) = (Vec::new(), Vec::new());
    for part in &response.parts {
        match &part.kind {
            Kind::Text(text) => {
                part.extra.open(WIRE, loss);
                let length = text.chars().count() as u64;
                cited.extend(part.citations.iter().map(|citation| cite::to_openai(citation, start, length, true)));
                start += length;
                likely.extend(probs::to_openai(&part.probs));
                texts.push(text);
            }
            Kind::Thinking { texts, signature, .. } if !same => {
                if signature.is_some() {
                    loss.add(part.signature_at(), "the target has no signatures");
                }
                if answer.show_thoughts && !texts.is_empty() {
                    let before = message.get("reasoning_content").str().unwrap_or_default().to_owned();
                    message.put("reasoning_content", before + &texts.join("\n\n"));
                } else if !texts.is_empty() {
                    part.extra.lose("", "thoughts are not shown", loss);
                }
            }
            _ => rest.push(part.clone()),
        }
    }
    if texts.is_empty() {
        message.put_some("content", (!same).then_some(Json::Null));
    } else {
        message.put("content", texts.concat());
    }
    if let Err(refused) = messages::fill(&mut message, &rest, false, false, loss) {
        loss.add(refused.pointer(), "the target has no such content");
    }
    if !same {
        message.add(&[("refusal".into(), Json::Null)]);
        if !cited.is_empty() {
            message.put("annotations", cited);
        }
    }
    choice.put("message", message);
    if same {
        choice.put("finish_reason", response.finish_words.clone());
    } else {
        let likely = (!likely.is_empty()).then(|| object! { "content": likely, "refusal": Json::Null });
        choice.put("logprobs", likely.unwrap_or(Json::Null));
        choice.put("finish_reason", types::finish_reason(response.ending()));
    }
    let mut choices = vec![choice];
    if same {
        choices.extend(response.others.iter().cloned());
    } else {
        response.lose_others(loss);
    }
    body.put("choices", choices);
    if same {
        body.put_some("usage", Some(response.usage_object.clone()).filter(|usage| !usage.is_null()));
    } else {
        body.put("usage", types::usage_object(&response.usage));
    }
    body
}
