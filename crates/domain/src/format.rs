//! API formats and the other closed sets of names that are stored values.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A closed set of stored names: the text forms are contracts of the database, the document and the API.
macro_rules! names {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stored text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;
            fn from_str(text: &str) -> Result<Self, UnknownName> {
                match text { $($text => Ok(Self::$variant),)* _ => Err(UnknownName { wanted: &[$($text,)*] }) }
            }
        }
    )*};
}
pub(crate) use names;

/// A text that is none of a closed set's names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {}", .wanted.join(", "))]
pub struct UnknownName {
    /// The names that would have been right.
    pub wanted: &'static [&'static str],
}

names! {
    /// What a caller or an endpoint speaks: a wire and, for two of them, the kind of client.
    ApiFormat {
        /// Anthropic Messages.
        Claude = "CLAUDE",
        /// Anthropic Messages as Claude Code speaks it.
        ClaudeCli = "CLAUDE_CLI",
        /// OpenAI Chat Completions and the other `/v1` routes.
        OpenAi = "OPENAI",
        /// OpenAI Responses.
        OpenAiCli = "OPENAI_CLI",
        /// Gemini `generateContent`.
        Gemini = "GEMINI",
        /// Gemini as Gemini CLI speaks it.
        GeminiCli = "GEMINI_CLI",
    }

    /// What a request asked for, as usage rows name it.
    RequestType {
        /// Messages, chat completions and Gemini's generate actions.
        Chat = "chat",
        /// Legacy completions.
        Completion = "completion",
        /// The Responses wire.
        Responses = "responses",
        /// Embeddings.
        Embedding = "embedding",
        /// Image generation and edits.
        Image = "image",
        /// Speech and transcription.
        Audio = "audio",
        /// Rerank.
        Rerank = "rerank",
        /// Moderations.
        Moderation = "moderation",
        /// Token counting, which costs nothing.
        CountTokens = "count_tokens",
    }

    /// What happens upstream when a client leaves.
    OnDisconnect {
        /// The answer is read on within bounds and billed as reported.
        Drain = "drain",
        /// The upstream call is dropped and billed by estimate.
        Cancel = "cancel",
    }

    /// A user's role.
    Role {
        /// Uses keys.
        User = "user",
        /// Runs the gateway.
        Admin = "admin",
    }

    /// How an operator pays a provider.
    BillingType {
        /// Per token.
        PayAsYouGo = "pay_as_you_go",
        /// Up to a monthly amount.
        MonthlyQuota = "monthly_quota",
        /// Nothing: actual cost is 0.
        FreeTier = "free_tier",
    }

    /// How a request ended.
    Status {
        /// The closing frame of an answer went out.
        Completed = "completed",
        /// The client got an error or a broken stream.
        Failed = "failed",
        /// The client left before the end.
        Cancelled = "cancelled",
    }

    /// Where a usage row's counters come from.
    UsageSource {
        /// The upstream reported them.
        Upstream = "upstream",
        /// Counted here, because the upstream did not report.
        Estimated = "estimated",
        /// There is nothing to bill.
        None = "none",
    }

    /// Which order decides among candidates.
    PriorityMode {
        /// By provider priority.
        Provider = "provider",
        /// By the provider keys' global priority.
        GlobalKey = "global_key",
    }

    /// How equals are told apart.
    SchedulingMode {
        /// A caller goes where its prompt cache is warm.
        CacheAffinity = "cache_affinity",
        /// Nothing is warm; the spread decides.
        FixedOrder = "fixed_order",
        /// Nothing is warm; the least loaded first.
        LoadBalance = "load_balance",
    }

    /// What to do about what a conversion cannot carry.
    ConversionLoss {
        /// Refuse the request.
        Reject = "reject",
        /// Name it in a header and in the record.
        Warn = "warn",
        /// Name it in the record.
        Drop = "drop",
    }

    /// A provider model's optional features.
    Feature {
        /// Images in the prompt.
        Vision = "vision",
        /// Tools.
        FunctionCalling = "function_calling",
        /// Streams.
        Streaming = "streaming",
        /// Reasoning that is asked for.
        ExtendedThinking = "extended_thinking",
        /// Images in the answer.
        ImageGeneration = "image_generation",
    }

    /// What a provider key can have that not all have.
    Capability {
        /// The 1-hour prompt cache; exclusive: who does not need it does not get it.
        Cache1h = "cache_1h",
        /// A context of a million tokens; compatible: it serves everyone.
        Context1m = "context_1m",
    }
}

/// The protocol family behind a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI Chat Completions.
    Chat,
    /// OpenAI Responses.
    Responses,
    /// Gemini `generateContent`.
    Gemini,
}

impl RequestType {
    /// Whether requests of this type can be carried to another wire.
    pub const fn is_convertible(self) -> bool {
        matches!(self, Self::Chat | Self::Responses | Self::CountTokens | Self::Embedding)
    }

    /// Whether answers without tokens are normal, so that the price of a request is the bill.
    pub const fn is_billed_per_request(self) -> bool {
        matches!(self, Self::Image | Self::Audio | Self::Rerank | Self::Moderation)
    }
}

impl ApiFormat {
    /// The protocol behind the format.
    pub const fn family(self) -> Family {
        match self {
            Self::Claude | Self::ClaudeCli => Family::Anthropic,
            Self::OpenAi => Family::Chat,
            Self::OpenAiCli => Family::Responses,
            Self::Gemini | Self::GeminiCli => Family::Gemini,
        }
    }

    /// Whether an endpoint of this format, with this `accepts_conversion`, serves a caller of `asked` without conversion.
    ///
    /// The two command-line formats serve their own kind only, unless they are opened.
    pub fn serves_natively(self, asked: Self, accepts_conversion: Option<bool>) -> bool {
        let opened = !self.is_restricted() || accepts_conversion == Some(true);
        self == asked || (self.family() == asked.family() && opened)
    }

    /// Whether an endpoint of this format, with this `accepts_conversion`, serves a caller of `asked` after conversion.
    pub fn serves_converted(self, asked: Self, accepts_conversion: Option<bool>) -> bool {
        self.family() != asked.family() && self.is_open(accepts_conversion)
    }

    /// Whether an endpoint of this format serves others than its own kind of client.
    fn is_open(self, accepts_conversion: Option<bool>) -> bool {
        accepts_conversion.unwrap_or(!self.is_restricted())
    }

    /// Whether an endpoint of this format is closed to other clients by default.
    pub const fn is_restricted(self) -> bool {
        matches!(self, Self::ClaudeCli | Self::GeminiCli)
    }
}
