//! Money that operators move: what is granted to a standalone key and taken back, and quotas that begin anew.
//!
//! Each change is booked once, audited, and in force before it is answered.

use crate::apply::event;
use domain::{ids::UserId, money::NanoUsd, records::Account};
use serde_json::json;
use store::{
    DbError, Published, Store, feed,
    repo::{
        audit,
        balances::{self, BookError, Entry},
        quotas,
    },
};

/// Books a change of a standalone key's balance; what was left after it, also when it had been booked before.
///
/// What is taken is set aside first: no request that is in flight, or comes meanwhile, can spend it.
pub async fn book(store: &Store, published: &Published, entry: &Entry) -> Result<NanoUsd, BookError> {
    let account = Account::Key(entry.api_key_id);
    let taken = NanoUsd(entry.amount.0.saturating_neg().max(0));
    let aside = published.ledger().set_aside(account, taken);
    let mut tx = store.db().begin().await?;
    if let Err(short) = aside {
        // It may have been booked before, when there was enough.
        return match balances::booked(&mut tx, entry).await? {
            Some(after) => Ok(after),
            None => Err(BookError::Short { left: NanoUsd(short.left.0.max(0)) }),
        };
    }
    let after = balances::book(&mut tx, entry).await?;
    let metadata = json!({
        "kind": entry.kind.as_str(),
        "amount_usd": entry.amount.to_string(),
        "balance_after_usd": after.to_string(),
        "note": entry.note,
        "idempotency_key": entry.idempotency_key,
    });
    let happened = audit::Event {
        user_id: entry.actor_id,
        api_key_id: Some(entry.api_key_id),
        ..event("balance_changed", format!("a balance was changed: {}", entry.kind.as_str()), metadata)
    };
    audit::append(&mut tx, store.node(), &[happened]).await?;
    tx.commit().await?;
    published.reached(feed::current_revision(store.db()).await?).await;
    Ok(after)
}

/// Lets a user spend anew; what was spent before, or `None` if there is no such user.
pub async fn reset_quota(
    store: &Store,
    published: &Published,
    user: UserId,
    actor: Option<UserId>,
) -> Result<Option<NanoUsd>, DbError> {
    let mut tx = store.db().begin().await?;
    let Some(used) = quotas::reset(&mut tx, user).await? else { return Ok(None) };
    let metadata = json!({ "user_id": user.to_string(), "used_usd": used.to_string() });
    let happened =
        audit::Event { user_id: actor, ..event("quota_reset", "a quota was reset by hand".to_owned(), metadata) };
    audit::append(&mut tx, store.node(), &[happened]).await?;
    tx.commit().await?;
    published.reached(feed::current_revision(store.db()).await?).await;
    Ok(Some(used))
}
