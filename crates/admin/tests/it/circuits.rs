//! Circuits that are closed by hand.

use crate::support::Gateway;
use admin::reset_circuit;
use domain::{
    ids::ProviderKeyId,
    ports::Circuits,
    schedule::{
        breaker::{Backoff, Caller, Event, State},
        health::KeyState,
    },
};
use std::sync::Mutex;
use store::repo::{audit, live};
use testkit::servers::Home;

testkit::on_both![a_circuit_that_is_closed_by_hand_stays_closed_and_is_audited];

/// What the data plane is told.
#[derive(Default)]
struct Told(Mutex<Vec<ProviderKeyId>>);

impl Circuits for Told {
    fn reset(&self, key: ProviderKeyId) {
        self.0.lock().unwrap().push(key);
    }
}

async fn a_circuit_that_is_closed_by_hand_stays_closed_and_is_audited(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let store = &gateway.store;
    let catalog = gateway.catalog().await;
    let admin = catalog.users.values().next().unwrap().id;
    let mut tx = store.db().begin().await.unwrap();
    let (key, mut state) = live::keys(&mut tx).await.unwrap().pop().unwrap();
    let backoff = Backoff { first_us: 30_000_000, cap_us: 60_000_000, chance: 0 };
    state.breaker.step(Event::Ended { ok: false, by: Caller(1), probe: false }, tx.now_us(), backoff);
    state.step(Event::Condemned, tx.now_us(), backoff);
    live::write_key(&mut tx, key, &state).await.unwrap();
    tx.commit().await.unwrap();
    let known = async || {
        let mut tx = store.db().read().await.unwrap();
        live::keys(&mut tx).await.unwrap().pop().unwrap().1
    };
    assert!(matches!(known().await.breaker.state, State::Open { .. }));

    let told = Told::default();
    let nobody: ProviderKeyId = store::mint();
    assert!(!reset_circuit(store, &told, nobody, None).await.unwrap());
    assert!(told.0.lock().unwrap().is_empty());
    assert!(reset_circuit(store, &told, key, Some(admin)).await.unwrap());
    assert_eq!(*told.0.lock().unwrap(), [key]);
    let KeyState { breaker, opened_us, .. } = known().await;
    assert_eq!((breaker.state, breaker.trips, opened_us), (State::Closed { since_us: 0 }, 0, 0));
    assert_eq!(breaker.window.recent(i64::MIN / 2).count(), 0, "what it was opened for is forgotten");
    let mut tx = store.db().read().await.unwrap();
    let last = audit::latest_any_owner(&mut tx, store.node(), 1).await.unwrap().pop().unwrap();
    assert_eq!(
        (last.event_type.as_str(), &last.metadata["provider_api_key_id"]),
        ("provider_updated", &key.to_string().into())
    );
}
