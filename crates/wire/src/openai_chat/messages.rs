//! The IR's turns as Chat messages.

use super::decode::THOUGHTS;
use crate::{
    Wire,
    convert::{Quirks, Refused},
    ir::{Json, Kind, Media, Part, Role, Source, Turn, join_text, object},
    loss::Loss,
};

const WIRE: Wire = Wire::Chat;

/// What stands in a result for pictures that only a user's message can hold.
const SEE_NEXT: &str = "see next message";

/// Messages of a request that came on this wire.
pub(super) fn same(turns: &[Turn], loss: &mut Loss) -> Result<Vec<Json>, Refused> {
    let mut out = Vec::with_capacity(turns.len());
    for turn in turns {
        let results = turn.parts.iter().any(|part| matches!(part.kind, Kind::Result { .. }));
        if results {
            for part in &turn.parts {
                out.push(result(part, &mut Vec::new(), loss)?);
            }
            continue;
        }
        let mut message = turn.extra.open(WIRE, loss);
        message.put("role", role(turn.role));
        fill(&mut message, &turn.parts, turn.plain, true, loss)?;
        out.push(message);
    }
    Ok(out)
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::System => "system",
        Role::Developer => "developer",
    }
}

/// Messages of a request from another wire.
pub(super) fn from_others(turns: &[Turn], quirks: Quirks, loss: &mut Loss) -> Result<Vec<Json>, Refused> {
    let mut out = Vec::with_capacity(turns.len());
    // Pictures of results follow when the results are all there.
    let mut pictures: Vec<Json> = Vec::new();
    let mut at = 0;
    while let Some(turn) = turns.get(at) {
        if turn.role == Role::Assistant {
            let run = turns[at..].iter().take_while(|turn| turn.role == Role::Assistant).count();
            flush(&mut pictures, &mut out);
            out.extend(assistant(&turns[at..at + run], quirks, loss)?);
            at += run;
            continue;
        }
        at += 1;
        turn.extra.open(WIRE, loss);
        let (results, others): (Vec<&Part>, Vec<&Part>) =
            turn.parts.iter().partition(|part| matches!(part.kind, Kind::Result { .. }));
        for part in results {
            out.push(result(part, &mut pictures, loss)?);
        }
        if !others.is_empty() {
            flush(&mut pictures, &mut out);
            let mut message = object! { "role": role(turn.role) };
            let plain = others.len() == 1 && others[0].text().is_some();
            if turn.role == Role::User {
                let parts: Vec<Part> = others.into_iter().cloned().collect();
                fill(&mut message, &parts, plain, false, loss)?;
            } else {
                let parts: Vec<Part> = others.into_iter().cloned().collect();
                message.put("content", join_text(&parts, "\n\n", loss));
            }
            if !message.get("content").is_null() {
                out.push(message);
            }
        }
    }
    flush(&mut pictures, &mut out);
    Ok(out)
}

fn flush(pictures: &mut Vec<Json>, out: &mut Vec<Json>) {
    if !pictures.is_empty() {
        out.push(object! { "role": "user", "content": std::mem::take(pictures) });
    }
}

fn assistant(turns: &[Turn], quirks: Quirks, loss: &mut Loss) -> Result<Option<Json>, Refused> {
    let mut parts: Vec<Part> = Vec::new();
    let mut thoughts: Vec<&str> = Vec::new();
    for turn in turns {
        turn.extra.open(WIRE, loss);
        for part in &turn.parts {
            match &part.kind {
                Kind::Thinking { texts, .. } if quirks.reasoning_content => {
                    thoughts.extend(texts.iter().map(String::as_str));
                }
                Kind::Thinking { .. } => part.extra.note("", "the target takes no reasoning back", loss),
                _ => parts.push(part.clone()),
            }
        }
    }
    let mut message = object! { "role": "assistant" };
    let mut texts = Vec::new();
    parts.retain(|part| match &part.kind {
        Kind::Text(text) => {
            part.extra.open(WIRE, loss);
            texts.push(text.clone());
            false
        }
        _ => true,
    });
    let text = texts.concat();
    if !text.is_empty() {
        message.put("content", text);
    }
    if !thoughts.is_empty() {
        message.put("reasoning_content", thoughts.join("\n\n"));
    }
    fill(&mut message, &parts, false, false, loss)?;
    if message.members().len() == 1 {
        return Ok(None);
    }
    if message.get("content").is_null() {
        message.put("content", Json::Null);
    }
    Ok(Some(message))
}

/// Puts content, refusal, thoughts and calls into a message.
pub(super) fn fill(
    message: &mut Json,
    parts: &[Part],
    plain: bool,
    keep: bool,
    loss: &mut Loss,
) -> Result<(), Refused> {
    let mut content = Vec::new();
    let mut calls = Vec::new();
    for part in parts {
        match &part.kind {
            Kind::Text(text) if plain => {
                part.extra.open(WIRE, loss);
                message.put("content", text);
            }
            Kind::Refusal(text) if part.item.is_some() || !keep => {
                if part.extra.wire != WIRE {
                    part.extra.open(WIRE, loss);
                }
                let before = message.get("refusal").str().unwrap_or_default().to_owned();
                message.put("refusal", before + text);
            }
            Kind::Thinking { texts, .. } => {
                // Under the name that it came by.
                let last = part.extra.at.rsplit('/').next();
                let name = THOUGHTS.into_iter().find(|name| last == Some(*name)).unwrap_or(THOUGHTS[0]);
                message.put(name, texts.join("\n\n"));
                if let Some(again) = part.item.as_ref().filter(|_| part.extra.wire == WIRE) {
                    message.add(again.rest.members());
                }
            }
            Kind::Call { .. } => calls.push(call(part, loss)),
            Kind::Result { .. } => part.extra.lose("", "a result among other content", loss),
            _ => content.extend(piece(part, loss)?),
        }
    }
    if !content.is_empty() {
        message.put("content", content);
    }
    if !calls.is_empty() {
        message.put("tool_calls", calls);
    }
    Ok(())
}

fn call(part: &Part, loss: &mut Loss) -> Json {
    let mut out = part.extra.open(WIRE, loss);
    if let Kind::Call { id, name, arguments, custom } = &part.kind {
        out.put("id", id.as_deref().unwrap_or(name));
        if *custom {
            out.put("type", "custom");
            out.put("custom.name", name);
            out.put("custom.input", arguments);
        } else {
            out.put("type", "function");
            out.put("function.name", name);
            out.put("function.arguments", arguments);
        }
    }
    out
}

fn result(part: &Part, pictures: &mut Vec<Json>, loss: &mut Loss) -> Result<Json, Refused> {
    let mut message = part.extra.open(WIRE, loss);
    message.put("role", "tool");
    let Kind::Result { id, name, content, plain, error, .. } = &part.kind else { return Ok(message) };
    message.put("tool_call_id", id.as_ref().or(name.as_ref()).map_or("", String::as_str));
    let same = part.extra.wire == WIRE;
    if same && !plain {
        let mut pieces = Vec::new();
        for part in content {
            pieces.extend(piece(part, loss)?);
        }
        if !pieces.is_empty() {
            message.put("content", pieces);
        }
        return Ok(message);
    }
    let mut texts = Vec::new();
    let mut shown = false;
    for part in content {
        match &part.kind {
            Kind::Text(text) | Kind::Refusal(text) => {
                part.extra.open(WIRE, loss);
                texts.push(text.as_str());
            }
            Kind::Media { .. } => {
                shown = true;
                pictures.extend(piece(part, loss)?);
            }
            _ => part.extra.lose("", "the target's results are text", loss),
        }
    }
    if shown {
        texts.push(SEE_NEXT);
    }
    let text = texts.join("\n\n");
    message.put("content", if *error == Some(true) { format!("Error: {text}") } else { text });
    Ok(message)
}

fn piece(part: &Part, loss: &mut Loss) -> Result<Option<Json>, Refused> {
    if let Kind::Foreign(whole) = &part.kind {
        if part.extra.wire != WIRE {
            part.extra.lose("", "the target has no such block", loss);
        }
        return Ok((part.extra.wire == WIRE).then(|| whole.clone()));
    }
    let mut out = part.extra.open(WIRE, loss);
    match &part.kind {
        Kind::Text(text) => {
            out.put("type", "text");
            out.put("text", text);
        }
        Kind::Refusal(text) => {
            out.put("type", "refusal");
            out.put("refusal", text);
        }
        Kind::Media { what, source, name, detail } => match (what, source) {
            (Media::Image, source) => {
                let Some(url) = source.to_url() else {
                    return Err(Refused::unsupported(&part.extra.at, "a file id is of one vendor alone"));
                };
                out.put("type", "image_url");
                out.put("image_url.url", url);
                out.put_some("image_url.detail", detail.as_ref());
            }
            (Media::Audio, Source::Base64 { mime, data }) => {
                out.put("type", "input_audio");
                out.put("input_audio.data", data);
                out.put("input_audio.format", mime.trim_start_matches("audio/"));
            }
            (Media::Document, Source::Text(text)) => {
                if let Some(name) = name {
                    out.put("text", format!("{name}\n\n{text}"));
                } else {
                    out.put("text", text);
                }
                out.put("type", "text");
            }
            (Media::Document, source @ Source::Base64 { .. }) => {
                out.put("type", "file");
                out.put_some("file.file_data", source.to_url());
                out.put("file.filename", name.as_deref().unwrap_or("document.pdf"));
                if part.extra.wire == WIRE && name.is_none() {
                    out.take("file.filename");
                }
            }
            (Media::Document, Source::File(id)) if part.extra.wire == WIRE => {
                out.put("type", "file");
                out.put("file.file_id", id);
            }
            (Media::Video, _) => return Err(Refused::unsupported(&part.extra.at, "the target takes no video")),
            (_, Source::File(_)) => {
                return Err(Refused::unsupported(&part.extra.at, "a file id is of one vendor alone"));
            }
            _ => return Err(Refused::unsupported(&part.extra.at, "the target takes no such file by URL")),
        },
        _ => {
            part.extra.lose("", "the target has no such content", loss);
            return Ok(None);
        }
    }
    Ok(Some(out))
}
