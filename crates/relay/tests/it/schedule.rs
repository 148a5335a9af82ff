//! Who serves: breakers, limits, learned and set, warm caches, and the queue for slots.

use crate::support::{Builder, Gateway, Got, MODEL, ask, gateway, post, read, scripted};
use domain::{
    format::{ApiFormat, SchedulingMode},
    records::Settled,
};
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{ErrorShape, Gate, Limit, Reply, Upstream};
use tokio::time::{Instant, advance};

fn healthy() -> Reply {
    Reply::text(["hello"]).usage(12, 2)
}

/// A stream that has begun, and goes on when the gate is open.
fn unfinished(gate: &Gate) -> Reply {
    Reply::text(["hel", "lo"]).usage(12, 2).hold(4, gate)
}

fn broken() -> Reply {
    Reply::error(ErrorShape::Server)
}

/// Nothing is warm: the order is that of priorities, whoever served before.
fn fixed(builder: &mut Builder) {
    builder.parts.settings.scheduling_mode = SchedulingMode::FixedOrder;
}

/// Nobody waits for a slot.
fn hurried(builder: &mut Builder) {
    fixed(builder);
    builder.bounds.queue_wait = Duration::ZERO;
}

fn chat() -> (String, Value) {
    ask(ApiFormat::Claude, false)
}

async fn serve(gw: &Gateway) -> Got {
    let (path, body) = chat();
    gw.post(&path, &body).await
}

/// What the last settled request tells of its candidates: codes of those out.
fn codes(gw: &Gateway) -> Vec<String> {
    last(gw).trace.entries.iter().map(|entry| entry.code.clone()).collect()
}

fn last(gw: &Gateway) -> Settled {
    gw.kept.settled.lock().unwrap().last().unwrap().clone()
}

fn two(first: &Upstream, second: &Upstream, change: fn(&mut Builder)) -> Gateway {
    gateway().upstream(ApiFormat::Claude, first).upstream(ApiFormat::Claude, second).with(change).start()
}

#[tokio::test(start_paused = true)]
async fn a_failing_key_is_left_alone_and_found_again_by_probes() {
    let first = Upstream::local().always(broken());
    let second = Upstream::local().always(healthy());
    let gw = two(&first, &second, fixed);
    for request in 1..=5 {
        assert_eq!(serve(&gw).await.status, 200);
        assert_eq!(first.requests().len(), 2 * request, "tried twice, one outcome");
    }
    for _ in 0..50 {
        assert_eq!(serve(&gw).await.status, 200);
    }
    assert_eq!(first.requests().len(), 10, "its circuit is open");
    let entry = last(&gw).trace.entries[0].clone();
    let rest_ms = entry.number - crate::support::START_US / 1_000;
    assert_eq!(entry.code, "circuit_open");
    assert!((24_000..=37_000).contains(&rest_ms), "30 s, give or take a fifth: {rest_ms}");

    advance(Duration::from_secs(37)).await;
    for probe in 1..=2 {
        assert_eq!(serve(&gw).await.status, 200);
        assert_eq!(first.requests().len(), 10 + probe, "a probe asks once");
    }
    assert_eq!(serve(&gw).await.status, 200);
    assert_eq!(first.requests().len(), 12, "two failed probes open it again");

    let recovered = first.always(healthy());
    advance(Duration::from_secs(73)).await;
    for _ in 0..4 {
        assert_eq!(serve(&gw).await.status, 200);
    }
    assert_eq!(recovered.requests().len(), 16, "back");
    assert_eq!(codes(&gw), ["available"]);
}

#[tokio::test(start_paused = true)]
async fn one_request_probes_at_a_time_and_a_client_that_leaves_gives_the_turn_back() {
    let gate = Gate::new();
    let first = scripted([Reply::error(ErrorShape::BadKey), healthy().hold_head(&gate), healthy()]);
    let second = Upstream::local().always(healthy());
    let gw = two(&first, &second, fixed);
    assert_eq!(serve(&gw).await.status, 200, "a refused credential opens at once");
    assert_eq!(serve(&gw).await.status, 200);
    assert_eq!((first.requests().len(), codes(&gw)), (1, vec!["circuit_open".to_owned()]));
    advance(Duration::from_secs(24 * 24)).await; // 30 s × 2⁴ and a fifth

    let (path, body) = chat();
    let probe = tokio::time::timeout(Duration::from_secs(1), gw.post(&path, &body));
    let (probe, other) = tokio::join!(probe, async {
        tokio::task::yield_now().await;
        serve(&gw).await
    });
    assert_eq!((first.requests().len(), other.status.as_u16()), (2, 200), "the other one did not wait for the probe");
    assert!(probe.is_err(), "its client left");
    assert_eq!(serve(&gw).await.status, 200);
    assert_eq!(first.requests().len(), 3, "the next one probes");
}

#[tokio::test(start_paused = true)]
async fn if_every_circuit_is_open_one_is_probed_and_the_others_hear_when_to_come_back() {
    let gate = Gate::new();
    let only = scripted([Reply::error(ErrorShape::BadKey), healthy().hold_head(&gate), healthy()]);
    let gw = gateway().upstream(ApiFormat::Claude, &only).with(fixed).start();
    assert_eq!(serve(&gw).await.status, 502);
    let (path, body) = chat();
    let (probe, other) = tokio::join!(gw.post(&path, &body), async {
        tokio::task::yield_now().await;
        let other = serve(&gw).await;
        gate.open();
        other
    });
    assert_eq!((probe.status.as_u16(), other.status.as_u16()), (200, 503));
    assert_eq!(other.header("retry-after"), Some("1"));
    assert_eq!(only.requests().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn callers_mistakes_move_no_breaker_and_no_limit() {
    let mistake = || Reply::error(ErrorShape::ContextTooLong);
    let first = scripted((0..60).map(|_| mistake()).chain([healthy()]));
    let second = Upstream::local().always(healthy());
    let gw = two(&first, &second, fixed);
    for _ in 0..60 {
        assert_eq!(serve(&gw).await.status, 400);
    }
    assert_eq!(serve(&gw).await.status, 200);
    assert_eq!((first.requests().len(), second.requests().len()), (61, 0));
}

#[tokio::test(start_paused = true)]
async fn every_limit_sends_the_next_request_elsewhere_and_says_until_when() {
    type Change = fn(&mut Builder);
    let day_ms = 16 * 3_600_000; // the tests begin at 08:00 UTC
    let month_ms = 16 * 24 * 3_600_000 + day_ms; // on the 15th of January
    let cases: [(&str, i64, Change); 6] = [
        ("provider_rpm", 60_000, |b| b.parts.providers[0].rpm_limit = Some(1)),
        ("provider_rate", 60_000, |b| b.parts.providers[0].rate_limit = Some(1)),
        ("endpoint_rate", 60_000, |b| b.parts.endpoints[0].rate_limit = Some(1)),
        ("key_rate", 60_000, |b| b.parts.provider_keys[0].rate_limit = Some(1)),
        ("key_daily", day_ms, |b| b.parts.provider_keys[0].daily_limit = Some(1)),
        ("key_monthly", month_ms, |b| b.parts.provider_keys[0].monthly_limit = Some(1)),
    ];
    for (code, until_ms, change) in cases {
        let (first, second) = (Upstream::local().always(healthy()), Upstream::local().always(healthy()));
        let gw = gateway()
            .upstream(ApiFormat::Claude, &first)
            .upstream(ApiFormat::Claude, &second)
            .with(hurried)
            .with(change)
            .start();
        for served in [(1, 0), (1, 1)] {
            assert_eq!(serve(&gw).await.status, 200, "{code}");
            assert_eq!((first.requests().len(), second.requests().len()), served, "{code}");
        }
        let entry = last(&gw).trace.entries[0].clone();
        assert_eq!(entry.code, code);
        let left_ms = entry.number - crate::support::START_US / 1_000;
        assert!((until_ms - 1..=until_ms).contains(&left_ms), "{code}: {left_ms}");
        advance(Duration::from_millis(until_ms.unsigned_abs() + 1)).await;
        assert_eq!(serve(&gw).await.status, 200);
        assert_eq!(first.requests().len(), 2, "{code}: its time is over");
    }
}

#[tokio::test(start_paused = true)]
async fn every_slot_is_held_until_the_answer_ends_and_then_is_free() {
    type Change = fn(&mut Builder);
    let cases: [(&str, Change); 3] = [
        ("provider_concurrency", |b| b.parts.providers[0].concurrent_limit = Some(1)),
        ("endpoint_concurrency", |b| b.parts.endpoints[0].max_concurrent = Some(1)),
        ("key_concurrency", |b| b.parts.provider_keys[0].max_concurrent = Some(1)),
    ];
    for (code, change) in cases {
        let gate = Gate::new();
        let first = scripted([unfinished(&gate), healthy()]);
        let second = Upstream::local().always(healthy());
        let gw = gateway()
            .upstream(ApiFormat::Claude, &first)
            .upstream(ApiFormat::Claude, &second)
            .with(hurried)
            .with(change)
            .start();
        let (path, body) = ask(ApiFormat::Claude, true);
        let unread = gw.open(post(&path, &body)).await;
        assert_eq!(serve(&gw).await.status, 200, "{code}");
        assert_eq!((first.requests().len(), second.requests().len()), (1, 1), "{code}");
        assert_eq!(codes(&gw), [code]);
        drop(unread);
        assert_eq!(serve(&gw).await.status, 200, "{code}");
        assert_eq!((first.requests().len(), second.requests().len()), (2, 1), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_without_a_response_do_not_count_in_the_day() {
    let reset = || healthy().reset_after(testkit::At::Nothing);
    let first = scripted([reset(), healthy(), healthy()]);
    let gw = gateway()
        .upstream(ApiFormat::Claude, &first)
        .with(hurried)
        .with(|builder| builder.parts.provider_keys[0].daily_limit = Some(2))
        .start();
    assert_eq!(serve(&gw).await.status, 200, "reset, and tried again");
    assert_eq!(serve(&gw).await.status, 200);
    assert_eq!(serve(&gw).await.status, 503, "two were answered");
}

#[tokio::test(start_paused = true)]
async fn a_key_learns_how_many_requests_it_takes_at_a_time() {
    let too_many = Reply::error(ErrorShape::RateLimited { limit: Limit::Concurrent, retry_after_s: Some(1) });
    let gate = Gate::new();
    let held = || healthy().hold_head(&gate);
    let later = Gate::new();
    let open = || unfinished(&later);
    let first = scripted([held(), held(), held(), too_many, open(), open(), open()]);
    let second = Upstream::local().always(healthy());
    let gw = two(&first, &second, hurried);
    let (path, body) = chat();
    let one = || gw.post(&path, &body);
    let (_, _, _, fourth) = tokio::join!(one(), one(), one(), async {
        tokio::task::yield_now().await;
        let refused = one().await;
        gate.open();
        refused
    });
    assert_eq!((fourth.status.as_u16(), first.requests().len(), second.requests().len()), (200, 4, 1));
    advance(Duration::from_secs(2)).await;

    // 85 % of the four that were in flight are three.
    let (path, body) = ask(ApiFormat::Claude, true);
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(gw.open(post(&path, &body)).await);
    }
    assert_eq!(serve(&gw).await.status, 200);
    assert_eq!((first.requests().len(), second.requests().len()), (7, 2));
    assert_eq!(codes(&gw), ["key_concurrency"]);
    later.open();
    for response in open {
        assert_eq!(read(response).await.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_unknown_three_times_in_a_row_is_skipped() {
    let unknown = || Reply::error(ErrorShape::UnknownModel);
    let first = scripted([unknown(), unknown(), healthy(), unknown(), unknown(), unknown()]);
    let second = Upstream::local().always(healthy());
    let gw = two(&first, &second, fixed);
    for _ in 0..8 {
        assert_eq!(serve(&gw).await.status, 200);
    }
    assert_eq!((first.requests().len(), second.requests().len()), (6, 7), "a success came between");
    assert_eq!(codes(&gw), ["model_unavailable"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_longer_for_a_slot_goes_first_and_nobody_waits_too_long() {
    let gates: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
    let only = scripted(gates.iter().enumerate().map(|(n, gate)| Reply::text([format!("{n}")]).hold_head(gate)));
    let gw = gateway()
        .upstream(ApiFormat::Claude, &only)
        .with(fixed)
        .with(|builder| builder.parts.provider_keys[0].max_concurrent = Some(1))
        .start();
    let began = Instant::now();
    let (path, _) = chat();
    let numbered = |n: u32| {
        let body =
            json!({ "model": MODEL, "max_tokens": 10, "messages": [{ "role": "user", "content": n.to_string() }] });
        let (gw, path) = (&gw, &path);
        async move {
            tokio::time::sleep(Duration::from_millis(u64::from(n))).await;
            let got = gw.post(path, &body).await;
            (got, began.elapsed().as_millis())
        }
    };
    let release = async {
        for gate in &gates {
            tokio::time::sleep(Duration::from_millis(900)).await;
            gate.open();
        }
    };
    let (first, second, third, fourth, ()) = tokio::join!(numbered(0), numbered(1), numbered(2), numbered(3), release);
    let asked: Vec<_> = only.requests().iter().map(|got| got.json()["messages"][0]["content"].clone()).collect();
    assert_eq!(asked, ["0", "1", "2"], "in the order of arrival");
    let statuses = [&first, &second, &third, &fourth].map(|(got, at)| (got.status.as_u16(), *at));
    assert_eq!(statuses, [(200, 900), (200, 1_800), (200, 2_700), (429, 2_003)]);
    assert!(fourth.0.header("retry-after").is_some());
    let waited: Vec<_> =
        gw.kept.settled.lock().unwrap().iter().flat_map(|s| s.candidates.clone()).map(|row| row.queue_ms).collect();
    assert_eq!(waited, [0, 899, 1_798]);
}

/// A conversation whose cache is at the first candidate, which has one slot.
async fn warm(cached: u64, held: &Gate) -> (Gateway, Upstream, Upstream) {
    let cold = healthy().cache(0, cached, 0);
    let first = scripted([cold, healthy().hold_head(held), healthy().cache(cached, 0, 0)]);
    let second = Upstream::local().always(healthy());
    let gw = gateway()
        .upstream(ApiFormat::Claude, &first)
        .upstream(ApiFormat::Claude, &second)
        .with(|builder| {
            builder.parts.provider_keys[0].max_concurrent = Some(1);
            for provider in &mut builder.parts.providers {
                provider.priority = 1;
            }
            builder.parts.provider_keys[0].internal_priority = 1;
        })
        .start();
    assert_eq!(serve(&gw).await.status, 200);
    assert_eq!(first.requests().len(), 1);
    (gw, first, second)
}

#[tokio::test(start_paused = true)]
async fn a_warm_cache_is_waited_for_as_long_as_it_is_worth_it() {
    for (cached, waits) in [(200_000, true), (10, false)] {
        let gate = Gate::new();
        let (gw, first, second) = warm(cached, &gate).await;
        let (path, body) = chat();
        let blocking = gw.open(post(&path, &body));
        let (blocking, got, ()) = tokio::join!(
            blocking,
            async {
                tokio::task::yield_now().await;
                tokio::time::sleep(Duration::from_millis(1)).await;
                serve(&gw).await
            },
            async {
                tokio::time::sleep(Duration::from_millis(500)).await;
                gate.open();
            }
        );
        assert_eq!((blocking.status().as_u16(), got.status.as_u16()), (200, 200));
        let weighed = |settled: &&Settled| settled.trace.entries.iter().any(|entry| entry.code == "cache_worth");
        let all = gw.kept.settled.lock().unwrap().clone();
        let [Settled { candidates, trace, .. }] = &all.iter().filter(weighed).collect::<Vec<_>>()[..] else {
            panic!("{all:?}")
        };
        let number = |code: &str| trace.entries.iter().find(|entry| entry.code == code).map(|entry| entry.number);
        // Written again for 3.75 dollars a million less read for 0.30.
        assert_eq!(number("cache_worth"), Some(i64::try_from(cached).unwrap() * 3_450), "{cached}");
        assert!(number("wait_cost").is_some());
        assert_eq!((first.requests().len(), second.requests().len()), if waits { (3, 0) } else { (2, 1) });
        // Ten tokens are worth three and a half milliseconds.
        assert_eq!(candidates[0].queue_ms, if waits { 499 } else { 4 }, "{cached}");
    }
}
