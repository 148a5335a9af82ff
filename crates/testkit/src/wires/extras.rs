//! What a vendor answers beside generation: counts, lists and embeddings.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Wire;
use crate::json::{Json, o};

/// Numbers in an embedding, unless another count is asked for.
const DIMENSIONS: usize = 8;
/// Most numbers in one.
const DIMENSIONS_MAX: usize = 4_096;

/// The answer to a request that counts tokens.
pub(crate) fn count(wire: Wire, tokens: u64) -> Json {
    match wire {
        Wire::Anthropic | Wire::Chat => o! { "input_tokens": tokens },
        Wire::Responses => o! { "object": "response.input_tokens", "input_tokens": tokens },
        Wire::Gemini => o! {
            "totalTokens": tokens,
            "promptTokensDetails": vec![o! { "modality": "TEXT", "tokenCount": tokens }],
        },
    }
}

/// The one model that is served, whatever is asked.
const MODEL: &str = "scripted";

/// A model as a list shows it, or by itself.
pub(crate) fn model(wire: Wire, name: &str) -> Json {
    match wire {
        Wire::Anthropic => o! {
            "type": "model", "id": name, "display_name": "Scripted", "created_at": "2026-01-01T00:00:00Z",
        },
        Wire::Chat | Wire::Responses => {
            o! { "id": name, "object": "model", "created": 1_767_225_600_u64, "owned_by": "testkit" }
        }
        Wire::Gemini => o! {
            "name": format!("models/{name}"),
            "version": "001",
            "displayName": "Scripted",
            "inputTokenLimit": 1_048_576_u64,
            "outputTokenLimit": 65_536_u64,
            "supportedGenerationMethods": ["generateContent", "countTokens", "embedContent"].map(Json::from).to_vec(),
        },
    }
}

/// A list of the models that are served.
pub(crate) fn models(wire: Wire) -> Json {
    let data = vec![model(wire, MODEL)];
    match wire {
        Wire::Anthropic => o! { "data": data, "has_more": false, "first_id": MODEL, "last_id": MODEL },
        Wire::Chat | Wire::Responses => o! { "object": "list", "data": data },
        Wire::Gemini => o! { "models": data },
    }
}

/// An embedding per input, as numbers or in base64. An input is a text or a list of tokens.
pub(crate) fn embeddings(body: &Value, model: &str) -> Json {
    let inputs = match body["input"].as_array() {
        Some(inputs) if !inputs.first().is_some_and(Value::is_number) => inputs.len(),
        _ => 1,
    };
    let dimensions = dimensions(&body["dimensions"]);
    let embedding = if body["encoding_format"] == "base64" {
        Json::from(STANDARD.encode(NUMBER.to_le_bytes().repeat(dimensions)))
    } else {
        numbers(dimensions)
    };
    let one = |index| o! { "object": "embedding", "index": index, "embedding": embedding.clone() };
    let data: Vec<Json> = (0..inputs).map(one).collect();
    let tokens = u64::try_from(inputs * 4).unwrap_or_default();
    o! {
        "object": "list", "data": data, "model": model,
        "usage": o! { "prompt_tokens": tokens, "total_tokens": tokens },
    }
}

/// Gemini's embedding of one content, or of a batch.
pub(crate) fn gemini_embeddings(body: &Value) -> Json {
    let one = |request: &Value| o! { "values": numbers(dimensions(&request["outputDimensionality"])) };
    match body["requests"].as_array() {
        Some(requests) => o! { "embeddings": requests.iter().map(one).collect::<Vec<_>>() },
        None => o! { "embedding": one(body) },
    }
}

/// Every number of every embedding: one that base64 and decimals spell exactly.
const NUMBER: f32 = 0.125;

fn dimensions(asked: &Value) -> usize {
    let asked = asked.as_u64().and_then(|asked| usize::try_from(asked).ok());
    asked.map_or(DIMENSIONS, |asked| asked.min(DIMENSIONS_MAX))
}

fn numbers(count: usize) -> Json {
    vec![Json::raw(NUMBER.to_string()); count].into()
}
