//! The known paths of every wire's requests, as one table: where a member or an element lies.

use super::{MODEL_TYPE, MaxField};
use crate::{Wire, json::Token};

/// What content is made of, as far as its size can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// Its own type tells.
    Unknown,
    Image,
    Document,
    /// Audio or video.
    Timed,
}

/// A place in a request. `None` is all that is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    None,
    Root,
    Model,
    /// The path's model, said again (Gemini).
    ModelEcho,
    Stream,
    StreamOptions,
    /// Whether speech comes as events.
    StreamFormat,
    IncludeUsage,
    Max(MaxField),
    Choices,
    /// Answers of which only the best are given; all of them are generated.
    BestOf,
    Background,
    Metadata,
    UserId,
    CacheKey,
    PreviousId,
    Store,
    /// What stands for content that does not show here, unless null.
    Remote,
    /// The same, by the id of what is kept at its issuer; or an object with that id.
    Kept,
    /// Where a tool runs: an id, or an object with ids in it.
    ToolHome,
    /// An id of what is kept at its issuer.
    KeptId,
    KeptIds,
    /// An id of what an earlier call used, which may be gone by now.
    UsedId,
    /// Where the commands of an earlier call ran; what else is in it is counted.
    UsedHome,
    /// A signature, or an encrypted thought.
    Signature,
    /// The id of an input item.
    ItemId,
    Modalities,
    GenerationConfig,

    /// An object with a type and a budget (Anthropic).
    Think,
    ThinkType,
    /// A bare effort (chat).
    BareEffort,
    /// An object with an effort (`OpenAI`).
    Reasoning,
    Effort,
    /// An object with a budget or a level (Gemini).
    ThinkConfig,
    ThinkLevel,
    ShowThoughts,
    Budget,

    /// Messages, contents or input items; one, or an array.
    Messages,
    /// The same, where numbers are tokens (chat's other routes).
    Prompt,
    /// What documents are ranked by, and these (rerank; chat's on some servers).
    Query,
    Documents,
    /// Several requests in one (Gemini embeddings).
    Requests,
    Request,
    System,
    /// Text, or an array of blocks.
    Content,
    /// A message, or a part of one.
    Block,
    BlockType,
    /// A string that is an image.
    ImageData,
    /// A string or object that holds or names content.
    Source(Media),
    SourceType,
    MediaType,
    SourceData,
    Reference(Media),
    FileId,
    CacheControl,
    CacheTtl,

    Tools,
    Tool,
    ToolType,
    Declarations,
    Declaration,
    /// Sources of a text, counted as they stand.
    Citations,
    Citation,
    /// A vendor's mark of a source.
    SourceMark,
    /// JSON that is counted as it stands.
    Free,
}

impl Place {
    pub(super) fn child(self, wire: Wire, key: &[u8]) -> Self {
        match self {
            Self::Root => match wire {
                Wire::Anthropic => anthropic_root(key),
                Wire::Chat => chat_root(key),
                Wire::Responses => responses_root(key),
                Wire::Gemini => gemini_root(key),
            },
            Self::StreamOptions if key == b"include_usage" => Self::IncludeUsage,
            Self::Metadata if key == b"user_id" => Self::UserId,
            Self::GenerationConfig => generation_config(key),
            Self::Think | Self::Reasoning | Self::ThinkConfig => thinking(self, key),
            Self::Request if key == b"content" => Self::Messages,
            Self::Request if key == b"model" => Self::ModelEcho,
            Self::System | Self::Block => block(wire, key),
            Self::Source(media) => source(media, key),
            Self::CacheControl if key == b"ttl" => Self::CacheTtl,
            Self::Kept | Self::ToolHome if key == b"id" => Self::KeptId,
            Self::ToolHome if key == b"container_id" => Self::KeptId,
            Self::ToolHome if key == b"file_ids" => Self::KeptIds,
            Self::UsedHome if key == b"container_id" => Self::UsedId,
            Self::UsedHome => Self::Free,
            Self::Tool => tool(wire, key),
            Self::Citation if key == b"encrypted_index" => Self::SourceMark,
            _ => Self::None,
        }
    }

    /// Where a value stands that may be another than its place is for.
    pub(super) const fn of(self, value: &Token<'_>) -> Self {
        match (self, value) {
            (Self::UsedHome, Token::Open { array: false }) => self,
            (Self::UsedHome, _) => Self::Free,
            _ => self,
        }
    }

    pub(super) const fn item(self) -> Self {
        match self {
            Self::Messages | Self::Content | Self::System => Self::Block,
            Self::Prompt | Self::Documents | Self::Modalities => self,
            Self::Requests => Self::Request,
            Self::KeptIds => Self::KeptId,
            Self::Tools => Self::Tool,
            Self::Declarations => Self::Declaration,
            Self::Citations => Self::Citation,
            _ => Self::None,
        }
    }

    /// The field's name and its type with its article, where no other value will do.
    pub(super) const fn expects(self, wire: Wire) -> Option<(&'static str, &'static str)> {
        const COUNT: &str = "a non-negative integer";
        Some(match self {
            Self::Model => ("model", MODEL_TYPE),
            Self::Stream => ("stream", "a boolean"),
            Self::Max(field) => (field.name(), COUNT),
            Self::Choices if matches!(wire, Wire::Gemini) => ("candidateCount", COUNT),
            Self::Choices => ("n", COUNT),
            Self::BestOf => ("best_of", COUNT),
            _ => return None,
        })
    }

    /// The field's bit and name, if it may be given only once.
    pub(super) const fn once(self, wire: Wire) -> Option<(u32, &'static str)> {
        let gemini = matches!(wire, Wire::Gemini);
        Some(match self {
            Self::Model => (1, "model"),
            Self::Stream => (1 << 1, "stream"),
            Self::StreamOptions => (1 << 2, "stream_options"),
            Self::Max(field) => (1 << (3 + field as u32), field.name()),
            Self::Choices => (1 << 7, if gemini { "candidateCount" } else { "n" }),
            Self::Think => (1 << 8, "thinking"),
            Self::BareEffort => (1 << 9, "reasoning_effort"),
            Self::Reasoning => (1 << 10, "reasoning"),
            Self::ThinkConfig => (1 << 11, "thinkingConfig"),
            Self::GenerationConfig => (1 << 12, "generationConfig"),
            Self::Messages => match wire {
                Wire::Anthropic | Wire::Chat => (1 << 13, "messages"),
                Wire::Responses => (1 << 13, "input"),
                Wire::Gemini => (1 << 13, "contents"),
            },
            Self::Prompt => (1 << 14, "input"),
            Self::Tools => (1 << 15, "tools"),
            Self::BestOf => (1 << 16, "best_of"),
            Self::StreamFormat => (1 << 17, "stream_format"),
            _ => return None,
        })
    }
}

fn anthropic_root(key: &[u8]) -> Place {
    match key {
        b"model" => Place::Model,
        b"stream" => Place::Stream,
        b"max_tokens" => Place::Max(MaxField::MaxTokens),
        b"thinking" => Place::Think,
        b"messages" => Place::Messages,
        b"system" => Place::System,
        b"tools" => Place::Tools,
        b"metadata" => Place::Metadata,
        b"cache_control" => Place::CacheControl,
        b"output_config" | b"output_format" => Place::Free,
        b"mcp_servers" => Place::Remote,
        b"container" => Place::Kept,
        _ => Place::None,
    }
}

fn chat_root(key: &[u8]) -> Place {
    match key {
        b"model" => Place::Model,
        b"stream" => Place::Stream,
        b"stream_options" => Place::StreamOptions,
        b"stream_format" => Place::StreamFormat,
        b"max_tokens" => Place::Max(MaxField::MaxTokens),
        b"max_completion_tokens" => Place::Max(MaxField::MaxCompletionTokens),
        b"n" => Place::Choices,
        b"best_of" => Place::BestOf,
        b"reasoning_effort" => Place::BareEffort,
        b"reasoning" => Place::Reasoning,
        b"thinking" => Place::Think,
        b"messages" => Place::Messages,
        b"input" | b"prompt" => Place::Prompt,
        b"query" => Place::Query,
        b"documents" => Place::Documents,
        b"tools" => Place::Tools,
        b"functions" | b"response_format" | b"suffix" | b"instructions" => Place::Free,
        // Pictures to edit.
        b"images" => Place::Content,
        b"mask" => Place::Block,
        b"prompt_cache_key" => Place::CacheKey,
        b"modalities" => Place::Modalities,
        b"cache_control" => Place::CacheControl,
        _ => Place::None,
    }
}

fn responses_root(key: &[u8]) -> Place {
    match key {
        b"model" => Place::Model,
        b"stream" => Place::Stream,
        b"max_output_tokens" => Place::Max(MaxField::MaxOutputTokens),
        b"reasoning" => Place::Reasoning,
        b"input" => Place::Messages,
        b"instructions" => Place::System,
        b"tools" => Place::Tools,
        b"text" => Place::Free,
        b"prompt_cache_key" => Place::CacheKey,
        b"previous_response_id" => Place::PreviousId,
        b"background" => Place::Background,
        b"store" => Place::Store,
        b"conversation" => Place::Kept,
        b"prompt" => Place::Remote,
        _ => Place::None,
    }
}

fn gemini_root(key: &[u8]) -> Place {
    match key {
        b"model" => Place::ModelEcho,
        b"contents" | b"content" => Place::Messages,
        b"systemInstruction" | b"system_instruction" => Place::System,
        b"tools" => Place::Tools,
        b"generationConfig" | b"generation_config" => Place::GenerationConfig,
        b"cachedContent" | b"cached_content" => Place::Remote,
        // Counting may wrap the request whose prompt it counts.
        b"generateContentRequest" | b"generate_content_request" => Place::Root,
        b"requests" => Place::Requests,
        _ => Place::None,
    }
}

fn generation_config(key: &[u8]) -> Place {
    match key {
        b"maxOutputTokens" | b"max_output_tokens" => Place::Max(MaxField::GeminiMaxOutputTokens),
        b"candidateCount" | b"candidate_count" => Place::Choices,
        b"thinkingConfig" | b"thinking_config" => Place::ThinkConfig,
        b"responseModalities" | b"response_modalities" => Place::Modalities,
        b"responseSchema" | b"response_schema" | b"responseJsonSchema" | b"response_json_schema" => Place::Free,
        _ => Place::None,
    }
}

fn thinking(of: Place, key: &[u8]) -> Place {
    match (of, key) {
        (Place::Think, b"type") => Place::ThinkType,
        (Place::Think, b"budget_tokens")
        | (Place::Reasoning, b"max_tokens")
        | (Place::ThinkConfig, b"thinkingBudget" | b"thinking_budget") => Place::Budget,
        (Place::Reasoning, b"effort") => Place::Effort,
        (Place::ThinkConfig, b"thinkingLevel" | b"thinking_level") => Place::ThinkLevel,
        (Place::ThinkConfig, b"includeThoughts" | b"include_thoughts") => Place::ShowThoughts,
        _ => Place::None,
    }
}

fn block(wire: Wire, key: &[u8]) -> Place {
    match key {
        b"type" => Place::BlockType,
        b"content" | b"parts" | b"output" | b"summary" => Place::Content,
        b"cache_control" => Place::CacheControl,
        b"file_data" if wire == Wire::Responses => Place::Reference(Media::Document),
        b"source" | b"inlineData" | b"inline_data" | b"fileData" | b"file_data" => Place::Source(Media::Unknown),
        b"image_url" => Place::Source(Media::Image),
        b"file" => Place::Source(Media::Document),
        b"input_audio" | b"audio" | b"video_url" => Place::Source(Media::Timed),
        b"file_id" => Place::FileId,
        b"file_url" => Place::Reference(Media::Document),
        // The answer of a tool may bring parts of its own.
        b"functionResponse" | b"function_response" => Place::Block,
        b"result" if wire == Wire::Responses => Place::ImageData,
        b"signature" | b"data" if wire == Wire::Anthropic => Place::Signature,
        b"citations" if wire == Wire::Anthropic => Place::Citations,
        b"encrypted_content" if wire == Wire::Responses => Place::Signature,
        b"thoughtSignature" | b"thought_signature" if wire == Wire::Gemini => Place::Signature,
        b"id" if wire == Wire::Responses => Place::ItemId,
        // Where the code of an earlier call ran.
        b"container_id" if wire == Wire::Responses => Place::UsedId,
        b"environment" if wire == Wire::Responses => Place::UsedHome,
        _ => Place::Free,
    }
}

fn source(media: Media, key: &[u8]) -> Place {
    match key {
        b"type" => Place::SourceType,
        b"media_type" | b"mimeType" | b"mime_type" => Place::MediaType,
        b"data" => Place::SourceData,
        b"url" | b"file_data" => Place::Reference(media),
        b"file_id" | b"fileUri" | b"file_uri" | b"id" => Place::FileId,
        b"content" => Place::Content,
        _ => Place::Free,
    }
}

fn tool(wire: Wire, key: &[u8]) -> Place {
    match key {
        b"type" => Place::ToolType,
        b"cache_control" => Place::CacheControl,
        b"functionDeclarations" | b"function_declarations" if wire == Wire::Gemini => Place::Declarations,
        b"container" | b"environment" if wire == Wire::Responses => Place::ToolHome,
        _ => Place::None,
    }
}

/// A data URL, or data without one: nothing that must be fetched.
pub(super) fn is_inline(url: &[u8]) -> bool {
    let scheme = url.get(..5).unwrap_or(url);
    scheme.eq_ignore_ascii_case(b"data:") || memchr::memchr(b':', &url[..url.len().min(16)]).is_none()
}
