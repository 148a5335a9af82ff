//! Names of members: those that the wires are made of are not copied.

use std::{borrow::Cow, ops::Deref};

/// A member's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key(Cow<'static, str>);

/// Names that come with nearly every event or message, by their length.
const KNOWN: [&[&str]; 21] = [
    &[],
    &[],
    &["id"],
    &["url"],
    &["args", "data", "item", "name", "part", "role", "text", "type"],
    &["delta", "index", "input", "items", "model", "parts", "title", "tools", "usage"],
    &["object", "output", "source", "status", "stream", "strict"],
    &["call_id", "choices", "content", "created", "item_id", "message", "refusal", "summary"],
    &["contents", "function", "logprobs", "messages", "required", "response", "thinking"],
    &["arguments", "image_url", "signature"],
    &["candidates", "max_tokens", "parameters", "properties", "responseId", "tool_calls"],
    &["description", "obfuscation"],
    &["functionCall", "input_schema", "modelVersion", "output_index", "partial_json", "service_tier"],
    &["cache_control", "content_index", "finish_reason", "output_tokens", "usageMetadata"],
    &[],
    &["sequence_number", "totalTokenCount"],
    &["functionResponse", "promptTokenCount", "thoughtSignature"],
    &["reasoning_content"],
    &["system_fingerprint"],
    &[],
    &["additionalProperties", "candidatesTokenCount", "parametersJsonSchema"],
];

impl Key {
    /// The known name that `name` is, or a copy.
    pub(crate) fn of(name: &str) -> Self {
        let known = KNOWN.get(name.len()).and_then(|list| list.iter().find(|known| **known == name));
        Self(known.map_or_else(|| Cow::Owned(name.to_owned()), |known| Cow::Borrowed(*known)))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Key {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Key {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl From<&'static str> for Key {
    fn from(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }
}

impl From<String> for Key {
    fn from(name: String) -> Self {
        Self(Cow::Owned(name))
    }
}
