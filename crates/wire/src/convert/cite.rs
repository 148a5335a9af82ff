//! Sources that an answer names: `citations` (Anthropic), `annotations` (`OpenAI`) and `groundingMetadata` (Gemini).
//!
//! Address, title and the part of the text that rests on them cross; what a vendor needs to find a source again, and
//! sources without an address, are of its own wire.

use std::collections::HashMap;

use crate::{
    Wire,
    ir::{Citation, Json, Kind, Part, Response, object},
    loss::Loss,
};

/// Takes the sources of an answer to the parts that rest on them; what has no place elsewhere stays, to be reported.
pub(super) fn collect(response: &mut Response, loss: &mut Loss) {
    match response.extra.wire {
        Wire::Anthropic => {
            take_from_parts(response, "citations", anthropic);
            for part in response.parts.iter().filter(|part| !part.citations.is_empty()) {
                part.extra.lose("citations", WORDS, loss);
            }
        }
        Wire::Responses => take_from_parts(response, "annotations", openai),
        Wire::Chat => {
            let Some(inner) = &mut response.inner else { return };
            let found = split(&mut inner.rest, "message.annotations", openai);
            if let Some(part) = first_text(&mut response.parts) {
                part.citations = found;
            } else if !found.is_empty() {
                loss.add("/choices/0/message/annotations", "there is no text that could rest on them");
            }
        }
        Wire::Gemini => {
            let Some(inner) = &mut response.inner else { return };
            let texts = texts_by_index(&response.parts);
            let Some(first) = texts.values().min().copied() else { return };
            // Where the index leads to no text, as to a thought, that of the answer is meant.
            let place = |index: u64| texts.get(&index).copied().unwrap_or(first);
            let found = gemini(inner.rest.get("groundingMetadata"), |index| response.parts[place(index)].text());
            let found: Vec<_> = found.into_iter().map(|(index, citation)| (place(index), citation)).collect();
            if !found.is_empty() {
                inner.rest.take("groundingMetadata.groundingChunks");
                inner.rest.take("groundingMetadata.groundingSupports");
            }
            for (at, citation) in found {
                response.parts[at].citations.push(citation);
            }
        }
    }
}

/// The first text that says something: others do not outlast the conversion.
pub(super) fn first_text(parts: &mut [Part]) -> Option<&mut Part> {
    parts.iter_mut().find(|part| matches!(&part.kind, Kind::Text(text) if !text.is_empty()))
}

/// Where the texts that say something are among `parts`, by the number that each had at its vendor's.
fn texts_by_index(parts: &[Part]) -> HashMap<u64, usize> {
    let says = |part: &Part| matches!(&part.kind, Kind::Text(text) if !text.is_empty());
    let number = |part: &Part| part.extra.at.rsplit('/').next()?.parse().ok();
    let texts = parts.iter().enumerate().filter(|(_, part)| says(part));
    texts.filter_map(|(at, part)| Some((number(part)?, at))).collect()
}

fn take_from_parts(response: &mut Response, name: &str, read: fn(&Json) -> Option<Citation>) {
    for part in response.parts.iter_mut().filter(|part| matches!(part.kind, Kind::Text(_))) {
        part.citations = split(&mut part.extra.rest, name, read);
    }
}

/// Takes those of a list that can be read; the others stay.
fn split(node: &mut Json, path: &str, read: fn(&Json) -> Option<Citation>) -> Vec<Citation> {
    let (mut found, mut left) = (Vec::new(), Vec::new());
    for one in node.take_array(path).unwrap_or_default() {
        match read(&one) {
            Some(citation) => found.push(citation),
            None => left.push(one),
        }
    }
    if !left.is_empty() {
        node.put(path, left);
    }
    found
}

fn text_of(node: &Json, name: &str) -> Option<String> {
    node.get(name).str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// What of an Anthropic citation crosses to nobody.
pub(crate) const WORDS: &str = "a source's own words, and its vendor's mark, have no place";

/// A citation of a page: the whole of its block rests on it.
pub(crate) fn anthropic(one: &Json) -> Option<Citation> {
    let url = text_of(one, "url")?;
    Some(Citation { url, title: text_of(one, "title"), range: None })
}

/// An annotation of either of `OpenAI`'s wires.
pub(crate) fn openai(one: &Json) -> Option<Citation> {
    if one.get("type").str() != Some("url_citation") {
        return None;
    }
    let nested = one.get("url_citation");
    let node = if nested.is_null() { one } else { nested };
    let range = node.get("start_index").u64().zip(node.get("end_index").u64());
    Some(Citation { url: text_of(node, "url")?, title: text_of(node, "title"), range })
}

/// The pages that an answer is grounded on, once for each passage, with the number of the part that the passage is of;
/// passages are counted in bytes of what `text` tells of that part.
pub(crate) fn gemini<'t>(grounding: &Json, text: impl Fn(u64) -> Option<&'t str>) -> Vec<(u64, Citation)> {
    let list = |name: &str| if let Json::Array(items) = grounding.get(name) { items.as_slice() } else { &[] };
    let chunks = list("groundingChunks");
    let read = |chunk: &Json| {
        let url = text_of(chunk.get("web"), "uri")?;
        Some(Citation { url, title: text_of(chunk.get("web"), "title"), range: None })
    };
    let mut found = Vec::new();
    let mut cited = vec![false; chunks.len()];
    // Each of them walks through the text.
    for support in list("groundingSupports").iter().take(MOST) {
        if found.len() >= MOST {
            break;
        }
        let Json::Array(indices) = support.get("groundingChunkIndices") else { continue };
        let segment = support.get("segment");
        let part = segment.get("partIndex").u64().unwrap_or_default();
        let characters = |bytes: u64| {
            let before = text(part)?.get(..usize::try_from(bytes).ok()?)?;
            u64::try_from(before.chars().count()).ok()
        };
        let start = characters(segment.get("startIndex").u64().unwrap_or_default());
        let range = start.zip(segment.get("endIndex").u64().and_then(characters));
        for at in indices.iter().filter_map(Json::u64).filter_map(|at| usize::try_from(at).ok()) {
            if let Some(citation) = chunks.get(at).filter(|_| found.len() < MOST).and_then(read) {
                found.push((part, Citation { range, ..citation }));
                cited[at] = true;
            }
        }
    }
    let uncited = chunks.iter().zip(cited).filter(|(_, cited)| !cited);
    found.extend(uncited.filter_map(|(chunk, _)| Some((0, read(chunk)?))).take(MOST));
    found
}

/// Most sources of one text: passages times pages could be many.
const MOST: usize = 1_000;

/// A citation as far as others know it: the source's words, and the vendor's mark of it, they do not have.
pub(crate) fn to_anthropic(citation: &Citation) -> Json {
    object! {
        "type": "web_search_result_location",
        "url": &citation.url,
        "title": citation.title.as_ref(),
        "encrypted_index": "",
        "cited_text": "",
    }
}

/// An annotation for a text of `length` characters that begins at `start` of the message.
pub(crate) fn to_openai(citation: &Citation, start: u64, length: u64, nested: bool) -> Json {
    let (from, to) = citation.range.unwrap_or((0, length));
    let page = object! {
        "start_index": start.saturating_add(from.min(length)),
        "end_index": start.saturating_add(to.min(length)),
        "title": citation.title.as_deref().unwrap_or_default(),
        "url": &citation.url,
    };
    let mut out = object! { "type": "url_citation" };
    if nested {
        out.put("url_citation", page);
    } else {
        out.add(page.members());
    }
    out
}

/// Sources with the place and the text of the part that rests on them, where both are known.
pub(crate) fn to_gemini<'c>(cited: impl IntoIterator<Item = (&'c Citation, Option<(u64, &'c str)>)>) -> Option<Json> {
    let (mut chunks, mut supports): (Vec<Json>, Vec<Json>) = (Vec::new(), Vec::new());
    let mut known = HashMap::new();
    for (citation, part) in cited {
        let at = *known.entry((&citation.url, &citation.title)).or_insert_with(|| {
            chunks.push(object! { "web": object! { "uri": &citation.url, "title": citation.title.as_ref() } });
            chunks.len() - 1
        });
        // Each of them walks through the text.
        if let Some((index, text)) = part.filter(|_| supports.len() < MOST) {
            let bytes = |characters: u64| {
                let skipped = usize::try_from(characters).ok().and_then(|skipped| text.char_indices().nth(skipped));
                skipped.map_or(text.len(), |(at, _)| at)
            };
            let (start, end) = citation.range.map_or((0, text.len()), |(start, end)| (bytes(start), bytes(end)));
            let segment = object! {
                "partIndex": index, "startIndex": start as u64, "endIndex": end as u64, "text": text.get(start..end),
            };
            supports.push(object! { "segment": segment, "groundingChunkIndices": vec![Json::from(at as u64)] });
        }
    }
    let mut grounding = object! { "groundingChunks": chunks };
    if !supports.is_empty() {
        grounding.put("groundingSupports", supports);
    }
    (!grounding.is_void()).then_some(grounding)
}
