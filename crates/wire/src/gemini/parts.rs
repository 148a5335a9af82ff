//! Parts of Gemini's contents, both ways.

use crate::{
    Wire,
    convert::{Refused, type_of_url},
    ir::{CallNames, Json, Kind, Media, Name, Part, Source, arguments_object, object},
    loss::Loss,
};

pub(super) const WIRE: Wire = Wire::Gemini;

pub(super) fn part(kind: Kind, at: &str, rest: Json) -> Part {
    Part::new(kind, WIRE, at, rest)
}

pub(super) fn decode(mut item: Json, at: &str) -> Part {
    let kind = if item.get("text").str().is_some() {
        let text = item.take_str("text").unwrap_or_default();
        if item.take_if("thought", |thought| thought.bool() == Some(true)).is_some() {
            Some(Kind::Thinking { texts: vec![text], signature: None, redacted: false })
        } else {
            Some(Kind::Text(text))
        }
    } else if item.at("functionCall.name").str().is_some() {
        let arguments = item.take_if("functionCall.args", |args| matches!(args, Json::Object(_)));
        let id = item.take_str("functionCall.id");
        let name = item.take_str("functionCall.name").unwrap_or_default();
        // Without arguments and with none are the same call; the first stays what it was.
        let arguments = arguments.map_or_else(String::new, |args| args.to_text());
        Some(Kind::Call { id, name, arguments, custom: false })
    } else if item.at("functionResponse.name").str().is_some() {
        Some(result(&mut item, at))
    } else {
        media(&mut item)
    };
    match kind {
        Some(kind) => part(kind, at, item),
        None => part(Kind::Foreign(item), at, Json::empty()),
    }
}

fn media(item: &mut Json) -> Option<Kind> {
    if let (Some(_), Some(_)) = (item.at("inlineData.mimeType").str(), item.at("inlineData.data").str()) {
        let mime = item.take_str("inlineData.mimeType")?;
        let what = Media::of_mime(&mime);
        let name = item.take_str("inlineData.displayName");
        let source = Source::Base64 { mime, data: item.take_str("inlineData.data")? };
        return Some(Kind::Media { what, source, name, detail: None });
    }
    let url = item.take_str("fileData.fileUri")?;
    let mime = item.take_str("fileData.mimeType");
    let what = mime.as_deref().map_or(Media::Document, Media::of_mime);
    Some(Kind::Media { what, source: Source::Url { url, mime }, name: None, detail: None })
}

fn result(item: &mut Json, at: &str) -> Kind {
    let id = item.take_str("functionResponse.id");
    let name = item.take_str("functionResponse.name");
    let at = format!("{at}/functionResponse");
    let mut error = None;
    let mut content = Vec::new();
    if let Some(response) = item.take("functionResponse.response") {
        let only = match response.members() {
            [(name, Json::String(text))] => Some((name.as_str(), text.clone())),
            _ => None,
        };
        let text = match only {
            Some(("error", text)) => {
                error = Some(true);
                text
            }
            Some(("output" | "result", text)) => text,
            _ => response.to_text(),
        };
        content.push(part(Kind::Text(text), &format!("{at}/response"), object! { "response": response }));
    }
    let more = item.take_array("functionResponse.parts").unwrap_or_default().into_iter().enumerate();
    content.extend(more.map(|(index, one)| decode(one, &format!("{at}/parts/{index}"))));
    Kind::Result { id, name, content, plain: false, error, custom: false }
}

pub(super) fn encode(part: &Part, names: &CallNames<'_>, loss: &mut Loss) -> Result<Option<Json>, Refused> {
    if let Kind::Foreign(whole) = &part.kind {
        if part.extra.wire != WIRE {
            part.extra.lose("", "the target has no such block", loss);
        }
        return Ok((part.extra.wire == WIRE).then(|| whole.clone()));
    }
    let same = part.extra.wire == WIRE;
    let mut item = part.extra.open(WIRE, loss);
    match &part.kind {
        Kind::Text(text) | Kind::Refusal(text) => item.put("text", text),
        Kind::Thinking { texts, .. } => {
            item.put("text", texts.join("\n\n"));
            item.put("thought", true);
        }
        Kind::Call { id, name, arguments, .. } => {
            item.put_some("functionCall.id", id.as_ref());
            item.put("functionCall.name", name);
            if !(same && arguments.is_empty()) {
                item.put("functionCall.args", arguments_object(arguments));
            }
        }
        Kind::Result { id, name, content, error, .. } => {
            let found = id.as_deref().and_then(|id| names.get(&Name::from(id)).copied());
            let name = name.as_deref().or(found);
            item.put_some("functionResponse.id", id.as_ref());
            item.put("functionResponse.name", name.unwrap_or("unknown"));
            response(content, *error, same, &mut item, loss)?;
        }
        Kind::Media { what, source, name, detail } => {
            if detail.is_some() {
                part.lose_detail("the target has another kind of resolution", loss);
            }
            match source {
                Source::Base64 { mime, data } => {
                    item.put("inlineData.mimeType", mime);
                    item.put("inlineData.data", data);
                    item.put_some("inlineData.displayName", name.as_ref().filter(|_| same));
                    if !same && name.is_some() {
                        part.lose_name("the target has no names of files here", loss);
                    }
                }
                Source::Url { url, mime } => {
                    item.put("fileData.fileUri", url);
                    let guess = (*what == Media::Image && !same).then(|| type_of_url(url));
                    item.put_some("fileData.mimeType", mime.as_deref().or(guess));
                }
                Source::Text(text) => {
                    item.put("text", name.as_ref().map_or_else(|| text.clone(), |name| format!("{name}\n\n{text}")));
                }
                Source::File(_) => {
                    return Err(Refused::unsupported(&part.extra.at, "a file id is of one vendor alone"));
                }
            }
        }
        Kind::Foreign(_) => {}
    }
    Ok(Some(item))
}

fn response(
    content: &[Part],
    error: Option<bool>,
    same: bool,
    item: &mut Json,
    loss: &mut Loss,
) -> Result<(), Refused> {
    let mut texts = Vec::new();
    let mut more = Vec::new();
    for part in content {
        match &part.kind {
            Kind::Text(text) | Kind::Refusal(text) => {
                if same && !part.extra.rest.get("response").is_null() {
                    item.put("functionResponse.response", part.extra.rest.get("response").clone());
                    continue;
                }
                part.extra.open(WIRE, loss);
                texts.push(text.as_str());
            }
            _ => more.extend(encode(part, &CallNames::new(), loss)?),
        }
    }
    if !same {
        let text = texts.join("\n\n");
        let answer = match (error, as_object(&text)) {
            (Some(true), _) => object! { "error": text },
            (_, Some(object)) => object,
            (_, None) => object! { "output": text },
        };
        item.put("functionResponse.response", answer);
    }
    if !more.is_empty() {
        item.put("functionResponse.parts", more);
    }
    Ok(())
}

/// A result that is an object, unless it would be read as one of those that hold a text.
fn as_object(text: &str) -> Option<Json> {
    let object = Json::object_text(text).filter(|_| text.trim() == text)?;
    let read = Json::parse(text.as_bytes()).ok()?;
    let holds_text = matches!(read.members(), [(name, Json::String(_))] if TEXTS.contains(&name.as_str()));
    (!holds_text).then_some(object)
}

/// Members of a result that hold its text: what went well, under two names, and what did not.
const TEXTS: [&str; 3] = ["output", "result", "error"];

/// Parts with each thought's signature on the part after it, where this wire has it; and the place of each part.
pub(super) fn encode_signed(
    parts: &[Part],
    names: &CallNames<'_>,
    loss: &mut Loss,
) -> Result<(Vec<Json>, Vec<Option<u64>>), Refused> {
    let mut out = Vec::with_capacity(parts.len());
    let mut places = vec![None; parts.len()];
    let mut pending: Option<&String> = None;
    for (part, place) in parts.iter().zip(&mut places) {
        if let Kind::Thinking { signature, texts, redacted } = &part.kind {
            if let Some(before) = pending.take() {
                out.push(object! { "text": "", "thoughtSignature": before });
            }
            pending = signature.as_ref();
            if *redacted && texts.is_empty() {
                part.extra.open(WIRE, loss);
                continue;
            }
        }
        let Some(mut item) = encode(part, names, loss)? else { continue };
        if !matches!(part.kind, Kind::Thinking { .. }) {
            item.put_some("thoughtSignature", pending.take());
        }
        *place = Some(out.len() as u64);
        out.push(item);
    }
    if let Some(signature) = pending {
        out.push(object! { "text": "", "thoughtSignature": signature });
    }
    Ok((out, places))
}
