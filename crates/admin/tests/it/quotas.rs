use crate::support::{Gateway, NOW};
use domain::money::NanoUsd;
use store::repo::quotas::{self, QuotaRow};
use testkit::servers::Home;

async fn period(gateway: &Gateway) -> Option<QuotaRow> {
    let mut tx = gateway.store.db().read().await.unwrap();
    quotas::active_any_owner(&mut tx).await.unwrap().pop().map(|open| open.quota)
}

async fn limit(gateway: &Gateway) -> Option<NanoUsd> {
    let catalog = gateway.catalog().await;
    catalog.users.values().find(|user| user.username == "ann").unwrap().quota.limit
}

fn ann(quota: &str) -> String {
    format!("users: [{{username: ann, quota: {quota}}}]")
}

testkit::on_both![
    a_quota_opens_its_period_and_keeps_it_while_it_lasts,
    another_kind_of_period_replaces_the_open_one,
    a_quota_without_a_period_and_none_at_all,
    a_period_that_is_over_is_followed_by_the_present_one,
    periods_begin_at_midnight_of_the_business_zone_that_the_document_sets,
];

async fn a_quota_opens_its_period_and_keeps_it_while_it_lasts(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let first = period(&gateway).await.unwrap();
    assert_eq!((first.quota_type.as_str(), first.quota_usd), ("monthly", NanoUsd(10_000_000_000)));
    let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
    assert_eq!((first.period_start, first.period_end), (at("2026-02-01T00:00:00Z"), at("2026-03-01T00:00:00Z")));

    assert_eq!(
        gateway.diff(&ann("{type: monthly, usd: 12}")).await,
        ["~ user ann: quota monthly 10 from 2026-02-01T00:00:00Z to 2026-03-01T00:00:00Z -> \
             monthly 12 from 2026-02-01T00:00:00Z to 2026-03-01T00:00:00Z"]
    );
    let raised = period(&gateway).await.unwrap();
    assert_eq!((raised.id, raised.quota_usd), (first.id, NanoUsd(12_000_000_000)));
    assert_eq!(limit(&gateway).await, Some(NanoUsd(12_000_000_000)));
}

async fn another_kind_of_period_replaces_the_open_one(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let custom = "{type: custom, usd: 3, start: 2026-01-01T00:00:00Z, end: 2026-06-01T00:00:00Z}";
    let moved = custom.replace("06-01", "07-01");
    let mut last = period(&gateway).await.unwrap();
    for (quota, kind) in [("{type: daily, usd: 1}", "daily"), (custom, "custom"), (&moved, "custom")] {
        assert_eq!(gateway.diff(&ann(quota)).await.len(), 1, "{quota}");
        assert!(gateway.diff(&ann(quota)).await.is_empty(), "again: {quota}");
        let open = period(&gateway).await.unwrap();
        assert_eq!(open.quota_type.as_str(), kind);
        assert_ne!(open.id, last.id);
        last = open;
    }
    assert_eq!(limit(&gateway).await, Some(NanoUsd(3_000_000_000)));
}

async fn a_quota_without_a_period_and_none_at_all(home: Home) {
    let gateway = Gateway::with_example(home).await;
    assert_eq!(gateway.diff(&ann("{type: none, usd: 7}")).await.len(), 1);
    assert_eq!((period(&gateway).await, limit(&gateway).await), (None, Some(NanoUsd(7_000_000_000))));
    assert_eq!(gateway.diff(&ann("null")).await, ["~ user ann: quota 7 -> none"]);
    assert_eq!((period(&gateway).await, limit(&gateway).await), (None, None));
    assert_eq!(gateway.diff(&ann("{type: daily, usd: 0}")).await.len(), 1);
    assert_eq!(gateway.diff(&ann("null")).await.len(), 1);
    assert_eq!((period(&gateway).await, limit(&gateway).await), (None, None));
}

async fn a_period_that_is_over_is_followed_by_the_present_one(home: Home) {
    let mut gateway = Gateway::with_example(home).await;
    let first = period(&gateway).await.unwrap();
    gateway.options.now_us = NOW + 40 * 86_400 * 1_000_000;
    assert_eq!(gateway.diff(&ann("{type: monthly, usd: 10}")).await.len(), 1);
    let next = period(&gateway).await.unwrap();
    assert_eq!(next.period_start, first.period_end);
}

async fn periods_begin_at_midnight_of_the_business_zone_that_the_document_sets(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let document = format!("settings: {{timezone: Europe/Berlin}}\n{}", ann("{type: daily, usd: 1}"));
    gateway.diff(&document).await;
    let day = period(&gateway).await.unwrap();
    assert_eq!(day.period_start, "2026-02-09T23:00:00Z".parse::<jiff::Timestamp>().unwrap().as_microsecond());
}
