use super::*;
use crate::{
    repo::{api_keys::ClientKeyRow, audit, providers::ProviderRow},
    sample,
};
use domain::{bindings::Binding, format::BillingType, money::NanoUsd};
use jiff::Timestamp;
use testkit::servers::Home;
use uuid::Uuid;

testkit::on_both![
    a_period_that_is_over_is_followed_by_the_one_that_holds_now,
    a_custom_period_is_followed_by_none,
    a_providers_periods_do_not_drift,
    an_expired_key_is_switched_off_or_deleted_a_day_later,
    bindings_that_expired_are_all_forgotten_once_an_hour_and_nothing_else_runs_for_them,
];

const HOUR: i64 = HOUR_US;

fn instant(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_microsecond()
}

async fn world(home: &Home) -> Store {
    let store = sample::store(home).await;
    sample::seed(&store).await;
    store
}

async fn with<T>(store: &Store, change: impl AsyncFnOnce(&mut Tx) -> T) -> T {
    let mut tx = store.db().begin().await.unwrap();
    let result = change(&mut tx).await;
    tx.commit().await.unwrap();
    result
}

async fn active(store: &Store) -> quotas::Open {
    let mut tx = store.db().read().await.unwrap();
    quotas::active_any_owner(&mut tx).await.unwrap().pop().unwrap()
}

fn quota(kind: QuotaType, start: &str, end: &str) -> QuotaRow {
    QuotaRow {
        id: mint(),
        user_id: sample::user(),
        quota_type: kind,
        quota_usd: NanoUsd(5_000),
        period_start: instant(start),
        period_end: instant(end),
    }
}

async fn a_period_that_is_over_is_followed_by_the_one_that_holds_now(home: Home) {
    let store = world(&home).await;
    let first = quota(QuotaType::Daily, "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z");
    with(&store, async |tx| quotas::open(tx, &first).await.unwrap()).await;
    sample::run(&store, "UPDATE user_quotas SET used_usd = 700").await;
    sample::run(&store, "UPDATE users SET used_usd = 700").await;

    assert!(due(&store, first.period_end - 1).await.unwrap().is_nothing(), "it is not over yet");
    assert_eq!(active(&store).await.quota, first);

    // Three days later: the present day, and none for those that were missed.
    let now = instant("2026-03-04T09:30:00Z");
    assert_eq!(due(&store, now).await.unwrap(), Done { periods: 1, ..Done::default() });
    let next = active(&store).await;
    let day = [next.quota.period_start, next.quota.period_end];
    assert_eq!(day, [instant("2026-03-04T00:00:00Z"), instant("2026-03-05T00:00:00Z")]);
    assert_eq!((next.quota.quota_usd, next.used_usd), (first.quota_usd, NanoUsd::ZERO));
    assert_eq!(sample::number(&store, "SELECT COUNT(*) FROM user_quotas").await, 2);
    assert_eq!(sample::number(&store, "SELECT used_usd FROM user_quotas WHERE NOT is_active").await, 700);
    assert_eq!(sample::number(&store, "SELECT used_usd FROM users").await, 0, "the user's row mirrors the new period");
    assert!(due(&store, now).await.unwrap().is_nothing(), "again changes nothing");
}

async fn a_custom_period_is_followed_by_none(home: Home) {
    let store = world(&home).await;
    let only = quota(QuotaType::Custom, "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z");
    with(&store, async |tx| quotas::open(tx, &only).await.unwrap()).await;
    assert!(due(&store, only.period_end + HOUR).await.unwrap().is_nothing());
    let budget = active(&store).await.budget();
    assert_eq!((budget.limit, budget.ends_at), (Some(only.quota_usd), Some(only.period_end)));
}

async fn a_providers_periods_do_not_drift(home: Home) {
    let store = world(&home).await;
    let began = instant("2026-01-10T08:00:00Z");
    let row = ProviderRow {
        billing_type: BillingType::MonthlyQuota,
        monthly_quota_usd: Some(NanoUsd(1_000)),
        quota_reset_day: 30,
        quota_last_reset_at: Some(began),
        ..sample::provider_row()
    };
    assert!(with(&store, async |tx| crate::repo::providers::update(tx, &row).await.unwrap()).await);
    sample::run(&store, "UPDATE providers SET monthly_used_usd = 400").await;

    let days = |days: i64| days * 24 * HOUR;
    assert!(due(&store, began + days(30) - 1).await.unwrap().is_nothing());
    // Seen late, and after two periods: the present one began at an exact multiple.
    let done = due(&store, began + days(60) + 5 * HOUR).await.unwrap();
    assert_eq!(done, Done { providers: 1, ..Done::default() });
    assert_eq!(sample::number(&store, "SELECT quota_last_reset_at FROM providers").await, began + days(60));
    assert_eq!(sample::number(&store, "SELECT monthly_used_usd FROM providers").await, 0);
    assert_eq!(sample::number(&store, "SELECT past_usd FROM providers").await, 400);
}

async fn an_expired_key_is_switched_off_or_deleted_a_day_later(home: Home) {
    let store = world(&home).await;
    let expires = instant("2026-03-01T12:00:00Z");
    let laptop = ClientKeyRow { expires_at: Some(expires), ..sample::client_key_row() };
    let kiosk = ClientKeyRow { expires_at: Some(expires), auto_delete_on_expiry: true, ..sample::standalone_row() };
    with(&store, async |tx| {
        for row in [&laptop, &kiosk] {
            assert!(api_keys::update_any_owner(tx, row).await.unwrap());
        }
    })
    .await;
    let states = async || {
        let mut tx = store.db().read().await.unwrap();
        let rows = api_keys::all_any_owner(&mut tx).await.unwrap();
        rows.into_iter().map(|row| (row.name.unwrap(), row.is_active)).collect::<Vec<_>>()
    };
    let keys = |list: &[(&str, bool)]| list.iter().map(|(name, on)| ((*name).to_owned(), *on)).collect::<Vec<_>>();

    assert!(due(&store, expires - 1).await.unwrap().is_nothing());
    assert_eq!(due(&store, expires).await.unwrap(), Done { disabled: 1, ..Done::default() });
    assert_eq!(states().await, keys(&[("laptop", false), ("kiosk", true)]));
    assert!(due(&store, expires + KEPT_US - 1).await.unwrap().is_nothing());
    assert_eq!(due(&store, expires + KEPT_US).await.unwrap(), Done { deleted: 1, ..Done::default() });
    assert_eq!(states().await, keys(&[("laptop", false)]));

    // With the setting, those that were only switched off go, too.
    let on = serde_json::json!(true);
    with(&store, async |tx| settings::set(tx, "auto_delete_expired_keys", Some(&on)).await.unwrap()).await;
    assert_eq!(due(&store, expires + KEPT_US).await.unwrap(), Done { deleted: 1, ..Done::default() });
    assert!(states().await.is_empty());

    let mut tx = store.db().read().await.unwrap();
    let events: Vec<_> = audit::latest_any_owner(&mut tx, store.node(), 10).await.unwrap();
    let events: Vec<_> = events.iter().map(|row| (row.event_type.as_str(), row.api_key_id.unwrap())).collect();
    let want = [
        ("api_key_deleted", sample::key()),
        ("api_key_deleted", sample::standalone()),
        ("api_key_updated", sample::key()),
    ];
    assert_eq!(events, want);
}

async fn bindings_that_expired_are_all_forgotten_once_an_hour_and_nothing_else_runs_for_them(home: Home) {
    let store = world(&home).await;
    let now = instant("2026-03-01T00:00:00Z");
    let more_than_a_batch = 2 * BINDINGS_AT_ONCE + 1;
    let issued = |numbers: std::ops::Range<u64>, expires_us| {
        let (client, issuer) = (sample::key(), sample::provider_key());
        let row = |number: u64| (Uuid::from_u64_pair(number, 0).into_bytes(), Binding { client, issuer, expires_us });
        numbers.map(row).collect::<Vec<_>>()
    };
    with(&store, async |tx| {
        bindings::bind_any_owner(tx, &issued(0..more_than_a_batch, now)).await.unwrap();
        bindings::bind_any_owner(tx, &issued(more_than_a_batch..more_than_a_batch + 1, now + HOUR)).await.unwrap();
    })
    .await;
    assert!(!any(&store, now).await.unwrap(), "they are no reason to look after the rest");

    let mut over = Bindings::default();
    assert_eq!(over.forget(&store, now).await.unwrap(), more_than_a_batch);
    with(&store, async |tx| bindings::bind_any_owner(tx, &issued(0..1, now)).await.unwrap()).await;
    assert_eq!(over.forget(&store, now + HOUR - 1).await.unwrap(), 0, "the hour is not over");
    assert_eq!(over.forget(&store, now + HOUR).await.unwrap(), 2);
}
