//! From the journal to the database: each settlement once, whatever ends the process or takes the database away.
//!
//! One transaction adds a batch's rows, moves every counter that they count in, and moves the mark up to which the journal
//! is shipped. After a failure the mark is read again before anything else is done, so a transaction whose outcome is not
//! known cannot count twice.
//!
//! Architecture invariant: money moves here only for rows that are new, or by the difference to the row they replace.

mod alerts;
mod batch;
mod recover;
mod ship;
mod tally;

pub use recover::{Recovered, recover};
pub use ship::{Shipper, Shipping};

use crate::{
    db::{Db, DbError, Tx},
    journal::Position,
};
use domain::{ids::NodeId, ledger::Mark, records::Epoch};
use std::{io, path::PathBuf};

/// Why shipping does not get on; it tries again.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A segment cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The segment.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A segment was whole when it was written and is not any more.
    #[error("{path} is damaged at byte {offset}")]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where.
        offset: u64,
    },
    /// Reading was cut short.
    #[error("reading the journal was interrupted")]
    Interrupted,
}

/// The last epoch that the database knows of a node; 0 if none.
pub async fn last_epoch(db: &Db, node: NodeId) -> Result<u64, DbError> {
    const LAST: &str = "SELECT COALESCE(MAX(epoch), 0) AS epoch FROM ( \
                        SELECT epoch FROM nodes WHERE id = $1 \
                        UNION ALL SELECT epoch FROM journal_marks WHERE node_id = $1) AS known";
    let mut tx = db.read().await?;
    let row = tx.row(LAST, vec![node.uuid().into()]).await?;
    row.map_or(Ok(0), |row| row.number("epoch"))
}

/// Writes a new epoch to the node's row, so that no later start takes its number again.
pub(crate) async fn note_epoch(db: &Db, epoch: Epoch) -> Result<(), DbError> {
    const NOTE: &str = "UPDATE nodes SET epoch = $2 WHERE id = $1";
    let mut tx = db.begin().await?;
    tx.run(NOTE, vec![epoch.node.uuid().into(), crate::db::Value::count(epoch.number)]).await?;
    tx.commit().await
}

/// How much of a node's journal is in the sums that this transaction sees.
pub(crate) async fn shipped(tx: &mut Tx, node: NodeId) -> Result<Mark, DbError> {
    const LAST: &str = "SELECT epoch, segment, shipped_offset FROM journal_marks WHERE node_id = $1 \
                        ORDER BY epoch DESC LIMIT 1";
    tx.row(LAST, vec![node.uuid().into()]).await?.map_or(Ok(Mark::default()), |row| {
        Ok(Mark { epoch: row.number("epoch")?, segment: row.number("segment")?, offset: row.number("shipped_offset")? })
    })
}

/// How far a node's journal is in the database: a place per epoch.
pub async fn marks(db: &Db, node: NodeId) -> Result<Vec<Position>, DbError> {
    const MARKS: &str = "SELECT epoch, segment, shipped_offset FROM journal_marks WHERE node_id = $1 ORDER BY epoch";
    let mut tx = db.read().await?;
    let mut marks = Vec::new();
    for row in tx.rows(MARKS, vec![node.uuid().into()]).await? {
        let segment = crate::journal::SegmentId { epoch: row.number("epoch")?, number: row.number("segment")? };
        marks.push(Position { segment, offset: row.number("shipped_offset")? });
    }
    Ok(marks)
}

#[cfg(test)]
mod tests;
