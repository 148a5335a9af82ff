//! The background task that ships, and how others wait for it.

use super::{
    ShipError,
    alerts::Alert,
    batch::{self, Batch, Bounds, Change},
    marks,
};
use crate::{
    Store, SystemClock,
    db::{Db, DbError, within},
    journal::{Journal, Position, RefusalCount, SegmentId},
    mint,
};
use domain::{
    ids::{IdMap, NodeId, RequestId},
    ledger::{Ledger, Mark, Shipped},
};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long a record waits at most while the database answers.
const INTERVAL: Duration = Duration::from_millis(200);
/// Settlements in a transaction.
const BATCH_MAX: usize = 500;
/// Journal that is read for a transaction.
const BATCH_BYTES_MAX: u64 = 16 << 20;
/// Longest pause before a database that is away is asked again.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How long one batch may take.
const BATCH_WITHIN: Duration = Duration::from_secs(30);
/// How long the last shipping before the end may take.
const LAST: Duration = Duration::from_secs(5);

/// Ships one journal to one database.
#[derive(Debug)]
pub struct Shipper {
    db: Db,
    node: NodeId,
    journal: Arc<Journal>,
    pub(super) bounds: Bounds,
    /// Up to here it is shipped; `None` when that has to be asked.
    pub(super) at: Option<Position>,
    /// The transaction whose outcome is not known.
    doubtful: Option<Doubtful>,
    /// What was in the journal at the start is counted.
    started: bool,
    /// Requests without an ending so far, and where they were opened. Their segments are kept.
    open: IdMap<RequestId, SegmentId>,
    /// Counters that were taken and are not written yet.
    refusals: Vec<(Uuid, RefusalCount)>,
    shipping: Shipping,
    /// Learns what is in the database's sums.
    ledger: Option<Arc<Ledger>>,
    /// See [`Store`].
    books: Arc<tokio::sync::Mutex<()>>,
}

/// A transaction whose commit has not answered.
#[derive(Debug)]
struct Doubtful {
    /// It has come through if the database is as far as this.
    mark: Position,
    settlements: u64,
    spent: Shipped,
    alerts: Vec<Alert>,
}

/// Where shipping stands.
#[derive(Debug, Clone)]
pub struct Shipping(Arc<Board>);

#[derive(Debug, Default)]
struct Board {
    /// Counts those who wait for everything to be shipped.
    asked: AtomicU64,
    nudge: Notify,
    answered: watch::Sender<u64>,
}

impl Shipping {
    /// Waits until everything is in the database that was recorded before this call, refusals included.
    pub async fn caught_up(&self) {
        let ticket = self.0.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.nudge.notify_one();
        // Fails only when the sender is gone, which this borrow rules out.
        let _ = self.0.answered.subscribe().wait_for(|answered| *answered >= ticket).await;
    }
}

impl Shipper {
    /// For the journal that this store's process has open. Nothing is shipped before [`Shipper::run`].
    pub fn new(store: &Store, journal: Arc<Journal>) -> Self {
        Self {
            db: store.db().clone(),
            node: store.node(),
            journal,
            bounds: Bounds { settlements: BATCH_MAX, bytes: BATCH_BYTES_MAX },
            at: None,
            doubtful: None,
            started: false,
            open: IdMap::default(),
            refusals: Vec::new(),
            shipping: Shipping(Arc::default()),
            ledger: None,
            books: store.books.clone(),
        }
    }

    /// Tells this ledger from now on what is in the database's sums. Nothing may be on its way there when it is given.
    #[must_use]
    pub fn with_ledger(self, ledger: Arc<Ledger>) -> Self {
        Self { ledger: Some(ledger), ..self }
    }

    /// Ships what earlier epochs left, before anything is served; whether there was something.
    ///
    /// # Errors
    /// Whatever keeps the database from taking it: a process that starts needs its database.
    pub async fn catch_up(&mut self) -> Result<bool, ShipError> {
        let before = self.journal.stats().unshipped;
        self.pass().await?;
        Ok(before > 0)
    }

    /// To wait for it.
    pub fn shipping(&self) -> Shipping {
        self.shipping.clone()
    }

    /// Ships until it is told to stop, and then what is left, for five seconds at most: what stays in the journal is
    /// shipped after the next start.
    pub async fn run(mut self, cancel: CancellationToken) {
        let board = self.shipping.0.clone();
        let mut wait = INTERVAL;
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                () = board.nudge.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
            let passed = tokio::select! {
                () = cancel.cancelled() => break,
                passed = self.pass() => passed,
            };
            wait = self.after(passed, wait);
        }
        board.asked.fetch_add(1, Ordering::SeqCst);
        let last = async {
            while let Err(error) = self.pass().await {
                tracing::debug!(error = %error, "the last shipping is tried again");
                tokio::time::sleep(INTERVAL).await;
            }
        };
        if tokio::time::timeout(LAST, last).await.is_err() {
            tracing::warn!(
                unshipped = self.journal.stats().unshipped,
                "what is not in the database yet stays in the journal and is shipped after the next start"
            );
        }
    }

    /// Says once that it does not get on, and once that it does again; how long to wait.
    fn after(&self, passed: Result<(), ShipError>, waited: Duration) -> Duration {
        match passed {
            Ok(()) => {
                if waited > INTERVAL {
                    tracing::info!("the journal is shipped to the database again");
                }
                INTERVAL
            }
            Err(error) => {
                if waited <= INTERVAL {
                    tracing::error!(
                        unshipped = self.journal.stats().unshipped, error = %error,
                        "the journal cannot be shipped to the database and grows; service goes on"
                    );
                }
                (waited * 2).min(BACKOFF_MAX)
            }
        }
    }

    /// Ships everything that there is.
    pub(super) async fn pass(&mut self) -> Result<(), ShipError> {
        let board = self.shipping.0.clone();
        let asked = board.asked.load(Ordering::SeqCst);
        let everything = asked > *board.answered.borrow();
        while self.step(everything).await? {}
        self.sweep();
        board.answered.send_replace(asked);
        Ok(())
    }

    /// Ships one batch; whether there is more.
    pub(super) async fn step(&mut self, everything: bool) -> Result<bool, ShipError> {
        let from = match self.at {
            Some(at) => at,
            None => within(BATCH_WITHIN, self.begin()).await?,
        };
        let (journal, bounds) = (self.journal.clone(), self.bounds);
        let read = tokio::task::spawn_blocking(move || batch::read(journal.shared(), from, bounds));
        let batch = read.await.map_err(|_| ShipError::Interrupted)??;
        for change in &batch.changes {
            match change {
                Change::Opened(request, segment) => self.open.insert(*request, *segment),
                Change::Closed(request) => self.open.remove(request),
            };
        }
        if self.refusals.is_empty() {
            let until = if everything { i64::MAX } else { SystemClock::now_us() };
            let taken = self.journal.shared().refusals.take(until);
            self.refusals.extend(taken.into_iter().map(|count| (mint(), count)));
        }
        if !batch.settled.is_empty() || !self.refusals.is_empty() {
            within(BATCH_WITHIN, self.ship(&batch)).await?;
        }
        self.at = Some(batch.end);
        Ok(batch.more || !self.refusals.is_empty())
    }

    /// From here on the outcome is unknown until the commit has answered, also if this future is dropped.
    async fn ship(&mut self, batch: &Batch) -> Result<(), ShipError> {
        let refused = self.refusals.len().min(BATCH_MAX);
        let refusals = &self.refusals[..refused];
        let mut tx = self.db.begin().await?;
        let mut spent = batch::write(&mut tx, self.node, batch, refusals, &HashSet::new()).await?;
        if spent.is_none() {
            tx.undo().await?;
            tx = self.db.begin().await?;
            let replaced = batch::settled_before(&mut tx, batch).await?;
            spent = batch::write(&mut tx, self.node, batch, refusals, &replaced).await?;
        }
        let Some((spent, alerts)) = spent else {
            return Err(DbError::Unstorable("a request was settled by somebody else meanwhile".to_owned()).into());
        };
        let settlements = batch.count;
        let done = batch.marks.values().last().map(|mark| Doubtful { mark: *mark, settlements, spent, alerts });
        self.at = None;
        self.doubtful = done;
        // A snapshot that is read now must either have all of it, and memory know that, or nothing.
        let books = self.books.clone();
        let _books = books.lock().await;
        tx.commit().await?;
        if let Some(done) = self.doubtful.take() {
            self.done(&done);
        }
        self.refusals.drain(..refused);
        Ok(())
    }

    /// A transaction has come through.
    fn done(&self, done: &Doubtful) {
        self.journal.shared().shipped(done.settlements);
        done.alerts.iter().for_each(Alert::tell);
        if let Some(ledger) = &self.ledger {
            let Position { segment, offset } = done.mark;
            let mark = Mark { epoch: segment.epoch, segment: segment.number, offset };
            ledger.shipped(mark, &done.spent);
        }
    }

    /// Asks the database how far it has come.
    async fn begin(&mut self) -> Result<Position, ShipError> {
        let marks: HashMap<u64, Position> =
            marks(&self.db, self.node).await?.into_iter().map(|mark| (mark.segment.epoch, mark)).collect();
        let shared = self.journal.shared();
        let extent = shared.extent();
        let segments = extent.closed.iter().map(|(id, size)| (*id, *size)).chain([(extent.end.segment, u64::MAX)]);
        let start = segments
            .map(|(segment, size)| {
                let mark = marks.get(&segment.epoch).filter(|mark| mark.segment >= segment);
                let offset = mark.map_or(0, |mark| if mark.segment > segment { size } else { mark.offset.min(size) });
                (Position { segment, offset }, size)
            })
            .find(|(start, size)| start.offset < *size)
            .map_or(extent.end, |(start, _)| start);
        if !self.started {
            self.started = true;
            self.open.extend(shared.take_found_open());
            let shipped = shared.take_found().iter().filter(|end| **end <= start).count();
            shared.shipped(shipped as u64);
        }
        if let Some(done) = self.doubtful.take().filter(|done| start >= done.mark) {
            let books = self.books.clone();
            let _books = books.lock().await;
            self.done(&done);
        }
        Ok(start)
    }

    /// Deletes the segments that are shipped, from the oldest on, up to the first in which a request was opened that has
    /// no ending: a later segment without an earlier one would make its requests look as if they had none.
    fn sweep(&self) {
        let shared = self.journal.shared();
        let Some(at) = self.at else { return };
        let kept = self.open.values().min().map_or(at.segment, |oldest| at.segment.min(*oldest));
        for segment in shared.extent().closed.into_keys().take_while(|segment| *segment < kept) {
            if let Err(error) = shared.delete(segment) {
                let path = shared.dir().join(segment.file_name());
                tracing::warn!(journal.segment = %path.display(), error = %error, "a shipped segment cannot be deleted");
                return;
            }
        }
    }
}
