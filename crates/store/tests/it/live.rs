use crate::sample;
use domain::{
    catalog::Catalog,
    limit::window::{Count, FixedMinute, Periods, Span},
    schedule::{
        adaptive::{LimitKind, Sample},
        breaker::{Backoff, Caller, Event, State},
        health::KeyState,
    },
};
use store::{Store, load, repo::live};
use testkit::servers::Home;

testkit::on_both![
    what_was_known_of_a_key_is_known_again,
    nodes_add_up_their_attempts_and_a_new_period_replaces_the_old,
    an_unavailable_model_is_in_the_next_catalog,
];

const BACKOFF: Backoff = Backoff { cap_us: 1_920_000_000, chance: 7 };

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

fn periods(day: i64, used: u64, in_month: u64) -> Periods {
    let span = |start_us, end_us| Span { start_us, end_us };
    Periods {
        day: Count { span: span(day, day + 10), used },
        month: Count { span: span(1_000, 2_000), used: in_month },
    }
}

async fn nodes_add_up_their_attempts_and_a_new_period_replaces_the_old(home: Home) {
    let store = sample::store(&home).await;
    sample::seed(&store).await;
    let key = sample::provider_key();
    let steps = [
        (Periods::default(), periods(1_010, 3, 3)),
        (periods(1_010, 3, 3), periods(1_010, 5, 5)),
        (Periods::default(), periods(1_010, 4, 4)),   // another node
        (periods(1_010, 5, 5), periods(1_010, 4, 4)), // one got no response
    ];
    for (before, now) in steps {
        let mut tx = store.db().begin().await.unwrap();
        live::add_attempts(&mut tx, key, &before, &now).await.unwrap();
        live::write_minute(&mut tx, sample::provider(), FixedMinute { used: 2, reset_us: 77 }).await.unwrap();
        tx.commit().await.unwrap();
    }
    let mut tx = store.db().begin().await.unwrap();
    assert_eq!(live::periods(&mut tx).await.unwrap()[&key], periods(1_010, 8, 8));
    assert_eq!(live::minutes(&mut tx).await.unwrap(), [(sample::provider(), FixedMinute { used: 2, reset_us: 77 })]);
    live::add_attempts(&mut tx, key, &periods(1_010, 4, 4), &periods(1_020, 1, 5)).await.unwrap();
    assert_eq!(live::periods(&mut tx).await.unwrap()[&key], periods(1_020, 1, 9), "a new day in the same month");
    tx.commit().await.unwrap();
    assert_eq!(sample::number(&store, "SELECT COUNT(*) AS n FROM limit_windows").await, 2, "yesterday is gone");
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
