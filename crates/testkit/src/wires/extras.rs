//! What a vendor answers beside generation: counts, lists and embeddings.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Wire;
use crate::json::{Json, o};

/// Numbers in an embedding.
const DIMENSIONS: u64 = 8;

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

/// A list of the models that are served: one, whatever is asked.
pub(crate) fn models(wire: Wire) -> Json {
    match wire {
        Wire::Anthropic => o! {
            "data": vec![o! {
                "type": "model", "id": "scripted", "display_name": "Scripted", "created_at": "2026-01-01T00:00:00Z",
            }],
            "has_more": false, "first_id": "scripted", "last_id": "scripted",
        },
        Wire::Chat | Wire::Responses => o! {
            "object": "list",
            "data": vec![o! { "id": "scripted", "object": "model", "created": 1_767_225_600_u64, "owned_by": "testkit" }],
        },
        Wire::Gemini => o! {
            "models": vec![o! {
                "name": "models/scripted", "displayName": "Scripted",
                "supportedGenerationMethods": vec![Json::from("generateContent"), "countTokens".into()],
            }],
        },
    }
}

/// An embedding per input, as numbers or in base64.
pub(crate) fn embeddings(body: &Value, model: &str) -> Json {
    let inputs = body["input"].as_array().map_or(1, Vec::len);
    let as_base64 = body["encoding_format"] == "base64";
    let data: Vec<Json> = (0..inputs)
        .map(|index| {
            let embedding = if as_base64 {
                let bytes: Vec<u8> = (0..DIMENSIONS).flat_map(|_| 0.125_f32.to_le_bytes()).collect();
                Json::from(STANDARD.encode(bytes))
            } else {
                (0..DIMENSIONS).map(|_| Json::raw("0.125".to_owned())).collect::<Vec<_>>().into()
            };
            o! { "object": "embedding", "index": index, "embedding": embedding }
        })
        .collect();
    let tokens = u64::try_from(inputs * 4).unwrap_or_default();
    o! {
        "object": "list", "data": data, "model": model,
        "usage": o! { "prompt_tokens": tokens, "total_tokens": tokens },
    }
}
