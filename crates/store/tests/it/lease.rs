use crate::sample;
use store::{
    lease::{Lease, LeaseError},
    mint,
};
use testkit::servers::Home;

testkit::on_both![
    a_second_node_is_refused_until_the_first_gives_its_lease_back,
    a_lease_that_ran_out_is_nobodys_and_its_node_goes_on_and_hears_of_the_other,
];

async fn a_second_node_is_refused_until_the_first_gives_its_lease_back(home: Home) {
    let store = sample::store(&home).await;
    let (ours, theirs) = (store.node(), mint());
    let lease = Lease::acquire(store.db(), ours).await.unwrap();

    let error = Lease::acquire(store.db(), theirs).await.unwrap_err();
    let LeaseError::Taken { node, left_s } = error else { panic!("{error}") };
    assert_eq!((node, (1..=15).contains(&left_s)), (ours, true));
    assert!(error.to_string().contains(&format!("served by another node ({ours})")), "{error}");

    // A restart of the same node finds its own.
    Lease::acquire(store.db(), ours).await.unwrap();
    assert_eq!(lease.renew().await.unwrap(), None);
    lease.release().await.unwrap();
    Lease::acquire(store.db(), theirs).await.unwrap();
    assert!(Lease::acquire(store.db(), ours).await.is_err());
}

async fn a_lease_that_ran_out_is_nobodys_and_its_node_goes_on_and_hears_of_the_other(home: Home) {
    let store = sample::store(&home).await;
    let (ours, theirs) = (store.node(), mint());
    let lease = Lease::acquire(store.db(), ours).await.unwrap();
    sample::run(&store, "UPDATE nodes SET lease_until = 1").await;
    Lease::acquire(store.db(), theirs).await.unwrap();
    assert_eq!(lease.renew().await.unwrap(), Some(theirs));

    // The clock was set back by an hour.
    sample::run(&store, "UPDATE nodes SET lease_until = lease_until + 3600000000").await;
    Lease::acquire(store.db(), mint()).await.unwrap();
}
