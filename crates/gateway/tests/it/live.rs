//! What changes while requests are served.

use crate::support::{Wire, gateway, provider, rows, usd};
use domain::format::Status;
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use testkit::{
    Gate, Reply, Upstream,
    servers::{Cluster, Home},
};
use tokio::{sync::Notify, time::timeout};
use tokio_util::task::TaskTracker;

testkit::on_both![a_document_is_live_within_a_second_and_open_requests_keep_what_they_began_with];

async fn a_document_is_live_within_a_second_and_open_requests_keep_what_they_began_with(home: Home) {
    let gate = Gate::new();
    let before = Upstream::start().await.unwrap();
    before.push(Reply::text(["be", "fore"]).usage(10, 10).hold(3, &gate));
    let after = Upstream::start().await.unwrap().always(Reply::text(["after"]).usage(10, 10));
    let gw = gateway().at(home).provider(&before).start().await;

    let mut open = gw.chat("hi").open().await;
    open.until("be").await;
    let revision = gw
        .apply(&format!(
            "global_models:\n  - name: big-model\n    default_tiered_pricing: \
             {{tiers: [{{up_to: null, input_price_per_1m: 30, output_price_per_1m: 150}}]}}\n\
             providers:\n  - {{name: provider-0, is_active: false}}\n{}",
            provider(1, &after.base_url())
        ))
        .await;
    timeout(Duration::from_secs(1), gw.running.reached(revision)).await.expect("live within a second");

    assert_eq!(gw.chat("hi").whole().await.text(), "after");
    gate.open();
    let reply = open.rest().await;
    assert_eq!((reply.text().as_str(), reply.broke), ("before", false));
    let rows = gw.entries().await;
    assert_eq!(rows.iter().map(|row| row.cost.total).collect::<Vec<_>>(), [usd("0.00018"), usd("0.0018")]);
    assert_eq!(rows.iter().map(|row| row.provider.as_str()).collect::<Vec<_>>(), ["provider-0", "provider-1"]);
    gw.stop().await;
}

#[tokio::test]
async fn with_the_database_locked_requests_are_served_and_the_books_follow() {
    let upstream = Upstream::start().await.unwrap().always(Reply::text(["hello"]).usage(12, 2));
    let gw = gateway().provider(&upstream).start().await;
    let other = gw.other_store().await;
    let lock = other.db().begin().await.unwrap();

    for _ in 0..20 {
        assert_eq!(gw.chat("hi").whole().await.text(), "hello");
        assert_eq!(gw.ask(Wire::Messages, "hi").stream().await.text(), "hello");
    }
    assert!(rows(&other).await.is_empty(), "the database takes nothing meanwhile");

    drop(lock);
    let rows = gw.entries().await;
    assert_eq!(rows.len(), 40);
    assert!(rows.iter().all(|row| row.cost.total == usd("0.000066") && row.status == Status::Completed));
    gw.stop().await;
}

#[tokio::test]
async fn a_server_that_crashes_and_comes_back_under_load_fails_no_request_and_gets_every_row_once() {
    const CALLERS: usize = 4;
    let cluster = Cluster::start().unwrap();
    let database = cluster.database().unwrap();
    let upstream = Upstream::start().await.unwrap().always(Reply::text(["hello"]).usage(12, 2));
    let gw = gateway().set("database.url", database.url()).provider(&upstream).start().await;
    let (asked, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (more, callers) = (Arc::new(Notify::new()), TaskTracker::new());
    for _ in 0..CALLERS {
        let (ask, asked, done, more) = (gw.chat("hi"), asked.clone(), done.clone(), more.clone());
        callers.spawn(async move {
            while !done.load(Ordering::SeqCst) {
                assert_eq!(ask.clone().whole().await.text(), "hello");
                asked.fetch_add(1, Ordering::SeqCst);
                more.notify_waiters();
            }
        });
    }
    // Waits until so many more were answered since now.
    let answered = async |count: usize| {
        let goal = asked.load(Ordering::SeqCst) + count;
        loop {
            let told = more.notified();
            if asked.load(Ordering::SeqCst) >= goal {
                return;
            }
            timeout(Duration::from_secs(20), told).await.expect("requests go on");
        }
    };
    answered(50).await;
    for _ in 0..2 {
        let stopped = cluster.clone();
        tokio::task::spawn_blocking(move || stopped.stop()).await.unwrap().unwrap();
        answered(50).await;
        let resumed = cluster.clone();
        tokio::task::spawn_blocking(move || resumed.resume()).await.unwrap().unwrap();
        answered(50).await;
    }
    done.store(true, Ordering::SeqCst);
    callers.close();
    callers.wait().await;

    let rows = gw.entries().await;
    assert_eq!(rows.len(), asked.load(Ordering::SeqCst));
    assert_eq!(rows.len(), rows.iter().map(|row| row.request_id).collect::<HashSet<_>>().len());
    assert!(rows.iter().all(|row| row.cost.total == usd("0.000066") && row.status == Status::Completed));
    gw.stop().await;
}
