//! Users, their quotas, and client keys.

use super::{
    Patch, Place, Reference,
    models::capability_switches,
    read::{Fields, Reader},
    secrets::secret,
    tree::{Entry, Node},
    upstream::{amount, reference, references},
    values::{boolean, decimal, email, instant, integer, limit, name, network, prose, text, username},
};
use domain::{
    catalog::KeyHash,
    format::{ApiFormat, Capability, OnDisconnect, Role},
    money::NanoUsd,
    secret::Secret,
};
use ipnet::IpNet;
use std::collections::BTreeMap;

/// The `allowed_*` fields of a user or client key; null restricts nothing, an empty list allows nothing.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the fields are those of the document")]
pub struct AccessDoc {
    /// Provider names.
    pub providers: Patch<Vec<Reference>>,
    /// Endpoints as `acme/CLAUDE`.
    pub endpoints: Patch<Vec<Reference>>,
    pub api_formats: Patch<Vec<ApiFormat>>,
    /// Global model names.
    pub models: Patch<Vec<Reference>>,
}

impl AccessDoc {
    fn read(fields: &mut Fields<'_, '_, '_>) -> Self {
        Self {
            providers: fields.patch_with("allowed_providers", references),
            endpoints: fields.patch_with("allowed_endpoints", references),
            api_formats: fields.patch_with("allowed_api_formats", |reader, node| {
                reader.items(node, |reader, item| reader.value(item, name))
            }),
            models: fields.patch_with("allowed_models", references),
        }
    }
}

/// A person.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the fields are those of the document")]
pub struct UserDoc {
    /// Where it stands.
    pub at: Place,
    pub username: String,
    pub email: Option<String>,
    /// Acts on creation only; null makes a user who cannot log in by password.
    pub password: Patch<Secret>,
    /// Instead of a password, as an export holds it: argon2id or bcrypt.
    pub password_hash: Option<Secret>,
    pub role: Option<Role>,
    pub access: AccessDoc,
    /// By global model.
    pub model_capability_settings: Patch<Vec<(Reference, BTreeMap<Capability, bool>)>>,
    pub quota: Patch<QuotaDoc>,
    /// The provider that goes first within its priority, by its name.
    pub default_provider_id: Patch<Reference>,
    pub is_active: Option<bool>,
}

impl UserDoc {
    pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let mut fields = reader.fields(node)?;
        let doc = Self {
            at: fields.place(),
            username: fields.need("username", username).unwrap_or_default(),
            email: fields.keep("email", email),
            password: fields.patch_with("password", secret),
            password_hash: fields.keep_with("password_hash", password_hash),
            role: fields.keep("role", name),
            access: AccessDoc::read(&mut fields),
            model_capability_settings: fields.patch_with("model_capability_settings", |reader, node| {
                reader.entries(node, |reader, entry: &Entry| {
                    let model = Reference { name: entry.key.clone(), at: reader.place(entry.line) };
                    Some((model, capability_switches(reader, &entry.value)?))
                })
            }),
            quota: fields.patch_with("quota", QuotaDoc::read),
            default_provider_id: fields.patch_with("default_provider_id", reference),
            is_active: fields.keep("is_active", boolean),
        };
        if doc.password.value().is_some() && doc.password_hash.is_some() {
            fields.problem("password_hash", "has no meaning beside password");
        }
        fields.finish();
        Some(doc)
    }
}

/// How often a quota begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaType {
    /// Never: one amount for all time.
    None,
    /// Each business day.
    Daily,
    /// Each business month.
    Monthly,
    /// Once, between two instants.
    Custom,
}

/// What a user may spend, and over which period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaDoc {
    /// The period.
    pub kind: QuotaType,
    /// The amount; `None` is unlimited.
    pub usd: Option<NanoUsd>,
    /// Begin of a custom period, Unix microseconds.
    pub start: Option<i64>,
    /// Its end.
    pub end: Option<i64>,
}

impl QuotaDoc {
    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let mut fields = reader.fields(node)?;
        let kind = fields.need("type", |node| match text(20)(node)?.as_str() {
            "none" => Ok(QuotaType::None),
            "daily" => Ok(QuotaType::Daily),
            "monthly" => Ok(QuotaType::Monthly),
            "custom" => Ok(QuotaType::Custom),
            _ => Err("expected one of none, daily, monthly, custom".to_owned()),
        });
        let usd: Option<NanoUsd> = fields.patch("usd", amount).into();
        let start: Option<i64> = fields.patch("start", instant).into();
        let end: Option<i64> = fields.patch("end", instant).into();
        match kind {
            Some(QuotaType::Custom) if start.is_none() => fields.problem("start", "is required for a custom period"),
            Some(QuotaType::Custom) if end.is_none() => fields.problem("end", "is required for a custom period"),
            Some(QuotaType::Custom) if start >= end => fields.problem("end", "must be after start"),
            Some(QuotaType::None | QuotaType::Daily | QuotaType::Monthly) if start.or(end).is_some() => {
                fields.problem("type", "start and end belong to a custom period");
            }
            _ => {}
        }
        if kind.is_some_and(|kind| kind != QuotaType::None) && usd.is_none() {
            fields.problem("usd", "is required for a quota with a period");
        }
        fields.finish();
        Some(Self { kind: kind?, usd, start, end })
    }
}

/// A key that the gateway issues.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the fields are those of the document")]
pub struct ClientKeyDoc {
    /// Where it stands.
    pub at: Place,
    pub name: String,
    /// The owner's username.
    pub user: Option<Reference>,
    /// The key's text; one is minted if a new key has none.
    pub key: Option<Secret>,
    /// Instead of the text, as an export holds a key that cannot be revealed.
    pub key_hash: Option<KeyHash>,
    pub key_prefix: Patch<String>,
    pub key_last4: Patch<String>,
    pub is_standalone: Option<bool>,
    /// Acts on creation only.
    pub balance_usd: Patch<NanoUsd>,
    pub access: AccessDoc,
    pub allowed_ips: Patch<Vec<IpNet>>,
    pub rate_limit: Patch<u32>,
    pub concurrent_limit: Patch<u32>,
    pub force_capabilities: Patch<BTreeMap<Capability, bool>>,
    pub on_disconnect: Patch<OnDisconnect>,
    pub capture_until: Patch<i64>,
    pub is_active: Option<bool>,
    pub locked_at: Patch<i64>,
    pub lock_reason: Patch<String>,
    pub expires_at: Patch<i64>,
    pub auto_delete_on_expiry: Option<bool>,
    pub mappings: Patch<Vec<MappingDoc>>,
}

impl ClientKeyDoc {
    pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let mut fields = reader.fields(node)?;
        let user: Option<String> = fields.patch("user", username).into();
        let doc = Self {
            at: fields.place(),
            name: fields.need("name", text(100)).unwrap_or_default(),
            user: user.map(|name| Reference { name, at: fields.place_of("user") }),
            key: fields.keep_with("key", client_key),
            key_hash: fields.keep("key_hash", key_hash),
            key_prefix: fields.patch("key_prefix", text(10)),
            key_last4: fields.patch("key_last4", text(4)),
            is_standalone: fields.keep("is_standalone", boolean),
            balance_usd: fields.patch("balance_usd", amount),
            access: AccessDoc::read(&mut fields),
            allowed_ips: fields.patch_with("allowed_ips", |reader, node| {
                reader.items(node, |reader, item| reader.value(item, network))
            }),
            rate_limit: fields.patch("rate_limit", limit),
            concurrent_limit: fields.patch("concurrent_limit", limit),
            force_capabilities: fields.patch_with("force_capabilities", capability_switches),
            on_disconnect: fields.patch("on_disconnect", name),
            capture_until: fields.patch("capture_until", instant),
            is_active: fields.keep("is_active", boolean),
            locked_at: fields.patch("locked_at", instant),
            lock_reason: fields.patch("lock_reason", prose(500)),
            expires_at: fields.patch("expires_at", instant),
            auto_delete_on_expiry: fields.keep("auto_delete_on_expiry", boolean),
            mappings: fields.patch_with("mappings", |reader, node| reader.items(node, MappingDoc::read)),
        };
        if doc.key.is_some() && doc.key_hash.is_some() {
            fields.problem("key_hash", "has no meaning beside key");
        }
        if doc.key_hash.is_none() && (doc.key_prefix.value().is_some() || doc.key_last4.value().is_some()) {
            fields.problem("key_hash", "is what key_prefix and key_last4 belong to");
        }
        fields.finish();
        Some(doc)
    }
}

/// SHA-256 of a client key's text, in hexadecimal.
fn key_hash(node: &Node) -> Result<KeyHash, String> {
    let wrong = || "expected 64 hexadecimal digits".to_owned();
    let digits = text(64)(node)?;
    let mut hash = KeyHash::default();
    if digits.len() != 2 * hash.len() || !digits.is_ascii() {
        return Err(wrong());
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        let pair = digits.get(2 * index..2 * index + 2).ok_or_else(wrong)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
    }
    Ok(hash)
}

/// A stored password: what login can check.
fn password_hash(reader: &mut Reader<'_>, node: &Node) -> Option<Secret> {
    const KINDS: [&str; 4] = ["$argon2id$", "$2a$", "$2b$", "$2y$"];
    const LENGTH_MAX: usize = 500;
    let hash = secret(reader, node)?;
    let known = KINDS.iter().any(|kind| hash.expose().starts_with(kind));
    if !known || hash.expose().len() > LENGTH_MAX {
        reader.problem(node.line, "expected a hash by argon2id or bcrypt");
        return None;
    }
    Some(hash)
}

/// Shortest text of a client key: one short enough to guess is not a secret.
const KEY_MIN: usize = 16;
const KEY_MAX: usize = 256;

/// Whether a document may hold this text as a client key's.
pub(crate) fn is_client_key(text: &str) -> bool {
    (KEY_MIN..=KEY_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The text of a client key that the operator chose.
fn client_key(reader: &mut Reader<'_>, node: &Node) -> Option<Secret> {
    let key = secret(reader, node)?;
    if !is_client_key(key.expose()) {
        reader.problem(node.line, format!("a client key has {KEY_MIN} to {KEY_MAX} printable ASCII characters"));
        return None;
    }
    Some(key)
}

/// A client key's tie to a provider.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields are those of the document")]
pub struct MappingDoc {
    pub provider: Reference,
    pub priority_adjustment: i32,
    pub weight_millionths: u64,
    pub is_enabled: bool,
}

impl MappingDoc {
    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let mut fields = reader.fields(node)?;
        let provider = fields.need("provider", text(100));
        let at = fields.place_of("provider");
        let priority_adjustment = fields.keep("priority_adjustment", integer(-1_000_000..=1_000_000)).unwrap_or(0);
        let weight = fields.keep("weight_multiplier", weight).unwrap_or(1_000_000);
        let is_enabled = fields.keep("is_enabled", boolean).unwrap_or(true);
        fields.finish();
        Some(Self {
            provider: Reference { name: provider?, at },
            priority_adjustment,
            weight_millionths: weight,
            is_enabled,
        })
    }
}

fn weight(node: &Node) -> Result<u64, String> {
    let factor: domain::money::Factor = decimal(node)?;
    match factor.millionths() {
        0 => Err("must be above 0".to_owned()),
        millionths => Ok(u64::from(millionths)),
    }
}
