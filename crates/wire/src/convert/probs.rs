//! How likely each token of an answer was: `logprobs` (`OpenAI`) and `logprobsResult` (Gemini).
//!
//! The bytes of a token and its number in the vendor's vocabulary are not carried: the first are those of its text.

use super::cite::first_text;
use crate::{
    Wire,
    ir::{Json, Kind, Part, Response, TokenProb, object, rest},
    loss::{Loss, step},
};

/// Why they end at Anthropic's wire.
pub(crate) const NONE: &str = "the target has no probabilities";

/// Why those of no text end.
pub(crate) const NO_TEXT: &str = "there is no text that they could belong to";

/// Why those end that no number stands with.
const NO_NUMBER: &str = "a token without its probability";

/// Where Gemini has them.
const GEMINI: &str = "/candidates/0/logprobsResult";

/// Takes the probabilities of an answer to the texts that they belong to.
pub(super) fn collect(response: &mut Response, loss: &mut Loss) {
    const CHAT: &str = "/choices/0/logprobs/content";
    let (at, found) = match (response.extra.wire, &mut response.inner) {
        (Wire::Responses, _) => {
            for part in response.parts.iter_mut().filter(|part| matches!(part.kind, Kind::Text(_))) {
                let at = part.extra.at.clone();
                part.probs = take(&mut part.extra.rest, "logprobs", || step(&at, "logprobs"), loss);
            }
            return;
        }
        (Wire::Chat, Some(inner)) => (CHAT, take(&mut inner.rest, "logprobs.content", || CHAT.to_owned(), loss)),
        (Wire::Gemini, Some(inner)) => (GEMINI, take_gemini(&mut inner.rest, loss)),
        _ => return,
    };
    if let Some(part) = first_text(&mut response.parts) {
        part.probs = found;
    } else if !found.is_empty() {
        loss.add(at, NO_TEXT);
    }
}

/// Names what came with a text that says nothing, and that is left out.
pub(super) fn lose_empty(part: &Part, to: Wire, loss: &mut Loss) {
    part.extra.open(to, loss);
    if !part.citations.is_empty() {
        let member = if part.extra.wire == Wire::Anthropic { "citations" } else { "annotations" };
        part.extra.lose(member, NO_TEXT, loss);
    }
    if !part.probs.is_empty() {
        loss.add(part.place().probs(), NO_TEXT);
    }
}

/// Names those of an answer to a wire that has none.
pub(crate) fn lose(parts: &[Part], loss: &mut Loss) {
    for part in parts.iter().filter(|part| !part.probs.is_empty()) {
        loss.add(part.place().probs(), NONE);
    }
}

/// `OpenAI`'s list of tokens at `path`, which is at `at` of the whole.
pub(crate) fn take(node: &mut Json, path: &str, at: impl Fn() -> String, loss: &mut Loss) -> Vec<TokenProb> {
    let wanted =
        |list: &Json| matches!(list, Json::Array(list) if list.iter().all(|one| one.get("token").str().is_some()));
    let list = node.take_if(path, wanted).and_then(Json::array).unwrap_or_default();
    let read = |(place, mut one): (usize, Json)| {
        let within = || format!("{}/{place}", at());
        let others = one.take_array("top_logprobs").unwrap_or_default().into_iter().enumerate();
        let others = others.filter_map(|(rival, other)| {
            token(other, "logprob", &at, || format!("{}/top_logprobs/{rival}", within()), loss)
        });
        let top = others.collect();
        let (token, logprob) = token(one, "logprob", &at, within, loss)?;
        Some(TokenProb { token, logprob, top })
    };
    list.into_iter().enumerate().filter_map(read).collect()
}

/// One token of the list at `list`; it is at `at`, where what it says beside is named.
fn token(
    mut one: Json,
    number: &str,
    list: &impl Fn() -> String,
    at: impl Fn() -> String,
    loss: &mut Loss,
) -> Option<(String, f64)> {
    let read = one.take_str("token").zip(one.get(number).f64());
    if read.is_none() {
        loss.add(list(), NO_NUMBER);
        return None;
    }
    if one.members().iter().any(|(name, _)| ![number, "bytes", "tokenId"].contains(&name.as_str())) {
        rest(&one, &at(), &[number, "bytes", "tokenId"], loss);
    }
    read
}

/// Gemini's lists, of the tokens that were chosen and of the likeliest at each place.
pub(crate) fn take_gemini(candidate: &mut Json, loss: &mut Loss) -> Vec<TokenProb> {
    let Some(mut result) = candidate.take("logprobsResult") else { return Vec::new() };
    let list = || GEMINI.to_owned();
    let chosen = result.take_array("chosenCandidates").unwrap_or_default();
    let mut places = result.take_array("topCandidates").unwrap_or_default().into_iter().enumerate();
    let mut found = Vec::with_capacity(chosen.len());
    for (at, one) in chosen.into_iter().enumerate() {
        let mut top = Vec::new();
        if let Some((_, mut place)) = places.next() {
            let within = || format!("{GEMINI}/topCandidates/{at}");
            for (rival, other) in place.take_array("candidates").unwrap_or_default().into_iter().enumerate() {
                top.extend(token(other, "logProbability", &list, || format!("{}/candidates/{rival}", within()), loss));
            }
            if !place.is_void() {
                rest(&place, &within(), &[], loss);
            }
        }
        let read = token(one, "logProbability", &list, || format!("{GEMINI}/chosenCandidates/{at}"), loss);
        found.extend(read.map(|(token, logprob)| TokenProb { token, logprob, top }));
    }
    // Rivals of no token.
    if let Some((at, _)) = places.next() {
        loss.add(format!("{GEMINI}/topCandidates/{at}"), NO_TEXT);
    }
    rest(&result, GEMINI, &[], loss);
    found
}

/// In `OpenAI`'s words.
pub(crate) fn to_openai(probs: &[TokenProb]) -> Vec<Json> {
    let alone = |token: &str, logprob: f64| {
        let bytes: Vec<Json> = token.bytes().map(|byte| u64::from(byte).into()).collect();
        object! { "token": token, "logprob": number(logprob), "bytes": bytes }
    };
    let one = |prob: &TokenProb| {
        let mut out = alone(&prob.token, prob.logprob);
        let top = prob.top.iter().map(|(token, logprob)| alone(token, *logprob));
        out.put("top_logprobs", top.collect::<Vec<_>>());
        out
    };
    probs.iter().map(one).collect()
}

/// In Gemini's.
pub(crate) fn to_gemini(probs: &[TokenProb]) -> Json {
    let alone = |token: &str, logprob: f64| object! { "token": token, "logProbability": number(logprob) };
    let chosen = probs.iter().map(|prob| alone(&prob.token, prob.logprob)).collect::<Vec<_>>();
    let mut result = object! { "chosenCandidates": chosen };
    if probs.iter().any(|prob| !prob.top.is_empty()) {
        let place = |prob: &TokenProb| {
            let top = prob.top.iter().map(|(token, logprob)| alone(token, *logprob));
            object! { "candidates": top.collect::<Vec<_>>() }
        };
        result.put("topCandidates", probs.iter().map(place).collect::<Vec<_>>());
    }
    result
}

fn number(value: f64) -> Json {
    serde_json::Number::from_f64(value).map_or(Json::Null, Json::Number)
}
