//! Accounts with a limit: what is held, what is lowered, what is refused, and what every ending leaves behind.

use crate::support::{self, Builder, Gateway, MODEL, START_US, WIRES, account, gateway, post, read, scripted};
use domain::{
    catalog::ProviderQuota,
    format::{ApiFormat, OnDisconnect, Status},
    money::NanoUsd,
};
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{ErrorShape, Gate, Received, Reply, Upstream};
use tokio::time::sleep;

/// Most tokens of the prompt: half a token for each byte of "user" and "hi", and 64 for the message.
const PROMPT: i64 = 67;
/// Nano-dollars a token, at $3 and $15 per million; prompts on wires without cache marks cost no more.
const INPUT: i64 = 3_000;
const OUTPUT: i64 = 15_000;

/// What a request with this maximum holds; 2 nano-dollars are for parts that round apart.
fn hold(maximum: i64) -> NanoUsd {
    NanoUsd(PROMPT * INPUT + maximum * OUTPUT + 2)
}

/// The usual question; its text has the same length on every wire.
fn ask(format: ApiFormat, stream: bool) -> (String, Value) {
    let (path, mut body) = support::ask(format, stream);
    if format == ApiFormat::OpenAiCli {
        body["input"] = json!([{ "role": "user", "content": "hi" }]);
    }
    (path, body)
}

fn limited(format: ApiFormat, limit: NanoUsd, replies: impl IntoIterator<Item = Reply>) -> (Gateway, Upstream) {
    let upstream = scripted(replies);
    (gateway().quota(limit).upstream(format, &upstream).start(), upstream)
}

fn healthy() -> Reply {
    Reply::text(["hel", "lo"]).usage(12, 2)
}

/// A question with more in its body.
fn asked(format: ApiFormat, more: &Value) -> (String, Value) {
    let (path, mut body) = ask(format, false);
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    (path, body)
}

#[tokio::test(start_paused = true)]
async fn a_maximum_that_the_budget_cannot_pay_for_is_lowered_in_each_dialect() {
    for (format, more, field, edit) in [
        (ApiFormat::Claude, json!({ "max_tokens": 5_000 }), "/max_tokens", "max_tokens"),
        (ApiFormat::OpenAi, json!({ "max_tokens": 5_000 }), "/max_tokens", "max_tokens"),
        (ApiFormat::OpenAi, json!({}), "/max_completion_tokens", "max_completion_tokens"),
        (ApiFormat::OpenAiCli, json!({ "max_output_tokens": 5_000 }), "/max_output_tokens", "max_output_tokens"),
        (
            ApiFormat::Gemini,
            json!({ "generationConfig": { "maxOutputTokens": 5_000 } }),
            "/generationConfig/maxOutputTokens",
            "generationConfig.maxOutputTokens",
        ),
        (ApiFormat::Gemini, json!({}), "/generationConfig/maxOutputTokens", "generationConfig.maxOutputTokens"),
    ] {
        let (gw, upstream) = limited(format, hold(1_500), [healthy()]);
        let (path, body) = asked(format, &more);
        let got = gw.post(&path, &body).await;
        assert_eq!(
            (got.status, got.header("x-tollgate-max-tokens")),
            (StatusCode::OK, Some("1500")),
            "{format} {more}"
        );
        assert_eq!(upstream.requests()[0].json().pointer(field), Some(&json!(1_500)), "{format} {more}");
        assert!(gw.settled().usage.metadata.edits.contains(&edit.to_owned()), "{format} {more}");
        assert_eq!(gw.kept.opened.lock().unwrap()[0].hold, hold(1_500), "{format} {more}");
        assert_eq!(gw.spent(), NanoUsd(12 * INPUT + 2 * OUTPUT), "{format} {more}");
        assert_eq!(gw.ledger.held(), NanoUsd::ZERO, "{format} {more}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_maxima_the_larger_is_the_bound_and_both_are_lowered() {
    let (gw, upstream) = limited(ApiFormat::OpenAi, hold(1_500), [healthy()]);
    let more = json!({ "max_tokens": 2_000, "max_completion_tokens": 5_000 });
    let (path, body) = asked(ApiFormat::OpenAi, &more);
    assert_eq!(gw.post(&path, &body).await.status, StatusCode::OK);
    let sent = upstream.requests()[0].json();
    assert_eq!((&sent["max_tokens"], &sent["max_completion_tokens"]), (&json!(1_500), &json!(1_500)));
}

#[tokio::test(start_paused = true)]
async fn a_thinking_budget_stays_below_the_maximum_and_above_the_vendors_least() {
    let more = |budget: u64| json!({ "max_tokens": 8_000, "thinking": { "type": "enabled", "budget_tokens": budget } });
    for (budget, affordable, want) in [
        (4_000, 2_000, Some((2_000, 1_999))),
        (1_500, 2_000, Some((2_000, 1_500))), // it is below the maximum as it is
        (4_000, 1_024, None),                 // 1,023 tokens are no thinking budget
    ] {
        let (gw, upstream) = limited(ApiFormat::Claude, hold(affordable), [healthy()]);
        let (path, body) = asked(ApiFormat::Claude, &more(budget));
        let got = gw.post(&path, &body).await;
        let sent = upstream.requests().first().map(Received::json);
        let sent = sent
            .map(|sent| (sent["max_tokens"].as_u64().unwrap(), sent["thinking"]["budget_tokens"].as_u64().unwrap()));
        assert_eq!(sent, want, "{budget} {affordable}: {}", got.text());
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_budget_cannot_pay_for_is_refused_in_the_clients_own_words() {
    for (format, status, pointer, word) in [
        (ApiFormat::Claude, 402, "/error/type", "billing_error"),
        (ApiFormat::OpenAi, 429, "/error/code", "insufficient_quota"),
        (ApiFormat::OpenAiCli, 429, "/error/code", "insufficient_quota"),
        (ApiFormat::Gemini, 429, "/error/status", "RESOURCE_EXHAUSTED"),
    ] {
        // A hundred tokens were asked for where there is a field for it, and are worth nothing less.
        let (gw, upstream) = limited(format, hold(99), [healthy()]);
        let (path, body) = ask(format, true);
        let got = gw.post(&path, &body).await;
        assert_eq!((got.status.as_u16(), got.header("x-should-retry")), (status, Some("false")), "{format}");
        assert_eq!(got.json().pointer(pointer), Some(&json!(word)), "{format}: {}", got.text());
        assert!(got.text().contains("$0.001686002 is left"), "{format} says what is left: {}", got.text());
        assert!(upstream.requests().is_empty() && gw.kept.opened.lock().unwrap().is_empty(), "{format}");
        assert_eq!(gw.kept.refused.lock().unwrap()[0].reason, "out_of_money", "{format}");
        assert_eq!(gw.ledger.held(), NanoUsd::ZERO, "{format}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nothing_bounds_gets_a_bound_only_where_money_is_limited() {
    let upstream = scripted([healthy()]);
    let gw = gateway().upstream(ApiFormat::OpenAi, &upstream).start();
    let (path, body) = ask(ApiFormat::OpenAi, false);
    let got = gw.post(&path, &body).await;
    assert_eq!(got.header("x-tollgate-max-tokens"), None);
    assert_eq!(upstream.requests()[0].json().get("max_completion_tokens"), None);

    let rich = NanoUsd(10_000_000_000);
    let (gw, upstream) = limited(ApiFormat::OpenAi, rich, [healthy()]);
    assert_eq!(gw.post(&path, &body).await.header("x-tollgate-max-tokens"), Some("16384"));
    assert_eq!(upstream.requests()[0].json()["max_completion_tokens"], json!(16_384));
    assert_eq!(gw.kept.opened.lock().unwrap()[0].hold, hold(16_384));

    // A model that says how much it writes at most is bound by that.
    let upstream = scripted([healthy()]);
    let known = gateway().quota(rich).upstream(ApiFormat::OpenAi, &upstream);
    let known = known.with(|gw| gw.parts.global_models[0].config.output_limit = Some(4_096)).start();
    assert_eq!(known.post(&path, &body).await.header("x-tollgate-max-tokens"), None);
    assert_eq!(known.kept.opened.lock().unwrap()[0].hold, hold(4_096));
}

#[tokio::test(start_paused = true)]
async fn a_maximum_that_guards_a_hold_is_never_stripped() {
    let stripping = |limit: Option<NanoUsd>| {
        let upstream = scripted([healthy()]);
        let gw = gateway().upstream(ApiFormat::OpenAi, &upstream).with(|gw| {
            gw.parts.users[0].quota.limit = limit;
            gw.parts.endpoints[0].config.strip_params = vec!["max_tokens".to_owned(), "seed".to_owned()];
        });
        (gw.start(), upstream)
    };
    let (path, body) = asked(ApiFormat::OpenAi, &json!({ "max_tokens": 200, "seed": 7 }));
    for (limit, kept) in [(None, false), (Some(hold(200)), true)] {
        let (gw, upstream) = stripping(limit);
        gw.post(&path, &body).await;
        let sent = upstream.requests()[0].json();
        assert_eq!((sent.get("max_tokens").is_some(), sent.get("seed")), (kept, None), "{limit:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn content_that_cannot_be_counted_holds_the_whole_context() {
    let upstream = scripted([healthy()]);
    let gw = gateway().quota(NanoUsd(i64::MAX)).upstream(ApiFormat::OpenAiCli, &upstream);
    let gw = gw.with(|gw| gw.parts.global_models[0].config.context_limit = Some(200_000)).start();
    let body = json!({ "model": MODEL, "input": "hi", "previous_response_id": "resp_1", "max_output_tokens": 100 });
    gw.post("/v1/responses", &body).await;
    assert_eq!(gw.kept.opened.lock().unwrap()[0].hold, NanoUsd(200_000 * INPUT + 100 * OUTPUT + 2));
}

/// Answers of every kind, and what the account has spent after each.
#[tokio::test(start_paused = true)]
async fn every_ending_settles_or_releases_its_hold() {
    let first = NanoUsd(12 * INPUT + 2 * OUTPUT);
    let mistake = ErrorShape::InvalidRequest { field: "messages".to_owned(), message: "empty".to_owned() };
    for (name, replies, status, spent) in [
        ("an answer", vec![healthy()], Status::Completed, first),
        ("a caller's mistake", vec![Reply::error(mistake)], Status::Failed, NanoUsd::ZERO),
        ("nobody answers", vec![Reply::error(ErrorShape::Overloaded); 8], Status::Failed, NanoUsd::ZERO),
        ("the second try answers", vec![Reply::error(ErrorShape::Overloaded), healthy()], Status::Completed, first),
    ] {
        for format in WIRES {
            let (gw, _upstream) = limited(format, hold(20_000), replies.clone());
            let (path, body) = ask(format, false);
            gw.post(&path, &body).await;
            let settled = gw.settled();
            assert_eq!((settled.usage.status, settled.account), (status, Some(account())), "{name} {format}");
            assert_eq!((gw.spent(), gw.ledger.held()), (spent, NanoUsd::ZERO), "{name} {format}");
            assert_eq!(settled.usage.cost.total, spent, "{name} {format}");
        }
    }
}

fn leaving(format: ApiFormat, policy: OnDisconnect, reply: Reply) -> Gateway {
    let upstream = scripted([reply]);
    let with_policy = |gw: &mut Builder| gw.parts.client_keys[0].on_disconnect = Some(policy);
    gateway().quota(hold(100)).upstream(format, &upstream).with(with_policy).start()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_pays_by_the_policy_and_its_hold_lasts_as_long() {
    let format = ApiFormat::Claude;
    let (path, body) = ask(format, true);

    // Before any answer: the prompt, as estimated.
    let gate = Gate::new();
    let gw = leaving(format, OnDisconnect::Cancel, healthy().hold_head(&gate));
    tokio::select! {
        _ = gw.post(&path, &body) => panic!("it answers only when it is let"),
        () = sleep(Duration::from_secs(1)) => {}
    }
    gw.idle().await;
    let settled = gw.settled().usage;
    assert_eq!((settled.status, settled.status_code), (Status::Cancelled, 499));
    assert!(settled.tokens.input > 0 && settled.tokens.output == 0, "{settled:?}");
    assert_eq!((gw.spent(), gw.ledger.held()), (settled.cost.total, NanoUsd::ZERO));

    // Read on to the end: what the upstream reports, and the hold stays until then though the client is gone.
    let gate = Gate::new();
    let gw = leaving(format, OnDisconnect::Drain, healthy().hold(4, &gate));
    let mut response = gw.open(post(&path, &body)).await;
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    sleep(Duration::from_secs(1)).await;
    assert_eq!((gw.spent(), gw.ledger.held()), (NanoUsd::ZERO, hold(100)));
    gate.open();
    gw.idle().await;
    assert_eq!((gw.spent(), gw.ledger.held()), (NanoUsd(12 * INPUT + 2 * OUTPUT), NanoUsd::ZERO));
}

#[tokio::test(start_paused = true)]
async fn an_estimate_never_exceeds_its_hold() {
    // Far more text than was asked for, and no usage: the upstream breaks off.
    let long = vec!["word ".repeat(400); 8];
    for format in WIRES {
        let reply = Reply::text(long.clone()).usage(0, 0).cut_after(8);
        let (gw, _upstream) = limited(format, hold(1_024), [reply]);
        let (path, body) = asked(
            format,
            &match format {
                ApiFormat::Claude => json!({ "max_tokens": 1_024, "stream": true }),
                ApiFormat::OpenAi => json!({ "max_completion_tokens": 1_024, "stream": true }),
                ApiFormat::OpenAiCli => json!({ "max_output_tokens": 1_024, "stream": true }),
                _ => json!({ "generationConfig": { "maxOutputTokens": 1_024 } }),
            },
        );
        let path = path.replace(":generateContent", ":streamGenerateContent?alt=sse");
        gw.post(&path, &body).await;
        let settled = gw.settled().usage;
        assert!(settled.cost.total <= hold(1_024), "{format}: {settled:?}");
        assert!(settled.tokens.output > 500, "{format}: what passed is estimated: {settled:?}");
        assert_eq!((gw.ledger.excess(), gw.ledger.held()), (0, NanoUsd::ZERO), "{format}");
    }
}

#[tokio::test(start_paused = true)]
async fn usage_reported_above_its_bounds_is_settled_in_full_and_counted() {
    let (gw, _upstream) = limited(ApiFormat::Claude, hold(100), [healthy().usage(500, 400)]);
    let (path, body) = ask(ApiFormat::Claude, false);
    read(gw.open(post(&path, &body)).await).await;
    let cost = NanoUsd(500 * INPUT + 400 * OUTPUT);
    assert_eq!(gw.spent(), cost);
    assert_eq!(gw.ledger.excess(), u64::try_from(cost.0 - hold(100).0).unwrap());
    assert_eq!(gw.post(&path, &body).await.status, StatusCode::PAYMENT_REQUIRED);
}

#[tokio::test(start_paused = true)]
async fn a_provider_whose_monthly_quota_is_spent_is_passed_over_until_its_next_period() {
    let answer = || Upstream::local().always(healthy());
    let (first, second) = (answer(), answer());
    let gw = gateway().upstream(ApiFormat::Claude, &first).upstream(ApiFormat::Claude, &second).with(|gw| {
        // Worth a request and a half.
        let limit = NanoUsd((12 * INPUT + 2 * OUTPUT) * 3 / 2);
        gw.parts.providers[0].quota =
            Some(ProviderQuota { limit, spent: NanoUsd::ZERO, ends_at: START_US + 60_000_000 });
    });
    let gw = gw.start();
    let (path, body) = ask(ApiFormat::Claude, false);
    for want in [(1, 0), (2, 0), (2, 1)] {
        assert_eq!(gw.post(&path, &body).await.status, StatusCode::OK);
        assert_eq!((first.requests().len(), second.requests().len()), want);
    }
    let trace = gw.kept.settled.lock().unwrap()[2].trace.clone();
    let skipped: Vec<_> = trace.entries.iter().map(|entry| (entry.code.as_str(), entry.number)).collect();
    assert_eq!(skipped, [("provider_quota_exhausted", (START_US + 60_000_000) / 1_000)]);
}

#[tokio::test(start_paused = true)]
async fn a_hold_covers_every_answer_that_is_asked_for_in_another_dialect() {
    let chat = json!({ "n": 3, "max_completion_tokens": 5_000 });
    let gemini = json!({ "generationConfig": { "candidateCount": 3, "maxOutputTokens": 5_000 } });
    for (from, to, more, count, maximum) in [
        (
            ApiFormat::OpenAi,
            ApiFormat::Gemini,
            &chat,
            "/generationConfig/candidateCount",
            "/generationConfig/maxOutputTokens",
        ),
        (ApiFormat::Gemini, ApiFormat::OpenAi, &gemini, "/n", "/max_completion_tokens"),
    ] {
        for (affordable, want) in [(10_000, 5_000), (1_500, 1_500)] {
            let limit = NanoUsd(hold(0).0 + 3 * affordable * OUTPUT);
            let (gw, upstream) = limited(to, limit, [healthy().usage(12, 3 * u64::try_from(want).unwrap())]);
            let (path, body) = asked(from, more);
            let got = gw.post(&path, &body).await;
            assert_eq!(got.status, StatusCode::OK, "{from} on {to}: {}", got.text());
            let sent = upstream.requests()[0].json();
            assert_eq!(sent.pointer(count), Some(&json!(3)), "{from} on {to}: {sent}");
            assert_eq!(sent.pointer(maximum), Some(&json!(want)), "{from} on {to}: {sent}");
            assert_eq!(
                gw.kept.opened.lock().unwrap()[0].hold,
                NanoUsd(hold(0).0 + 3 * want * OUTPUT),
                "{from} on {to}"
            );
            assert_eq!(gw.ledger.excess(), 0, "{from} on {to}: three full answers are within the hold");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_only_the_conversion_names_stays_above_the_vendors_least() {
    let more = json!({ "max_completion_tokens": 8_000, "reasoning_effort": "medium" });
    for (affordable, passes) in [(2_000, true), (1_024, false)] {
        let (gw, upstream) = limited(ApiFormat::Claude, hold(affordable), [healthy()]);
        let (path, body) = asked(ApiFormat::OpenAi, &more);
        let got = gw.post(&path, &body).await;
        let sent = upstream.requests().first().map(Received::json);
        let sent = sent
            .map(|sent| (sent["max_tokens"].as_u64().unwrap(), sent["thinking"]["budget_tokens"].as_u64().unwrap()));
        assert_eq!(sent.is_some(), passes, "{affordable}: {}", got.text());
        // The conversion is a few bytes longer.
        let lowered = |(maximum, budget)| (1_900..=2_000).contains(&maximum) && budget == maximum - 1;
        assert!(sent.is_none_or(lowered), "{affordable}: {sent:?}");
    }
}
