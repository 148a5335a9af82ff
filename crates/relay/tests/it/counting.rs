//! Token counting: asked upstream where that can be, else estimated and marked.

use crate::support::{MODEL, gateway, scripted};
use domain::{
    format::{ApiFormat, RequestType, Status, UsageSource},
    money::NanoUsd,
};
use serde_json::json;
use testkit::{ErrorShape, Reply};

#[tokio::test(start_paused = true)]
async fn a_candidate_that_can_count_is_asked() {
    let gemini = format!("/v1beta/models/{MODEL}:countTokens");
    let messages = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "hi" }] });
    let input = json!({ "model": MODEL, "input": "hi" });
    let contents = json!({ "contents": [{ "parts": [{ "text": "hi" }] }] });
    let counted = |body: &'static str| Reply::raw(200, &[("content-type", "application/json")], body);
    for (format, path, body, reply, upstream_path) in [
        (
            ApiFormat::Claude,
            "/v1/messages/count_tokens",
            &messages,
            counted("{\"input_tokens\": 77}"),
            "/v1/messages/count_tokens",
        ),
        (
            ApiFormat::OpenAiCli,
            "/v1/responses/input_tokens",
            &input,
            counted("{\"object\":\"response.input_tokens\",\"input_tokens\":77}"),
            "/v1/responses/input_tokens",
        ),
        (
            ApiFormat::Gemini,
            gemini.as_str(),
            &contents,
            counted("{\"totalTokens\": 77}"),
            "/v1beta/models/up-0:countTokens",
        ),
    ] {
        let upstream = scripted([reply]);
        let gw = gateway()
            .upstream(format, &upstream)
            .with(|builder| builder.parts.provider_keys[0].max_concurrent = Some(0))
            .with(|builder| builder.parts.global_models[0].price_per_request = Some(NanoUsd(7)))
            .start();
        let got = gw.post(path, body).await;
        assert_eq!(got.status, 200, "{format}: {}", got.text());
        assert_eq!(got.body, upstream.sent_bytes().concat(), "{format}");
        assert_eq!(upstream.requests()[0].path, upstream_path);
        assert_eq!(got.header("x-tollgate-estimated"), None);
        let usage = gw.settled().usage;
        assert_eq!((usage.request_type, usage.status), (RequestType::CountTokens, Status::Completed));
        assert_eq!((usage.usage_source, usage.tokens.total(), usage.cost.total.0), (UsageSource::None, 0, 0));
        assert!(gw.kept.opened.lock().unwrap().is_empty(), "nothing is held");
    }
}

#[tokio::test(start_paused = true)]
async fn where_nobody_counts_an_estimate_is_marked_as_one() {
    let body = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "x".repeat(4_000) }] });
    for reply in [Reply::error(ErrorShape::Empty(404)), Reply::error(ErrorShape::BadKey)] {
        let upstream = scripted([reply, Reply::text(["ok"]).usage(1, 1)]);
        let gw = gateway().upstream(ApiFormat::Claude, &upstream).start();
        let got = gw.post("/v1/messages/count_tokens", &body).await;
        assert_eq!((got.status.as_u16(), got.header("x-tollgate-estimated")), (200, Some("1")));
        let tokens = got.json()["input_tokens"].as_u64().unwrap();
        assert!((1_000..1_100).contains(&tokens), "{tokens}");
        assert_eq!(upstream.requests().len(), 1);
        assert_eq!(gw.post("/v1/messages", &body).await.status, 200, "counting teaches nothing about the key");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_the_prompt_is_handed_on() {
    let mistake = ErrorShape::InvalidRequest { field: "messages".to_owned(), message: "empty".to_owned() };
    let upstream = scripted([Reply::error(mistake)]);
    let gw = gateway().upstream(ApiFormat::Claude, &upstream).start();
    let got = gw.post("/v1/messages/count_tokens", &json!({ "model": MODEL, "messages": [] })).await;
    assert_eq!(got.status, 400);
    assert_eq!(got.body, upstream.sent_bytes().concat());
}
