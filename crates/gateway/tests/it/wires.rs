//! Each wire answers, whole and streamed, and each answer has its bill.

use crate::support::{MODEL, WIRES, Wire, gateway, usd};
use domain::format::{Status, UsageSource};
use testkit::{Reply, Upstream};

#[tokio::test]
async fn each_wire_answers_whole_and_streamed_byte_by_byte_and_leaves_an_exact_bill() {
    let upstream = Upstream::start().await.unwrap().always(Reply::text(["he", "llo"]).usage(12, 2).cache(100, 0, 0));
    let gw = gateway().provider(&upstream).start().await;

    let asks = WIRES.into_iter().flat_map(|wire| [(wire, false), (wire, true)]);
    for (before, (wire, is_stream)) in asks.enumerate() {
        let ask = gw.ask(wire, "hi");
        let reply = if is_stream { ask.stream().await } else { ask.whole().await };
        assert_eq!((reply.status, reply.text().as_str()), (200, "hello"), "{wire:?}");
        assert_eq!(upstream.requests().len(), before + 1);
        assert!(reply.header("x-request-id").is_some_and(|id| id.starts_with("req_")), "{wire:?}");
        let sent = upstream.sent_bytes().pop().unwrap();
        // A chat client that did not ask for usage does not get the chunk that the gateway asked for.
        let is_edited = wire == Wire::Chat && is_stream;
        assert_eq!(reply.bytes == sent, !is_edited, "{wire:?}: {:?}", reply.bytes);
    }

    let rows = gw.entries().await;
    assert_eq!(rows.len(), 8);
    for row in rows {
        assert_eq!((row.tokens.input, row.tokens.cache_read, row.tokens.output), (12, 100, 2), "{:?}", row.api_format);
        // 12 × $3, 100 × $0.30 and 2 × $15 per million.
        assert_eq!(row.cost.total, usd("0.000096"), "{:?}", row.api_format);
        assert_eq!(row.actual.total, row.cost.total);
        assert_eq!((row.status, row.status_code, row.usage_source), (Status::Completed, 200, UsageSource::Upstream));
        assert_eq!((row.model.as_str(), row.target_model.as_deref()), (MODEL, Some("up-0")));
        assert_eq!(row.provider, "provider-0");
    }
    gw.stop().await;
}

#[tokio::test]
async fn a_stream_that_breaks_before_its_first_event_moves_to_the_next_candidate() {
    let broken = Upstream::start().await.unwrap().always(Reply::text(["never"]).cut_after(0));
    let healthy = Upstream::start().await.unwrap().always(Reply::text(["he", "llo"]).usage(12, 2));
    let gw = gateway().provider(&broken).provider(&healthy).start().await;

    let reply = gw.chat("hi").stream().await;

    assert_eq!(reply.text(), "hello");
    let rows = gw.entries().await;
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].provider.as_str(), rows[0].cost.total), ("provider-1", usd("0.000066")));
    let mut tx = gw.running.store().db().read().await.unwrap();
    let tried = store::repo::candidates::tried_any_owner(&mut tx, rows[0].request_id).await.unwrap();
    assert_eq!(tried.len(), 2);
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_exchange_at_once() {
    let upstream = Upstream::start().await.unwrap().always(Reply::text(["one ", "two"]).endless());
    let gw = gateway().provider(&upstream).start().await;

    let mut open = gw.chat("hi").open().await;
    open.until("one").await;
    drop(open);

    upstream.ended(testkit::Ended::Abandoned, 1).await;
    let rows = loop {
        let rows = gw.entries().await;
        if !rows.is_empty() {
            break rows;
        }
    };
    assert_eq!((rows[0].status, rows[0].status_code), (Status::Cancelled, 499));
    gw.stop().await;
}

#[tokio::test]
async fn refusals_speak_the_callers_dialect() {
    let upstream = Upstream::start().await.unwrap();
    let gw = gateway().provider(&upstream).start().await;
    for wire in WIRES {
        let stranger = gw.ask(wire, "hi").key("sk-nobody").whole().await;
        assert!(matches!(stranger.status, 400 | 401), "{wire:?}: {}", stranger.status);
        let unknown = gw.ask(wire, "hi").model("no-such-model").whole().await;
        assert_eq!(unknown.status, 404, "{wire:?}");
    }
    assert!(upstream.requests().is_empty());
    assert!(gw.entries().await.is_empty());
    gw.stop().await;
}
