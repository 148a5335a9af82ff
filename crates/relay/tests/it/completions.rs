//! Text completions: generation on the chat wire that no other wire has an equivalent of.

use crate::support::{MODEL, gateway, scripted};
use domain::{
    format::{ApiFormat, RequestType, Status, UsageSource},
    money::NanoUsd,
    price::TokenCounts,
};
use serde_json::{Value, json};
use testkit::Reply;

const PATH: &str = "/v1/completions";
/// Nano-dollars a token, at $3 and $15 per million.
const INPUT: i64 = 3_000;
const OUTPUT: i64 = 15_000;

fn whole(usage: &str) -> Reply {
    let choice = r#"{"text":" hello","index":0,"logprobs":null,"finish_reason":"length"}"#;
    let body = format!(r#"{{"id":"cmpl-1","object":"text_completion","choices":[{choice}]{usage}}}"#);
    Reply::raw(200, &[("content-type", "application/json")], body)
}

const REPORT: &str = r#","usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}"#;

#[tokio::test(start_paused = true)]
async fn a_completion_keeps_its_bytes_and_is_billed_as_reported() {
    let upstream = scripted([whole(REPORT)]);
    let gw = gateway().upstream(ApiFormat::OpenAi, &upstream).start();
    let got = gw.post(PATH, &json!({ "model": MODEL, "prompt": ["say"], "suffix": "!", "logit_bias": {} })).await;
    assert!(got.status == 200 && got.text().contains(" hello"), "{}", got.text());
    let sent = &upstream.requests()[0];
    assert_eq!(sent.path, PATH);
    let want = json!({ "model": "up-0", "prompt": ["say"], "suffix": "!", "logit_bias": {} });
    assert_eq!(sent.json(), want, "without a limit nothing is set");
    let usage = gw.settled().usage;
    assert_eq!((usage.request_type, usage.status), (RequestType::Completion, Status::Completed));
    assert_eq!(usage.usage_source, UsageSource::Upstream);
    assert_eq!(usage.tokens, TokenCounts { input: 5, output: 2, ..TokenCounts::default() });
}

#[tokio::test(start_paused = true)]
async fn a_completion_without_usage_is_billed_by_its_text() {
    let upstream = scripted([whole("")]);
    let gw = gateway().upstream(ApiFormat::OpenAi, &upstream).start();
    gw.post(PATH, &json!({ "model": MODEL, "prompt": "hi" })).await;
    let usage = gw.settled().usage;
    assert_eq!(usage.usage_source, UsageSource::Estimated);
    // " hello" has six bytes.
    assert_eq!(usage.tokens.output, 2);
    assert!((1..=65).contains(&usage.tokens.input), "{:?}", usage.tokens);
}

#[tokio::test(start_paused = true)]
async fn a_streamed_completion_is_asked_for_its_usage_as_a_chat_is() {
    let chunk = |text: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"cmpl-1\",\"choices\":[{{\"text\":\"{text}\",\"index\":0,\"finish_reason\":{finish}}}],\"usage\":null}}\n\n"
        )
    };
    let content = chunk("he", "null") + &chunk("llo", "\"stop\"");
    let report = format!("data: {{\"id\":\"cmpl-1\",\"choices\":[]{REPORT}}}\n\n");
    for asks in [false, true] {
        let events = format!("{content}{report}data: [DONE]\n\n");
        let upstream = scripted([Reply::raw(200, &[("content-type", "text/event-stream")], events.clone())]);
        let gw = gateway().upstream(ApiFormat::OpenAi, &upstream).start();
        let mut body = json!({ "model": MODEL, "prompt": "hi", "stream": true });
        if asks {
            body["stream_options"] = json!({ "include_usage": true });
        }
        let got = gw.post(PATH, &body).await;
        let want = if asks { events } else { format!("{content}data: [DONE]\n\n") };
        assert_eq!(got.text(), want, "asks {asks}");
        assert_eq!(upstream.requests()[0].json()["stream_options"], json!({ "include_usage": true }));
        let usage = gw.settled().usage;
        assert_eq!((usage.status, usage.is_stream, usage.tokens.output), (Status::Completed, true, 2), "asks {asks}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_answer_to_every_prompt_is_held() {
    // (what is asked, prompt tokens at most, output tokens at most, the maximum sent)
    for (asked, prompt, output, sent) in [
        (json!({ "prompt": "hello" }), 66, 16, 16),
        (json!({ "prompt": "hello", "max_tokens": null }), 66, 16, 16),
        (json!({ "prompt": "hello", "max_tokens": 100, "n": 2 }), 66, 200, 100),
        (json!({ "prompt": "hello", "max_tokens": 100, "n": 2, "best_of": 5 }), 66, 500, 100),
        (json!({ "prompt": ["ab", "cd", "ef"], "max_tokens": 10, "n": 2 }), 3 * 64 + 3, 60, 10),
        (json!({ "prompt": [11, 12, 13], "max_tokens": 10 }), 67, 10, 10),
        (json!({ "prompt": [[11, 12], [13]], "max_tokens": 10 }), 2 * 64 + 3, 20, 10),
        (json!({ "prompt": [[11, 12], [13]], "max_tokens": 0, "echo": true }), 2 * 64 + 3, 0, 0),
    ] {
        let upstream = scripted([whole(REPORT)]);
        let gw = gateway().quota(NanoUsd(1_000_000_000)).upstream(ApiFormat::OpenAi, &upstream).start();
        let mut body = asked.clone();
        body["model"] = MODEL.into();
        assert_eq!(gw.post(PATH, &body).await.status.as_u16(), 200, "{asked}");
        let held = gw.kept.opened.lock().unwrap()[0].hold;
        // 2 nano-dollars are for parts that round apart.
        assert_eq!(held, NanoUsd(prompt * INPUT + output * OUTPUT + 2), "{asked}");
        assert_eq!(upstream.requests()[0].json()["max_tokens"], Value::from(sent), "{asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_completion_is_lowered_to_the_budget() {
    let upstream = scripted([whole(REPORT)]);
    let budget = NanoUsd(66 * INPUT + 2 * 1_500 * OUTPUT + 2);
    let gw = gateway().quota(budget).upstream(ApiFormat::OpenAi, &upstream).start();
    let got = gw.post(PATH, &json!({ "model": MODEL, "prompt": "hello", "max_tokens": 5_000, "n": 2 })).await;
    assert_eq!((got.status.as_u16(), got.header("x-tollgate-max-tokens")), (200, Some("1500")), "{}", got.text());
    assert_eq!(upstream.requests()[0].json()["max_tokens"], 1_500);
}

#[tokio::test(start_paused = true)]
async fn a_completion_is_refused_where_it_cannot_be_understood_or_carried() {
    let upstream = scripted([]);
    let gw = gateway().upstream(ApiFormat::OpenAi, &upstream).start();
    for (body, param) in [
        (format!(r#"{{"model":"{MODEL}","best_of":2,"best_of":1,"prompt":"x"}}"#), "best_of"),
        (format!(r#"{{"model":"{MODEL}","best_of":"2","prompt":"x"}}"#), "best_of"),
        (r#"{"prompt":"x"}"#.to_owned(), "model"),
    ] {
        let got = gw.send(crate::support::request(http::Method::POST, PATH, body.clone())).await;
        assert_eq!((got.status.as_u16(), got.json()["error"]["param"].as_str()), (400, Some(param)), "{body}");
    }
    let elsewhere = gateway().upstream(ApiFormat::Claude, &upstream).start();
    let got = elsewhere.post(PATH, &json!({ "model": MODEL, "prompt": "x" })).await;
    assert_eq!(got.status.as_u16(), 503);
    assert!(upstream.requests().is_empty());
}
