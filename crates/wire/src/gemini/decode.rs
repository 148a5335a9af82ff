//! Gemini requests and answers into the IR.

use super::{
    parts::{self, WIRE, part},
    types,
};
use crate::{
    Usage,
    convert::{Refused, take_params},
    ir::{Choice, Extra, Finish, Format, Function, Json, Kind, Part, Request, Response, Role, Think, Tool, Turn},
};

pub(crate) fn request(mut body: Json) -> Result<Request, Refused> {
    types::camel(&mut body);
    let contents = match body.take("contents") {
        Some(Json::Array(contents)) => contents,
        Some(one @ Json::Object(_)) => vec![one],
        Some(Json::String(text)) => vec![crate::ir::object! { "parts": vec![crate::ir::object! { "text": text }] }],
        _ => return Err(Refused::invalid("/contents", "not a list")),
    };
    let turns = contents.into_iter().enumerate().map(|(at, one)| turn(one, &format!("/contents/{at}")));
    let turns = turns.collect::<Result<_, _>>()?;
    let system = match body.take_if("systemInstruction", |system| system.str().is_some()) {
        Some(text) => vec![part(Kind::Text(text.string().unwrap_or_default()), "/systemInstruction", Json::empty())],
        None => parts_of(body.take_array("systemInstruction.parts").unwrap_or_default(), "/systemInstruction"),
    };
    let mut tools = Vec::new();
    let wanted = |tools: &Json| matches!(tools, Json::Array(tools) if !tools.is_empty());
    let found = body.take_if("tools", wanted).and_then(Json::array).unwrap_or_default();
    for (at, one) in found.into_iter().enumerate() {
        tool(one, &format!("/tools/{at}"), &mut tools);
    }
    Ok(Request {
        // The path may have said it; a body of the command line's may too.
        model: body.take_str("model").unwrap_or_default(),
        stream: false,
        system,
        system_plain: false,
        turns,
        tools,
        choice: choice(&mut body),
        parallel: None,
        think: think(&mut body),
        format: format(&mut body),
        params: take_params(WIRE, &mut body),
        extra: Extra::new(WIRE, "", body),
    })
}

fn choice(body: &mut Json) -> Option<Choice> {
    const MODE: &str = "toolConfig.functionCallingConfig.mode";
    const NAMES: &str = "toolConfig.functionCallingConfig.allowedFunctionNames";
    if body.take_word(MODE, "AUTO") {
        return Some(Choice::Auto);
    }
    if body.take_word(MODE, "NONE") {
        return Some(Choice::None);
    }
    if !body.take_word(MODE, "ANY") {
        return None;
    }
    let names = body.take_if(NAMES, |names| matches!(names, Json::Array(names) if !names.is_empty()));
    Some(match names.and_then(Json::array) {
        Some(names) => Choice::Named(names.into_iter().filter_map(Json::string).collect()),
        None => Choice::Required,
    })
}

fn think(body: &mut Json) -> Think {
    let mut think =
        Think { show: body.take_bool("generationConfig.thinkingConfig.includeThoughts"), ..Think::default() };
    if let Some(level) = body.take_str("generationConfig.thinkingConfig.thinkingLevel") {
        think.effort = Some(level.to_ascii_lowercase());
        think.summary = Some(level);
    }
    let budget = body.take_if("generationConfig.thinkingConfig.thinkingBudget", |budget| {
        budget.u64().is_some() || budget.f64() == Some(-1.0)
    });
    match budget.map(|budget| budget.u64()) {
        Some(Some(0)) => think.off = true,
        Some(Some(budget)) => think.budget = Some(budget),
        Some(None) => think.adaptive = true,
        None => {}
    }
    think
}

fn format(body: &mut Json) -> Option<Format> {
    const MIME: &str = "generationConfig.responseMimeType";
    if !body.take_word(MIME, "application/json") {
        return None;
    }
    let schema = |schema, openapi| Format::Schema { name: None, description: None, schema, strict: None, openapi };
    let is_schema = |value: &Json| matches!(value, Json::Object(_));
    if let Some(found) = body.take_if("generationConfig.responseJsonSchema", is_schema) {
        return Some(schema(found, false));
    }
    if let Some(found) = body.take_if("generationConfig.responseSchema", is_schema) {
        return Some(schema(found, true));
    }
    Some(Format::Json)
}

fn parts_of(items: Vec<Json>, at: &str) -> Vec<Part> {
    let items = items.into_iter().enumerate();
    items.map(|(index, item)| parts::decode(item, &format!("{at}/parts/{index}"))).collect()
}

fn turn(mut content: Json, at: &str) -> Result<Turn, Refused> {
    let role = match content.take_str("role").as_deref() {
        Some("model") => Role::Assistant,
        Some("user" | "function") => Role::User,
        // Without a role it is the user's; the system's is told apart by having none of both.
        None => Role::Developer,
        Some(_) => return Err(Refused::invalid(format!("{at}/role"), "not user or model")),
    };
    let wanted = |parts: &Json| matches!(parts, Json::Array(parts) if !parts.is_empty());
    let parts = parts_of(content.take_if("parts", wanted).and_then(Json::array).unwrap_or_default(), at);
    let named = role != Role::Developer;
    let role = if named { role } else { Role::User };
    // `plain` remembers that no role was named.
    Ok(Turn { role, parts, plain: !named, extra: Extra::new(WIRE, at, content) })
}

fn tool(mut tool: Json, at: &str, out: &mut Vec<Tool>) {
    let plain =
        |list: &Json| matches!(list, Json::Array(list) if list.iter().all(|one| one.get("name").str().is_some()));
    let functions = tool.take_if("functionDeclarations", plain).and_then(Json::array);
    for (index, mut one) in functions.into_iter().flatten().enumerate() {
        let schema = one.take_if("parametersJsonSchema", |schema| matches!(schema, Json::Object(_)));
        let openapi = schema.is_none();
        out.push(Tool::Function(Function {
            name: one.take_str("name").unwrap_or_default(),
            description: one.take_str("description"),
            schema: schema.or_else(|| one.take("parameters")),
            openapi,
            strict: None,
            custom: false,
            extra: Extra::new(WIRE, &format!("{at}/functionDeclarations/{index}"), one),
        }));
    }
    for (name, value) in tool.into_members() {
        let search = matches!(name.as_str(), "googleSearch" | "googleSearchRetrieval");
        let mut whole = Json::empty();
        whole.put_member(&name, value);
        let extra = Extra::new(WIRE, at, Json::empty());
        out.push(if search { Tool::WebSearch { whole, extra } } else { Tool::Foreign { whole, extra } });
    }
}

pub(crate) fn response(mut body: Json) -> Result<Response, Refused> {
    types::camel(&mut body);
    let blocked = body.at("promptFeedback.blockReason").str().is_some();
    let mut candidates = body.take_array("candidates").unwrap_or_default();
    if candidates.is_empty() && !blocked {
        return Err(Refused::invalid("/candidates", "there is none, and no reason why"));
    }
    let mut inner = None;
    let mut parts = Vec::new();
    let mut finish_words = Json::Null;
    if !candidates.is_empty() {
        let mut candidate = candidates.remove(0);
        let wanted = |parts: &Json| matches!(parts, Json::Array(parts) if !parts.is_empty());
        let found = candidate.take_if("content.parts", wanted).and_then(Json::array).unwrap_or_default();
        parts = parts_of(found, "/candidates/0/content");
        candidate.take_word("content.role", "model");
        finish_words = candidate.take("finishReason").unwrap_or_default();
        inner = Some(Box::new(Extra::new(WIRE, "/candidates/0", candidate)));
    }
    let usage_object = body.take("usageMetadata").unwrap_or_default();
    Ok(Response {
        id: body.take_str("responseId"),
        model: body.take_str("modelVersion"),
        created: None,
        parts,
        finish: match finish_words.str() {
            Some(reason) => types::finish(reason),
            None if blocked => Finish::Filter,
            None => Finish::Stop,
        },
        stop: None,
        usage: if usage_object.is_null() { Usage::default() } else { types::usage(&usage_object) },
        usage_object,
        finish_words,
        inner,
        others: candidates,
        extra: Extra::new(WIRE, "", body),
    })
}
