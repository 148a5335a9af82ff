//! The same facts, folded from a parsed tree: slow, plain, and written without looking at the tap.

use serde_json::Value;
use wire::{Usage, Wire};

/// What a tap must report of an answer.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Facts {
    pub(crate) usage: Usage,
    pub(crate) finish: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) status: Option<String>,
}

/// Folds the events of a stream, or the one document of a whole body.
pub(crate) fn fold(wire: Wire, events: &[Value]) -> Facts {
    let mut facts = Facts::default();
    let mut anthropic = Anthropic::default();
    for event in events {
        match wire {
            Wire::Anthropic => anthropic.take(event, &mut facts),
            Wire::Chat => chat(event, &mut facts),
            Wire::Responses => responses(event, &mut facts),
            Wire::Gemini => gemini(event, &mut facts),
        }
    }
    facts
}

/// The JSON of every event of a stream, by splitting text.
pub(crate) fn events(stream: &[u8]) -> Vec<Value> {
    let text = String::from_utf8(stream.to_vec()).unwrap().replace("\r\n", "\n");
    let data = |frame: &str| frame.lines().filter_map(|line| line.strip_prefix("data: ")).collect::<String>();
    text.split("\n\n").map(data).filter_map(|data| serde_json::from_str(&data).ok()).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn latest(slot: &mut u64, value: &Value) {
    if number(value) > 0 {
        *slot = number(value);
    }
}

#[derive(Default)]
struct Anthropic {
    written: u64,
    written_5m: u64,
    written_1h: u64,
}

impl Anthropic {
    fn take(&mut self, event: &Value, facts: &mut Facts) {
        let (message, usage) = match event["type"].as_str() {
            Some("message_start") => (&event["message"], &event["message"]["usage"]),
            Some("message_delta") => (&event["delta"], &event["usage"]),
            Some("message") => (event, &event["usage"]),
            _ => return,
        };
        facts.id = facts.id.take().or(text(&message["id"]));
        facts.model = facts.model.take().or(text(&message["model"]));
        facts.finish = text(&message["stop_reason"]).or(facts.finish.take());
        latest(&mut facts.usage.input, &usage["input_tokens"]);
        latest(&mut facts.usage.cache_read, &usage["cache_read_input_tokens"]);
        latest(&mut facts.usage.output, &usage["output_tokens"]);
        latest(&mut facts.usage.reasoning, &usage["output_tokens_details"]["thinking_tokens"]);
        latest(&mut self.written, &usage["cache_creation_input_tokens"]);
        latest(&mut self.written_5m, &usage["cache_creation"]["ephemeral_5m_input_tokens"]);
        latest(&mut self.written_1h, &usage["cache_creation"]["ephemeral_1h_input_tokens"]);
        facts.usage.cache_write_1h = self.written_1h;
        facts.usage.cache_write_5m = self.written_5m.max(self.written.saturating_sub(self.written_1h));
        facts.usage.reported = true;
    }
}

fn openai_usage(usage: &Value, names: [&str; 2], facts: &mut Facts) {
    let [input, output] = names;
    let (input_details, output_details) = (&usage[format!("{input}_details")], &usage[format!("{output}_details")]);
    if !usage.is_object() {
        return;
    }
    let (cached, written) = (number(&input_details["cached_tokens"]), number(&input_details["cache_write_tokens"]));
    facts.usage = Usage {
        input: number(&usage[input]).saturating_sub(cached + written),
        cache_read: cached,
        cache_write_5m: written,
        cache_write_1h: 0,
        output: number(&usage[output]),
        reasoning: number(&output_details["reasoning_tokens"]),
        reported: true,
        disagrees: number(&usage["total_tokens"]) != number(&usage[input]) + number(&usage[output]),
    };
}

fn chat(event: &Value, facts: &mut Facts) {
    facts.id = facts.id.take().or(text(&event["id"]));
    facts.model = facts.model.take().or(text(&event["model"]));
    facts.finish = text(&event["choices"][0]["finish_reason"]).or(facts.finish.take());
    openai_usage_chat(&event["usage"], facts);
}

fn openai_usage_chat(usage: &Value, facts: &mut Facts) {
    let renamed = serde_json::json!({
        "in": usage["prompt_tokens"], "in_details": usage["prompt_tokens_details"],
        "out": usage["completion_tokens"], "out_details": usage["completion_tokens_details"],
        "total_tokens": usage["total_tokens"],
    });
    if usage.is_object() {
        openai_usage(&renamed, ["in", "out"], facts);
    }
}

fn responses(event: &Value, facts: &mut Facts) {
    let response = if event["object"] == "response" { event } else { &event["response"] };
    if !response.is_object() {
        return;
    }
    facts.id = facts.id.take().or(text(&response["id"]));
    facts.model = facts.model.take().or(text(&response["model"]));
    facts.status = text(&response["status"]).or(facts.status.take());
    facts.finish = text(&response["incomplete_details"]["reason"]).or(facts.finish.take());
    openai_usage(&response["usage"], ["input_tokens", "output_tokens"], facts);
}

fn gemini(event: &Value, facts: &mut Facts) {
    facts.id = facts.id.take().or(text(&event["responseId"]));
    facts.model = facts.model.take().or(text(&event["modelVersion"]));
    facts.finish = text(&event["candidates"][0]["finishReason"]).or(facts.finish.take());
    let usage = &event["usageMetadata"];
    if !usage.is_object() {
        return;
    }
    let count = |name: &str| number(&usage[name]);
    let prompt = count("promptTokenCount") + count("toolUsePromptTokenCount");
    let output = count("candidatesTokenCount") + count("thoughtsTokenCount");
    facts.usage = Usage {
        input: prompt.saturating_sub(count("cachedContentTokenCount")),
        cache_read: count("cachedContentTokenCount"),
        cache_write_5m: 0,
        cache_write_1h: 0,
        output,
        reasoning: count("thoughtsTokenCount"),
        reported: true,
        disagrees: count("totalTokenCount") != prompt + output,
    };
}
