//! The lease: which node a database serves.
//!
//! A node keeps a row in `nodes` that is valid for a short time and renewed. Another node that finds it valid does not
//! start; the same node, whose id lies in its data directory, always may. Nothing that runs ends because a lease could not
//! be renewed: a database that is away stops no request.

use crate::db::{Db, DbError, Lock, Tx, within};
use domain::ids::NodeId;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a lease is valid.
pub const VALID: Duration = Duration::from_secs(15);
/// How often it is renewed.
pub const RENEWED: Duration = Duration::from_secs(5);
const VALID_US: i64 = 15_000_000;

/// Why a node may not serve.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another node does.
    #[error(
        "this database is served by another node ({node}), whose lease is valid for {left_s} s more; one database serves \
         one node: stop the other, or wait until its lease has run out"
    )]
    Taken {
        /// The other.
        node: NodeId,
        /// Seconds until its lease ends, if it does not renew it.
        left_s: i64,
    },
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A node's right to serve a database.
#[derive(Debug, Clone)]
pub struct Lease {
    db: Db,
    node: NodeId,
}

impl Lease {
    /// Takes the lease, unless another node has it.
    pub async fn acquire(db: &Db, node: NodeId) -> Result<Self, LeaseError> {
        let mut tx = db.begin().await?;
        tx.serialize(Lock::Lease).await?;
        let now = tx.shared_now_us().await?;
        if let Some((other, until)) = another(&mut tx, node, now).await? {
            return Err(LeaseError::Taken { node: other, left_s: (until - now).div_euclid(1_000_000) + 1 });
        }
        write(&mut tx, node, now + VALID_US).await?;
        tx.commit().await?;
        Ok(Self { db: db.clone(), node })
    }

    /// Renews until it is told to stop.
    pub async fn run(self, cancel: CancellationToken) {
        let mut failing = false;
        let mut rivalled = false;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(RENEWED) => {}
            }
            match within(RENEWED, self.renew()).await {
                Ok(rival) => {
                    if failing {
                        tracing::info!("the node's lease is renewed again");
                    }
                    failing = false;
                    if let Some(rival) = rival.filter(|_| !rivalled) {
                        tracing::error!(node.id = %rival, "another node serves the same database: stop one of them");
                    }
                    rivalled = rival.is_some();
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(error = %error, "the node's lease cannot be renewed; service goes on");
                    }
                    failing = true;
                }
            }
        }
    }

    /// Renews once; another node that came in while this one could not.
    pub async fn renew(&self) -> Result<Option<NodeId>, DbError> {
        let mut tx = self.db.begin().await?;
        let now = tx.shared_now_us().await?;
        let rival = another(&mut tx, self.node, now).await?;
        write(&mut tx, self.node, now + VALID_US).await?;
        tx.commit().await?;
        Ok(rival.map(|(node, _)| node))
    }

    /// Gives the lease back, so that another node may start at once.
    pub async fn release(self) -> Result<(), DbError> {
        let mut tx = self.db.begin().await?;
        write(&mut tx, self.node, 0).await?;
        tx.commit().await
    }
}

/// The other node whose lease is valid, and until when.
async fn another(tx: &mut Tx, node: NodeId, now: i64) -> Result<Option<(NodeId, i64)>, DbError> {
    // A lease that ends later than any can is from before the clock was set back; its node, if it runs, renews it soon.
    const ANOTHER: &str = "SELECT id, lease_until FROM nodes WHERE id <> $1 AND lease_until > $2 \
                           AND lease_until <= $3 ORDER BY lease_until DESC LIMIT 1";
    let values = vec![node.uuid().into(), now.into(), (now + VALID_US).into()];
    let row = tx.row(ANOTHER, values).await?;
    row.map(|row| Ok((row.id("id")?, row.int("lease_until")?))).transpose()
}

async fn write(tx: &mut Tx, node: NodeId, until: i64) -> Result<(), DbError> {
    const WRITE: &str = "INSERT INTO nodes (id, created_at, updated_at, epoch, lease_until) VALUES ($1, $2, $2, 0, $3) \
                         ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until, \
                         updated_at = excluded.updated_at";
    tx.run(WRITE, vec![node.uuid().into(), tx.now_us().into(), until.into()]).await?;
    Ok(())
}
