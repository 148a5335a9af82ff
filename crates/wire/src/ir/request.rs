//! A request to generate.

use std::collections::BTreeMap;

use super::{Extra, Json, Kind, Name, Part};
use crate::Wire;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) model: String,
    pub(crate) stream: bool,
    /// System text that stands apart from the conversation.
    pub(crate) system: Vec<Part>,
    /// It stands as one string.
    pub(crate) system_plain: bool,
    pub(crate) turns: Vec<Turn>,
    pub(crate) tools: Vec<Tool>,
    pub(crate) choice: Option<Choice>,
    pub(crate) parallel: Option<bool>,
    /// Values that only change their name, in the order of [`Param`].
    pub(crate) params: Vec<(Param, Json)>,
    pub(crate) format: Option<Format>,
    pub(crate) think: Think,
    pub(crate) extra: Extra,
}

impl Request {
    pub(crate) fn param(&self, wanted: Param) -> Option<&Json> {
        self.params.iter().find(|(param, _)| *param == wanted).map(|(_, value)| value)
    }

    pub(crate) fn wire(&self) -> Wire {
        self.extra.wire
    }

    pub(crate) fn think_pointer(&self) -> &'static str {
        match self.wire() {
            Wire::Anthropic => "/thinking",
            Wire::Chat => "/reasoning_effort",
            Wire::Responses => "/reasoning",
            Wire::Gemini => "/generationConfig/thinkingConfig",
        }
    }

    pub(crate) fn choice_pointer(&self) -> &'static str {
        if self.wire() == Wire::Gemini { "/toolConfig/functionCallingConfig" } else { "/tool_choice" }
    }

    pub(crate) fn format_pointer(&self) -> &'static str {
        match self.wire() {
            Wire::Anthropic => "/output_config/format",
            Wire::Chat => "/response_format",
            Wire::Responses => "/text/format",
            Wire::Gemini => "/generationConfig/responseJsonSchema",
        }
    }

    /// Where the schema of the answer stands.
    pub(crate) fn schema_pointer(&self) -> &'static str {
        match self.wire() {
            Wire::Anthropic => "/output_config/format/schema",
            Wire::Chat => "/response_format/json_schema/schema",
            Wire::Responses => "/text/format/schema",
            Wire::Gemini => "/generationConfig/responseJsonSchema",
        }
    }

    pub(crate) fn parallel_pointer(&self) -> &'static str {
        if self.wire() == Wire::Anthropic { "/tool_choice/disable_parallel_tool_use" } else { "/parallel_tool_calls" }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    User,
    Assistant,
    System,
    Developer,
}

/// A message, or an item that stands alone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Turn {
    pub(crate) role: Role,
    pub(crate) parts: Vec<Part>,
    /// The content is one string.
    pub(crate) plain: bool,
    pub(crate) extra: Extra,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tool {
    Function(Function),
    /// A group of functions (Responses).
    Namespace {
        name: String,
        tools: Vec<Function>,
        extra: Extra,
    },
    WebSearch {
        whole: Json,
        extra: Extra,
    },
    /// A tool that only its own vendor runs.
    Foreign {
        whole: Json,
        extra: Extra,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) schema: Option<Json>,
    /// The schema is of the subset of `OpenAPI` with types in capitals.
    pub(crate) openapi: bool,
    pub(crate) strict: Option<bool>,
    /// Takes free text instead of arguments.
    pub(crate) custom: bool,
    pub(crate) extra: Extra,
}

impl Function {
    /// Where its member `name` stands.
    pub(crate) fn pointer(&self, name: &str) -> String {
        let within = if self.extra.wire == Wire::Chat { "/function" } else { "" };
        format!("{}{within}/{name}", self.extra.at)
    }

    /// Where its schema stands.
    pub(crate) fn schema_pointer(&self) -> String {
        self.pointer(if self.extra.wire == Wire::Anthropic { "input_schema" } else { "parameters" })
    }
}

/// Which tool the model is to call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Choice {
    Auto,
    None,
    Required,
    /// One of these.
    Named(Vec<String>),
}

/// The shape an answer must have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Format {
    Text,
    Json,
    Schema { name: Option<String>, description: Option<String>, schema: Json, strict: Option<bool>, openapi: bool },
}

/// How much thinking is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Think {
    pub(crate) off: bool,
    pub(crate) adaptive: bool,
    pub(crate) budget: Option<u64>,
    pub(crate) effort: Option<String>,
    /// Thoughts are to be shown.
    pub(crate) show: Option<bool>,
    /// The wire's own word for showing them.
    pub(crate) summary: Option<String>,
}

impl Think {
    pub(crate) fn asked(&self) -> bool {
        !self.off && (self.adaptive || self.budget.is_some() || self.effort.is_some())
    }

    /// The effort in `OpenAI`'s words.
    pub(crate) fn as_effort(&self) -> Option<String> {
        if self.off {
            return Some("none".to_owned());
        }
        if let Some(effort) = &self.effort {
            return Some(effort.clone());
        }
        match self.budget {
            Some(..=2048) => Some("low"),
            Some(..=8192) => Some("medium"),
            Some(..=24_576) => Some("high"),
            Some(_) => Some("xhigh"),
            None if self.adaptive => Some("medium"),
            None => None,
        }
        .map(str::to_owned)
    }

    /// The budget in tokens, below `max`; `None` for none.
    pub(crate) fn as_budget(&self, max: Option<u64>) -> Option<u64> {
        if self.off {
            return None;
        }
        let budget = self.budget.or_else(|| match self.effort.as_deref() {
            Some("low") => Some(1024),
            Some("medium") => Some(8192),
            Some("high" | "xhigh" | "max") => Some(24_576),
            Some("minimal" | "none") => None,
            _ => self.adaptive.then_some(8192),
        })?;
        let budget = max.map_or(budget, |max| budget.min(max.saturating_sub(1)));
        (budget >= 1024).then_some(budget)
    }
}

/// A value that means the same on several wires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    MaxTokens,
    /// Chat's older name of it.
    OldMaxTokens,
    Temperature,
    TopP,
    TopK,
    Stop,
    Count,
    Seed,
    Presence,
    Frequency,
    LogitBias,
    Logprobs,
    TopLogprobs,
    UserId,
    SafetyId,
    CacheKey,
    CacheRetention,
    Metadata,
    Tier,
    Store,
    Verbosity,
    Include,
    Truncation,
    ServiceOptions,
}

/// The names of the values on a wire, as dotted paths.
pub(crate) const fn params_of(wire: Wire) -> &'static [(Param, &'static str)] {
    use Param as P;
    match wire {
        Wire::Anthropic => &[
            (P::MaxTokens, "max_tokens"),
            (P::Temperature, "temperature"),
            (P::TopP, "top_p"),
            (P::TopK, "top_k"),
            (P::Stop, "stop_sequences"),
            (P::UserId, "metadata.user_id"),
            (P::Tier, "service_tier"),
        ],
        Wire::Chat => &[
            (P::MaxTokens, "max_completion_tokens"),
            (P::OldMaxTokens, "max_tokens"),
            (P::Temperature, "temperature"),
            (P::TopP, "top_p"),
            (P::Stop, "stop"),
            (P::Count, "n"),
            (P::Seed, "seed"),
            (P::Presence, "presence_penalty"),
            (P::Frequency, "frequency_penalty"),
            (P::LogitBias, "logit_bias"),
            (P::Logprobs, "logprobs"),
            (P::TopLogprobs, "top_logprobs"),
            (P::UserId, "user"),
            (P::SafetyId, "safety_identifier"),
            (P::CacheKey, "prompt_cache_key"),
            (P::CacheRetention, "prompt_cache_retention"),
            (P::Metadata, "metadata"),
            (P::Tier, "service_tier"),
            (P::Store, "store"),
            (P::Verbosity, "verbosity"),
            (P::ServiceOptions, "stream_options"),
        ],
        Wire::Responses => &[
            (P::MaxTokens, "max_output_tokens"),
            (P::Temperature, "temperature"),
            (P::TopP, "top_p"),
            (P::TopLogprobs, "top_logprobs"),
            (P::UserId, "user"),
            (P::SafetyId, "safety_identifier"),
            (P::CacheKey, "prompt_cache_key"),
            (P::CacheRetention, "prompt_cache_retention"),
            (P::Metadata, "metadata"),
            (P::Tier, "service_tier"),
            (P::Store, "store"),
            (P::Verbosity, "text.verbosity"),
            (P::Include, "include"),
            (P::Truncation, "truncation"),
            (P::ServiceOptions, "stream_options"),
        ],
        Wire::Gemini => &[
            (P::MaxTokens, "generationConfig.maxOutputTokens"),
            (P::Temperature, "generationConfig.temperature"),
            (P::TopP, "generationConfig.topP"),
            (P::TopK, "generationConfig.topK"),
            (P::Stop, "generationConfig.stopSequences"),
            (P::Count, "generationConfig.candidateCount"),
            (P::Seed, "generationConfig.seed"),
            (P::Presence, "generationConfig.presencePenalty"),
            (P::Frequency, "generationConfig.frequencyPenalty"),
            (P::Logprobs, "generationConfig.responseLogprobs"),
            (P::TopLogprobs, "generationConfig.logprobs"),
            (P::Store, "store"),
        ],
    }
}

/// The names of a history's calls by their ids.
pub(crate) type CallNames<'a> = BTreeMap<Name, &'a str>;

/// The calls of a conversion's history by id: Gemini's results go by name.
pub(crate) fn call_names(turns: &[Turn]) -> CallNames<'_> {
    let mut names = CallNames::new();
    for part in turns.iter().flat_map(|turn| &turn.parts) {
        if let Kind::Call { id: Some(id), name, .. } = &part.kind {
            names.entry(id.as_str().into()).or_insert(name);
        }
    }
    names
}
