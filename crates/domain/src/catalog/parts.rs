//! What the store reads and a catalog is built from.

use super::{ClientKey, Endpoint, GlobalModel, Model, Provider, ProviderKey, User};
use crate::{
    format::{ConversionLoss, OnDisconnect, PriorityMode, SchedulingMode},
    ledger::Mark,
    money::Factor,
};
use serde::{Deserialize, Serialize};

/// The rows of a catalog, in no particular order.
#[derive(Debug, Default, Clone)]
pub struct Parts {
    /// The change feed's revision at which they were read.
    pub revision: u64,
    /// How much of this node's journal was in the database's sums then.
    pub shipped: Mark,
    /// Settings, defaults filled in.
    pub settings: Settings,
    /// Users that are not deleted.
    pub users: Vec<User>,
    /// All client keys, with their mappings; boxed, so that many of them never lie in memory twice.
    #[allow(
        clippy::vec_box,
        reason = "a large vector would double while it grows, and again when each key gets its count"
    )]
    pub client_keys: Vec<Box<ClientKey>>,
    /// All providers.
    pub providers: Vec<Provider>,
    /// All endpoints.
    pub endpoints: Vec<Endpoint>,
    /// All provider keys, sealed.
    pub provider_keys: Vec<ProviderKey>,
    /// All global models.
    pub global_models: Vec<GlobalModel>,
    /// All provider models.
    pub models: Vec<Model>,
}

/// The settings that act on the data plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Business zone of days, quota periods and statistics, an IANA name.
    pub timezone: String,
    /// Which order decides among candidates.
    pub provider_priority_mode: PriorityMode,
    /// How equals are told apart.
    pub scheduling_mode: SchedulingMode,
    /// For client keys without their own.
    pub on_disconnect: OnDisconnect,
    /// For endpoints without their own.
    pub conversion_loss: ConversionLoss,
    /// Prompt tokens assumed per image or document.
    pub image_token_estimate: u64,
    /// Prices that a tier of an Anthropic endpoint does not name, relative to its input price.
    pub price_defaults: PriceDefaults,
    /// `rate_limit` of a new client key, requests per minute.
    pub default_rate_limit: u32,
    /// Deletes client keys a day after they have expired; without it they are switched off.
    pub auto_delete_expired_keys: bool,
}

/// Default prices of cache traffic as factors of the input price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriceDefaults {
    /// A 5-minute cache write.
    pub write_5m: Factor,
    /// A 1-hour cache write.
    pub write_1h: Factor,
    /// A cache read.
    pub read: Factor,
}

impl Default for PriceDefaults {
    /// Anthropic's published ratios: 1.25, 2 and 0.10 times the input price.
    fn default() -> Self {
        let factor = |millionths| Factor::from_millionths(millionths).unwrap_or_default();
        Self { write_5m: factor(1_250_000), write_1h: factor(2_000_000), read: factor(100_000) }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timezone: "UTC".to_owned(),
            provider_priority_mode: PriorityMode::Provider,
            scheduling_mode: SchedulingMode::CacheAffinity,
            on_disconnect: OnDisconnect::Cancel,
            conversion_loss: ConversionLoss::Warn,
            image_token_estimate: 1_600,
            price_defaults: PriceDefaults::default(),
            default_rate_limit: 100,
            auto_delete_expired_keys: false,
        }
    }
}
