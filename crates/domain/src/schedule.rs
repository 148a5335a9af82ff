//! Who serves a request: what is eligible, in which order, and what follows when an attempt fails.
//!
//! Everything here is a function of a snapshot, the request's facts and a view of live state. The same inputs give the
//! same plan.

pub mod adaptive;
pub mod affinity;
pub mod attempt;
pub mod blame;
pub mod breaker;
mod eligible;
pub mod health;
mod plan;

pub use eligible::{Candidate, CarriesAll, Conversion, Eligible, Facts, Native, Pin, eligible};
pub use plan::{Blank, Look, Order, Out, Plan, Planned, Probe, StateView, plan};

use crate::{format::names, ids::ProviderKeyId};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

use crate::format::UnknownName;

names! {
    /// Why a candidate is out: stable words of traces, the API and metrics.
    SkipCode {
        /// The provider is switched off.
        ProviderInactive = "provider_inactive",
        /// A restriction or mapping excludes the provider.
        ProviderNotAllowed = "provider_not_allowed",
        /// The provider's quota date is past.
        ProviderExpired = "provider_expired",
        /// The endpoint is switched off.
        EndpointInactive = "endpoint_inactive",
        /// A restriction excludes the endpoint.
        EndpointNotAllowed = "endpoint_not_allowed",
        /// The endpoint does not serve this format.
        FormatMismatch = "format_mismatch",
        /// Conversion cannot carry the request.
        ConversionUnsupported = "conversion_unsupported",
        /// The provider model is switched off.
        ModelInactive = "model_inactive",
        /// The provider model was found missing upstream.
        ModelUnavailable = "model_unavailable",
        /// The model lacks a feature that the request needs.
        FeatureMissing = "feature_missing",
        /// The key lacks a capability that the request requires.
        CapabilityMissing = "capability_missing",
        /// The key has an exclusive capability that the request does not require.
        CapabilityReserved = "capability_reserved",
        /// The provider key is switched off.
        KeyInactive = "key_inactive",
        /// The provider key's date is past.
        KeyExpired = "key_expired",
        /// The provider key does not serve this model.
        KeyModelNotAllowed = "key_model_not_allowed",
        /// There is no price to bill.
        Unpriced = "unpriced",
        /// The request is bound to another provider key.
        StateBound = "state_bound",
        /// The provider's fixed minute is used up.
        ProviderRpm = "provider_rpm",
        /// The provider's sliding minute is used up.
        ProviderRate = "provider_rate",
        /// The endpoint's sliding minute is used up.
        EndpointRate = "endpoint_rate",
        /// The key's sliding minute is used up.
        KeyRate = "key_rate",
        /// The upstream asked to wait.
        KeyCooling = "key_cooling",
        /// All the provider's slots are taken.
        ProviderConcurrency = "provider_concurrency",
        /// All the endpoint's slots are taken.
        EndpointConcurrency = "endpoint_concurrency",
        /// All the key's slots are taken.
        KeyConcurrency = "key_concurrency",
        /// The free slots are kept for callers whose cache is warm.
        KeyReserved = "key_reserved",
        /// The provider's monthly amount is spent.
        ProviderQuotaExhausted = "provider_quota_exhausted",
        /// The key's attempts of the day are used up.
        KeyDaily = "key_daily",
        /// The key's attempts of the month are used up.
        KeyMonthly = "key_monthly",
        /// The key's breaker is open.
        CircuitOpen = "circuit_open",
    }
}

impl SkipCode {
    /// Whether waiting cannot help: the candidate is not eligible at all.
    pub const fn is_static(self) -> bool {
        matches!(
            self,
            Self::ProviderInactive
                | Self::ProviderNotAllowed
                | Self::ProviderExpired
                | Self::EndpointInactive
                | Self::EndpointNotAllowed
                | Self::FormatMismatch
                | Self::ConversionUnsupported
                | Self::ModelInactive
                | Self::ModelUnavailable
                | Self::FeatureMissing
                | Self::CapabilityMissing
                | Self::CapabilityReserved
                | Self::KeyInactive
                | Self::KeyExpired
                | Self::KeyModelNotAllowed
                | Self::Unpriced
                | Self::StateBound
        )
    }

    /// Whether a caller who comes back soon may be served: a rate, a slot or a cool-off, rather than a quota or a breaker.
    pub const fn is_busy(self) -> bool {
        matches!(
            self,
            Self::ProviderRpm
                | Self::ProviderRate
                | Self::EndpointRate
                | Self::KeyRate
                | Self::KeyCooling
                | Self::ProviderConcurrency
                | Self::EndpointConcurrency
                | Self::KeyConcurrency
                | Self::KeyReserved
        )
    }
}

/// A candidate that is out, why, and the number behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skip {
    /// The provider key.
    pub key_id: ProviderKeyId,
    /// The reason.
    pub code: SkipCode,
    /// Unix milliseconds until when, for passing reasons that have an end; else 0.
    pub number: i64,
}

#[cfg(test)]
mod allocations;
#[cfg(test)]
mod tests;
