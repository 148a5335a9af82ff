//! The IR's turns and parts as items of the Responses format.

use super::input::{WIRE, text_type};
use crate::{
    convert::{Refused, cite, probs},
    ir::{Json, Kind, Media, Part, Role, Source, Turn},
    loss::Loss,
};

const fn role(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::System => "system",
        Role::Developer => "developer",
    }
}

fn stands_alone(part: &Part) -> bool {
    matches!(part.kind, Kind::Call { .. } | Kind::Result { .. } | Kind::Thinking { .. })
}

/// Items of a turn that came on this wire.
pub(super) fn same(turn: &Turn, loss: &mut Loss) -> Result<Option<Json>, Refused> {
    if let Some(part) = turn.parts.first().filter(|part| part.extra.at == turn.extra.at && turn.extra.at != "/input") {
        return single(part, loss);
    }
    let mut item = turn.extra.open(WIRE, loss);
    item.put("role", role(turn.role));
    fill(&mut item, turn, &turn.parts, loss)?;
    Ok(Some(item))
}

/// Items of a turn from another wire: what stands alone does, all between is a message.
pub(super) fn from_others(turn: &Turn, loss: &mut Loss) -> Result<Vec<Json>, Refused> {
    turn.extra.open(WIRE, loss);
    let mut items = Vec::new();
    for run in turn.parts.chunk_by(|one, next| !stands_alone(one) && !stands_alone(next)) {
        if stands_alone(&run[0]) {
            items.extend(single(&run[0], loss)?);
            continue;
        }
        let mut item = crate::ir::object! { "type": "message", "role": role(turn.role) };
        fill(&mut item, turn, run, loss)?;
        if !item.get("content").is_void() {
            items.push(item);
        }
    }
    Ok(items)
}

fn fill(item: &mut Json, turn: &Turn, parts: &[Part], loss: &mut Loss) -> Result<(), Refused> {
    if let Some(text) = parts.first().and_then(Part::text).filter(|_| turn.plain && parts.len() == 1) {
        item.put("content", text);
        return Ok(());
    }
    let mut content = Vec::with_capacity(parts.len());
    for part in parts {
        content.extend(piece(part, turn.role, loss)?);
    }
    if !content.is_empty() {
        item.put("content", content);
    }
    Ok(())
}

/// A part of a message, or of a result.
pub(super) fn piece(part: &Part, whose: Role, loss: &mut Loss) -> Result<Option<Json>, Refused> {
    if let Kind::Foreign(whole) = &part.kind {
        if part.extra.wire != WIRE {
            part.extra.lose("", "the target has no such block", loss);
        }
        return Ok((part.extra.wire == WIRE).then(|| whole.clone()));
    }
    let mut out = part.extra.open(WIRE, loss);
    let one_vendor = || Refused::unsupported(&part.extra.at, "a file id is of one vendor alone");
    let same = part.extra.wire == WIRE;
    match &part.kind {
        Kind::Text(text) => {
            out.add(&[("type".into(), text_type(whose).into())]);
            out.put("text", text);
            if !same && matches!(whose, Role::Assistant) {
                let length = text.chars().count() as u64;
                let cited = part.citations.iter().map(|citation| cite::to_openai(citation, 0, length, false));
                out.put("annotations", cited.collect::<Vec<_>>());
                if !part.probs.is_empty() {
                    out.put("logprobs", probs::to_openai(&part.probs));
                }
            }
        }
        Kind::Refusal(text) => {
            out.put("type", "refusal");
            out.put("refusal", text);
        }
        Kind::Media { what, source, name, detail } => match (what, source) {
            (Media::Image, Source::File(id)) if same => {
                out.put("type", "input_image");
                out.put("file_id", id);
                out.put_some("detail", detail.as_ref());
            }
            (Media::Image, source) => {
                out.put("type", "input_image");
                out.put("image_url", source.to_url().ok_or_else(one_vendor)?);
                out.put_some("detail", detail.as_deref().or_else(|| (!same).then_some("auto")));
            }
            (Media::Document, Source::Text(text)) => {
                out.put("type", text_type(whose));
                out.put("text", name.as_ref().map_or_else(|| text.clone(), |name| format!("{name}\n\n{text}")));
            }
            (Media::Document, source) => {
                out.put("type", "input_file");
                match source {
                    Source::Url { url, .. } => out.put("file_url", url),
                    Source::File(id) if same => out.put("file_id", id),
                    source => out.put("file_data", source.to_url().ok_or_else(one_vendor)?),
                }
                let named = matches!(source, Source::Base64 { .. }) && !same;
                out.put_some("filename", name.as_deref().or_else(|| named.then_some("document.pdf")));
            }
            (Media::Audio, Source::Base64 { mime, data }) => {
                out.put("type", "input_audio");
                out.put("input_audio.data", data);
                out.put("input_audio.format", mime.trim_start_matches("audio/"));
            }
            (Media::Audio | Media::Video, _) => {
                return Err(Refused::unsupported(&part.extra.at, "the target takes no video, and no audio by URL"));
            }
        },
        _ => {
            part.extra.lose("", "the target has no such content", loss);
            return Ok(None);
        }
    }
    Ok(Some(out))
}

/// A part that is an item of its own.
pub(super) fn single(part: &Part, loss: &mut Loss) -> Result<Option<Json>, Refused> {
    let mut item = match &part.kind {
        Kind::Foreign(_) => return piece(part, Role::User, loss),
        _ => part.extra.open(WIRE, loss),
    };
    match &part.kind {
        Kind::Call { id, name, arguments, custom } => {
            item.put("type", if *custom { "custom_tool_call" } else { "function_call" });
            item.put("call_id", id.as_deref().unwrap_or(name));
            item.put("name", name);
            if part.extra.wire != WIRE {
                // Where the tool is, if the request had it in a namespace.
                item.put_some("namespace", part.item.as_ref().and_then(|item| item.rest.get("namespace").str()));
            }
            item.put(if *custom { "input" } else { "arguments" }, arguments);
        }
        Kind::Result { id, name, content, plain, error, custom } => {
            item.put("type", if *custom { "custom_tool_call_output" } else { "function_call_output" });
            item.put("call_id", id.as_ref().or(name.as_ref()).map_or("", String::as_str));
            let failed = *error == Some(true);
            let only_text = content.iter().all(|part| part.text().is_some());
            if *plain || (only_text && part.extra.wire != WIRE) {
                let text = crate::ir::join_text(content, "\n\n", loss);
                for part in content {
                    part.extra.open(WIRE, loss);
                }
                item.put("output", if failed { format!("Error: {text}") } else { text });
            } else {
                let mut output = Vec::new();
                if failed {
                    output.push(crate::ir::object! { "type": "input_text", "text": "Error: " });
                }
                for part in content {
                    output.extend(piece(part, Role::User, loss)?);
                }
                item.put("output", output);
            }
        }
        Kind::Thinking { texts, signature, .. } => {
            item.put("type", "reasoning");
            item.put("summary", summary(texts));
            item.put_some("encrypted_content", signature.as_ref());
        }
        _ => return Ok(None),
    }
    Ok(Some(item))
}

pub(super) fn summary(texts: &[String]) -> Vec<Json> {
    texts.iter().map(|text| crate::ir::object! { "type": "summary_text", "text": text }).collect()
}
