//! What is played: traffic, generated or recorded, and how upstreams behave.

use domain::format::ApiFormat;
use serde::Deserialize;

/// A traffic file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// How long it plays; what is under way then is left out.
    pub minutes: u32,
    /// How the order is made.
    #[serde(default)]
    pub policy: Policy,
    /// How long a request waits for a slot, in milliseconds.
    #[serde(default = "two_seconds")]
    pub queue_wait_ms: u32,
    /// Conversations that are generated.
    #[serde(default)]
    pub traffic: Vec<Traffic>,
    /// Requests as they were recorded.
    #[serde(default)]
    pub recorded: Vec<Recorded>,
    /// Behaviours; the last that names a key counts, and keys that none names behave by the defaults.
    #[serde(default)]
    pub upstream: Vec<Behaviour>,
}

fn two_seconds() -> u32 {
    2_000
}

/// How the order of candidates is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// As the catalog's settings say.
    #[default]
    Configured,
    /// By the spread alone: nothing is warm.
    HashOnly,
    /// Each request begins with the next candidate.
    RoundRobin,
}

/// Conversations that are alike: each takes turns, one after the other, and thinks in between.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// The client key's name.
    pub client: String,
    /// The global model's name.
    pub model: String,
    /// The inbound format.
    pub format: ApiFormat,
    /// How many conversations.
    pub sessions: u32,
    /// Turns of each; 0 goes on to the end.
    pub turns: u32,
    /// Mean pause between an answer and the next turn, in milliseconds.
    #[serde(default)]
    pub think_ms: u32,
    /// When the first begins, in seconds; the others follow within one pause.
    #[serde(default)]
    pub start_s: u32,
    /// No turn begins from then on, in seconds; 0 is the end.
    #[serde(default)]
    pub end_s: u32,
    /// Prompt tokens of the first turn, all of them cacheable.
    pub prompt_tokens: u64,
    /// Prompt tokens that each turn adds, beside the answer before.
    #[serde(default)]
    pub grows_by: u64,
    /// Tokens of an answer.
    pub output_tokens: u64,
    /// What is wrong with the requests.
    #[serde(default)]
    pub kind: Kind,
}

/// What is wrong with requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nothing.
    #[default]
    Good,
    /// Upstreams refuse them as the caller's fault.
    Mistake,
    /// Every upstream fails on them with an error that looks like its own.
    Poison,
}

/// A request as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// When it arrived, in milliseconds from the beginning.
    pub at_ms: u64,
    /// The client key's name.
    pub client: String,
    /// The global model's name.
    pub model: String,
    /// The inbound format.
    pub format: ApiFormat,
    /// Which conversation of the client key.
    pub session: u64,
    /// The whole prompt, in tokens.
    pub prompt_tokens: u64,
    /// The answer, in tokens.
    pub output_tokens: u64,
}

/// How the upstream of a key behaves.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    /// The provider's name; without one, all.
    #[serde(default)]
    pub provider: Option<String>,
    /// The provider key's name; without one, all of the provider.
    #[serde(default)]
    pub key: Option<String>,
    /// Requests that it takes at a time; more get a 429 that says so.
    #[serde(default)]
    pub concurrency: Option<u32>,
    /// Requests per minute; more get a 429 with the time to wait.
    #[serde(default)]
    pub requests_per_minute: Option<u32>,
    /// Until an answer begins.
    #[serde(default = "first_byte_ms")]
    pub first_byte_ms: u32,
    /// How fast it is written.
    #[serde(default = "tokens_per_s")]
    pub tokens_per_s: u32,
    /// When it fails.
    #[serde(default)]
    pub fails: Vec<Failure>,
}

fn first_byte_ms() -> u32 {
    500
}

fn tokens_per_s() -> u32 {
    80
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            provider: None,
            key: None,
            concurrency: None,
            requests_per_minute: None,
            first_byte_ms: first_byte_ms(),
            tokens_per_s: tokens_per_s(),
            fails: Vec::new(),
        }
    }
}

/// A time in which every request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// From this second.
    pub from_s: u32,
    /// To this one.
    pub to_s: u32,
    /// The credential is refused, instead of an error of the server.
    #[serde(default)]
    pub bad_key: bool,
}

/// The file names what the catalog does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the catalog has no {what} {name:?}")]
pub struct UnknownName {
    /// Its kind.
    pub what: &'static str,
    /// The name.
    pub name: String,
}
