use crate::sample;
use domain::{
    catalog::Catalog,
    limit::window::FixedMinute,
    schedule::{
        adaptive::{LimitKind, Sample},
        breaker::{Backoff, Caller, Event, State},
        health::KeyState,
    },
};
use store::{
    Store, load,
    repo::{live, notifications},
};
use testkit::servers::Home;

testkit::on_both![
    what_was_known_of_a_key_is_known_again,
    a_providers_minute_is_known_again,
    an_unavailable_model_is_in_the_next_catalog,
    a_refused_key_is_told_of_once_a_day,
];

const BACKOFF: Backoff = Backoff { first_us: 30_000_000, cap_us: 1_920_000_000, chance: 7 };

async fn write(store: &Store, state: &KeyState) -> KeyState {
    let mut tx = store.db().begin().await.unwrap();
    live::write_key(&mut tx, sample::provider_key(), state).await.unwrap();
    tx.commit().await.unwrap();
    let keys = live::keys(&mut store.db().read().await.unwrap()).await.unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].0, sample::provider_key());
    keys[0].1.clone()
}

async fn what_was_known_of_a_key_is_known_again(home: Home) {
    let store = sample::store(&home).await;
    sample::seed(&store).await;
    let now = store.db().begin().await.unwrap().now_us();
    let mut state = KeyState::default();
    assert_eq!(write(&store, &state).await, state, "nothing is known of a new key");

    state.learning.limited(LimitKind::Concurrent, 8, true, now);
    state.learning.limited(LimitKind::Rpm, 5, true, now + 1);
    state.learning.samples.push_back(Sample { ts: now, util: 700 });
    for by in 1..=5 {
        state.breaker.step(Event::Ended { ok: false, by: Caller(by), probe: false }, now, BACKOFF);
    }
    state.opened_us = now;
    state.stats.consecutive_failures = 5;
    state.stats.last_failure_us = now;
    assert_eq!(write(&store, &state).await, state, "an open circuit");

    let State::Open { until_us, .. } = state.breaker.state else { panic!("{:?}", state.breaker) };
    state.breaker.step(Event::Asked { forced: false }, until_us, BACKOFF);
    let mut want = state.clone();
    want.breaker.step(Event::Unprobed, until_us, BACKOFF);
    assert_eq!(write(&store, &state).await, want, "the probe that was out is out no more");
    let shown = "SELECT health_score AS n FROM provider_api_keys";
    assert_eq!(sample::number(&store, shown).await, 0);
}

async fn a_providers_minute_is_known_again(home: Home) {
    let store = sample::store(&home).await;
    sample::seed(&store).await;
    let minute = FixedMinute { used: 2, reset_us: 77 };
    let mut tx = store.db().begin().await.unwrap();
    live::write_minute(&mut tx, sample::provider(), minute).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = store.db().read().await.unwrap();
    assert_eq!(live::minutes(&mut tx).await.unwrap(), [(sample::provider(), minute)]);
}

async fn a_refused_key_is_told_of_once_a_day(home: Home) {
    let store = sample::store(&home).await;
    sample::seed(&store).await;
    let tell = async |key| {
        let mut tx = store.db().begin().await.unwrap();
        let told = notifications::key_unusable(&mut tx, key).await.unwrap();
        tx.commit().await.unwrap();
        told
    };
    assert!(tell(sample::provider_key()).await);
    assert!(!tell(sample::provider_key()).await, "told already");
    assert!(!tell(store::mint()).await, "it is gone");
    sample::run(&store, "UPDATE notifications SET period = 'yesterday'").await;
    assert!(tell(sample::provider_key()).await, "another day");
    assert_eq!(sample::number(&store, "SELECT COUNT(*) AS n FROM notifications WHERE kind = 'key_unusable'").await, 2);
}

async fn an_unavailable_model_is_in_the_next_catalog(home: Home) {
    let store = sample::store(&home).await;
    sample::seed(&store).await;
    let before = Catalog::build(load(&store).await.unwrap()).unwrap();
    assert!(before.model(sample::model()).unwrap().is_available);
    for _ in 0..2 {
        let mut tx = store.db().begin().await.unwrap();
        live::model_unavailable(&mut tx, sample::model()).await.unwrap();
        tx.commit().await.unwrap();
    }
    let after = Catalog::build(load(&store).await.unwrap()).unwrap();
    assert!(!after.model(sample::model()).unwrap().is_available);
    assert_eq!(after.revision, before.revision + 1, "told once");
}
