//! What a decoder leaves, and what of it would be missed.

use super::Json;
use crate::{
    Wire,
    loss::{Loss, step},
};

/// Why what is left of a node goes no further.
const ONLY_SOURCE: &str = "only the source format has it";

/// The members of a node that only its own wire knows, and where the node stood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Extra {
    pub(crate) wire: Wire,
    /// The node's JSON pointer.
    pub(crate) at: String,
    pub(crate) rest: Json,
}

impl Extra {
    pub(crate) fn new(wire: Wire, at: &str, rest: Json) -> Self {
        Self { wire, at: at.to_owned(), rest }
    }

    /// The start of a node on `wire`: what only it knows, or nothing, and then the rest is reported.
    pub(crate) fn open(&self, wire: Wire, loss: &mut Loss) -> Json {
        if wire == self.wire {
            return self.rest.clone();
        }
        report(self.wire, &self.rest, &self.at, self.at.matches('/').count(), loss);
        Json::empty()
    }

    /// Reports that the node itself, or one member of it, is not carried.
    pub(crate) fn lose(&self, member: &str, reason: &'static str, loss: &mut Loss) {
        loss.add(if member.is_empty() { self.at.clone() } else { step(&self.at, member) }, reason);
    }

    /// The same of what is done nearly as asked.
    pub(crate) fn note(&self, member: &str, reason: &'static str, loss: &mut Loss) {
        loss.note(if member.is_empty() { self.at.clone() } else { step(&self.at, member) }, reason);
    }
}

/// Where a part of an answer stands in its document; of a stream, in the answer that it adds up to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    wire: Wire,
    /// Its JSON pointer.
    pub(crate) at: String,
}

impl Place {
    pub(crate) const fn new(wire: Wire, at: String) -> Self {
        Self { wire, at }
    }

    /// What signs it, if it is a thought; or hides it.
    pub(crate) fn signature(&self, redacted: bool) -> String {
        let member = match (self.wire, redacted) {
            (Wire::Anthropic, false) => "signature",
            (Wire::Anthropic, true) => "data",
            (Wire::Responses, _) => "encrypted_content",
            (Wire::Chat | Wire::Gemini, _) => "thoughtSignature",
        };
        step(&self.at, member)
    }

    /// How likely its tokens were.
    pub(crate) fn probs(&self) -> String {
        let beside = |name: &str| {
            let end = self.at.match_indices('/').nth(2).map_or(self.at.len(), |(end, _)| end);
            format!("{}/{name}", &self.at[..end])
        };
        match self.wire {
            Wire::Chat => beside("logprobs/content"),
            Wire::Gemini => beside("logprobsResult"),
            Wire::Anthropic | Wire::Responses => step(&self.at, "logprobs"),
        }
    }
}

/// Names what is in `value`, below the node it was left in, which is `depth` steps down. Null, an empty list and an empty
/// object hold nothing.
fn report(wire: Wire, value: &Json, at: &str, depth: usize, loss: &mut Loss) {
    for (name, value) in value.members() {
        if value.is_void() || says_nothing(wire, at, name, value) {
            continue;
        }
        let below = step(at, name);
        match value {
            // What was taken out of `reasoning` or `generationConfig` is not lost: the rest of it is.
            Json::Object(_) if depth < 3 && !is_one(name) => report(wire, value, &below, depth + 1, loss),
            _ if is_harmless(wire, at, name, value) => loss.note(below, ONLY_SOURCE),
            _ => loss.add(below, ONLY_SOURCE),
        }
    }
}

/// What changes the price of an answer and not the answer: where to cache, what of the history to clear, and which
/// tools to send when they are needed (they are sent at once). And what Codex says of itself and of groups of tools, and
/// the sources of what was said before, which clients send back as they got them.
fn is_harmless(wire: Wire, at: &str, name: &str, value: &Json) -> bool {
    match wire {
        Wire::Anthropic if name == "citations" => at.starts_with("/messages/") && matches!(value, Json::Array(_)),
        Wire::Anthropic => matches!(name, "cache_control" | "context_management" | "defer_loading"),
        Wire::Responses => name == "client_metadata" || (name == "description" && at.starts_with("/tools/")),
        Wire::Chat | Wire::Gemini => false,
    }
}

/// An object that is carried as a whole, or not at all.
fn is_one(name: &str) -> bool {
    name.contains("schema") || matches!(name, "cache_control" | "container" | "context_management" | "client_metadata")
}

/// Members that are no information, each with its reason.
fn says_nothing(wire: Wire, at: &str, name: &str, value: &Json) -> bool {
    let word = value.str().unwrap_or_default();
    match (wire, name) {
        // Items are found again by the ids of calls; their own name a copy that the vendor keeps, and they are whole.
        (Wire::Responses, "id" | "status") => at.starts_with("/input/") || at.starts_with("/output/"),
        // A message is one without it, and text may bear the name of the other side's: the turn says whose it is.
        (Wire::Responses, "type") => matches!(word, "message" | "text" | "input_text" | "output_text"),
        // What kind of document it is, padding against guessing by length, which machine answered, and how fast.
        (Wire::Responses | Wire::Chat, "object" | "obfuscation" | "service_tier" | "system_fingerprint") => {
            at.is_empty()
        }
        // A search that may leave the vendor's own index, as all others do.
        (Wire::Responses, "external_web_access") => value.bool() == Some(true),
        // The place in a list, which is its place in the list.
        (Wire::Chat, "index") => at == "/choices/0" || at.contains("/tool_calls/"),
        (Wire::Gemini, "index") => at == "/candidates/0",
        // An answer that came whole is said to be one.
        (_, "stream") => at.is_empty() && value.bool() == Some(false),
        // The system is the system, whatever role stands there.
        (Wire::Gemini, "role") => at == "/systemInstruction",
        // The object of a result, which is carried as its text.
        (Wire::Gemini, "response") => at.ends_with("/functionResponse/response"),
        // How a tool's arguments are streamed.
        (Wire::Anthropic, "eager_input_streaming") => at.starts_with("/tools/"),
        // The model called it itself, as models do.
        (Wire::Anthropic, "caller") => value.get("type").str() == Some("direct"),
        _ => false,
    }
}

/// Names what a stream's event has beside the members that are `known`.
pub(crate) fn rest(value: &Json, at: &str, known: &[&str], loss: &mut Loss) {
    for (name, value) in value.members() {
        if !value.is_void() && !known.contains(&name.as_str()) && !loss.knows(at, name) {
            loss.add(step(at, name), ONLY_SOURCE);
        }
    }
}

/// Counts that a [`crate::Usage`] holds, or that are sums of those it holds.
const fn counted(wire: Wire) -> &'static [&'static str] {
    match wire {
        Wire::Anthropic => &[
            "input_tokens",
            "output_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
            "ephemeral_5m_input_tokens",
            "ephemeral_1h_input_tokens",
            "thinking_tokens",
        ],
        Wire::Chat => &[
            "prompt_tokens",
            "completion_tokens",
            "total_tokens",
            "cached_tokens",
            "cache_write_tokens",
            "reasoning_tokens",
        ],
        Wire::Responses => &[
            "input_tokens",
            "output_tokens",
            "total_tokens",
            "cached_tokens",
            "cache_write_tokens",
            "reasoning_tokens",
        ],
        Wire::Gemini => &[
            "promptTokenCount",
            "candidatesTokenCount",
            "totalTokenCount",
            "cachedContentTokenCount",
            "thoughtsTokenCount",
            "toolUsePromptTokenCount",
        ],
    }
}

/// Names what a usage object tells beside the counts that all wires have. A count of zero tells nothing, and neither
/// does one by modality if all of it is text.
pub(crate) fn lose_usage(wire: Wire, usage: &Json, at: &str, loss: &mut Loss) {
    for (name, value) in usage.members() {
        let says = match value {
            value if value.is_void() || counted(wire).contains(&name.as_str()) => false,
            // Which machine answered, and how fast it was to be.
            _ if matches!(name.as_str(), "service_tier" | "serviceTier" | "inference_geo") => false,
            Json::Number(number) => number.as_f64() != Some(0.0),
            Json::Object(_) => {
                lose_usage(wire, value, &step(at, name), loss);
                false
            }
            Json::Array(counts) => !matches!(counts.as_slice(), [only] if only.get("modality").str() == Some("TEXT")),
            _ => true,
        };
        if says && !loss.knows(at, name) {
            loss.add(step(at, name), "the target counts tokens alone");
        }
    }
}
