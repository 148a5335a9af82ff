//! What the vendors call their counts.

use super::Place;

pub(super) fn anthropic_usage(key: &[u8]) -> Place {
    match key {
        b"input_tokens" => Place::CountInput,
        b"cache_read_input_tokens" => Place::CountCacheRead,
        b"cache_creation_input_tokens" => Place::CountWritten,
        b"cache_creation" => Place::CacheCreation,
        b"output_tokens" => Place::CountOutput,
        b"output_tokens_details" => Place::OutputDetails,
        _ => Place::None,
    }
}

/// Chat and Responses have different words for the same counts, and neither has a word of the other's with another meaning.
pub(super) fn openai_usage(key: &[u8]) -> Place {
    match key {
        b"prompt_tokens" | b"input_tokens" => Place::CountInput,
        b"completion_tokens" | b"output_tokens" => Place::CountOutput,
        b"total_tokens" => Place::CountTotal,
        b"prompt_tokens_details" | b"input_tokens_details" => Place::InputDetails,
        b"completion_tokens_details" | b"output_tokens_details" => Place::OutputDetails,
        _ => Place::None,
    }
}

pub(super) fn gemini_usage(key: &[u8]) -> Place {
    match key {
        b"promptTokenCount" => Place::CountInput,
        b"toolUsePromptTokenCount" => Place::CountToolInput,
        b"cachedContentTokenCount" => Place::CountCacheRead,
        b"candidatesTokenCount" => Place::CountOutput,
        b"thoughtsTokenCount" => Place::CountThoughts,
        b"totalTokenCount" => Place::CountTotal,
        _ => Place::None,
    }
}

pub(super) fn usage_details(of: Place, key: &[u8]) -> Place {
    match (of, key) {
        (Place::CacheCreation, b"ephemeral_5m_input_tokens") => Place::CountWritten5m,
        (Place::CacheCreation, b"ephemeral_1h_input_tokens") => Place::CountWritten1h,
        (Place::InputDetails, b"cached_tokens") => Place::CountCacheRead,
        (Place::InputDetails, b"cache_write_tokens") => Place::CountWritten,
        (Place::OutputDetails, b"reasoning_tokens" | b"thinking_tokens") => Place::CountThoughts,
        _ => Place::None,
    }
}
