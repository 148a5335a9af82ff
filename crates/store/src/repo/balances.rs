//! Balance entries: what was granted to standalone keys. Their sum is what is left and what was spent.

use crate::{
    db::{DbError, Tx, Value},
    feed, mint,
};
use domain::{
    ids::{ClientKeyId, UserId},
    money::NanoUsd,
};
use uuid::Uuid;

/// The balance that a new key begins with.
pub(crate) async fn begin(tx: &mut Tx, key: ClientKeyId, granted: NanoUsd) -> Result<(), DbError> {
    const BEGIN: &str = "INSERT INTO balance_entries (id, created_at, api_key_id, kind, amount_usd, balance_after_usd) \
                         VALUES ($1, $2, $3, 'top_up', $4, $4)";
    let values = vec![mint::<Uuid>().into(), tx.now_us().into(), key.uuid().into(), granted.into()];
    tx.run(BEGIN, values).await?;
    Ok(())
}

/// Why a balance is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Money was granted.
    TopUp,
    /// Money was taken back.
    Deduction,
    /// A mistake was made good, in either direction.
    Correction,
}

impl Kind {
    /// The stored text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TopUp => "top_up",
            Self::Deduction => "deduction",
            Self::Correction => "correction",
        }
    }

    /// Whether an amount has the sign that this kind has.
    const fn takes(self, amount: NanoUsd) -> bool {
        match self {
            Self::TopUp => amount.0 > 0,
            Self::Deduction => amount.0 < 0,
            Self::Correction => amount.0 != 0,
        }
    }
}

/// A change of a standalone key's balance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose balance.
    pub api_key_id: ClientKeyId,
    /// Why.
    pub kind: Kind,
    /// How much, added to what is left: negative takes.
    pub amount: NanoUsd,
    /// Who did it.
    pub actor_id: Option<UserId>,
    /// For people.
    pub note: Option<String>,
    /// Names the change: a second entry of the key with this name is the first one again.
    pub idempotency_key: String,
}

/// Why an entry is not booked.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// The key is not there, is not standalone, or has no limited balance.
    #[error("this key has no limited balance of its own")]
    NoBalance,
    /// The amount has the wrong sign for its kind, or is nothing.
    #[error("the amount does not fit a {}", .0.as_str())]
    WrongSign(Kind),
    /// Less is left than is to be taken, or than requests in flight hold.
    #[error("only ${left} can be taken")]
    Short {
        /// What can be.
        left: NanoUsd,
    },
    /// Another change had this name.
    #[error("the idempotency key was used for another change")]
    Reused,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// What was left after this change, if it has been booked.
pub async fn booked(tx: &mut Tx, entry: &Entry) -> Result<Option<NanoUsd>, BookError> {
    const KNOWN: &str = "SELECT kind, amount_usd, balance_after_usd FROM balance_entries \
                         WHERE api_key_id = $1 AND idempotency_key = $2";
    let values = vec![entry.api_key_id.uuid().into(), entry.idempotency_key.as_str().into()];
    let Some(known) = tx.row(KNOWN, values).await? else { return Ok(None) };
    if known.text("kind")? == entry.kind.as_str() && known.usd("amount_usd")? == entry.amount {
        Ok(Some(known.usd("balance_after_usd")?))
    } else {
        Err(BookError::Reused)
    }
}

/// Books a change once; what is left after it, as of the first time it was booked.
///
/// What is taken must be set aside in the process's ledger meanwhile, so that no request in flight relies on it.
///
/// # Errors
/// See [`BookError`]; the transaction is then to be dropped.
pub async fn book(tx: &mut Tx, entry: &Entry) -> Result<NanoUsd, BookError> {
    const LOCK: &str = "UPDATE api_keys SET updated_at = $2 WHERE id = $1 AND is_standalone";
    const CHANGE: &str = "UPDATE api_keys SET current_balance_usd = current_balance_usd + $2, updated_at = $3 \
                          WHERE id = $1 AND is_standalone AND current_balance_usd IS NOT NULL \
                          RETURNING current_balance_usd";
    const BOOK: &str = "INSERT INTO balance_entries (id, created_at, api_key_id, kind, amount_usd, actor_id, note, \
                        idempotency_key, balance_after_usd) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let key = entry.api_key_id.uuid();
    if !entry.kind.takes(entry.amount) {
        return Err(BookError::WrongSign(entry.kind));
    }
    // Of two that book under one name at a time, the second finds the first.
    tx.run(LOCK, vec![key.into(), tx.now_us().into()]).await?;
    if let Some(after) = booked(tx, entry).await? {
        return Ok(after);
    }
    let changed = tx.row(CHANGE, vec![key.into(), entry.amount.into(), tx.now_us().into()]).await?;
    let Some(changed) = changed else { return Err(BookError::NoBalance) };
    let after = changed.usd("current_balance_usd")?;
    if entry.amount < NanoUsd::ZERO && after < NanoUsd::ZERO {
        return Err(BookError::Short { left: NanoUsd((after.0 - entry.amount.0).max(0)) });
    }
    let values = vec![
        mint::<Uuid>().into(),
        tx.now_us().into(),
        key.into(),
        entry.kind.as_str().into(),
        entry.amount.into(),
        entry.actor_id.map(UserId::uuid).into(),
        Value::opt_outside(entry.note.as_ref()),
        entry.idempotency_key.as_str().into(),
        after.into(),
    ];
    tx.run(BOOK, values).await?;
    feed::append(tx, "api_keys", key).await?;
    Ok(after)
}
