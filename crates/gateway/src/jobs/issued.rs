//! Who issued what, beyond this process: what earlier processes knew comes back at the start, and what others on the same
//! database write, such as a predecessor that still answers, is followed. Only those who ask for a kept response that memory
//! does not hold wait for the table.

use domain::{
    bindings::{Binding, Fingerprint},
    ports::{Answer, Issuers, NotTold},
};
use relay::{
    Relay,
    bindings::{Bindings, CAPACITY},
};
use std::time::Duration;
use store::{Db, DbError, SystemClock, repo::bindings};
use tokio_util::sync::CancellationToken;

/// How often the table is read.
const EVERY: Duration = Duration::from_secs(3);
/// How much of what was read is read again: clocks differ, and what is settled first may be committed last.
const OVERLAP_US: i64 = 30_000_000;
/// Rows that are read at once.
const PAGE: usize = 5_000;

/// The table itself.
pub(crate) struct Table(pub Db);

impl Issuers for Table {
    fn find(&self, thing: Fingerprint) -> Answer<Result<Option<Binding>, NotTold>> {
        let db = self.0.clone();
        let find = async move {
            let mut tx = db.read().await?;
            let found = bindings::find_any_owner(&mut tx, thing).await?;
            tx.commit().await?;
            Ok(found)
        };
        Answer::Later(Box::pin(async { find.await.map_err(|error: DbError| NotTold(error.to_string())) }))
    }
}

/// How far the table was read.
#[derive(Debug)]
pub(crate) struct Issued {
    /// The last expiry that was seen, Unix microseconds: a binding's is the instant it was issued and thirty days.
    seen_us: i64,
}

impl Issued {
    /// Takes over the newest; what the journal held of them is in the database by now. Half of what memory holds: the rest is
    /// room for those of client keys with few, and the start waits for it.
    pub(crate) async fn restore(db: &Db, known: &Bindings, now_us: i64) -> Result<Self, DbError> {
        let mut tx = db.read().await?;
        let newest = bindings::newest_any_owner(&mut tx, CAPACITY / 2).await?;
        tx.commit().await?;
        for (thing, binding) in &newest {
            known.bind(*thing, *binding, now_us);
        }
        Ok(Self { seen_us: newest.last().map_or(now_us, |(_, binding)| binding.expires_us) })
    }

    /// Reads what is new, until `cancel`.
    pub(crate) async fn run(mut self, db: Db, relay: Relay, cancel: CancellationToken) {
        let mut failing = false;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                read = self.read(&db, relay.bindings(), SystemClock::now_us()) => {
                    if let Err(error) = &read && !failing {
                        tracing::warn!(%error, "what other processes issued cannot be read now; it is tried again");
                    }
                    failing = read.is_err();
                }
            }
        }
    }

    async fn read(&mut self, db: &Db, known: &Bindings, now_us: i64) -> Result<(), DbError> {
        let mut after: (i64, Fingerprint) = (self.seen_us.saturating_sub(OVERLAP_US), [0; 16]);
        loop {
            let mut tx = db.read().await?;
            let page = bindings::after_any_owner(&mut tx, after, PAGE).await?;
            tx.commit().await?;
            for (thing, binding) in &page {
                known.bind(*thing, *binding, now_us);
            }
            if let Some((thing, binding)) = page.last() {
                after = (binding.expires_us, *thing);
                self.seen_us = self.seen_us.max(binding.expires_us);
            }
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }
}
