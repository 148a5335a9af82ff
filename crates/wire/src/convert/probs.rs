//! How likely each token of an answer was: `logprobs` (`OpenAI`) and `logprobsResult` (Gemini).
//!
//! The bytes of a token and its number in the vendor's vocabulary are not carried: the first are those of its text.

use super::cite::first_text;
use crate::{
    Wire,
    ir::{Json, Kind, Part, Response, TokenProb, object},
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
                let at = step(&part.extra.at, "logprobs");
                part.probs = take(&mut part.extra.rest, "logprobs", &at, loss);
            }
            return;
        }
        (Wire::Chat, Some(inner)) => (CHAT, take(&mut inner.rest, "logprobs.content", CHAT, loss)),
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
    for (member, any) in [("annotations", !part.citations.is_empty()), ("logprobs", !part.probs.is_empty())] {
        if any {
            part.extra.lose(member, NO_TEXT, loss);
        }
    }
}

/// Names those of an answer to a wire that has none.
pub(crate) fn lose(parts: &[Part], loss: &mut Loss) {
    for part in parts.iter().filter(|part| !part.probs.is_empty()) {
        part.extra.lose("logprobs", NONE, loss);
    }
}

/// `OpenAI`'s list of tokens at `path`, which is at `at` of the whole.
pub(crate) fn take(node: &mut Json, path: &str, at: &str, loss: &mut Loss) -> Vec<TokenProb> {
    let wanted =
        |list: &Json| matches!(list, Json::Array(list) if list.iter().all(|one| one.get("token").str().is_some()));
    let list = node.take_if(path, wanted).and_then(Json::array).unwrap_or_default();
    let mut alone = |mut one: Json| {
        let read = one.take_str("token").zip(one.get("logprob").f64());
        if read.is_none() {
            loss.add(at, NO_NUMBER);
        }
        read
    };
    let read = |mut one: Json| {
        let others = one.take_array("top_logprobs").unwrap_or_default();
        let (token, logprob) = alone(one)?;
        Some(TokenProb { token, logprob, top: others.into_iter().filter_map(&mut alone).collect() })
    };
    list.into_iter().filter_map(read).collect()
}

/// Gemini's lists, of the tokens that were chosen and of the likeliest at each place.
pub(crate) fn take_gemini(candidate: &mut Json, loss: &mut Loss) -> Vec<TokenProb> {
    let Some(mut result) = candidate.take("logprobsResult") else { return Vec::new() };
    let mut alone = |mut one: Json| {
        let read = one.take_str("token").zip(one.get("logProbability").f64());
        if read.is_none() {
            loss.add(GEMINI, NO_NUMBER);
        }
        read
    };
    let mut top = result.take_array("topCandidates").unwrap_or_default().into_iter();
    let chosen = result.take_array("chosenCandidates").unwrap_or_default().into_iter();
    let read = |one: Json| {
        let top = top.next().and_then(|mut place| place.take_array("candidates")).unwrap_or_default();
        let (token, logprob) = alone(one)?;
        Some(TokenProb { token, logprob, top: top.into_iter().filter_map(&mut alone).collect() })
    };
    chosen.filter_map(read).collect()
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
