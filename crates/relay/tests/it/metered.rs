//! Routes that do not generate: passed on as they are or, for embeddings, converted, and metered by rules of their own.

use crate::support::{MODEL, gateway, scripted};
use domain::{
    format::{ApiFormat, RequestType, Status, UsageSource},
    money::NanoUsd,
    price::TokenCounts,
};
use serde_json::{Value, json};
use testkit::Reply;

fn answer(body: &'static str) -> Reply {
    Reply::raw(200, &[("content-type", "application/json")], body)
}

fn input(tokens: u64) -> TokenCounts {
    TokenCounts { input: tokens, ..TokenCounts::default() }
}

/// A request of a route, what comes back, and what it is metered as.
struct Case {
    format: ApiFormat,
    path: String,
    body: Value,
    answer: &'static str,
    upstream_path: &'static str,
    sent: Value,
    kind: RequestType,
    metered: (TokenCounts, UsageSource),
}

fn cases() -> Vec<Case> {
    let chat = |route: &str, body: Value, answer, upstream_path, kind, metered| {
        let mut sent = body.clone();
        sent["model"] = "up-0".into();
        Case {
            format: ApiFormat::OpenAi,
            path: format!("/v1/{route}"),
            body,
            answer,
            upstream_path,
            sent,
            kind,
            metered,
        }
    };
    let nothing = (TokenCounts::default(), UsageSource::None);
    let part = json!({ "parts": [{ "text": "hello" }] });
    vec![
        chat(
            "embeddings",
            json!({ "model": MODEL, "input": ["a", "b"], "encoding_format": "base64" }),
            r#"{"object":"list","data":[{"embedding":"AAAA"}],"usage":{"prompt_tokens":8,"total_tokens":8}}"#,
            "/v1/embeddings",
            RequestType::Embedding,
            (input(8), UsageSource::Upstream),
        ),
        chat(
            "images/generations",
            json!({ "model": MODEL, "prompt": "a cat", "n": 2 }),
            r#"{"created":1,"data":[{"b64_json":"AAAA"}],"usage":{"input_tokens":5,"output_tokens":90,"total_tokens":95}}"#,
            "/v1/images/generations",
            RequestType::Image,
            (TokenCounts { output: 90, ..input(5) }, UsageSource::Upstream),
        ),
        chat(
            "moderations",
            json!({ "model": MODEL, "input": "hello" }),
            r#"{"id":"modr-1","model":"m","results":[{"flagged":false}]}"#,
            "/v1/moderations",
            RequestType::Moderation,
            nothing,
        ),
        chat(
            "rerank",
            json!({ "model": MODEL, "query": "q", "documents": ["a", "b"] }),
            r#"{"model":"m","results":[{"index":0,"relevance_score":0.5}],"usage":{"total_tokens":31}}"#,
            "/v1/rerank",
            RequestType::Rerank,
            (input(31), UsageSource::Upstream),
        ),
        Case {
            format: ApiFormat::Gemini,
            path: format!("/v1beta/models/{MODEL}:batchEmbedContents"),
            body: json!({ "requests": [{ "model": format!("models/{MODEL}"), "content": part }] }),
            answer: r#"{"embeddings":[{"values":[0.5]}]}"#,
            upstream_path: "/v1beta/models/up-0:batchEmbedContents",
            sent: json!({ "requests": [{ "model": "models/up-0", "content": part }] }),
            kind: RequestType::Embedding,
            // How much is asserted apart.
            metered: (TokenCounts::default(), UsageSource::Estimated),
        },
    ]
}

#[tokio::test(start_paused = true)]
async fn each_is_passed_on_and_billed_by_its_own_rule() {
    for case in cases() {
        let upstream = scripted([answer(case.answer)]);
        let gw = gateway()
            .upstream(case.format, &upstream)
            .with(|builder| builder.parts.global_models[0].price_per_request = Some(NanoUsd(7)))
            .start();
        let got = gw.post(&case.path, &case.body).await;
        assert_eq!((got.status.as_u16(), got.text().as_str()), (200, case.answer), "{}", case.path);
        let sent = &upstream.requests()[0];
        assert_eq!(sent.path, case.upstream_path);
        assert_eq!(serde_json::from_slice::<Value>(&sent.body).unwrap(), case.sent, "{}", case.path);
        let usage = gw.settled().usage;
        assert_eq!((usage.request_type, usage.status), (case.kind, Status::Completed), "{}", case.path);
        assert_eq!(usage.usage_source, case.metered.1, "{}", case.path);
        if usage.usage_source == UsageSource::Estimated {
            assert!((1..50).contains(&usage.tokens.input) && usage.tokens.output == 0, "{:?}", usage.tokens);
        } else {
            assert_eq!(usage.tokens, case.metered.0, "{}", case.path);
        }
        assert_eq!(usage.cost.request, NanoUsd(7), "{}", case.path);
    }
}

#[tokio::test(start_paused = true)]
async fn they_go_to_no_upstream_that_has_no_such_route() {
    let others = |case: &Case| match case.kind {
        RequestType::Embedding => ApiFormat::Claude,
        _ => ApiFormat::Gemini,
    };
    for case in cases() {
        let other = others(&case);
        let upstream = scripted([]);
        let gw = gateway().upstream(other, &upstream).start();
        let got = gw.post(&case.path, &case.body).await;
        assert!((400..600).contains(&got.status.as_u16()), "{}: {}", case.path, got.status);
        assert!(upstream.requests().is_empty(), "{}", case.path);
        assert!(gw.kept.opened.lock().unwrap().is_empty(), "{}: nothing is held", case.path);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_without_a_model_asks_for_the_vendors_default() {
    for (route, field, default) in
        [("images/generations", "prompt", "dall-e-2"), ("moderations", "input", "omni-moderation-latest")]
    {
        let upstream = scripted([answer(r#"{"results":[],"data":[]}"#)]);
        let gw = gateway()
            .upstream(ApiFormat::OpenAi, &upstream)
            .with(|builder| builder.parts.global_models[0].name = default.to_owned())
            .start();
        let got = gw.post(&format!("/v1/{route}"), &json!({ field: "x" })).await;
        assert_eq!(got.status.as_u16(), 200, "{}", got.text());
        let sent: Value = serde_json::from_slice(&upstream.requests()[0].body).unwrap();
        assert_eq!(sent, json!({ "model": "up-0", field: "x" }));
    }
    let gw = gateway().upstream(ApiFormat::OpenAi, &scripted([])).start();
    let got = gw.post("/v1/embeddings", &json!({ "input": "x" })).await;
    assert_eq!((got.status.as_u16(), got.json()["error"]["param"].as_str()), (400, Some("model")));
}

#[tokio::test(start_paused = true)]
async fn what_may_bring_no_tokens_needs_a_price_that_costs_something() {
    let free_tokens = |builder: &mut crate::support::Builder| {
        for tier in builder.parts.global_models[0].tiered_pricing.iter_mut().flat_map(|pricing| &mut pricing.tiers) {
            (tier.input_price_per_1m, tier.output_price_per_1m) = Default::default();
        }
    };
    let body = json!({ "model": MODEL, "input": "hello" });
    for (is_free, want) in [(false, 0), (true, 1)] {
        let upstream = scripted([answer(r#"{"results":[]}"#)]);
        let gw = gateway()
            .upstream(ApiFormat::OpenAi, &upstream)
            .with(free_tokens)
            .with(|builder| builder.parts.global_models[0].is_free = is_free)
            .start();
        gw.post("/v1/moderations", &body).await;
        assert_eq!(upstream.requests().len(), want, "free: {is_free}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_embedding_is_held_by_its_prompt_and_never_lowered() {
    let upstream = scripted([answer(r#"{"data":[],"usage":{"prompt_tokens":3,"total_tokens":3}}"#)]);
    let gw = gateway().upstream(ApiFormat::OpenAi, &upstream).quota(NanoUsd(1_000_000_000)).start();
    let got = gw.post("/v1/embeddings", &json!({ "model": MODEL, "input": "abc" })).await;
    assert_eq!((got.status.as_u16(), got.header("x-tollgate-max-tokens")), (200, None));
    let settled = gw.settled();
    let held = gw.kept.opened.lock().unwrap()[0].hold;
    assert!(settled.usage.cost.total > NanoUsd::ZERO && settled.usage.cost.total <= held, "{held}");
    let sent: Value = serde_json::from_slice(&upstream.requests()[0].body).unwrap();
    assert_eq!(sent, json!({ "model": "up-0", "input": "abc" }));

    let poor = gateway().upstream(ApiFormat::OpenAi, &scripted([])).quota(NanoUsd(1)).start();
    let got = poor.post("/v1/embeddings", &json!({ "model": MODEL, "input": "abc" })).await;
    assert_eq!((got.status.as_u16(), got.json()["error"]["code"].as_str()), (429, Some("insufficient_quota")));
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_held_by_all_of_its_text() {
    // Nano-dollars a token of the prompt; half a token for each byte, 64 for each text, and 2 for parts that round apart.
    let held = |bytes: i64, texts: i64| NanoUsd((bytes / 2 + texts * 64) * 3_000 + 2);
    let long = "word ".repeat(400);
    let text = json!({ "type": "text", "text": long });
    for (route, body, want) in [
        // The query goes with each of three documents.
        ("rerank", json!({ "query": long, "documents": [long, { "text": "ab" }, "cd"] }), held(4 * 2_000 + 4, 3)),
        ("moderations", json!({ "input": [long, long] }), held(4_000, 2)),
        ("moderations", json!({ "input": [text] }), held(2_004, 1)),
        // Two documents that each fill the model's context.
        (
            "rerank",
            json!({ "query": "", "documents": [long.repeat(9), long.repeat(9)] }),
            NanoUsd(2 * 5_000 * 3_000 + 2),
        ),
    ] {
        let upstream = scripted([answer(r#"{"results":[]}"#)]);
        let gw = gateway()
            .upstream(ApiFormat::OpenAi, &upstream)
            .quota(NanoUsd(1_000_000_000))
            .with(|builder| {
                builder.parts.global_models[0].config.context_limit = Some(5_000);
                builder.parts.global_models[0].price_per_request = Some(NanoUsd(0));
            })
            .start();
        let mut body = body;
        body["model"] = MODEL.into();
        let got = gw.post(&format!("/v1/{route}"), &body).await;
        assert_eq!(got.status.as_u16(), 200, "{route}: {}", got.text());
        assert_eq!(gw.kept.opened.lock().unwrap()[0].hold, want, "{route}");
    }
}

#[tokio::test(start_paused = true)]
async fn embeddings_are_asked_of_another_vendor_and_told_as_they_were_asked_for() {
    let gemini = |text: &str| json!({ "model": "models/up-0", "content": { "parts": [{ "text": text }] }, "outputDimensionality": 2 });
    let of_gemini = |text: &str| json!({ "model": format!("models/{MODEL}"), "content": { "parts": [{ "text": text }] }, "outputDimensionality": 2 });
    let openai =
        |input: Value, form: &str| json!({ "model": MODEL, "input": input, "dimensions": 2, "encoding_format": form });
    let (one, many) =
        (format!("/v1beta/models/{MODEL}:embedContent"), format!("/v1beta/models/{MODEL}:batchEmbedContents"));
    let list = |data: Vec<Value>, tokens: u64| {
        let data: Vec<Value> = data
            .into_iter()
            .enumerate()
            .map(|(at, vector)| json!({ "object": "embedding", "index": at, "embedding": vector }))
            .collect();
        json!({ "object": "list", "data": data, "model": MODEL, "usage": { "prompt_tokens": tokens, "total_tokens": tokens } })
    };
    // 1.0 is 00 00 80 3f, and -2.0 is 00 00 00 c0.
    for (to, path, body, upstream_path, sent, told, want, tokens) in [
        (
            ApiFormat::Gemini,
            "/v1/embeddings",
            openai(json!(["a", "b"]), "base64"),
            "/v1beta/models/up-0:batchEmbedContents",
            json!({ "requests": [gemini("a"), gemini("b")] }),
            r#"{"embeddings":[{"values":[1.0,-2.0]},{"values":[1.0,-2.0]}],"usageMetadata":{"promptTokenCount":2}}"#,
            list(vec![json!("AACAPwAAAMA="), json!("AACAPwAAAMA=")], 2),
            Some(2),
        ),
        (
            ApiFormat::Gemini,
            "/v1/embeddings",
            openai(json!("a"), "float"),
            "/v1beta/models/up-0:embedContent",
            gemini("a"),
            r#"{"embedding":{"values":[1.0,-2.0]}}"#,
            list(vec![json!([1.0, -2.0])], 0),
            None,
        ),
        (
            ApiFormat::OpenAi,
            many.as_str(),
            json!({ "requests": [of_gemini("a"), of_gemini("b")] }),
            "/v1/embeddings",
            json!({ "model": "up-0", "input": ["a", "b"], "encoding_format": "float", "dimensions": 2 }),
            r#"{"object":"list","data":[{"embedding":[1.0,-2.0]},{"embedding":[0.5,0.5]}],"usage":{"prompt_tokens":2,"total_tokens":2}}"#,
            json!({ "embeddings": [{ "values": [1.0, -2.0] }, { "values": [0.5, 0.5] }] }),
            Some(2),
        ),
        (
            ApiFormat::OpenAiCli,
            one.as_str(),
            of_gemini("a"),
            "/v1/embeddings",
            json!({ "model": "up-0", "input": ["a"], "encoding_format": "float", "dimensions": 2 }),
            r#"{"object":"list","data":[{"embedding":[1.0,-2.0]}],"usage":{"prompt_tokens":1,"total_tokens":1}}"#,
            json!({ "embedding": { "values": [1.0, -2.0] } }),
            Some(1),
        ),
    ] {
        let case = format!("{path} on {to}");
        let upstream = scripted([answer(told)]);
        let gw = gateway().upstream(to, &upstream).quota(NanoUsd(1_000_000_000)).start();
        let got = gw.post(path, &body).await;
        assert_eq!((got.status.as_u16(), got.json()), (200, want), "{case}: {}", got.text());
        let asked = &upstream.requests()[0];
        assert_eq!((asked.path.as_str(), asked.json()), (upstream_path, sent), "{case}");
        let usage = gw.settled().usage;
        assert_eq!((usage.request_type, usage.is_converted), (RequestType::Embedding, true), "{case}");
        match tokens {
            Some(tokens) => {
                assert_eq!((usage.tokens, usage.usage_source), (input(tokens), UsageSource::Upstream), "{case}")
            }
            None => assert_eq!(usage.usage_source, UsageSource::Estimated, "{case}"),
        }
        let held = gw.kept.opened.lock().unwrap()[0].hold;
        assert!(usage.cost.total > NanoUsd::ZERO && usage.cost.total <= held, "{case}: {held}");
    }
}

#[tokio::test(start_paused = true)]
async fn embeddings_of_tokens_stay_with_the_vendor_who_made_them() {
    let upstream = scripted([]);
    let gw = gateway().upstream(ApiFormat::Gemini, &upstream).start();
    let got = gw.post("/v1/embeddings", &json!({ "model": MODEL, "input": [[1, 2]] })).await;
    assert_eq!((got.status.as_u16(), got.json()["error"]["param"].as_str()), (400, Some("input.0")), "{}", got.text());
    assert!(upstream.requests().is_empty());
}
