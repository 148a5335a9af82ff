use crate::sample;
use domain::{catalog::Catalog, ports::Directory as _};
use std::{sync::Arc, time::Duration};
use store::{Published, Store, feed, load, repo};
use testkit::servers::Home;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

async fn publish(store: &Store) -> Arc<Published> {
    Arc::new(Published::new(Catalog::build(load(store).await.unwrap()).unwrap()))
}

/// Renames the provider, in a transaction of a process of its own.
async fn rename(store: &Store, display_name: &str) -> u64 {
    let mut tx = store.db().begin().await.unwrap();
    let row = repo::providers::ProviderRow { display_name: display_name.to_owned(), ..sample::provider_row() };
    assert!(repo::providers::update(&mut tx, &row).await.unwrap());
    tx.commit().await.unwrap();
    feed::current_revision(store.db()).await.unwrap()
}

testkit::on_both![
    a_change_by_another_process_is_in_force_within_a_second,
    a_configuration_that_contradicts_itself_leaves_the_one_in_force,
];

async fn a_change_by_another_process_is_in_force_within_a_second(home: Home) {
    let store = sample::store(&home).await;
    sample::seed(&store).await;
    let other = sample::store(&home).await;
    let published = publish(&store).await;
    let (cancel, tracker) = (CancellationToken::new(), TaskTracker::new());
    tracker.spawn(feed::follow(store.clone(), published.clone(), cancel.clone()));

    let held = published.catalog();
    for name in ["one", "two"] {
        let revision = rename(&other, name).await;
        let live = tokio::time::timeout(Duration::from_secs(1), published.reached(revision));
        live.await.expect("live within a second");
        assert_eq!(published.catalog().revision, revision);
    }
    assert!(held.revision < published.catalog().revision, "what a request holds does not change");

    cancel.cancel();
    tracker.close();
    tracker.wait().await;
}

async fn a_configuration_that_contradicts_itself_leaves_the_one_in_force(home: Home) {
    let store = sample::store(&home).await;
    sample::seed(&store).await;
    let published = publish(&store).await;
    let before = published.catalog().revision;
    let (cancel, tracker) = (CancellationToken::new(), TaskTracker::new());
    tracker.spawn(feed::follow(store.clone(), published.clone(), cancel.clone()));

    // The kiosk's former hash is the laptop's: one key text would be two keys.
    let mut tx = store.db().begin().await.unwrap();
    let mut row = sample::standalone_row();
    row.previous_key_hash = Some(sample::client_key_row().key_hash);
    assert!(repo::api_keys::update_any_owner(&mut tx, &row).await.unwrap());
    tx.commit().await.unwrap();
    assert!(Catalog::build(load(&store).await.unwrap()).is_err());
    let bad = feed::current_revision(store.db()).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(600), published.reached(bad)).await.is_err());
    assert_eq!(published.catalog().revision, before);

    let mut tx = store.db().begin().await.unwrap();
    assert!(repo::api_keys::update_any_owner(&mut tx, &sample::standalone_row()).await.unwrap());
    tx.commit().await.unwrap();
    let good = feed::current_revision(store.db()).await.unwrap();
    published.reached(good).await;

    cancel.cancel();
    tracker.close();
    tracker.wait().await;
}

#[tokio::test]
async fn catalogs_are_published_forward_only() {
    let published = Published::new(Catalog::default());
    let at = |revision| Catalog::build(domain::catalog::Parts { revision, ..Default::default() }).unwrap();
    assert!(published.publish(at(2)));
    assert!(!published.publish(at(1)) && !published.publish(at(2)));
    assert_eq!(published.catalog().revision, 2);
}
