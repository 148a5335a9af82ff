//! OpenAI's text completions, as they were before chat.

use bytes::Bytes;

use super::{Ask, data_event};
use crate::ids;
use crate::json::{Json, o};
use crate::reply::{Answer, Part, Stop, Usage};

fn finish(answer: &Answer) -> &'static str {
    match answer.stop {
        Some(Stop::MaxTokens) => "length",
        Some(Stop::Filter) => "content_filter",
        _ => "stop",
    }
}

/// All that is said; there are no thoughts and no calls.
fn pieces(answer: &Answer) -> impl Iterator<Item = &String> {
    answer.parts.iter().flat_map(|part| match part {
        Part::Text(pieces) => pieces.as_slice(),
        _ => &[],
    })
}

fn usage_object(usage: Usage) -> Json {
    o! {
        "prompt_tokens": usage.all_input(),
        "completion_tokens": usage.output,
        "total_tokens": usage.all_input() + usage.output,
    }
}

/// A completion, or a piece of one; both are alike.
fn completion(ask: &Ask, choices: Vec<Json>) -> Json {
    o! {
        "id": ids::id("cmpl-", ask.serial, 29),
        "object": "text_completion",
        "created": ask.clock.now_unix_s(),
        "model": &ask.model,
        "choices": choices,
    }
}

fn choice(text: &str, finish: Option<&str>) -> Json {
    o! { "text": text, "index": 0_u64, "logprobs": Json::null(), "finish_reason": finish }
}

pub(super) fn whole(answer: &Answer, ask: &Ask, usage: Usage) -> Json {
    let text: String = pieces(answer).map(String::as_str).collect();
    completion(ask, vec![choice(&text, Some(finish(answer)))]).with(&[("usage", usage_object(usage))])
}

pub(super) fn stream(answer: &Answer, ask: &Ask, usage: Usage) -> Vec<Bytes> {
    let chunk = |choices, usage: Option<Json>| {
        let chunk = completion(ask, choices);
        data_event(&if ask.include_usage { chunk.with(&[("usage", usage.into())]) } else { chunk })
    };
    let mut frames: Vec<Bytes> = pieces(answer).map(|piece| chunk(vec![choice(piece, None)], None)).collect();
    frames.push(chunk(vec![choice("", Some(finish(answer)))], None));
    if ask.include_usage {
        frames.push(chunk(Vec::new(), Some(usage_object(usage))));
    }
    frames.push("data: [DONE]\n\n".into());
    frames
}
