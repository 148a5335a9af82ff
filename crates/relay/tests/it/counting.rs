//! Token counting: asked upstream where that can be, else estimated and marked.

use crate::support::{MODEL, gateway, scripted};
use domain::{
    format::{ApiFormat, RequestType, Status, UsageSource},
    money::NanoUsd,
};
use serde_json::{Value, json};
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

/// A prompt to count in each dialect that can, and what an upstream of that dialect answers.
fn counting(format: ApiFormat) -> (String, Value, &'static str, &'static str) {
    let path = |path: &str| path.to_owned();
    match format {
        ApiFormat::Claude => (
            path("/v1/messages/count_tokens"),
            json!({ "model": MODEL, "system": "be brief", "messages": [{ "role": "user", "content": "hi" }] }),
            r#"{"input_tokens":77}"#,
            "/v1/messages/count_tokens",
        ),
        ApiFormat::OpenAiCli => (
            path("/v1/responses/input_tokens"),
            json!({ "model": MODEL, "instructions": "be brief", "input": "hi" }),
            r#"{"object":"response.input_tokens","input_tokens":77}"#,
            "/v1/responses/input_tokens",
        ),
        _ => (
            format!("/v1beta/models/{MODEL}:countTokens"),
            json!({
                "generateContentRequest": {
                    "model": format!("models/{MODEL}"),
                    "systemInstruction": { "parts": [{ "text": "be brief" }] },
                    "contents": [{ "role": "user", "parts": [{ "text": "hi" }] }],
                },
            }),
            r#"{"totalTokens":77}"#,
            "/v1beta/models/up-0:countTokens",
        ),
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_of_another_wire_is_asked_in_its_own_way_and_its_count_told_in_the_callers() {
    let formats = [ApiFormat::Claude, ApiFormat::OpenAiCli, ApiFormat::Gemini];
    for (from, to) in formats.into_iter().flat_map(|from| formats.map(|to| (from, to))).filter(|(from, to)| from != to)
    {
        let case = format!("{from} on {to}");
        let (path, body, want, _) = counting(from);
        let (_, asked, told, upstream_path) = counting(to);
        let upstream = scripted([Reply::raw(200, &[("content-type", "application/json")], told)]);
        let gw = gateway().upstream(to, &upstream).start();
        let got = gw.post(&path, &body).await;
        assert_eq!((got.status.as_u16(), got.header("x-tollgate-estimated")), (200, None), "{case}: {}", got.text());
        assert_eq!(got.json(), serde_json::from_str::<Value>(want).unwrap(), "{case}");
        let sent = upstream.requests().remove(0);
        assert_eq!(sent.path, upstream_path, "{case}");
        let text = sent.json().to_string();
        assert!(text.contains("be brief") && text.contains("up-0") && !text.contains(MODEL), "{case}: {text}");
        for name in asked.as_object().unwrap().keys() {
            assert!(sent.json().get(name).is_some(), "{case}: {name} in {text}");
        }
        let only = sent.json().as_object().unwrap().len();
        assert_eq!(only, asked.as_object().unwrap().len(), "{case}: nothing that the route refuses: {text}");
        let usage = gw.settled().usage;
        assert_eq!((usage.request_type, usage.status), (RequestType::CountTokens, Status::Completed), "{case}");
        assert_eq!((usage.is_converted, usage.endpoint_api_format), (true, Some(to)), "{case}");
        assert_eq!((usage.usage_source, usage.cost.total.0), (UsageSource::None, 0), "{case}");
        assert!(gw.kept.opened.lock().unwrap().is_empty(), "{case}: nothing is held");
    }
}

#[tokio::test(start_paused = true)]
async fn chat_counts_nothing_so_its_callers_are_given_an_estimate() {
    let chat = scripted([]);
    let gw = gateway().upstream(ApiFormat::OpenAi, &chat).start();
    for format in [ApiFormat::Claude, ApiFormat::OpenAiCli, ApiFormat::Gemini] {
        let (path, body, ..) = counting(format);
        let got = gw.post(&path, &body).await;
        assert_eq!((got.status.as_u16(), got.header("x-tollgate-estimated")), (200, Some("1")), "{format}");
    }
    assert!(chat.requests().is_empty());
    let codes = gw.kept.settled.lock().unwrap()[0].trace.entries.clone();
    assert_eq!(codes[0].code, "conversion_unsupported");
}

#[tokio::test(start_paused = true)]
async fn a_mistake_is_told_in_the_callers_dialect_and_a_broken_count_is_estimated() {
    let (path, body, ..) = counting(ApiFormat::Claude);
    let mistake = ErrorShape::InvalidRequest { field: "input".to_owned(), message: "up-0: empty".to_owned() };
    let upstream = scripted([Reply::error(mistake)]);
    let gw = gateway().upstream(ApiFormat::OpenAiCli, &upstream).start();
    let got = gw.post(&path, &body).await;
    assert_eq!((got.status.as_u16(), got.json()["type"].as_str()), (400, Some("error")), "{}", got.text());
    assert!(got.json()["error"]["message"].as_str().unwrap().ends_with(&format!("{MODEL}: empty")), "{}", got.text());

    for told in [Reply::raw(200, &[("content-type", "application/json")], r#"{"tokens":7}"#), Reply::text(["7"])] {
        let upstream = scripted(std::iter::repeat_n(told, 4));
        let gw = gateway().upstream(ApiFormat::OpenAiCli, &upstream).start();
        let got = gw.post(&path, &body).await;
        assert_eq!((got.status.as_u16(), got.header("x-tollgate-estimated")), (200, Some("1")), "{}", got.text());
    }
}
