//! Texts that many usage rows share, stored once.

use crate::db::{DbError, Tx, Value};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// Texts to be stored, by their ids.
#[derive(Debug, Default)]
pub(super) struct Texts(BTreeMap<i64, Value>);

impl Texts {
    /// Notes a text; what the row holds instead of it.
    pub(super) fn add(&mut self, text: Option<&str>) -> Value {
        let Some(text) = text else { return Value::Int(None) };
        // 64 bits of a hash: among a million texts, two share an id once in 37 million installations.
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&Sha256::digest(text.as_bytes())[..8]);
        let id = i64::from_be_bytes(bytes);
        self.0.entry(id).or_insert_with(|| Value::outside(text));
        id.into()
    }

    /// Stores those that are not there yet.
    pub(super) async fn store(self, tx: &mut Tx) -> Result<(), DbError> {
        let rows = self.0.into_iter().flat_map(|(id, value)| [id.into(), value]).collect();
        tx.insert_many("INSERT INTO usage_texts (id, value)", 2, rows, "ON CONFLICT (id) DO NOTHING").await?;
        Ok(())
    }
}
