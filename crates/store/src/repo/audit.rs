//! The audit log: each node's rows form a chain of hashes, in which a changed or missing row shows.
//!
//! A row's hash is the SHA-256 of the hash before it and of its own columns; the first row follows 32 zero bytes.

use crate::db::{DbError, Lock, Row, Tx, Value};
use domain::ids::{ClientKeyId, NodeId, RequestId, UserId};
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;
use uuid::Uuid;

type Hash = [u8; 32];
const GENESIS: Hash = [0; 32];
/// Rows that are checked at a time.
const PAGE: i64 = 1_000;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The row's id, from [`crate::mint`]; a second event with it is not added.
    pub id: Uuid,
    /// One of the event types that the data model lists.
    pub event_type: &'static str,
    /// A sentence for people.
    pub description: String,
    /// Who did it.
    pub user_id: Option<UserId>,
    /// With which client key.
    pub api_key_id: Option<ClientKeyId>,
    /// From where.
    pub ip_address: Option<IpAddr>,
    /// With what.
    pub user_agent: Option<String>,
    /// In which request.
    pub request_id: Option<RequestId>,
    /// An object with the details; before and after, for a change.
    pub metadata: serde_json::Value,
    /// What was answered.
    pub status_code: Option<u16>,
    /// Why it failed.
    pub error_message: Option<String>,
}

/// A row as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRow {
    /// Its id.
    pub id: Uuid,
    /// When it was written, Unix microseconds.
    pub created_at: i64,
    /// Place in its node's chain, from 1.
    pub seq: i64,
    /// What happened.
    pub event_type: String,
    /// The sentence.
    pub description: String,
    /// With which client key.
    pub api_key_id: Option<ClientKeyId>,
    /// From where.
    pub ip_address: Option<String>,
    /// The details.
    pub metadata: serde_json::Value,
}

/// What the hash covers, in this order.
const COLUMNS: &str = "id, created_at, node_id, seq, event_type, description, user_id, api_key_id, ip_address, \
                       user_agent, request_id, event_metadata, status_code, error_message";

/// Adds events to a node's chain; those that are there already stay as they are.
pub async fn append(tx: &mut Tx, node: NodeId, events: &[Event]) -> Result<(), DbError> {
    const LAST: &str = "SELECT seq, hash FROM audit_logs WHERE node_id = $1 ORDER BY seq DESC LIMIT 1";
    const KNOWN: &str = "SELECT seq FROM audit_logs WHERE id = $1";
    tx.serialize(Lock::Audit).await?;
    let (mut seq, mut prev) = match tx.row(LAST, vec![node.uuid().into()]).await? {
        Some(row) => (row.int("seq")?, hash(&row, "hash")?),
        None => (0, GENESIS),
    };
    let mut rows = Vec::new();
    let mut columns = 1;
    for event in events {
        if tx.row(KNOWN, vec![event.id.into()]).await?.is_some() {
            continue;
        }
        seq += 1;
        let mut values = values(event, tx.now_us(), node, seq)?;
        let hash = link(&prev, &values);
        values.extend([prev.as_slice().into(), hash.as_slice().into()]);
        columns = values.len();
        rows.extend(values);
        prev = hash;
    }
    tx.insert_many(&format!("INSERT INTO audit_logs ({COLUMNS}, prev_hash, hash)"), columns, rows, "").await?;
    Ok(())
}

fn values(event: &Event, now_us: i64, node: NodeId, seq: i64) -> Result<Vec<Value>, DbError> {
    Ok(vec![
        event.id.into(),
        now_us.into(),
        node.uuid().into(),
        seq.into(),
        event.event_type.into(),
        Value::outside(&event.description),
        event.user_id.map(UserId::uuid).into(),
        event.api_key_id.map(ClientKeyId::uuid).into(),
        event.ip_address.map(|ip| ip.to_string()).into(),
        Value::opt_outside(event.user_agent.as_ref()),
        event.request_id.map(RequestId::uuid).into(),
        Value::json(&event.metadata)?,
        event.status_code.into(),
        Value::opt_outside(event.error_message.as_ref()),
    ])
}

/// Each value goes in with its length, so that no two rows give the same bytes.
fn link(prev: &Hash, values: &[Value]) -> Hash {
    let mut hasher = Sha256::new_with_prefix(prev);
    let mut add = |bytes: Option<&[u8]>| match bytes {
        None => hasher.update([0]),
        Some(bytes) => {
            hasher.update([1]);
            hasher.update((bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        }
    };
    for value in values {
        match value {
            Value::Uuid(value) => add(value.as_ref().map(|id| id.as_bytes().as_slice())),
            Value::Int(value) => add(value.map(i64::to_le_bytes).as_ref().map(<[u8; 8]>::as_slice)),
            Value::Bool(value) => add(value.map(|value| [u8::from(value)]).as_ref().map(<[u8; 1]>::as_slice)),
            Value::Text(value) => add(value.as_deref().map(str::as_bytes)),
            Value::Bytes(value) => add(value.as_deref()),
        }
    }
    hasher.finalize().into()
}

fn stored(row: &Row) -> Result<Vec<Value>, DbError> {
    Ok(vec![
        row.id::<Uuid>("id")?.into(),
        row.int("created_at")?.into(),
        row.id::<Uuid>("node_id")?.into(),
        row.int("seq")?.into(),
        row.text("event_type")?.into(),
        row.text("description")?.into(),
        row.opt_id::<Uuid>("user_id")?.into(),
        row.opt_id::<Uuid>("api_key_id")?.into(),
        row.opt_text("ip_address")?.into(),
        row.opt_text("user_agent")?.into(),
        row.opt_id::<Uuid>("request_id")?.into(),
        row.opt_text("event_metadata")?.into(),
        row.opt_int("status_code")?.into(),
        row.opt_text("error_message")?.into(),
    ])
}

fn hash(row: &Row, column: &str) -> Result<Hash, DbError> {
    row.bytes(column)?
        .try_into()
        .map_err(|_| DbError::Unreadable { column: column.to_owned(), why: "a hash has 32 bytes".to_owned() })
}

/// Checks a node's chain; the place of the first row that does not follow from the one before it.
///
/// The oldest row may follow rows that are gone: only what it says of itself is checked.
pub async fn broken_any_owner(tx: &mut Tx, node: NodeId) -> Result<Option<i64>, DbError> {
    let page = format!(
        "SELECT {COLUMNS}, prev_hash, hash FROM audit_logs WHERE node_id = $1 AND seq > $2 ORDER BY seq LIMIT {PAGE}"
    );
    let mut last: Option<(i64, Hash)> = None;
    loop {
        let after = last.map_or(0, |(seq, _)| seq);
        let rows = tx.rows(sqlx::AssertSqlSafe(page.clone()), vec![node.uuid().into(), after.into()]).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        for row in rows {
            let seq = row.int("seq")?;
            let (prev, own) = (hash(&row, "prev_hash")?, hash(&row, "hash")?);
            let follows = match last {
                Some((before, hash)) => seq == before + 1 && prev == hash,
                None => seq > 1 || prev == GENESIS,
            };
            if !follows || link(&prev, &stored(&row)?) != own {
                return Ok(Some(seq));
            }
            last = Some((seq, own));
        }
    }
}

/// A node's newest rows, the newest first.
pub async fn latest_any_owner(tx: &mut Tx, node: NodeId, limit: u32) -> Result<Vec<AuditRow>, DbError> {
    const LATEST: &str = "SELECT id, created_at, seq, event_type, description, api_key_id, ip_address, event_metadata \
                          FROM audit_logs WHERE node_id = $1 ORDER BY seq DESC LIMIT $2";
    let rows = tx.rows(LATEST, vec![node.uuid().into(), limit.into()]).await?;
    let read = |row: &Row| {
        Ok(AuditRow {
            id: row.id("id")?,
            created_at: row.int("created_at")?,
            seq: row.int("seq")?,
            event_type: row.text("event_type")?,
            description: row.text("description")?,
            api_key_id: row.opt_id("api_key_id")?,
            ip_address: row.opt_text("ip_address")?,
            metadata: row.json("event_metadata")?,
        })
    };
    rows.iter().map(read).collect()
}

#[cfg(test)]
mod tests;
