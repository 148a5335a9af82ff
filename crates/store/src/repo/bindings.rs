//! Who issued what: written by shipping, read at the start and followed from then on.

use crate::db::{DbError, Insert, Row, Target, Tx, Value};
use domain::{
    bindings::{Binding, Fingerprint, LASTS_US},
    ids::{ClientKeyId, ProviderKeyId},
    records::Settled,
};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Where bindings go. A thing stays with the client key it was issued for first, until it expires: `expires_at` less the
/// 30 days that a binding lasts is when the newer one was made.
const BINDINGS: Target = Target {
    table: "state_bindings",
    shared: &["api_key_id", "provider_key_id"],
    own: &["hash", "expires_at"],
    conflict: "ON CONFLICT (hash) DO UPDATE SET api_key_id = excluded.api_key_id, \
               provider_key_id = excluded.provider_key_id, expires_at = excluded.expires_at \
               WHERE state_bindings.api_key_id = excluded.api_key_id \
               OR state_bindings.expires_at <= excluded.expires_at - 2592000000000",
};

/// Rows that are read at once: each takes ten times the room of a binding.
const PAGE: usize = 10_000;

impl Insert for (Fingerprint, Binding) {
    type Alike<'r> = (ClientKeyId, ProviderKeyId);

    fn alike(&self) -> (ClientKeyId, ProviderKeyId) {
        (self.1.client, self.1.issuer)
    }

    fn shared(&self, values: &mut Vec<Value>) -> Result<(), DbError> {
        values.extend([self.1.client.uuid().into(), self.1.issuer.uuid().into()]);
        Ok(())
    }

    fn own(&self, values: &mut Vec<Value>) {
        values.extend([Uuid::from_bytes(self.0).into(), self.1.expires_us.into()]);
    }
}

/// Binds what answers issued.
pub(crate) async fn insert(tx: &mut Tx, settled: &[&Settled]) -> Result<(), DbError> {
    // A statement must not meet a row twice.
    let mut rows: BTreeMap<Fingerprint, Binding> = BTreeMap::new();
    for Settled { usage, issued, .. } in settled {
        let Some(issuer) = usage.provider_api_key_id else { continue };
        let binding =
            Binding { client: usage.api_key_id, issuer, expires_us: usage.finished_at.saturating_add(LASTS_US) };
        for thing in issued {
            let known = rows.entry(*thing).or_insert(binding);
            if known.client == binding.client {
                *known = binding;
            }
        }
    }
    bind_any_owner(tx, &rows.into_iter().collect::<Vec<_>>()).await
}

/// Binds things, each named once.
pub async fn bind_any_owner(tx: &mut Tx, rows: &[(Fingerprint, Binding)]) -> Result<(), DbError> {
    let statements = tx.insertions(&BINDINGS, rows)?;
    tx.run_all(statements).await?;
    Ok(())
}

/// The newest bindings in force, at most `most`, the oldest of them first.
pub async fn newest_any_owner(tx: &mut Tx, most: usize) -> Result<Vec<(Fingerprint, Binding)>, DbError> {
    newest(tx, most, PAGE).await
}

async fn newest(tx: &mut Tx, most: usize, page: usize) -> Result<Vec<(Fingerprint, Binding)>, DbError> {
    const NEWEST: &str = "SELECT hash, api_key_id, provider_key_id, expires_at FROM state_bindings \
                          WHERE expires_at > $1 AND (expires_at < $2 OR (expires_at = $2 AND hash < $3)) \
                          ORDER BY expires_at DESC, hash DESC LIMIT $4";
    let now_us = tx.now_us();
    let mut found: Vec<(Fingerprint, Binding)> = Vec::new();
    while found.len() < most {
        let last = found
            .last()
            .map_or((i64::MAX, Uuid::max()), |(thing, binding)| (binding.expires_us, Uuid::from_bytes(*thing)));
        let count = page.min(most - found.len());
        let values = vec![now_us.into(), last.0.into(), last.1.into(), Value::count(count as u64)];
        let rows = tx.rows(NEWEST, values).await?;
        for row in &rows {
            found.push(read(row)?);
        }
        if rows.len() < count {
            break;
        }
    }
    found.reverse();
    Ok(found)
}

/// Bindings in the order of their expiry, and of their things where that is the same: at most `most` of those behind `after`.
pub async fn after_any_owner(
    tx: &mut Tx,
    after: (i64, Fingerprint),
    most: usize,
) -> Result<Vec<(Fingerprint, Binding)>, DbError> {
    const AFTER: &str = "SELECT hash, api_key_id, provider_key_id, expires_at FROM state_bindings \
                         WHERE expires_at >= $1 AND (expires_at > $1 OR hash > $2) ORDER BY expires_at, hash LIMIT $3";
    let values = vec![after.0.into(), Uuid::from_bytes(after.1).into(), Value::count(most as u64)];
    tx.rows(AFTER, values).await?.iter().map(read).collect()
}

/// The binding of one thing; it may have expired.
pub async fn find_any_owner(tx: &mut Tx, thing: Fingerprint) -> Result<Option<Binding>, DbError> {
    const FIND: &str = "SELECT hash, api_key_id, provider_key_id, expires_at FROM state_bindings WHERE hash = $1";
    let row = tx.row(FIND, vec![Uuid::from_bytes(thing).into()]).await?;
    row.map(|row| Ok(read(&row)?.1)).transpose()
}

fn read(row: &Row) -> Result<(Fingerprint, Binding), DbError> {
    let binding = Binding {
        client: row.id("api_key_id")?,
        issuer: row.id("provider_key_id")?,
        expires_us: row.int("expires_at")?,
    };
    Ok((row.id::<Uuid>("hash")?.into_bytes(), binding))
}

/// Forgets bindings that have expired, at most `most`; how many.
pub(crate) async fn forget(tx: &mut Tx, now_us: i64, most: u64) -> Result<u64, DbError> {
    // The outer condition spares what is renewed while this runs.
    const FORGET: &str = "DELETE FROM state_bindings WHERE expires_at <= $1 AND hash IN \
                          (SELECT hash FROM state_bindings WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)";
    tx.run(FORGET, vec![now_us.into(), Value::count(most)]).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use testkit::servers::Home;

    testkit::on_both![pages_leave_nothing_out_and_nothing_twice];

    async fn pages_leave_nothing_out_and_nothing_twice(home: Home) {
        let store = sample::store(&home).await;
        let mut tx = store.db().begin().await.unwrap();
        // Three of each time, and one that has expired.
        let now = tx.now_us();
        let mut want: Vec<(Fingerprint, Binding)> = Vec::new();
        for number in 0..13 {
            let expires_us = if number == 12 { now } else { now + 1 + i64::from(number / 3) };
            let binding = Binding { client: sample::key(), issuer: sample::provider_key(), expires_us };
            want.push(([number; 16], binding));
        }
        bind_any_owner(&mut tx, &want).await.unwrap();
        want.pop();
        for page in [1, 2, 3, 5, 100] {
            assert_eq!(newest(&mut tx, 100, page).await.unwrap(), want, "pages of {page}");
            assert_eq!(newest(&mut tx, 5, page).await.unwrap(), want[7..], "pages of {page}");
            let mut followed: Vec<(Fingerprint, Binding)> = Vec::new();
            loop {
                let after = followed.last().map_or((now, [0xff; 16]), |(thing, binding)| (binding.expires_us, *thing));
                let next = after_any_owner(&mut tx, after, page).await.unwrap();
                if next.is_empty() {
                    break;
                }
                followed.extend(next);
            }
            assert_eq!(followed, want, "pages of {page}");
        }
    }
}
