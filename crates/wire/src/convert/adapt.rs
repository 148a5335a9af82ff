//! What changes between any two wires: names of tools, tools that take free text, calls without an answer, and
//! reasoning that only its issuer can read.

use super::{
    Answer, Asked, Memory, Quirks, Refused, cite, media,
    names::fit_id,
    open_envelope,
    pairs::{OpenCall, OpenCalls},
    params::SEALED_REASONING,
    probs, seal_envelope, search, to_json_schema,
};
use crate::{
    Wire,
    ir::{
        Choice, Extra, Finish, Format, Function, Json, Kind, Name, Param, Part, Request, Response, Role, Source, Think,
        Tool, Turn, lose_usage, object,
    },
    loss::{Loss, step},
    openai_responses,
};

fn takes_custom(wire: Wire) -> bool {
    matches!(wire, Wire::Chat | Wire::Responses)
}

/// Makes a request fit for another wire.
pub(crate) fn request(
    request: &mut Request,
    to: Wire,
    asked: &Asked<'_>,
    quirks: Quirks,
    loss: &mut Loss,
) -> Result<Memory, Refused> {
    let mut memory = Memory {
        include_usage: request.extra.rest.at("stream_options.include_usage").bool() == Some(true)
            || request
                .param(Param::ServiceOptions)
                .is_some_and(|options| options.get("include_usage").bool() == Some(true)),
        ..Memory::default()
    };
    refuse(request)?;
    if request.wire() == Wire::Responses {
        let sealed = |words: &Json| matches!(words, Json::Array(words) if words.iter().any(|word| word.str() == Some(SEALED_REASONING)));
        memory.hide_sealed = !request.param(Param::Include).is_some_and(sealed);
    }
    if request.wire() == Wire::Gemini {
        from_gemini(request);
    }
    search::fit(request, to, quirks, loss)?;
    tools(request, to, &mut memory, loss)?;
    history(request, to, &mut memory);
    media::fit(request, to, loss);
    wishes(request, to, quirks, loss);
    if let Some(Choice::Named(names)) = &mut request.choice {
        for name in names {
            *name = memory.upstream_name(name, None, to);
        }
    }
    let from = request.wire();
    for turn in &mut request.turns {
        adopt_signatures(&mut turn.parts, from);
        turn.parts = std::mem::take(&mut turn.parts)
            .into_iter()
            .filter_map(|part| keep_thinking(part, to, asked, quirks, loss))
            .collect();
    }
    if to == Wire::Anthropic && request.think.asked() && calls_without_thought(&request.turns) {
        loss.note(request.think_pointer(), "the calls of the history come without the thoughts that led to them");
        request.think = Think::default();
    }
    answer_every_call(&mut request.turns);
    Ok(memory)
}

/// What cannot be left out: state that another vendor keeps, and sound that cannot be made.
fn refuse(request: &Request) -> Result<(), Refused> {
    const STATE: [&str; 6] =
        ["previous_response_id", "conversation", "background", "prompt", "cachedContent", "container"];
    let rest = &request.extra.rest;
    for name in STATE {
        let value = rest.get(name);
        if !value.is_void() && value.bool() != Some(false) {
            return Err(Refused::unsupported(format!("/{name}"), "only the vendor that keeps it can serve it"));
        }
    }
    if !rest.get("mcp_servers").is_void() {
        return Err(Refused::unsupported("/mcp_servers", "the target calls no servers"));
    }
    for (path, pointer) in
        [("modalities", "/modalities"), ("generationConfig.responseModalities", "/generationConfig/responseModalities")]
    {
        if let Json::Array(words) = rest.at(path)
            && words.iter().filter_map(Json::str).any(|word| !word.eq_ignore_ascii_case("text"))
        {
            return Err(Refused::unsupported(pointer, "the target answers in text"));
        }
    }
    for part in request.turns.iter().flat_map(|turn| &turn.parts) {
        if let Kind::Foreign(whole) = &part.kind
            && (matches!(whole.get("type").str(), Some("input_file" | "file"))
                || (part.extra.wire == Wire::Responses && openai_responses::is_elsewhere(whole)))
        {
            return Err(Refused::unsupported(&part.extra.at, "it refers to what only its vendor keeps"));
        }
        if let Kind::Media { source: Source::Url { url, .. }, .. } = &part.kind
            && media::kept_by_vendor(url)
        {
            return Err(Refused::unsupported(&part.extra.at, "a file that only its vendor can fetch"));
        }
    }
    Ok(())
}

/// What of thinking and of the answer's form the target has no word for.
fn wishes(request: &mut Request, to: Wire, quirks: Quirks, loss: &mut Loss) {
    let from = request.wire();
    if to == Wire::Chat && !quirks.reasoning_content && request.think.show == Some(true) {
        let member = match from {
            Wire::Anthropic => "display",
            Wire::Gemini => "includeThoughts",
            Wire::Chat | Wire::Responses => "summary",
        };
        loss.note(step(request.think_pointer(), member), "the target does not show thoughts");
    }
    if matches!(to, Wire::Chat | Wire::Responses) && request.think.effort.as_deref() == Some("max") {
        request.think.effort = Some("xhigh".to_owned());
    }
    if matches!(to, Wire::Anthropic | Wire::Gemini)
        && let Some(Format::Schema { description: Some(_), .. }) = &request.format
    {
        let within = if from == Wire::Chat { "/response_format/json_schema" } else { request.format_pointer() };
        loss.note(step(within, "description"), "the target's schemas of answers have no description");
    }
}

/// Schemas in the spelling of all others, and an id for every call: Gemini goes without.
fn from_gemini(request: &mut Request) {
    for tool in &mut request.tools {
        if let Tool::Function(function) = tool {
            function.schema = function.schema.take().map(to_json_schema);
            function.openapi = false;
        }
    }
    if let Some(Format::Schema { schema, openapi, .. }) = &mut request.format {
        *schema = to_json_schema(std::mem::take(schema));
        *openapi = false;
    }
    let mut open = OpenCalls::default();
    let mut made = 0u64;
    for part in request.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
        to_standard_alphabet(&mut part.kind);
        match &mut part.kind {
            Kind::Call { id, name, .. } => {
                let id = id.get_or_insert_with(|| {
                    made += 1;
                    format!("call_{made}")
                });
                open.push(Some(id.as_str()), name, false);
            }
            Kind::Result { id, name, .. } => match open.answered(id.as_deref(), name.as_deref()) {
                Some(call) => *id = call.id.map(|id| id.as_str().to_owned()),
                None => id.clone_from(&id.clone().or_else(|| name.clone())),
            },
            _ => {}
        }
    }
}

/// Gemini takes media in either alphabet of base64, and Google's Python SDK writes that of URLs; the others know the
/// standard one alone.
fn to_standard_alphabet(kind: &mut Kind) {
    match kind {
        Kind::Media { source: Source::Base64 { data, .. }, .. } if data.contains(['-', '_']) => {
            *data = data.replace('-', "+").replace('_', "/");
        }
        Kind::Result { content, .. } => content.iter_mut().for_each(|part| to_standard_alphabet(&mut part.kind)),
        _ => {}
    }
}

fn tools(request: &mut Request, to: Wire, memory: &mut Memory, loss: &mut Loss) -> Result<(), Refused> {
    let mut tools = Vec::new();
    for tool in std::mem::take(&mut request.tools) {
        match tool {
            Tool::Function(function) => tools.push(Tool::Function(rename(function, None, to, memory))),
            Tool::Namespace { name, tools: inner, extra } => {
                extra.open(to, loss);
                for function in inner {
                    tools.push(Tool::Function(rename(function, Some(&name), to, memory)));
                }
            }
            Tool::Foreign { extra, .. } => {
                return Err(Refused::unsupported(extra.at, "a tool that only its own vendor runs"));
            }
            Tool::WebSearch { .. } => tools.push(tool),
        }
    }
    request.tools = tools;
    Ok(())
}

fn rename(mut function: Function, namespace: Option<&str>, to: Wire, memory: &mut Memory) -> Function {
    function.name = memory.upstream_name(&function.name, namespace, to);
    if function.custom && !takes_custom(to) {
        memory.customs.insert(function.name.clone());
        function.custom = false;
        function.schema = Some(object! {
            "type": "object",
            "properties": object! { "input": object! { "type": "string" } },
            "required": vec![Json::from("input")],
        });
    }
    function
}

fn history(request: &mut Request, to: Wire, memory: &mut Memory) {
    for part in request.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
        match &mut part.kind {
            Kind::Call { id, name, custom, arguments } => {
                if let Some(id) = id {
                    fit_id(id, to);
                }
                let namespace = part.extra.rest.take_str("namespace");
                *name = memory.upstream_name(name, namespace.as_deref(), to);
                if *custom && !takes_custom(to) {
                    *custom = false;
                    *arguments = object! { "input": arguments.as_str() }.to_text();
                }
            }
            Kind::Result { id, name, custom, content, .. } => {
                if let Some(id) = id {
                    fit_id(id, to);
                }
                *custom &= takes_custom(to);
                content.iter_mut().for_each(flatten);
                if let Some(name) = name {
                    *name = memory.upstream_name(name, None, to);
                }
            }
            _ => flatten(part),
        }
    }
}

/// A search result, which only Anthropic has as a block, is text: title, address and what was found. So is a document that
/// is made of texts.
fn flatten(part: &mut Part) {
    let Kind::Foreign(block) = &mut part.kind else { return };
    let is_text =
        |list: &Json| matches!(list, Json::Array(list) if list.iter().all(|one| one.get("text").str().is_some()));
    let at = match block.get("type").str() {
        Some("search_result") => "content",
        Some("document") if block.at("source.content").str().is_some() || is_text(block.at("source.content")) => {
            block.take_word("source.type", "content");
            "source.content"
        }
        _ => return,
    };
    let mut lines: Vec<String> = ["title", "source"].iter().filter_map(|name| block.take_str(name)).collect();
    lines.extend(block.take_str(at));
    let content = block.take_array(at).unwrap_or_default();
    lines.extend(content.into_iter().filter_map(|mut piece| piece.take_str("text")));
    block.take("type");
    part.extra.rest = std::mem::take(block);
    part.kind = Kind::Text(lines.join("\n"));
}

/// Gemini signs the part that follows its thoughts: the signature becomes the thoughts' own.
fn adopt_signatures(parts: &mut Vec<Part>, from: Wire) {
    if from != Wire::Gemini {
        return;
    }
    let mut out: Vec<Part> = Vec::with_capacity(parts.len());
    for mut part in std::mem::take(parts) {
        if let Some(signature) = part.extra.rest.take_str("thoughtSignature") {
            if let Kind::Thinking { signature: own, .. } = &mut part.kind {
                *own = Some(signature);
                out.push(part);
                continue;
            }
            if let Some(Kind::Thinking { signature: own @ None, .. }) = out.last_mut().map(|part| &mut part.kind) {
                *own = Some(signature);
                if let Some(thought) = out.last_mut() {
                    thought.signed_at = Some(part.extra.at.as_str().into());
                }
            } else {
                let kind = Kind::Thinking { texts: Vec::new(), signature: Some(signature), redacted: true };
                out.push(Part::new(kind, from, &part.extra.at, Json::empty()));
            }
        }
        out.push(part);
    }
    *parts = out;
}

/// A thought of the history: it stays if the server that is asked has signed it, or asks for no signature.
fn keep_thinking(mut part: Part, to: Wire, asked: &Asked<'_>, quirks: Quirks, loss: &mut Loss) -> Option<Part> {
    let Kind::Thinking { signature, redacted, texts } = &mut part.kind else { return Some(part) };
    let opened = signature.as_deref().and_then(|sealed| open_envelope(to, asked.issuer?, sealed));
    // An envelope around nothing tells whose thought it is, and that nobody takes it back.
    if let Some(opened) = opened.filter(|opened| !opened.signature.is_empty()) {
        (*signature, *redacted) = (Some(opened.signature), opened.redacted);
        return Some(part);
    }
    let marker = signature.as_deref() == Some("skip_thought_signature_validator") && texts.is_empty();
    let shown = to == Wire::Chat && quirks.reasoning_content && !texts.is_empty();
    if signature.take().is_some() && shown {
        part.extra.note("", "a signature that only its issuer can read", loss);
    }
    if shown {
        return Some(part);
    }
    if !marker {
        part.extra.note("", "reasoning that only its issuer can read", loss);
    }
    None
}

/// The history ends in a step of calls, and that step does not begin with a thought: Anthropic refuses this while
/// thinking is on.
fn calls_without_thought(turns: &[Turn]) -> bool {
    let only_results = |turn: &&Turn| turn.parts.iter().all(|part| matches!(part.kind, Kind::Result { .. }));
    let mut back = turns.iter().rev().skip_while(|turn| turn.role != Role::Assistant && only_results(turn));
    let step: Vec<&Turn> = back.by_ref().take_while(|turn| turn.role == Role::Assistant).collect();
    let mut parts = step.iter().rev().flat_map(|turn| &turn.parts);
    let thinks = parts.clone().next().is_some_and(|part| matches!(part.kind, Kind::Thinking { .. }));
    !thinks && parts.any(|part| matches!(part.kind, Kind::Call { .. }))
}

/// Every call of the history gets a result: all vendors refuse one without.
fn answer_every_call(turns: &mut Vec<Turn>) {
    let mut out: Vec<Turn> = Vec::with_capacity(turns.len());
    let mut open = OpenCalls::default();
    for turn in std::mem::take(turns) {
        let results = turn.parts.iter().any(|part| matches!(part.kind, Kind::Result { .. }));
        if !open.is_empty() && !results && turn.role != Role::Assistant {
            out.extend(missing(std::mem::take(&mut open), &turn.extra));
        }
        for part in &turn.parts {
            match &part.kind {
                Kind::Call { id, name, custom, .. } => open.push(id.as_deref(), name, *custom),
                Kind::Result { id, name, .. } => {
                    open.answered(id.as_deref(), name.as_deref());
                }
                _ => {}
            }
        }
        out.push(turn);
    }
    if let Some(last) = out.last().filter(|last| last.role != Role::Assistant) {
        let extra = last.extra.clone();
        out.extend(missing(open, &extra));
    }
    *turns = out;
}

fn missing(open: OpenCalls, near: &Extra) -> Option<Turn> {
    let node = || Extra::new(near.wire, &near.at, Json::empty());
    let parts: Vec<Part> = open
        .into_calls()
        .map(|OpenCall { id, name, custom }| {
            let text = Part::new(Kind::Text("no result".to_owned()), near.wire, &near.at, Json::empty());
            let text_of = |name: Name| name.as_str().to_owned();
            let (id, name, content) = (id.map(text_of), Some(text_of(name)), vec![text]);
            let kind = Kind::Result { id, name, content, plain: true, error: Some(true), custom };
            Part::new(kind, near.wire, &near.at, Json::empty())
        })
        .collect();
    (!parts.is_empty()).then(|| Turn { role: Role::User, parts, plain: false, extra: node() })
}

/// A custom tool's input, out of the arguments of the function it was made to.
pub(super) fn unwrapped(arguments: &str) -> String {
    let input = Json::parse(arguments.as_bytes()).ok().and_then(|mut value| value.take_str("input"));
    input.unwrap_or_else(|| arguments.to_owned())
}

pub(super) fn sealed(signature: &str, redacted: bool, from: Wire, answer: &Answer<'_>) -> String {
    seal_envelope(from, answer.issuer.unwrap_or_default(), signature, redacted)
}

/// Whether a client of this wire sends a thought that nobody signed back as its vendor's own, which refuses it. On the
/// Responses wire, it does so without its id, too; there who has not asked for signatures is shown none.
pub(super) const fn wants_signed(to: Wire) -> bool {
    matches!(to, Wire::Anthropic | Wire::Responses)
}

/// Whether this is the signature that Gemini leaves behind a text, of thoughts before it. Unless a call follows, nothing
/// needs it back, and as a block of its own behind the text it hides that from clients that show the last block.
pub(super) fn trails(from: Wire, kind: &Kind) -> bool {
    from == Wire::Gemini && matches!(kind, Kind::Thinking { texts, redacted: true, .. } if texts.is_empty())
}

/// The id of a call that came without.
pub(super) fn made_id(answer: &Answer<'_>, at: u64) -> String {
    format!("call_{}_{at}", answer.seed)
}

/// Makes a whole answer fit for the client.
///
/// # Errors
/// The model wrote a call that is none, and no other wire has a word for that.
pub(crate) fn response(response: &mut Response, to: Wire, answer: &Answer<'_>, loss: &mut Loss) -> Result<(), Refused> {
    let from = response.extra.wire;
    if response.finish == Finish::Malformed {
        return Err(Refused::invalid("/candidates/0/finishReason", MALFORMED));
    }
    if from == Wire::Responses {
        openai_responses::drop_echo(&mut response.extra.rest);
    }
    let at = if from == Wire::Gemini { "/usageMetadata" } else { "/usage" };
    lose_usage(from, &response.usage_object, at, loss);
    ending(response.finish, response.stop.as_deref(), to, loss);
    cite::collect(response, loss);
    probs::collect(response, loss);
    adopt_signatures(&mut response.parts, from);
    let is_call = |part: &Part| matches!(part.kind, Kind::Call { .. });
    let before_call: Vec<bool> = response.parts.iter().skip(1).map(is_call).chain([false]).collect();
    let (mut before_call, mut after_text) = (before_call.into_iter(), false);
    response.parts.retain(|part| {
        let trails = before_call.next() == Some(false) && after_text && trails(from, &part.kind);
        if trails {
            part.extra.lose("thoughtSignature", TRAILS, loss);
        }
        after_text = matches!(&part.kind, Kind::Text(text) if after_text || !text.is_empty());
        !trails
    });
    response.parts.retain(|part| match &part.kind {
        Kind::Thinking { texts, signature, .. } => signature.is_some() || texts.iter().any(|text| !text.is_empty()),
        Kind::Text(text) if text.is_empty() => {
            probs::lose_empty(part, to, loss);
            false
        }
        _ => true,
    });
    let mut calls = 0u64;
    for part in &mut response.parts {
        match &mut part.kind {
            Kind::Thinking { signature: Some(signature), redacted, .. } => {
                *signature = sealed(signature, *redacted, from, answer);
            }
            Kind::Thinking { signature: signature @ None, .. } if wants_signed(to) => {
                *signature = Some(sealed("", false, from, answer));
            }
            Kind::Call { id, name, arguments, custom } => {
                fit_id(id.get_or_insert_with(|| made_id(answer, calls)), to);
                calls += 1;
                if answer.memory.customs.contains(name) {
                    *custom = true;
                    *arguments = unwrapped(arguments);
                }
                let (client, namespace) = answer.memory.client_name(name);
                *name = client;
                if let Some(namespace) = namespace {
                    let rest = object! { "namespace": namespace };
                    part.item = Some(Box::new(Extra::new(from, &part.extra.at, rest)));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Why the signature behind a text goes no further.
pub(super) const TRAILS: &str = "nothing needs it back behind a text";

/// What the model did that a retry may mend.
pub(super) const MALFORMED: &str = "the model wrote a call that is none";

/// Names what the target's word for the end does not tell.
pub(super) fn ending(finish: Finish, stop: Option<&str>, to: Wire, loss: &mut Loss) {
    if to == Wire::Anthropic {
        return;
    }
    if stop.is_some() {
        loss.add("/stop_sequence", "the target does not tell which sequence was met");
    }
    if finish == Finish::Pause {
        loss.add("/stop_reason", "the target does not pause its turns");
    }
}
