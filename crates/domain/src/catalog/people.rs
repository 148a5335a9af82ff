//! Users and the client keys they hold.

use super::KeyHash;
use crate::{
    format::{ApiFormat, Capability, OnDisconnect, Role},
    ids::{ClientKeyId, EndpointId, ProviderId, UserId},
    money::NanoUsd,
    records::Account,
};
use ipnet::IpNet;
use std::collections::BTreeMap;

/// What one level (a user or a client key) may use; `None` restricts nothing, an empty list allows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Providers that may serve.
    pub providers: Option<Vec<ProviderId>>,
    /// Endpoints that may serve.
    pub endpoints: Option<Vec<EndpointId>>,
    /// Inbound formats, compared exactly.
    pub api_formats: Option<Vec<ApiFormat>>,
    /// Global model names.
    pub models: Option<Vec<String>>,
}

/// What an account may spend, and what it had spent when the snapshot was read.
///
/// What has been spent since is the [`crate::ledger::Ledger`]'s to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Whose money, and in which period.
    pub account: Account,
    /// All that may be spent; `None` is unlimited.
    pub limit: Option<NanoUsd>,
    /// What the database had as spent.
    pub spent: NanoUsd,
    /// From then on nothing may be spent, Unix microseconds: the end of a period that no other follows by itself.
    pub ends_at: Option<i64>,
}

/// A person.
#[derive(Debug, Clone)]
pub struct User {
    /// The row's id.
    pub id: UserId,
    /// Unique name.
    pub username: String,
    /// Unique address.
    pub email: String,
    /// Rights.
    pub role: Role,
    /// Off: none of the user's keys works.
    pub is_active: bool,
    /// What the user may use.
    pub access: Access,
    /// Per global model: capabilities that the user requires (true) or rules out (false).
    pub model_capability_settings: BTreeMap<String, BTreeMap<Capability, bool>>,
    /// The provider that goes first within its priority.
    pub default_provider_id: Option<ProviderId>,
    /// The open period's money, or that outside any period.
    pub quota: Budget,
}

/// How often and how many at a time; `None` is no limit, 0 allows nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// Requests per sliding minute.
    pub rate: Option<u32>,
    /// Requests in flight.
    pub concurrent: Option<u32>,
}

/// A key that the gateway issued; its text is known only by its hash.
#[derive(Debug, Clone)]
pub struct ClientKey {
    /// The row's id.
    pub id: ClientKeyId,
    /// The owner; may be absent on a standalone key.
    pub user_id: Option<UserId>,
    /// Shown to people.
    pub name: String,
    /// SHA-256 of the key's text.
    pub key_hash: KeyHash,
    /// The hash before the last rotation.
    pub previous_key_hash: Option<KeyHash>,
    /// Until when the former text is accepted, Unix microseconds.
    pub previous_valid_until: Option<i64>,
    /// A standalone key's own money: all that was ever granted, and what is used of it. `None`: it spends its owner's.
    pub balance: Option<Budget>,
    /// What the key may use.
    pub access: Access,
    /// Addresses it may come from; `None` is any.
    pub allowed_ips: Option<Vec<IpNet>>,
    /// Its limits.
    pub limits: KeyLimits,
    /// Capabilities that are final for every model that supports them.
    pub force_capabilities: BTreeMap<Capability, bool>,
    /// What to do upstream when the client leaves; `None` is the setting.
    pub on_disconnect: Option<OnDisconnect>,
    /// The owner's switch.
    pub is_active: bool,
    /// Locked by an admin.
    pub is_locked: bool,
    /// Past this it is refused, Unix microseconds.
    pub expires_at: Option<i64>,
    /// Providers that serve it, if any are enabled here.
    pub mappings: Vec<Mapping>,
}

/// A client key's tie to a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The provider.
    pub provider_id: ProviderId,
    /// Added to the provider's priority.
    pub priority_adjustment: i32,
    /// Weight in the spread in millionths, above 0.
    pub weight_millionths: u64,
    /// Off: as if it were not there.
    pub is_enabled: bool,
}
