//! What runs beside requests: following the configuration, shipping the journal, renewing the lease, making partitions, doing
//! what comes due, following what others issue, watching the database.
//!
//! Each ends when it is told to, and the process waits for it.

pub(crate) mod issued;
pub(crate) mod live;

use relay::{Relay, limiter::Local};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use store::{
    Db, Published, Store, feed,
    journal::Journal,
    lease::Lease,
    months,
    settle::{Shipper, Shipping},
    upkeep,
};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How often the database is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An answer that takes longer is none.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Looks in a row without a settlement shipped, while some wait, after which shipping counts as stuck.
const STUCK_LOOKS: u32 = 10;

/// How the database does, as far as requests do not show it.
#[derive(Debug, Default)]
pub(crate) struct Health {
    away: AtomicBool,
    stuck: AtomicBool,
}

impl Health {
    /// What is not as it should be.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let away =
            self.away.load(Ordering::Relaxed).then_some("the database does not answer; records wait in the journal");
        let stuck = self.stuck.load(Ordering::Relaxed).then_some("the database does not take the journal's records");
        away.or(stuck).into_iter().map(str::to_owned).collect()
    }
}

/// The tasks that run until the process ends.
pub(crate) struct Jobs {
    tasks: TaskTracker,
    cancel: CancellationToken,
    shipping: Shipping,
    health: Arc<Health>,
}

impl Jobs {
    /// Starts all of them.
    pub(crate) fn start(
        store: &Store,
        journal: &Arc<Journal>,
        published: &Arc<Published>,
        lease: Lease,
        shipper: Shipper,
        (relay, limiter, kept, issued): (Relay, Arc<Local>, live::Kept, issued::Issued),
    ) -> Self {
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let health = Arc::new(Health::default());
        let shipping = shipper.shipping();
        tasks.spawn(feed::follow(store.clone(), published.clone(), cancel.clone()));
        tasks.spawn(shipper.run(cancel.clone()));
        tasks.spawn(lease.run(cancel.clone()));
        tasks.spawn(upkeep::run(store.clone(), cancel.clone()));
        tasks.spawn(issued.run(store.db().clone(), relay.clone(), cancel.clone()));
        tasks.spawn(kept.run(store.db().clone(), relay, limiter, cancel.clone()));
        tasks.spawn(months::run(store.db().clone(), cancel.clone()));
        tasks.spawn(watch(store.db().clone(), journal.clone(), health.clone(), cancel.clone()));
        Self { tasks, cancel, shipping, health }
    }

    /// To wait for the database to have caught up.
    pub(crate) fn shipping(&self) -> &Shipping {
        &self.shipping
    }

    /// How the database does.
    pub(crate) fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// Ends them; the last of the journal is shipped if the database takes it.
    pub(crate) async fn stop(&self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Looks whether the database answers, and whether it takes what the journal has for it.
async fn watch(db: Db, journal: Arc<Journal>, health: Arc<Health>, cancel: CancellationToken) {
    let mut backlog = Backlog::default();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            answer = timeout(ANSWER_WITHIN, feed::current_revision(&db)) => {
                health.away.store(!matches!(answer, Ok(Ok(_))), Ordering::Relaxed);
            }
        }
        health.stuck.store(backlog.is_stuck(journal.stats().unshipped), Ordering::Relaxed);
    }
}

/// What the looks at the journal found.
#[derive(Debug, Default)]
struct Backlog {
    before: u64,
    looks: u32,
}

impl Backlog {
    /// Whether what waits has only grown for too long.
    fn is_stuck(&mut self, unshipped: u64) -> bool {
        let moves = unshipped == 0 || unshipped < self.before;
        self.looks = if moves { 0 } else { self.looks.saturating_add(1) };
        self.before = unshipped;
        self.looks > STUCK_LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_that_only_grows_is_stuck() {
        let looks = |unshipped: &mut dyn Iterator<Item = u64>| {
            let mut backlog = Backlog::default();
            unshipped.map(|count| backlog.is_stuck(count)).collect::<Vec<_>>()
        };
        assert!(looks(&mut (1..=10)).iter().all(|stuck| !stuck), "it may take a moment");
        assert_eq!(looks(&mut (1..=20)).last(), Some(&true), "it grows and grows");
        assert_eq!(looks(&mut std::iter::repeat_n(7, 20)).last(), Some(&true), "it stands");
        assert_eq!(looks(&mut (1..=20).chain([3])).last(), Some(&false), "it shrinks again");
        assert!(looks(&mut [5, 9, 4].into_iter().cycle().take(60)).iter().all(|stuck| !stuck), "it goes up and down");
    }
}
