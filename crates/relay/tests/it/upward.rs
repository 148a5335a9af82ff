//! What upstreams receive: URL, headers, and the few edits of the body.

use crate::support::{CLIENT_KEY, MODEL, PROVIDER_KEY, gateway, post, request, scripted};
use domain::{
    catalog::{HeaderMode, HeaderRule},
    format::{ApiFormat, Capability},
};
use http::Method;
use serde_json::{Value, json};
use testkit::{Received, Reply};

/// Sends one request and shows what the upstream got.
async fn received(
    format: ApiFormat,
    request: http::Request<http_body_util::Full<bytes::Bytes>>,
    change: impl FnOnce(&mut crate::support::Builder),
) -> Received {
    let upstream = scripted([Reply::text(["ok"]).usage(1, 1)]);
    let gw = gateway().upstream(format, &upstream).with(change).start();
    let got = gw.send(request).await;
    assert_eq!(got.status, 200, "{}", got.text());
    let mut received = upstream.requests();
    assert_eq!(received.len(), 1);
    received.remove(0)
}

#[tokio::test(start_paused = true)]
async fn each_format_has_its_path_and_its_credential() {
    let gemini = format!("/v1beta/models/{MODEL}:streamGenerateContent?key={CLIENT_KEY}&x=1");
    let chat = json!({ "model": MODEL, "messages": [] });
    let contents = json!({ "contents": [] });
    for (format, path, body, want_path, want_query, name, value) in [
        (
            ApiFormat::Claude,
            "/v1/messages?beta=true",
            &chat,
            "/v1/messages",
            "beta=true",
            "x-api-key",
            PROVIDER_KEY.to_owned(),
        ),
        (
            ApiFormat::OpenAi,
            "/v1/chat/completions",
            &chat,
            "/v1/chat/completions",
            "",
            "authorization",
            format!("Bearer {PROVIDER_KEY}"),
        ),
        (
            ApiFormat::OpenAiCli,
            "/v1/responses",
            &chat,
            "/v1/responses",
            "",
            "authorization",
            format!("Bearer {PROVIDER_KEY}"),
        ),
        (
            ApiFormat::Gemini,
            &gemini,
            &contents,
            "/v1beta/models/up-0:streamGenerateContent",
            "x=1&alt=sse",
            "x-goog-api-key",
            PROVIDER_KEY.to_owned(),
        ),
    ] {
        let received = received(format, post(path, body), |_| ()).await;
        assert_eq!((received.path.as_str(), received.query.as_str()), (want_path, want_query), "{format}");
        assert_eq!(received.header(name), Some(value.as_str()), "{format}");
        let everything = format!("{:?}{}", received.headers, String::from_utf8_lossy(&received.body));
        assert!(!everything.contains(CLIENT_KEY), "{format} forwards the client's key: {everything}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_this_hop_stays_and_the_rest_passes() {
    let body = json!({ "model": MODEL, "messages": [] });
    let mut request = post("/v1/messages", &body);
    for (name, value) in [
        ("anthropic-beta", "context-1m-2025-08-07,new-thing"),
        ("x-stainless-lang", "js"),
        ("user-agent", "claude-cli/2.1.197 (external, cli)"),
        ("cookie", "session=1"),
        ("x-forwarded-for", "1.2.3.4"),
        ("connection", "close, x-hop"),
        ("x-hop", "mine"),
        ("openai-organization", "org"),
        ("accept-encoding", "gzip;q=0, br"),
    ] {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let received = received(ApiFormat::Claude, request, |builder| {
        let rule = |value: &str, mode| HeaderRule { value: value.to_owned(), mode };
        builder.parts.endpoints[0].headers = [
            ("x-team".to_owned(), rule("gateway", HeaderMode::Default)),
            ("x-stainless-lang".to_owned(), rule("rust", HeaderMode::Override)),
            ("user-agent".to_owned(), rule("", HeaderMode::Remove)),
        ]
        .into();
    })
    .await;
    for (name, want) in [
        ("anthropic-beta", Some("context-1m-2025-08-07,new-thing")),
        ("anthropic-version", Some("2023-06-01")),
        ("x-team", Some("gateway")),
        ("x-stainless-lang", Some("rust")),
        ("user-agent", None),
        ("cookie", None),
        ("x-forwarded-for", None),
        ("x-hop", None),
        ("openai-organization", None),
        ("accept-encoding", Some("br")),
        ("host", Some("up0.test")),
    ] {
        assert_eq!(received.header(name), want, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_body_keeps_every_byte_but_the_named_edits() {
    let odd = "{ \"messages\" :[ {\"role\":\"user\",\"content\":\"h\\u00e9\"} ],\n\t\"model\"\t: \"big\\u002dmodel\" , \"max_tokens\":5 , \"x\":1e400}";
    let want = odd.replace("\"big\\u002dmodel\"", "\"up-0\"");
    let got = received(ApiFormat::Claude, request(Method::POST, "/v1/messages", odd), |_| ()).await;
    assert_eq!(String::from_utf8_lossy(&got.body), want);

    let same_name = odd.replace("big\\u002dmodel", "up-0");
    let unchanged = received(ApiFormat::Claude, request(Method::POST, "/v1/messages", same_name.clone()), |_| ()).await;
    assert_eq!(
        String::from_utf8_lossy(&unchanged.body),
        same_name,
        "an upstream's own name resolves and nothing changes"
    );
}

#[tokio::test(start_paused = true)]
async fn chat_streams_are_asked_for_usage_unless_the_endpoint_says_otherwise() {
    let ask = |options: Value| json!({ "model": MODEL, "stream": true, "messages": [], "stream_options": options });
    for (include_usage, options, want) in [
        (None, Value::Null, json!({ "include_usage": true })),
        (None, json!({ "include_usage": false, "x": 1 }), json!({ "include_usage": true, "x": 1 })),
        (Some(false), json!({ "x": 1 }), json!({ "x": 1 })),
    ] {
        let received = received(ApiFormat::OpenAi, post("/v1/chat/completions", &ask(options)), |builder| {
            builder.parts.endpoints[0].config.include_usage = include_usage;
        })
        .await;
        assert_eq!(received.json()["stream_options"], want);
    }
}

#[tokio::test(start_paused = true)]
async fn the_usage_chunk_that_only_we_asked_for_is_taken_out_and_billed() {
    for (asked, want_chunk) in [(Value::Null, false), (json!({ "include_usage": true }), true)] {
        let upstream = scripted([Reply::text(["ok"]).usage(21, 4)]);
        let gw = gateway().upstream(ApiFormat::OpenAi, &upstream).start();
        let body = json!({ "model": MODEL, "stream": true, "messages": [], "stream_options": asked });
        let got = gw.post("/v1/chat/completions", &body).await;
        let sent = String::from_utf8(upstream.sent_bytes().concat()).unwrap();
        let is_usage_chunk = |event: &&str| event.contains("\"choices\":[]");
        let kept: String = sent.split_inclusive("\n\n").filter(|event| want_chunk || !is_usage_chunk(event)).collect();
        assert_eq!(got.text(), kept);
        assert_eq!(got.text() == sent, want_chunk);
        assert_eq!((gw.settled().usage.tokens.input, gw.settled().usage.tokens.output), (21, 4));
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_endpoint_cannot_take_is_stripped_and_a_required_cache_gets_its_lifetime() {
    let body = json!({
        "model": MODEL, "messages": [{ "role": "user", "content": [{ "type": "text", "text": "x", "cache_control": { "type": "ephemeral" } }] }],
        "service_tier": "auto", "max_tokens": 10,
    });
    let upstream = scripted([Reply::text(["ok"]).usage(1, 1)]);
    let gw = gateway()
        .upstream(ApiFormat::Claude, &upstream)
        .with(|builder| {
            builder.parts.endpoints[0].config.strip_params = vec!["service_tier".to_owned()];
            builder.parts.global_models[0].supported_capabilities = vec![Capability::Cache1h];
            builder.parts.provider_keys[0].capabilities = [(Capability::Cache1h, true)].into();
            builder.parts.client_keys[0].force_capabilities = [(Capability::Cache1h, true)].into();
        })
        .start();
    assert_eq!(gw.post("/v1/messages", &body).await.status, 200);
    let received = upstream.requests()[0].json();
    assert_eq!(received["service_tier"], Value::Null);
    assert_eq!(received["messages"][0]["content"][0]["cache_control"]["ttl"], "1h");
    let metadata = gw.settled().usage.metadata;
    assert_eq!(metadata.required_capabilities, ["cache_1h"]);
    for edit in ["model", "strip_params", "cache_control.ttl"] {
        assert!(metadata.edits.iter().any(|made| made == edit), "{edit} in {:?}", metadata.edits);
    }
}

#[tokio::test(start_paused = true)]
async fn custom_paths_and_versions_in_base_urls() {
    for (base, custom, want) in [
        ("/v1", None, "/v1/chat/completions"),
        ("/openai/v4/", None, "/openai/v4/chat/completions"),
        ("", Some("/deployments/{model}/chat?api-version=1"), "/deployments/up-0/chat"),
    ] {
        let body = json!({ "model": MODEL, "messages": [] });
        let received = received(ApiFormat::OpenAi, post("/v1/chat/completions", &body), |builder| {
            builder.parts.endpoints[0].base_url.push_str(base);
            builder.parts.endpoints[0].custom_path = custom.map(str::to_owned);
        })
        .await;
        assert_eq!(received.path, want);
    }
}

#[tokio::test(start_paused = true)]
async fn a_custom_path_names_the_action_of_its_wire_or_serves_generation_alone() {
    let chat = json!({ "model": MODEL, "messages": [] });
    let contents = json!({ "contents": [] });
    let input = json!({ "model": MODEL, "input": "hi" });
    let gemini = |action: &str| format!("/v1beta/models/{MODEL}:{action}");
    for (format, path, body, custom, want) in [
        (ApiFormat::OpenAi, "/v1/chat/completions".to_owned(), &chat, "/api/{action}", "/api/chat/completions"),
        (ApiFormat::OpenAi, "/v1/embeddings".to_owned(), &input, "/api/{action}", "/api/embeddings"),
        (ApiFormat::OpenAi, "/v1/embeddings".to_owned(), &input, "/api/chat", "/v1/embeddings"),
        (ApiFormat::OpenAiCli, "/v1/responses".to_owned(), &input, "/api/{action}", "/api/responses"),
        (ApiFormat::Claude, "/v1/messages".to_owned(), &chat, "/claude/{action}", "/claude/messages"),
        (ApiFormat::Claude, "/v1/messages/count_tokens".to_owned(), &chat, "/a/{action}", "/a/messages/count_tokens"),
        (ApiFormat::Claude, "/v1/messages/count_tokens".to_owned(), &chat, "/a/messages", "/v1/messages/count_tokens"),
        (ApiFormat::Gemini, gemini("generateContent"), &contents, "/p/{model}:{action}", "/p/up-0:generateContent"),
        (ApiFormat::Gemini, gemini("countTokens"), &contents, "/p/{model}:{action}", "/p/up-0:countTokens"),
        (ApiFormat::Gemini, gemini("countTokens"), &contents, "/p/{model}", "/v1beta/models/up-0:countTokens"),
    ] {
        let upstream = scripted([Reply::raw(200, &[("content-type", "application/json")], r#"{"input_tokens": 3}"#)]);
        let set = |builder: &mut crate::support::Builder| {
            builder.parts.endpoints[0].custom_path = Some(custom.to_owned());
        };
        let gw = gateway().upstream(format, &upstream).with(set).start();
        let got = gw.post(&path, body).await;
        assert_eq!(got.status, 200, "{custom} {path}: {}", got.text());
        assert_eq!(upstream.requests()[0].path, want, "{custom} {path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deployment_of_azure_is_asked_by_its_path_its_version_and_its_key() {
    let chat = json!({ "model": MODEL, "messages": [] });
    let embed = json!({ "model": MODEL, "input": "hi" });
    for (base, deployment, path, body, want, query) in [
        (
            "",
            "gpt 5",
            "/v1/chat/completions",
            &chat,
            "/openai/deployments/gpt%205/chat/completions",
            "api-version=2024-10-21",
        ),
        (
            "/openai/",
            "prod",
            "/v1/chat/completions",
            &chat,
            "/openai/deployments/prod/chat/completions",
            "api-version=2024-10-21",
        ),
        (
            "",
            "{model}-eu",
            "/v1/embeddings?x=1",
            &embed,
            "/openai/deployments/up-0-eu/embeddings",
            "x=1&api-version=2024-10-21",
        ),
        (
            "",
            "prod",
            "/v1/chat/completions?api-version=2025-04-01-preview",
            &chat,
            "/openai/deployments/prod/chat/completions",
            "api-version=2025-04-01-preview",
        ),
    ] {
        let received = received(ApiFormat::OpenAi, post(path, body), |builder| {
            builder.parts.endpoints[0].base_url.push_str(base);
            builder.parts.endpoints[0].config.azure_deployment = Some(deployment.to_owned());
        })
        .await;
        assert_eq!((received.path.as_str(), received.query.as_str()), (want, query));
        assert_eq!((received.header("api-key"), received.header("authorization")), (Some(PROVIDER_KEY), None));
    }
    let own = received(ApiFormat::OpenAi, post("/v1/chat/completions", &chat), |builder| {
        builder.parts.endpoints[0].config.azure_deployment = Some("prod".to_owned());
        builder.parts.endpoints[0].custom_path = Some("/mine/{action}?api-version=1".to_owned());
    })
    .await;
    assert_eq!((own.path.as_str(), own.query.as_str()), ("/mine/chat/completions", "api-version=1"));
    assert_eq!(own.header("api-key"), Some(PROVIDER_KEY));
}

#[tokio::test(start_paused = true)]
async fn a_gemini_stream_without_events_is_one_array_of_the_same_elements() {
    let upstream = scripted([Reply::text(["a", "b"]).usage(3, 2)]);
    let gw = gateway().upstream(ApiFormat::Gemini, &upstream).start();
    let path = format!("/v1beta/models/{MODEL}:streamGenerateContent");
    let got = gw.post(&path, &json!({ "contents": [] })).await;
    let sent = String::from_utf8(upstream.sent_bytes().concat()).unwrap();
    let events: Vec<Value> = sent
        .split("\r\n\r\n")
        .filter_map(|event| event.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(got.json(), Value::Array(events));
    assert_eq!(got.header("content-type"), Some("application/json"));
    assert_eq!(upstream.requests()[0].query, "alt=sse");
}

#[tokio::test(start_paused = true)]
async fn only_listed_headers_come_back_and_ids_are_ours() {
    let reply = Reply::text(["ok"])
        .usage(1, 1)
        .header("anthropic-organization-id", "secret-org")
        .header("set-cookie", "a=b")
        .header("request-id", "req_upstream");
    let upstream = scripted([reply]);
    let gw = gateway().upstream(ApiFormat::Claude, &upstream).start();
    let mut request = post("/v1/messages", &json!({ "model": MODEL, "messages": [] }));
    request.headers_mut().insert("x-client-request-id", "mine-1".parse().unwrap());
    let got = gw.send(request).await;
    assert_eq!(got.header("x-upstream-request-id"), Some("req_upstream"));
    assert_eq!(got.header("x-client-request-id"), Some("mine-1"));
    assert_eq!(got.header("request-id"), got.header("x-request-id"));
    assert!(got.header("request-id").is_some_and(|id| id.starts_with("req_") && id != "req_upstream"));
    for name in ["anthropic-organization-id", "set-cookie", "server"] {
        assert_eq!(got.header(name), None, "{name}");
    }
    assert_eq!(gw.settled().usage.client_request_id.as_deref(), Some("mine-1"));
}
