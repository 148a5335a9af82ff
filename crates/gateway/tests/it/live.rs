//! What changes while requests are served.

use crate::support::{gateway, provider, usd};
use std::time::Duration;
use testkit::{Gate, Reply, Upstream, servers::Home};
use tokio::time::timeout;

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
