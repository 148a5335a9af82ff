//! The known paths of every wire's answers, as one table: where a member or an element lies.

mod usage;

use crate::{json::Want, state::What};
use usage::{anthropic_usage, gemini_usage, openai_usage, usage_details};

/// A count in a usage object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Input,
    ToolInput,
    CacheRead,
    Written,
    Written5m,
    Written1h,
    Output,
    Thoughts,
    Total,
}

/// A place in an answer. `None` is all that is not read.
///
/// Flat, so that it is one byte and moves as one: the walker stores and loads one per token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    None,
    AnthropicRoot,
    ChatRoot,
    ResponsesRoot,
    GeminiRoot,
    /// An error body of any dialect.
    ErrorRoot,

    Type,
    Id,
    Model,
    Status,
    Finish,
    Sequence,
    /// Generated text.
    Text,
    /// Generated text, if it belongs to an event whose type says so.
    DeltaText,
    /// Generated data whose JSON is counted as text.
    Data,
    /// An object that is content by being there, or an array of such.
    Solid,
    /// An id, a signature: what only its issuer understands.
    IssuedStored,
    IssuedKept,
    IssuedSealed,
    /// An object with the id of what is kept.
    Holder,
    /// What a tool of the vendor's own gives back: at any depth it may name files.
    Files,

    AnthropicMessage,
    AnthropicDelta,
    AnthropicBlocks,
    AnthropicBlock,

    Choices,
    Choice,
    ChoiceIndex,
    ChoiceFinish,
    ChatMessage,
    ChatCalls,
    ChatCall,
    ChatFunction,
    ContentParts,

    Response,
    Incomplete,
    Items,
    Item,
    /// The item of an event, which brings no content that its deltas have not brought.
    EventItem,

    GeminiCandidates,
    GeminiCandidate,
    GeminiContent,
    GeminiParts,
    GeminiPart,
    GeminiCall,
    GeminiCode,
    PromptFeedback,
    BlockReason,

    AnthropicUsage,
    OpenAiUsage,
    GeminiUsage,
    CacheCreation,
    InputDetails,
    OutputDetails,
    /// The counts of rerank answers.
    RerankMeta,
    CountInput,
    CountToolInput,
    CountCacheRead,
    CountWritten,
    CountWritten5m,
    CountWritten1h,
    CountOutput,
    CountThoughts,
    CountTotal,

    Error,
    /// An array of errors.
    Errors,
    FaultCode,
    FaultKind,
    FaultMessage,
    FaultParam,
    FaultReason,
    FaultRetryDelay,
    FaultQuotaId,
    /// Words outside the error object, good where the object has none.
    LooseMessage,
    LooseKind,
    Details,
    Detail,
    Violations,
    Violation,
    /// A bare `detail`: text, or an array of complaints.
    LooseDetail,
    Complaint,
}

impl Place {
    pub(super) fn child(self, key: &[u8]) -> Self {
        match self {
            Self::AnthropicRoot => anthropic_root(key),
            Self::AnthropicMessage => anthropic_message(key),
            Self::AnthropicDelta => anthropic_delta(key),
            Self::AnthropicBlock => anthropic_block(key),
            Self::ChatRoot => chat_root(key),
            Self::Choice => choice(key),
            Self::ChatMessage => chat_message(key),
            Self::ChatCall => chat_call(key),
            Self::ChatFunction => chat_function(key),
            Self::ContentParts => content_part(key),
            Self::ResponsesRoot => responses_root(key),
            Self::Response => response(key),
            Self::Incomplete if key == b"reason" => Self::Finish,
            Self::Item => item(key),
            Self::EventItem => item_issues(key),
            Self::Files if key == b"content" => Self::Files,
            Self::Holder if matches!(key, b"id" | b"container_id") => Self::IssuedKept,
            Self::Files if key == b"file_id" => Self::IssuedKept,
            Self::GeminiRoot => gemini_root(key),
            Self::GeminiCandidate => gemini_candidate(key),
            Self::GeminiContent if key == b"parts" => Self::GeminiParts,
            Self::GeminiPart => gemini_part(key),
            Self::GeminiCall if key == b"args" => Self::Data,
            Self::GeminiCode if matches!(key, b"code" | b"output") => Self::Text,
            Self::PromptFeedback if key == b"blockReason" => Self::BlockReason,
            Self::AnthropicUsage => anthropic_usage(key),
            Self::OpenAiUsage => openai_usage(key),
            Self::GeminiUsage => gemini_usage(key),
            Self::CacheCreation | Self::InputDetails | Self::OutputDetails => usage_details(self, key),
            Self::RerankMeta if key == b"tokens" => Self::OpenAiUsage,
            Self::ErrorRoot => error_root(key),
            Self::Error => error(key),
            Self::Detail => detail(key),
            Self::Violation if key == b"quotaId" => Self::FaultQuotaId,
            Self::Complaint if matches!(key, b"msg" | b"message") => Self::LooseMessage,
            _ => Self::None,
        }
    }

    pub(super) const fn item(self) -> Self {
        match self {
            // An answer may be an array of documents (Gemini), and an error within one.
            Self::GeminiRoot | Self::ErrorRoot | Self::Solid | Self::ContentParts | Self::Files => self,
            Self::AnthropicBlocks => Self::AnthropicBlock,
            Self::Choices => Self::Choice,
            Self::ChatCalls => Self::ChatCall,
            Self::Items => Self::Item,
            Self::GeminiCandidates => Self::GeminiCandidate,
            Self::GeminiParts => Self::GeminiPart,
            Self::Errors => Self::Error,
            Self::Details => Self::Detail,
            Self::Violations => Self::Violation,
            Self::LooseDetail => Self::Complaint,
            _ => Self::None,
        }
    }

    /// What is issued there.
    pub(super) const fn issues(self) -> Option<What> {
        match self {
            Self::IssuedStored => Some(What::Stored),
            Self::IssuedKept => Some(What::Kept),
            Self::IssuedSealed => Some(What::Sealed),
            _ => None,
        }
    }

    /// Which count it is.
    pub(super) const fn count(self) -> Option<Count> {
        Some(match self {
            Self::CountInput => Count::Input,
            Self::CountToolInput => Count::ToolInput,
            Self::CountCacheRead => Count::CacheRead,
            Self::CountWritten => Count::Written,
            Self::CountWritten5m => Count::Written5m,
            Self::CountWritten1h => Count::Written1h,
            Self::CountOutput => Count::Output,
            Self::CountThoughts => Count::Thoughts,
            Self::CountTotal => Count::Total,
            _ => return None,
        })
    }

    pub(super) const fn want(self) -> Want {
        match self {
            Self::Text | Self::DeltaText | Self::ContentParts | Self::Solid => Want::Count,
            Self::Type
            | Self::Id
            | Self::Model
            | Self::Status
            | Self::Finish
            | Self::ChoiceFinish
            | Self::BlockReason
            | Self::Error
            | Self::LooseDetail
            | Self::FaultCode
            | Self::FaultKind
            | Self::FaultMessage
            | Self::FaultParam
            | Self::FaultReason
            | Self::FaultRetryDelay
            | Self::FaultQuotaId
            | Self::LooseMessage
            | Self::LooseKind => Want::Keep,
            _ if self.issues().is_some() => Want::Keep,
            _ => Want::Skip,
        }
    }
}

fn anthropic_root(key: &[u8]) -> Place {
    match key {
        b"type" => Place::Type,
        b"message" => Place::AnthropicMessage,
        b"delta" => Place::AnthropicDelta,
        b"content_block" => Place::AnthropicBlock,
        b"error" => Place::Error,
        // A whole message has its members at its root.
        b"content" => Place::AnthropicBlocks,
        _ => anthropic_message(key),
    }
}

fn anthropic_message(key: &[u8]) -> Place {
    match key {
        b"id" => Place::Id,
        b"model" => Place::Model,
        b"stop_reason" => Place::Finish,
        b"usage" => Place::AnthropicUsage,
        b"container" => Place::Holder,
        _ => Place::None,
    }
}

fn anthropic_delta(key: &[u8]) -> Place {
    match key {
        b"text" | b"thinking" | b"partial_json" | b"content" => Place::Text,
        b"stop_reason" => Place::Finish,
        b"signature" => Place::IssuedSealed,
        b"container" => Place::Holder,
        _ => Place::None,
    }
}

fn anthropic_block(key: &[u8]) -> Place {
    match key {
        b"text" | b"thinking" => Place::Text,
        b"input" => Place::Data,
        b"signature" | b"data" => Place::IssuedSealed,
        b"content" => Place::Files,
        _ => Place::None,
    }
}

fn chat_root(key: &[u8]) -> Place {
    match key {
        b"choices" => Place::Choices,
        b"id" => Place::Id,
        b"model" => Place::Model,
        b"usage" => Place::OpenAiUsage,
        b"error" => Place::Error,
        // Embeddings and images; rerank and moderations; events of images and of speech.
        b"data" | b"results" | b"b64_json" | b"audio" => Place::Solid,
        // Transcripts and their events.
        b"text" => Place::Text,
        b"delta" => Place::DeltaText,
        b"type" => Place::Type,
        b"meta" => Place::RerankMeta,
        _ => Place::None,
    }
}

fn choice(key: &[u8]) -> Place {
    match key {
        b"delta" | b"message" => Place::ChatMessage,
        b"index" => Place::ChoiceIndex,
        b"finish_reason" => Place::ChoiceFinish,
        b"text" => Place::Text,
        _ => Place::None,
    }
}

fn chat_message(key: &[u8]) -> Place {
    match key {
        b"content" => Place::ContentParts,
        b"reasoning_content" | b"reasoning" | b"refusal" => Place::Text,
        b"tool_calls" => Place::ChatCalls,
        b"function_call" => Place::ChatFunction,
        b"audio" | b"images" | b"reasoning_details" => Place::Solid,
        _ => Place::None,
    }
}

fn chat_call(key: &[u8]) -> Place {
    match key {
        b"function" | b"custom" => Place::ChatFunction,
        _ => Place::None,
    }
}

fn chat_function(key: &[u8]) -> Place {
    match key {
        b"name" | b"arguments" | b"input" => Place::Text,
        _ => Place::None,
    }
}

fn content_part(key: &[u8]) -> Place {
    match key {
        b"text" | b"refusal" => Place::Text,
        _ => Place::None,
    }
}

fn responses_root(key: &[u8]) -> Place {
    match key {
        b"type" => Place::Type,
        b"response" => Place::Response,
        b"delta" => Place::DeltaText,
        b"sequence_number" => Place::Sequence,
        // An error event has its facts at the root.
        b"code" => Place::FaultCode,
        b"message" => Place::LooseMessage,
        b"param" => Place::FaultParam,
        // A whole response has these there.
        b"output" => Place::Items,
        b"item" => Place::EventItem,
        _ => response(key),
    }
}

fn response(key: &[u8]) -> Place {
    match key {
        b"id" => Place::Id,
        b"model" => Place::Model,
        b"status" => Place::Status,
        b"usage" => Place::OpenAiUsage,
        b"error" => Place::Error,
        b"incomplete_details" => Place::Incomplete,
        _ => Place::None,
    }
}

fn item(key: &[u8]) -> Place {
    match key {
        b"content" | b"summary" => Place::ContentParts,
        b"arguments" | b"input" => Place::Text,
        _ => item_issues(key),
    }
}

fn item_issues(key: &[u8]) -> Place {
    match key {
        b"id" => Place::IssuedStored,
        b"encrypted_content" => Place::IssuedSealed,
        b"container_id" => Place::IssuedKept,
        b"environment" => Place::Holder,
        _ => Place::None,
    }
}

fn gemini_root(key: &[u8]) -> Place {
    match key {
        b"candidates" => Place::GeminiCandidates,
        b"usageMetadata" => Place::GeminiUsage,
        b"modelVersion" => Place::Model,
        b"responseId" => Place::Id,
        b"promptFeedback" => Place::PromptFeedback,
        b"error" => Place::Error,
        _ => Place::None,
    }
}

fn gemini_candidate(key: &[u8]) -> Place {
    match key {
        b"content" => Place::GeminiContent,
        b"finishReason" => Place::ChoiceFinish,
        b"index" => Place::ChoiceIndex,
        _ => Place::None,
    }
}

fn gemini_part(key: &[u8]) -> Place {
    match key {
        b"text" => Place::Text,
        b"functionCall" => Place::GeminiCall,
        b"executableCode" | b"codeExecutionResult" => Place::GeminiCode,
        b"inlineData" | b"fileData" => Place::Solid,
        b"thoughtSignature" => Place::IssuedSealed,
        _ => Place::None,
    }
}

fn error_root(key: &[u8]) -> Place {
    match key {
        b"error" => Place::Error,
        b"errors" => Place::Errors,
        b"detail" => Place::LooseDetail,
        b"message" | b"Message" => Place::LooseMessage,
        b"type" | b"__type" => Place::LooseKind,
        b"code" => Place::FaultCode,
        // A Responses error event that arrives as a whole body.
        b"response" => Place::ErrorRoot,
        _ => Place::None,
    }
}

fn error(key: &[u8]) -> Place {
    match key {
        b"code" => Place::FaultCode,
        b"type" | b"status" => Place::FaultKind,
        b"message" => Place::FaultMessage,
        b"param" => Place::FaultParam,
        b"details" => Place::Details,
        _ => Place::None,
    }
}

fn detail(key: &[u8]) -> Place {
    match key {
        b"reason" => Place::FaultReason,
        b"retryDelay" => Place::FaultRetryDelay,
        b"violations" => Place::Violations,
        _ => Place::None,
    }
}
