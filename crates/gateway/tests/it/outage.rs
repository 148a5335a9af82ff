//! The database is taken away under load: no request fails for it, and every row arrives, once.

use crate::support::{Gateway, Wire, gateway, rows, usd};
use domain::format::Status;
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use testkit::{Reply, Upstream, servers::Cluster};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

/// How long it is away, in seconds, where the environment does not say: `make torture` makes it a minute.
const AWAY_S: u64 = 3;
const AWAY_VARIABLE: &str = "TOLLGATE_OUTAGE_S";
const CALLERS: usize = 4;

#[allow(clippy::disallowed_methods, reason = "a test has no settings of its own")]
fn away() -> Duration {
    let given = std::env::var(AWAY_VARIABLE).ok().map(|text| text.parse().unwrap());
    Duration::from_secs(given.unwrap_or(AWAY_S))
}

async fn served() -> Upstream {
    Upstream::start().await.unwrap().always(Reply::text(["hello"]).usage(12, 2))
}

/// Callers that ask one question after the other, every one of which must be answered.
struct Load {
    asked: Arc<AtomicUsize>,
    done: Arc<AtomicBool>,
    more: Arc<Notify>,
    callers: TaskTracker,
}

impl Load {
    fn on(gw: &Gateway) -> Self {
        let load =
            Self { asked: Arc::default(), done: Arc::default(), more: Arc::default(), callers: TaskTracker::new() };
        for number in 0..CALLERS {
            let wire = if number % 2 == 0 { Wire::Chat } else { Wire::Messages };
            let ask = gw.ask(wire, "hi");
            let (asked, done, more) = (load.asked.clone(), load.done.clone(), load.more.clone());
            load.callers.spawn(async move {
                while !done.load(Ordering::SeqCst) {
                    let reply = if number < 2 { ask.clone().whole().await } else { ask.clone().stream().await };
                    assert_eq!((reply.text().as_str(), reply.broke), ("hello", false));
                    asked.fetch_add(1, Ordering::SeqCst);
                    more.notify_waiters();
                }
            });
        }
        load
    }

    /// Waits until so many more were answered.
    async fn answered(&self, count: usize) {
        let goal = self.asked.load(Ordering::SeqCst) + count;
        loop {
            let told = self.more.notified();
            if self.asked.load(Ordering::SeqCst) >= goal {
                return;
            }
            timeout(Duration::from_secs(20), told).await.expect("requests go on");
        }
    }

    /// Ends it; every question has its row, once.
    async fn end(self, gw: &Gateway) {
        self.done.store(true, Ordering::SeqCst);
        self.callers.close();
        self.callers.wait().await;
        gw.running.caught_up().await;
        let rows = rows(gw.running.store()).await;
        assert_eq!(rows.len(), self.asked.load(Ordering::SeqCst));
        assert_eq!(rows.len(), rows.iter().map(|row| row.request_id).collect::<HashSet<_>>().len());
        assert!(rows.iter().all(|row| row.cost.total == usd("0.000066") && row.status == Status::Completed));
        let found = store::verify::run(gw.running.store().db(), 10).await.unwrap();
        assert_eq!(found.differences, 0, "{:?}", found.shown);
    }
}

#[tokio::test]
async fn the_embedded_database_is_locked_by_somebody_else() {
    let upstream = served().await;
    let gw = gateway().provider(&upstream).start().await;
    let other = gw.other_store().await;
    let load = Load::on(&gw);
    load.answered(50).await;
    let lock = other.db().begin().await.unwrap();
    sleep(away()).await;
    load.answered(50).await;
    drop(lock);
    load.answered(50).await;
    load.end(&gw).await;
    gw.stop().await;
}

#[tokio::test]
async fn a_server_crashes_and_comes_back() {
    let cluster = Cluster::start().unwrap();
    let database = cluster.database().unwrap();
    let upstream = served().await;
    let gw = gateway().set("database.url", database.url()).provider(&upstream).start().await;
    let load = Load::on(&gw);
    load.answered(50).await;
    for wait in [Duration::ZERO, away()] {
        let stopped = cluster.clone();
        tokio::task::spawn_blocking(move || stopped.stop()).await.unwrap().unwrap();
        sleep(wait).await;
        load.answered(50).await;
        let resumed = cluster.clone();
        tokio::task::spawn_blocking(move || resumed.resume()).await.unwrap().unwrap();
        load.answered(50).await;
    }
    load.end(&gw).await;
    gw.stop().await;
}
