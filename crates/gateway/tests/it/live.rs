//! What changes while requests are served.

use crate::support::{Wire, gateway, provider, rows, usd};
use domain::format::Status;
use std::time::Duration;
use testkit::{Gate, Reply, Upstream};
use tokio::time::timeout;

#[tokio::test]
async fn a_document_is_live_within_a_second_and_open_requests_keep_what_they_began_with() {
    let gate = Gate::new();
    let before = Upstream::start().await.unwrap();
    before.push(Reply::text(["be", "fore"]).usage(10, 10).hold(3, &gate));
    let after = Upstream::start().await.unwrap().always(Reply::text(["after"]).usage(10, 10));
    let gw = gateway().provider(&before).start().await;

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
