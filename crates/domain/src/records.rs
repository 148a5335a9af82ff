//! What is written down of a request: the journal's records and the rows they become.

use crate::{
    bindings::Fingerprint,
    format::{ApiFormat, RequestType, Status, UsageSource},
    ids::{
        ClientKeyId, EndpointId, GlobalModelId, NodeId, PriceVersionId, ProviderId, ProviderKeyId, QuotaId, RequestId,
        UserId,
    },
    money::{Factor, NanoUsd},
    price::{Cost, TokenCounts, UnitPrices},
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Skipped and unreached candidates kept of one request; more are counted.
pub const TRACE_MAX: usize = 256;

/// The word of a trace for a candidate that was tried with a converted request; its number counts what that lost.
pub const CONVERTED: &str = "converted";

/// Who owns a hold: together with the journal's epoch it tells whose it is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Account {
    /// A user's open quota period.
    Quota(UserId, QuotaId),
    /// A user without period.
    User(UserId),
    /// A standalone key's balance.
    Key(ClientKeyId),
}

/// A request was admitted; acknowledged before its first byte goes upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The request.
    pub request_id: RequestId,
    /// When it arrived, Unix microseconds.
    pub created_at: i64,
    /// Who pays, if the account is limited.
    pub account: Option<Account>,
    /// What is held for it.
    pub hold: NanoUsd,
    /// Who asked.
    pub user_id: Option<UserId>,
    /// With which key.
    pub api_key_id: ClientKeyId,
    /// The name asked.
    pub model: String,
    /// What it resolved to.
    pub global_model_id: GlobalModelId,
    /// The inbound format.
    pub api_format: ApiFormat,
    /// What was asked for.
    pub request_type: RequestType,
    /// Whether a stream was asked for.
    pub is_stream: bool,
    /// The price in force at the dearest eligible candidate.
    pub price_version_id: Option<PriceVersionId>,
}

/// One attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptEnded {
    /// The request.
    pub request_id: RequestId,
    /// How it went.
    pub candidate: CandidateRow,
}

/// What is known of an answer under way, so that a crash can bill it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The request.
    pub request_id: RequestId,
    /// The vector so far.
    pub tokens: TokenCounts,
    /// Where it comes from.
    pub source: UsageSource,
    /// The candidate that answers.
    pub provider_api_key_id: ProviderKeyId,
    /// Its unit prices, and which version of them.
    pub prices: UnitPrices,
    /// See `prices`.
    pub price_version_id: Option<PriceVersionId>,
    /// The list cost so far.
    pub cost: Cost,
    /// The cost to the operator so far.
    pub actual: Cost,
    /// What leads from the one to the other.
    pub rate_multiplier: Factor,
}

/// A request ended: everything that becomes rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// The usage row.
    pub usage: UsageRow,
    /// The candidates tried, in order.
    pub candidates: Vec<CandidateRow>,
    /// The others.
    pub trace: Trace,
    /// Whose money it was; `None` only of what is never billed.
    pub account: Option<Account>,
    /// What the answer issued: bound to the row's client key and provider key.
    pub issued: Vec<Fingerprint>,
}

/// One admitted request. The bill can be re-derived from this row alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the columns of the usage table, described in docs/billing.md")]
pub struct UsageRow {
    pub request_id: RequestId,
    pub client_request_id: Option<String>,
    pub user_id: Option<UserId>,
    pub api_key_id: ClientKeyId,
    /// Name of the last provider tried; empty if none was.
    pub provider: String,
    /// The name asked.
    pub model: String,
    pub global_model_id: GlobalModelId,
    /// The name sent upstream, if another.
    pub target_model: Option<String>,
    pub provider_id: Option<ProviderId>,
    pub provider_endpoint_id: Option<EndpointId>,
    pub provider_api_key_id: Option<ProviderKeyId>,
    pub tokens: TokenCounts,
    pub prices: UnitPrices,
    pub price_version_id: Option<PriceVersionId>,
    /// Whether the per-request price was due.
    pub delivered: bool,
    /// List cost.
    pub cost: Cost,
    /// What the operator pays.
    pub actual: Cost,
    pub rate_multiplier: Factor,
    pub usage_source: UsageSource,
    pub request_type: RequestType,
    pub api_format: ApiFormat,
    pub endpoint_api_format: Option<ApiFormat>,
    pub is_stream: bool,
    pub is_converted: bool,
    /// The status given to the client; 499 when it left.
    pub status_code: u16,
    pub upstream_status_code: Option<u16>,
    pub error_type: Option<String>,
    pub error_message: Option<String>,
    /// From arrival to the end.
    pub response_time_ms: u32,
    /// From arrival to the first content byte handed on.
    pub first_byte_time_ms: Option<u32>,
    pub status: Status,
    pub client_ip: Option<IpAddr>,
    pub user_agent: Option<String>,
    pub metadata: RequestMetadata,
    /// Arrival, Unix microseconds.
    pub created_at: i64,
    /// End, Unix microseconds.
    pub finished_at: i64,
}

/// Facts of a request that have no column of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestMetadata {
    /// Capabilities that were required.
    pub required_capabilities: Vec<String>,
    /// What was changed in the body on its way up.
    pub edits: Vec<String>,
    /// What conversion could not carry, of the request and of its answer: a pointer without its numbers, and the reason.
    #[serde(default)]
    pub losses: Vec<String>,
    /// The caller's session, hashed.
    pub session_hash: Option<String>,
    /// The vendor's total disagrees with the sum of its parts.
    pub usage_disagrees: bool,
    /// Which deadline ended an attempt.
    pub deadline: Option<String>,
}

impl RequestMetadata {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A candidate that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the columns of the request_candidates table")]
pub struct CandidateRow {
    /// Place in the plan, from 0.
    pub candidate_index: u32,
    /// Number of the try on this candidate, from 0.
    pub retry_index: u32,
    pub provider_id: ProviderId,
    pub endpoint_id: EndpointId,
    pub key_id: ProviderKeyId,
    pub outcome: AttemptOutcome,
    /// The verdict's stable word, and its detail.
    pub skip_reason: Option<String>,
    pub is_cached: bool,
    /// The upstream's status.
    pub status_code: Option<u16>,
    pub error_type: Option<String>,
    pub error_message: Option<String>,
    /// To the end of the attempt.
    pub latency_ms: u32,
    pub queue_ms: u32,
    /// `None` on a connection that was open already.
    pub connect_ms: Option<u32>,
    pub first_byte_ms: Option<u32>,
    pub stream_ms: Option<u32>,
    /// In flight on the key when it began.
    pub concurrent_requests: u32,
    /// What a failed-over attempt cost the operator.
    pub actual_cost_usd: NanoUsd,
    /// The name sent upstream.
    pub upstream_model: String,
    /// Sent and ended, Unix microseconds.
    pub started_at: i64,
    pub finished_at: i64,
}

/// How one attempt ended, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AttemptOutcome {
    /// Its answer went to the client.
    Success,
    /// It failed.
    Failed,
    /// The client left.
    Cancelled,
}

impl AttemptOutcome {
    /// The stored text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The candidates that were not tried, in compact form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Trace {
    /// At most [`TRACE_MAX`].
    pub entries: Vec<TraceEntry>,
    /// How many more there were.
    pub more: u32,
}

/// One candidate that was skipped or not reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TraceEntry {
    /// The provider key.
    pub key_id: ProviderKeyId,
    /// The skip code; `available` if the plan was not worked down that far.
    pub code: String,
    /// The number behind the code: until when (Unix ms), or the limit.
    pub number: i64,
}

/// A refusal before admission; counted per key, reason and minute, never a row per request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The key, if it was known.
    pub api_key_id: Option<ClientKeyId>,
    /// First bytes of the hash of an unknown key.
    pub key_hash_prefix: Option<[u8; 4]>,
    /// The stable reason.
    pub reason: String,
    /// When, Unix microseconds.
    pub at: i64,
    /// The route asked.
    pub path: String,
    /// The model asked, if it was read.
    pub model: Option<String>,
    /// From where.
    pub ip: IpAddr,
}

/// A record of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// See [`Opened`].
    Opened(Opened),
    /// See [`AttemptEnded`].
    Attempt(AttemptEnded),
    /// See [`Progress`].
    Progress(Progress),
    /// See [`Settled`].
    Settled(Box<Settled>),
}

impl Record {
    /// The request it belongs to.
    pub fn request_id(&self) -> RequestId {
        match self {
            Self::Opened(opened) => opened.request_id,
            Self::Attempt(attempt) => attempt.request_id,
            Self::Progress(progress) => progress.request_id,
            Self::Settled(settled) => settled.usage.request_id,
        }
    }
}

/// Which process wrote a record: a node, and the count of its starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// The node.
    pub node: NodeId,
    /// Rises with every start.
    pub number: u64,
}
