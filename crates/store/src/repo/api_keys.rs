//! Client keys.

use super::{Entity, access_values, balances, read_access};
use crate::{
    db::{DbError, Row, Tx, Value},
    feed,
};
use domain::{
    catalog::{Access, Budget, ClientKey, KeyHash, KeyLimits, Mapping},
    format::{Capability, OnDisconnect},
    ids::{ClientKeyId, UserId},
    money::NanoUsd,
    records::Account,
    secret::Sealed,
};
use ipnet::IpNet;
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// A client key's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientKeyRow {
    /// The row's id, from [`crate::mint`].
    pub id: ClientKeyId,
    /// The owner; may be absent on a standalone key.
    pub user_id: Option<UserId>,
    /// SHA-256 of the key's text.
    pub key_hash: KeyHash,
    /// The hash before the last rotation.
    pub previous_key_hash: Option<KeyHash>,
    /// Until when the former text is accepted, Unix microseconds.
    pub previous_valid_until: Option<i64>,
    /// The text, sealed as [`crate::vault::Column::ClientKey`]; `None` if it cannot be revealed.
    pub key_encrypted: Option<Sealed>,
    /// First characters, for lists.
    pub key_prefix: Option<String>,
    /// Last characters, for lists.
    pub key_last4: Option<String>,
    /// Shown to people.
    pub name: Option<String>,
    /// Spends its own balance.
    pub is_standalone: bool,
    /// What is left; written on insertion only, later it is moved by settlements. `None` is unlimited.
    pub current_balance_usd: Option<NanoUsd>,
    /// What the key may use.
    pub access: Access,
    /// Addresses it may come from.
    pub allowed_ips: Option<Vec<IpNet>>,
    /// Requests per minute.
    pub rate_limit: Option<u32>,
    /// Requests in flight.
    pub concurrent_limit: Option<u32>,
    /// Final for every model that supports them.
    pub force_capabilities: BTreeMap<Capability, bool>,
    /// `None` is the setting.
    pub on_disconnect: Option<OnDisconnect>,
    /// Bodies are stored until then, Unix microseconds.
    pub capture_until: Option<i64>,
    /// The owner's switch.
    pub is_active: bool,
    /// When an admin locked it, Unix microseconds.
    pub locked_at: Option<i64>,
    /// Why.
    pub lock_reason: Option<String>,
    /// Past = refused, Unix microseconds.
    pub expires_at: Option<i64>,
    /// Deleted after expiry instead of disabled.
    pub auto_delete_on_expiry: bool,
}

impl ClientKeyRow {
    /// As the catalog holds it; `used` is what was ever spent from its balance.
    pub fn client_key(self, used: NanoUsd, mappings: Vec<Mapping>) -> ClientKey {
        let balance = self.is_standalone.then(|| Budget {
            account: Account::Key(self.id),
            // Settling moves money from what is left to what is used: their sum is all that was ever granted.
            limit: self.current_balance_usd.map(|left| left + used),
            spent: used,
            ends_at: None,
        });
        ClientKey {
            id: self.id,
            user_id: self.user_id,
            name: self.name.unwrap_or_default(),
            key_hash: self.key_hash,
            previous_key_hash: self.previous_key_hash,
            previous_valid_until: self.previous_valid_until,
            balance,
            access: self.access,
            allowed_ips: self.allowed_ips,
            limits: KeyLimits { rate: self.rate_limit, concurrent: self.concurrent_limit },
            force_capabilities: self.force_capabilities,
            on_disconnect: self.on_disconnect,
            is_active: self.is_active,
            is_locked: self.locked_at.is_some(),
            expires_at: self.expires_at,
            mappings,
        }
    }
}

impl Entity for ClientKeyRow {
    const TABLE: &'static str = "api_keys";
    const COLUMNS: &'static [&'static str] = &[
        "user_id",
        "key_hash",
        "previous_key_hash",
        "previous_valid_until",
        "key_encrypted",
        "key_prefix",
        "key_last4",
        "name",
        "is_standalone",
        "current_balance_usd",
        "allowed_providers",
        "allowed_endpoints",
        "allowed_api_formats",
        "allowed_models",
        "allowed_ips",
        "rate_limit",
        "concurrent_limit",
        "force_capabilities",
        "on_disconnect",
        "capture_until",
        "is_active",
        "locked_at",
        "lock_reason",
        "expires_at",
        "auto_delete_on_expiry",
    ];

    fn id(&self) -> Uuid {
        self.id.uuid()
    }

    fn values(&self) -> Result<Vec<Value>, DbError> {
        let mut values = vec![
            self.user_id.map(UserId::uuid).into(),
            self.key_hash.as_slice().into(),
            Value::Bytes(self.previous_key_hash.map(|hash| hash.to_vec())),
            self.previous_valid_until.into(),
            Value::Bytes(self.key_encrypted.as_ref().map(|sealed| sealed.0.clone())),
            Value::Text(self.key_prefix.clone()),
            Value::Text(self.key_last4.clone()),
            Value::Text(self.name.clone()),
            self.is_standalone.into(),
            self.current_balance_usd.into(),
        ];
        values.extend(access_values(&self.access)?);
        let forced = Some(&self.force_capabilities).filter(|forced| !forced.is_empty());
        values.extend([
            Value::opt_json(self.allowed_ips.as_ref())?,
            self.rate_limit.into(),
            self.concurrent_limit.into(),
            Value::opt_json(forced)?,
            self.on_disconnect.map(OnDisconnect::as_str).into(),
            self.capture_until.into(),
            self.is_active.into(),
            self.locked_at.into(),
            Value::Text(self.lock_reason.clone()),
            self.expires_at.into(),
            self.auto_delete_on_expiry.into(),
        ]);
        Ok(values)
    }

    fn read(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: row.id("id")?,
            user_id: row.opt_id("user_id")?,
            key_hash: hash("key_hash", &row.bytes("key_hash")?)?,
            previous_key_hash: row
                .opt_bytes("previous_key_hash")?
                .map(|bytes| hash("previous_key_hash", &bytes))
                .transpose()?,
            previous_valid_until: row.opt_int("previous_valid_until")?,
            key_encrypted: row.opt_bytes("key_encrypted")?.map(Sealed),
            key_prefix: row.opt_text("key_prefix")?,
            key_last4: row.opt_text("key_last4")?,
            name: row.opt_text("name")?,
            is_standalone: row.flag("is_standalone")?,
            current_balance_usd: row.opt_usd("current_balance_usd")?,
            access: read_access(row)?,
            allowed_ips: row.opt_json("allowed_ips")?,
            rate_limit: row.opt_number("rate_limit")?,
            concurrent_limit: row.opt_number("concurrent_limit")?,
            force_capabilities: row.json("force_capabilities")?,
            on_disconnect: row.opt_named("on_disconnect")?,
            capture_until: row.opt_int("capture_until")?,
            is_active: row.flag("is_active")?,
            locked_at: row.opt_int("locked_at")?,
            lock_reason: row.opt_text("lock_reason")?,
            expires_at: row.opt_int("expires_at")?,
            auto_delete_on_expiry: row.flag("auto_delete_on_expiry")?,
        })
    }
}

fn hash(column: &str, bytes: &[u8]) -> Result<KeyHash, DbError> {
    bytes
        .try_into()
        .map_err(|_| DbError::Unreadable { column: column.to_owned(), why: "a hash has 32 bytes".to_owned() })
}

/// All client keys as the catalog holds them, made of their rows by `make`. They are read in pages: the rows of many take
/// several times what stays of them.
pub(crate) async fn catalog_any_owner(
    tx: &mut Tx,
    mut make: impl FnMut(ClientKeyRow) -> ClientKey,
) -> Result<Vec<Box<ClientKey>>, DbError> {
    const PAGE: usize = 1_000;
    let mut keys = Vec::new();
    let mut last = Uuid::nil();
    loop {
        let condition = format!("WHERE id > $1 ORDER BY id LIMIT {PAGE}");
        let page: Vec<ClientKeyRow> = super::page(tx, &condition, vec![last.into()]).await?;
        let whole = page.len() == PAGE;
        last = page.last().map_or(last, |row| row.id.uuid());
        keys.extend(page.into_iter().map(|row| Box::new(make(row))));
        if !whole {
            return Ok(keys);
        }
    }
}

/// All client keys.
pub async fn all_any_owner(tx: &mut Tx) -> Result<Vec<ClientKeyRow>, DbError> {
    super::select(tx, "", vec![]).await
}

/// Adds a key for the owner that the row names; a limited balance is its first balance entry.
pub async fn insert(tx: &mut Tx, key: &ClientKeyRow) -> Result<(), DbError> {
    super::insert(tx, key).await?;
    match key.current_balance_usd {
        Some(granted) => balances::begin(tx, key.id, granted).await,
        None => Ok(()),
    }
}

/// Writes a key's configuration, but never its balance; false if there is no such key.
pub async fn update_any_owner(tx: &mut Tx, key: &ClientKeyRow) -> Result<bool, DbError> {
    super::update(tx, key, &["current_balance_usd"]).await
}

/// Switches a key off; false if it is off already, or not there.
pub(crate) async fn disable_any_owner(tx: &mut Tx, id: ClientKeyId) -> Result<bool, DbError> {
    const DISABLE: &str = "UPDATE api_keys SET is_active = FALSE, updated_at = $2 WHERE id = $1 AND is_active";
    if tx.run(DISABLE, vec![id.uuid().into(), tx.now_us().into()]).await? == 0 {
        return Ok(false);
    }
    feed::append(tx, ClientKeyRow::TABLE, id.uuid()).await?;
    Ok(true)
}

/// Deletes a key with its mappings.
pub async fn delete_any_owner(tx: &mut Tx, id: ClientKeyId) -> Result<bool, DbError> {
    const BURY: &str = "SELECT id, 'client_key' AS kind, COALESCE(name, '') AS name FROM api_keys WHERE id = $1";
    super::delete(tx, ClientKeyRow::TABLE, id.uuid(), &[BURY]).await
}

/// What was ever spent from balances, by key; keys that have spent nothing are left out.
pub(crate) async fn used_any_owner(tx: &mut Tx) -> Result<HashMap<ClientKeyId, NanoUsd>, DbError> {
    const USED: &str = "SELECT id, balance_used_usd FROM api_keys WHERE is_standalone AND balance_used_usd <> 0";
    tx.rows(USED, vec![]).await?.iter().map(|row| Ok((row.id("id")?, row.usd("balance_used_usd")?))).collect()
}
