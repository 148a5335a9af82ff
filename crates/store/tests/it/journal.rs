use crate::sample;
use domain::{
    catalog::Catalog,
    ports::{Directory as _, Recorder},
};
use std::{collections::HashSet, sync::Arc};
use store::{
    Published,
    journal::JournalError,
    lease::Lease,
    load,
    repo::usage,
    settle::{Shipper, recover},
};
use testkit::servers::Home;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

#[tokio::test]
async fn a_journal_has_one_process_at_a_time() {
    let home = Home::embedded().unwrap();
    let store = sample::store(&home).await;
    let first = store.open_journal().await.unwrap();
    let error = store.open_journal().await.unwrap_err();
    assert!(matches!(error, JournalError::InUse(_)), "{error}");
    let epoch = first.journal.epoch().number;
    drop(first);
    assert_eq!(store.open_journal().await.unwrap().journal.epoch().number, epoch + 1);
}

testkit::on_both![a_gateway_that_starts_and_ends_in_order_leaves_every_settlement_in_the_database];

async fn a_gateway_that_starts_and_ends_in_order_leaves_every_settlement_in_the_database(home: Home) {
    let store = sample::store(&home).await;
    sample::seed(&store).await;
    for round in 0..2u128 {
        let lease = Lease::acquire(store.db(), store.node()).await.unwrap();
        let opening = store.open_journal().await.unwrap();
        let published = Published::new(Catalog::build(load(&store).await.unwrap()).unwrap());
        recover(store.db(), &opening.journal, &published.catalog(), opening.interrupted).await.unwrap();
        let shipper = Shipper::new(&store, opening.journal.clone());
        let shipping = shipper.shipping();
        let (cancel, tracker) = (CancellationToken::new(), TaskTracker::new());
        tracker.spawn(shipper.run(cancel.clone()));
        tracker.spawn(lease.clone().run(cancel.clone()));

        let recorder: Arc<dyn Recorder> = opening.journal.clone();
        let settle = |number: u128| {
            let recorder = recorder.clone();
            async move {
                recorder.opened(sample::opened(number)).await.unwrap();
                recorder.settled(Box::new(sample::settled(number))).await.unwrap();
            }
        };
        settle(10 * round).await;
        shipping.caught_up().await;
        let count = |totals: usage::Totals| totals.requests;
        let mut tx = store.db().read().await.unwrap();
        assert_eq!(count(usage::totals_any_owner(&mut tx).await.unwrap()), 3 * u64::try_from(round).unwrap() + 1);
        drop(tx);
        settle(10 * round + 1).await;
        // This one is open when the process ends.
        recorder.opened(sample::opened(10 * round + 2)).await.unwrap();

        cancel.cancel();
        tracker.close();
        tracker.wait().await;
        drop(recorder);
        opening.journal.close();
        lease.release().await.unwrap();
    }
    let mut tx = store.db().read().await.unwrap();
    let rows = usage::latest_any_owner(&mut tx, 10).await.unwrap();
    let ended: HashSet<_> = rows.iter().map(|row| row.request_id).collect();
    let expected = [0, 1, 2, 10, 11].map(sample::request);
    assert_eq!(ended, HashSet::from(expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn records_of_many_threads_are_whole_and_all_there() {
    let home = Home::embedded().unwrap();
    let store = sample::store(&home).await;
    let opening = store.open_journal().await.unwrap();
    let tracker = TaskTracker::new();
    for task in 0..8u128 {
        let journal = opening.journal.clone();
        tracker.spawn(async move {
            for number in 0..100 {
                journal.opened(sample::opened(task * 100 + number)).await.unwrap();
                tokio::task::yield_now().await;
                journal.settled(Box::new(sample::settled(task * 100 + number))).await.unwrap();
            }
        });
    }
    tracker.close();
    tracker.wait().await;
    assert_eq!(opening.journal.stats().unshipped, 800);
    drop(opening);
    let again = store.open_journal().await.unwrap();
    assert_eq!((again.replayed.records, again.replayed.torn, again.interrupted), (1_600, vec![], vec![]));
}
