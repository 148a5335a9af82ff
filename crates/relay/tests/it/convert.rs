//! Callers of one wire on upstreams of another.

use crate::support::{Builder, CLIENT_KEY, MODEL, PROVIDER_KEY, WIRES, gateway, id, post, read, request, scripted};
use domain::{
    format::{ApiFormat, ConversionLoss, OnDisconnect, Status, UsageSource},
    money::NanoUsd,
    price::TokenCounts,
    records::AttemptOutcome,
};
use http::Method;
use http_body_util::BodyExt;
use relay::Body;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use testkit::{ErrorShape, Limit, Reply};
use tokio::{sync::Semaphore, time::timeout};

/// Every ordered pair of different wires: the caller's, then the upstream's.
fn pairs() -> impl Iterator<Item = (ApiFormat, ApiFormat)> {
    WIRES.into_iter().flat_map(|from| WIRES.into_iter().map(move |to| (from, to))).filter(|(from, to)| from != to)
}

/// A question with a tool, in each format, that every other wire can carry whole.
fn ask(format: ApiFormat, stream: bool) -> (String, Value) {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    let (name, words) = ("weather", "tells the weather");
    match format {
        ApiFormat::Claude | ApiFormat::ClaudeCli => (
            "/v1/messages".to_owned(),
            json!({
                "model": MODEL, "max_tokens": 200, "stream": stream, "system": "be brief",
                "messages": [{ "role": "user", "content": "how is Oslo?" }],
                "tools": [{ "name": name, "description": words, "input_schema": schema }],
            }),
        ),
        ApiFormat::OpenAi => (
            "/v1/chat/completions".to_owned(),
            json!({
                "model": MODEL, "max_completion_tokens": 200, "stream": stream,
                "messages": [
                    { "role": "system", "content": "be brief" }, { "role": "user", "content": "how is Oslo?" },
                ],
                "tools": [{
                    "type": "function", "function": { "name": name, "description": words, "parameters": schema },
                }],
            }),
        ),
        ApiFormat::OpenAiCli => (
            "/v1/responses".to_owned(),
            json!({
                "model": MODEL, "max_output_tokens": 200, "stream": stream, "instructions": "be brief",
                "input": [{ "role": "user", "content": "how is Oslo?" }],
                "tools": [{ "type": "function", "name": name, "description": words, "parameters": schema, "strict": false }],
            }),
        ),
        ApiFormat::Gemini | ApiFormat::GeminiCli => (
            format!(
                "/v1beta/models/{MODEL}:{}",
                if stream { "streamGenerateContent?alt=sse" } else { "generateContent" }
            ),
            json!({
                "systemInstruction": { "parts": [{ "text": "be brief" }] },
                "contents": [{ "role": "user", "parts": [{ "text": "how is Oslo?" }] }],
                "generationConfig": { "maxOutputTokens": 200 },
                "tools": [{ "functionDeclarations": [{
                    "name": name, "description": words, "parametersJsonSchema": schema,
                }] }],
            }),
        ),
    }
}

/// Text and a call, with counts of every kind that all four wires report.
fn answer() -> Reply {
    Reply::text(["Let me ", "look."]).tool_as("call_7", "weather", r#"{"city":"Oslo"}"#).usage(100, 20).cache(40, 0, 0)
}

fn counts() -> TokenCounts {
    TokenCounts { input: 100, cache_read: 40, output: 20, ..TokenCounts::default() }
}

/// 100 tokens of input at $3, 40 read from a cache (a tenth of it on Anthropic, all of it elsewhere), 20 of output at $15.
fn cost(upstream: ApiFormat) -> NanoUsd {
    let read = if upstream == ApiFormat::Claude { 300 } else { 3_000 };
    NanoUsd(100 * 3_000 + 40 * read + 20 * 15_000)
}

/// The documents of an answer: the events of a stream, or the one body.
fn documents(text: &str, stream: bool) -> Vec<Value> {
    if !stream {
        return vec![serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}"))];
    }
    let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| panic!("no JSON: {data}"))).collect()
}

/// What an answer says in its dialect: text, and each call's name and arguments.
fn said(format: ApiFormat, stream: bool, text: &str) -> (String, Vec<(String, Value)>) {
    let documents = documents(text, stream);
    let (mut words, mut calls): (String, Vec<(String, String)>) = (String::new(), Vec::new());
    let mut say = |value: &Value| words.push_str(value.as_str().unwrap_or_default());
    let text_of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for document in &documents {
        match format {
            ApiFormat::Claude | ApiFormat::ClaudeCli => {
                say(&document["delta"]["text"]);
                if let (Some(piece), Some(call)) = (document["delta"]["partial_json"].as_str(), calls.last_mut()) {
                    call.1.push_str(piece);
                }
                let blocks = document["content"].as_array().cloned().unwrap_or_default();
                for block in blocks.iter().chain([&document["content_block"]]) {
                    say(&block["text"]);
                    if block["type"] == "tool_use" {
                        let input = if stream { String::new() } else { block["input"].to_string() };
                        calls.push((text_of(&block["name"]), input));
                    }
                }
            }
            ApiFormat::OpenAi => {
                let choice = &document["choices"][0];
                let message = if stream { &choice["delta"] } else { &choice["message"] };
                say(&message["content"]);
                for call in message["tool_calls"].as_array().into_iter().flatten() {
                    if call["id"].is_string() {
                        calls.push((text_of(&call["function"]["name"]), String::new()));
                    }
                    calls.last_mut().unwrap().1.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
                }
            }
            ApiFormat::OpenAiCli => {
                let whole = if stream { &document["response"] } else { document };
                if stream && document["type"] != "response.completed" {
                    continue;
                }
                for item in whole["output"].as_array().into_iter().flatten() {
                    for part in item["content"].as_array().into_iter().flatten() {
                        say(&part["text"]);
                    }
                    if item["type"] == "function_call" {
                        calls.push((text_of(&item["name"]), text_of(&item["arguments"])));
                    }
                }
            }
            ApiFormat::Gemini | ApiFormat::GeminiCli => {
                for part in document["candidates"][0]["content"]["parts"].as_array().into_iter().flatten() {
                    say(&part["text"]);
                    if let Some(call) = part.get("functionCall") {
                        calls.push((text_of(&call["name"]), call["args"].to_string()));
                    }
                }
            }
        }
    }
    let parsed =
        calls.into_iter().map(|(name, arguments)| (name, serde_json::from_str(&arguments).unwrap_or_default()));
    (words, parsed.collect())
}

/// What closes a stream on each wire.
fn closing_mark(format: ApiFormat) -> &'static str {
    match format {
        ApiFormat::Claude | ApiFormat::ClaudeCli => "message_stop",
        ApiFormat::OpenAi => "[DONE]",
        ApiFormat::OpenAiCli => "response.completed",
        ApiFormat::Gemini | ApiFormat::GeminiCli => "finishReason",
    }
}

/// Reads what comes without waiting for anything but the upstream.
async fn read_ready(body: &mut Body) -> String {
    let mut text = String::new();
    while let Ok(Some(Ok(frame))) = timeout(Duration::from_millis(1), body.frame()).await {
        text.push_str(&String::from_utf8_lossy(&frame.into_data().unwrap()));
    }
    text
}

/// The message of the error that an answer, or the last event of a stream, is.
fn error_message(format: ApiFormat, text: &str) -> String {
    let last = text.trim_end().rsplit("data: ").next().unwrap();
    let event: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{format}: {text}"));
    let in_response = &event["response"]["error"]["message"];
    let message = if in_response.is_string() { in_response } else { &event["error"]["message"] };
    message.as_str().unwrap_or_else(|| panic!("{format}: no error in {text}")).to_owned()
}

#[tokio::test(start_paused = true)]
async fn every_caller_gets_every_upstreams_answer_in_its_own_words_and_pays_what_was_reported() {
    for ((from, to), stream) in pairs().flat_map(|pair| [(pair, true), (pair, false)]) {
        let case = format!("{from} on {to}, stream {stream}");
        let upstream = scripted([answer()]);
        let gw = gateway().upstream(to, &upstream).start();
        let (path, body) = ask(from, stream);
        let got = gw.post(&path, &body).await;
        assert_eq!((got.status.as_u16(), got.aborted), (200, false), "{case}: {}", got.text());
        let (text, calls) = said(from, stream, &got.text());
        assert_eq!(text, "Let me look.", "{case}: {}", got.text());
        assert_eq!(calls, [("weather".to_owned(), json!({ "city": "Oslo" }))], "{case}: {}", got.text());
        assert_eq!(got.text().matches(closing_mark(from)).count() > 0, stream || from == ApiFormat::Gemini, "{case}");
        let kind = if stream { "text/event-stream" } else { "application/json" };
        assert_eq!(got.header("content-type"), Some(kind), "{case}");
        assert!(got.text().contains(MODEL) && !got.text().contains("up-0"), "{case}: the name asked: {}", got.text());

        let settled = gw.settled();
        let row = &settled.usage;
        assert_eq!((row.status, row.usage_source), (Status::Completed, UsageSource::Upstream), "{case}");
        assert_eq!(row.tokens, counts(), "{case}");
        assert_eq!(row.cost.total, cost(to), "{case}");
        assert_eq!(gw.spent(), cost(to), "{case}");
        assert_eq!((row.api_format, row.endpoint_api_format), (from, Some(to)), "{case}");
        assert!(row.is_converted, "{case}");
        assert_eq!(row.target_model.as_deref(), Some("up-0"), "{case}");
        let of_request = |loss: &&String| !loss.starts_with("answer/");
        assert_eq!(row.metadata.losses.iter().find(of_request), None, "{case}");
        assert_eq!(got.header("x-tollgate-dropped"), None, "{case}");
        assert_eq!(settled.trace.entries[0].code, "converted", "{case}");
        assert_eq!(settled.candidates[0].outcome, AttemptOutcome::Success, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn upstreams_are_asked_in_their_own_way_and_learn_nothing_of_the_callers_vendor() {
    for (from, to) in pairs() {
        let case = format!("{from} on {to}");
        let upstream = scripted([answer()]);
        let gw = gateway().upstream(to, &upstream).start();
        let (path, body) = ask(from, true);
        let mut request = post(&path, &body);
        for name in ["anthropic-beta", "x-goog-api-client", "x-app", "x-stainless-lang", "accept-encoding"] {
            request.headers_mut().insert(name, "gzip".parse().unwrap());
        }
        gw.send(request).await;
        let received = upstream.requests().remove(0);
        let (want_path, want_query) = match to {
            ApiFormat::Claude => ("/v1/messages", ""),
            ApiFormat::OpenAi => ("/v1/chat/completions", ""),
            ApiFormat::OpenAiCli => ("/v1/responses", ""),
            _ => ("/v1beta/models/up-0:streamGenerateContent", "alt=sse"),
        };
        assert_eq!((received.path.as_str(), received.query.as_str()), (want_path, want_query), "{case}");
        let body = received.json();
        if to != ApiFormat::Gemini {
            assert_eq!((&body["model"], &body["stream"]), (&json!("up-0"), &json!(true)), "{case}");
        }
        let maximum =
            ["/max_tokens", "/max_completion_tokens", "/max_output_tokens", "/generationConfig/maxOutputTokens"]
                .iter()
                .find_map(|field| body.pointer(field));
        assert_eq!(maximum, Some(&json!(200)), "{case}: {body}");
        for name in ["anthropic-beta", "x-goog-api-client", "x-app", "x-stainless-lang"] {
            assert_eq!(received.header(name), None, "{case}");
        }
        assert_eq!(received.header("accept-encoding"), Some("identity"), "{case}");
        assert_eq!(received.header("anthropic-version"), (to == ApiFormat::Claude).then_some("2026-10-21"), "{case}");
        assert!(!received.headers.iter().any(|(_, value)| value.contains(CLIENT_KEY)), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn sampling_is_asked_of_anthropic_under_the_version_that_takes_it() {
    let upstream = scripted([answer()]);
    let gw = gateway().upstream(ApiFormat::Claude, &upstream).start();
    let (path, mut body) = ask(ApiFormat::OpenAi, false);
    body["temperature"] = json!(0.5);
    gw.post(&path, &body).await;
    let received = upstream.requests().remove(0);
    assert_eq!(received.json()["temperature"], json!(0.5));
    assert_eq!(received.header("anthropic-version"), Some("2023-06-01"));
}

#[tokio::test(start_paused = true)]
async fn the_converted_closing_frame_waits_for_the_journal_and_everything_before_it_passes() {
    for (from, to) in pairs() {
        let upstream = scripted([answer()]);
        let gw = gateway().upstream(to, &upstream).start();
        let journal = Arc::new(Semaphore::new(0));
        *gw.kept.gate.lock().unwrap() = Some(journal.clone());
        let (path, body) = ask(from, true);
        let mut response = gw.open(post(&path, &body)).await;
        let before = read_ready(response.body_mut()).await;

        assert!(before.contains("look."), "{from} on {to}: {before}");
        assert!(!before.contains(closing_mark(from)), "{from} on {to}: {before}");
        assert_eq!(gw.settled().usage.tokens, counts(), "{from} on {to}: settled before it leaves");
        journal.add_permits(10);
        let rest = read(response).await;
        assert!(rest.text().contains(closing_mark(from)), "{from} on {to}: {}", rest.text());
        assert_eq!(rest.text().matches("\n\n").count().max(rest.text().matches("\r\n\r\n").count()), 1, "one frame");
    }
}

#[tokio::test(start_paused = true)]
async fn a_converted_whole_answer_waits_for_the_journal() {
    for (from, to) in pairs() {
        let upstream = scripted([answer()]);
        let gw = gateway().upstream(to, &upstream).start();
        let journal = Arc::new(Semaphore::new(0));
        *gw.kept.gate.lock().unwrap() = Some(journal.clone());
        let (path, body) = ask(from, false);
        let mut response = gw.open(post(&path, &body)).await;
        assert_eq!(read_ready(response.body_mut()).await, "", "{from} on {to}");
        journal.add_permits(1);
        let (text, _) = said(from, false, &read(response).await.text());
        assert_eq!(text, "Let me look.", "{from} on {to}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_converted_stream_that_is_cut_ends_with_the_callers_error_and_is_billed_by_estimate() {
    for (from, to) in pairs() {
        let case = format!("{from} on {to}");
        let reply = Reply::text(["one", "two", "three", "four"]).usage(12, 9);
        let frames = if to == ApiFormat::OpenAiCli { 6 } else { 4 };
        let upstream = scripted([reply.cut_after(frames)]);
        let gw = gateway().upstream(to, &upstream).start();
        let (path, body) = ask(from, true);
        let got = gw.post(&path, &body).await;
        assert!(!got.aborted, "{case}");
        assert!(!error_message(from, &got.text()).is_empty(), "{case}: {}", got.text());
        assert!(got.text().contains("one"), "{case}: {}", got.text());
        assert!(!got.text().contains(closing_mark(from)), "{case}: {}", got.text());
        let settled = gw.settled();
        assert_eq!(
            (settled.usage.status, settled.usage.usage_source),
            (Status::Failed, UsageSource::Estimated),
            "{case}"
        );
        assert!(settled.usage.cost.total.0 > 0, "{case}: what was relayed is billed");
        assert!(settled.usage.is_converted, "{case}");
        assert_eq!(settled.candidates[0].outcome, AttemptOutcome::Failed, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_inside_a_stream_ends_the_converted_one_after_it_is_recorded() {
    for (from, to) in pairs() {
        let case = format!("{from} on {to}");
        let events = if to == ApiFormat::OpenAiCli { 6 } else { 4 };
        let upstream = scripted([Reply::text(["one", "two", "three", "four"]).error_event_after(events, true)]);
        let gw = gateway().upstream(to, &upstream).start();
        let journal = Arc::new(Semaphore::new(0));
        *gw.kept.gate.lock().unwrap() = Some(journal.clone());
        let (path, body) = ask(from, true);
        let mut response = gw.open(post(&path, &body)).await;
        let before = read_ready(response.body_mut()).await;
        assert!(before.contains("one") && !before.contains("\"error\":{"), "{case}: {before}");
        journal.add_permits(10);
        let rest = read(response).await;
        assert!(!error_message(from, &rest.text()).is_empty(), "{case}: {}", rest.text());
        assert_eq!(gw.settled().usage.status, Status::Failed, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstreams_words_about_itself_stay_out_of_a_converted_stream() {
    let sse = format!(
        "data: {{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"hi\"}}}}]}}\n\n\
         data: {{\"error\":{{\"message\":\"{PROVIDER_KEY} may not use up-0 at up0.test\",\"type\":\"server_error\"}}}}\n\n"
    );
    let upstream = scripted([Reply::raw(200, &[("content-type", "text/event-stream")], sse)]);
    let gw = gateway().upstream(ApiFormat::OpenAi, &upstream).start();
    let (path, body) = ask(ApiFormat::Claude, true);
    let got = gw.post(&path, &body).await;
    let message = error_message(ApiFormat::Claude, &got.text());
    assert_eq!(message, format!("*** may not use {MODEL} at upstream"));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_a_converted_stream_pays_what_was_relayed_or_what_is_drained() {
    for ((from, to), policy) in pairs().flat_map(|pair| [(pair, OnDisconnect::Cancel), (pair, OnDisconnect::Drain)]) {
        let case = format!("{from} on {to}, {policy}");
        let upstream = scripted([Reply::text(["one", "two", "three"]).usage(12, 90).gap(Duration::from_secs(1))]);
        let gw =
            gateway().with(|builder| builder.parts.settings.on_disconnect = policy).upstream(to, &upstream).start();
        let (path, body) = ask(from, true);
        let mut response = gw.open(post(&path, &body)).await;
        assert!(response.body_mut().frame().await.is_some(), "{case}");
        drop(response);
        gw.idle().await;
        let row = gw.settled().usage;
        assert_eq!((row.status, row.status_code, row.is_converted), (Status::Cancelled, 499, true), "{case}");
        if policy == OnDisconnect::Drain {
            assert_eq!(row.usage_source, UsageSource::Upstream, "{case}");
            assert_eq!((row.tokens.input, row.tokens.output), (12, 90), "{case}");
        } else {
            assert_eq!(row.usage_source, UsageSource::Estimated, "{case}");
            assert!(row.tokens.output < 90 && row.tokens.input > 0, "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn silence_in_a_converted_stream_is_bounded() {
    let upstream = scripted([answer().stall_after(4)]);
    let gw = gateway().upstream(ApiFormat::Claude, &upstream).start();
    let (path, body) = ask(ApiFormat::OpenAi, true);
    let got = gw.post(&path, &body).await;
    assert!(!error_message(ApiFormat::OpenAi, &got.text()).is_empty());
    let row = gw.settled().usage;
    assert_eq!((row.status, row.metadata.deadline.as_deref()), (Status::Failed, Some("idle")));
}

/// A native upstream that fails as told, and one of another wire behind it.
fn failing(shape: ErrorShape, converted: Reply) -> (crate::support::Gateway, testkit::Upstream) {
    let native = scripted(std::iter::repeat_n(Reply::error(shape), 8));
    let other = scripted([converted]);
    (gateway().upstream(ApiFormat::Claude, &native).upstream(ApiFormat::OpenAi, &other).start(), other)
}

#[tokio::test(start_paused = true)]
async fn a_failing_native_upstream_hands_over_to_one_of_another_wire() {
    let limited = ErrorShape::RateLimited { limit: Limit::Requests, retry_after_s: Some(7) };
    for (shape, stream) in
        [(limited.clone(), true), (limited, false), (ErrorShape::Server, true), (ErrorShape::Overloaded, false)]
    {
        let (gw, other) = failing(shape.clone(), answer());
        let (path, body) = ask(ApiFormat::Claude, stream);
        let got = gw.post(&path, &body).await;
        assert_eq!(said(ApiFormat::Claude, stream, &got.text()).0, "Let me look.", "{shape:?}");
        assert_eq!(other.requests().len(), 1, "{shape:?}");
        let settled = gw.settled();
        assert!(settled.usage.is_converted, "{shape:?}");
        assert_eq!(settled.usage.cost.total, cost(ApiFormat::OpenAi), "{shape:?}");
        assert_eq!(settled.candidates.first().unwrap().outcome, AttemptOutcome::Failed, "{shape:?}");
        assert_eq!(settled.candidates.last().unwrap().outcome, AttemptOutcome::Success, "{shape:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn native_upstreams_are_tried_before_those_of_other_wires() {
    let (native, other) = (scripted([answer()]), scripted([answer()]));
    let gw = gateway()
        .upstream(ApiFormat::OpenAi, &other)
        .upstream(ApiFormat::Claude, &native)
        .with(|builder| builder.parts.providers.iter_mut().for_each(|provider| provider.priority = 1))
        .start();
    let (path, body) = ask(ApiFormat::Claude, false);
    gw.post(&path, &body).await;
    assert_eq!((native.requests().len(), other.requests().len()), (1, 0));
    assert!(!gw.settled().usage.is_converted);
}

#[tokio::test(start_paused = true)]
async fn an_upstreams_refusal_of_the_request_is_told_in_the_callers_dialect() {
    for (from, to) in pairs() {
        let case = format!("{from} on {to}");
        let upstream = scripted([Reply::error(ErrorShape::InvalidRequest {
            field: "messages".to_owned(),
            message: format!("up-0 at up0.test refuses {PROVIDER_KEY}"),
        })]);
        let gw = gateway().upstream(to, &upstream).start();
        let (path, body) = ask(from, true);
        let got = gw.post(&path, &body).await;
        assert_eq!(got.status, 400, "{case}: {}", got.text());
        let message = error_message(from, &got.text());
        assert!(message.contains(&format!("{MODEL} at upstream refuses ***")), "{case}: {message}");
        assert_eq!(upstream.requests().len(), 1, "{case}");
        assert_eq!(gw.settled().usage.cost.total, NanoUsd::ZERO, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_is_too_long_is_told_in_the_words_that_clients_look_for() {
    let upstream = scripted([Reply::error(ErrorShape::ContextTooLong)]);
    let gw = gateway().upstream(ApiFormat::OpenAi, &upstream).start();
    let (path, body) = ask(ApiFormat::Claude, true);
    let got = gw.post(&path, &body).await;
    assert_eq!(got.status, 400);
    assert!(error_message(ApiFormat::Claude, &got.text()).starts_with("prompt is too long"), "{}", got.text());
}

/// Asks with a parameter that the chat wire has no place for.
fn lossy() -> (String, Value) {
    let (path, mut body) = ask(ApiFormat::Claude, false);
    body["top_k"] = json!(5);
    (path, body)
}

fn with_loss(setting: ConversionLoss, endpoint: Option<ConversionLoss>) -> (Builder, testkit::Upstream) {
    let upstream = scripted([answer()]);
    let builder = gateway().upstream(ApiFormat::OpenAi, &upstream).with(|builder| {
        builder.parts.settings.conversion_loss = setting;
        builder.parts.endpoints[0].config.conversion_loss = endpoint;
    });
    (builder, upstream)
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_named_in_a_header_and_the_record_or_in_the_record_alone() {
    for (setting, endpoint, header) in [
        (ConversionLoss::Warn, None, Some("/top_k")),
        (ConversionLoss::Drop, None, None),
        (ConversionLoss::Drop, Some(ConversionLoss::Warn), Some("/top_k")),
        (ConversionLoss::Reject, Some(ConversionLoss::Drop), None),
    ] {
        let (builder, upstream) = with_loss(setting, endpoint);
        let gw = builder.start();
        let (path, body) = lossy();
        let got = gw.post(&path, &body).await;
        assert_eq!(got.status, 200, "{setting} {endpoint:?}: {}", got.text());
        assert_eq!(got.header("x-tollgate-dropped"), header, "{setting} {endpoint:?}");
        assert_eq!(upstream.requests()[0].json().get("top_k"), None);
        let losses = gw.settled().usage.metadata.losses;
        assert!(losses[0].starts_with("/top_k: "), "{losses:?}");
        assert!(losses[1..].iter().all(|loss| loss.starts_with("answer/")), "{losses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_loss_that_is_not_accepted_is_a_native_400_that_names_the_field_and_costs_nothing() {
    for (setting, endpoint) in [(ConversionLoss::Reject, None), (ConversionLoss::Warn, Some(ConversionLoss::Reject))] {
        let (builder, upstream) = with_loss(setting, endpoint);
        let gw = builder.start();
        let (path, body) = lossy();
        let got = gw.post(&path, &body).await;
        assert_eq!(got.status, 400, "{}", got.text());
        assert_eq!(got.json()["error"]["type"], "invalid_request_error");
        assert!(error_message(ApiFormat::Claude, &got.text()).contains("top_k"), "{}", got.text());
        assert_eq!(upstream.requests().len(), 0);
        assert!(gw.kept.settled.lock().unwrap().is_empty() && gw.kept.opened.lock().unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_wire_cannot_carry_goes_to_another_that_can() {
    let (chat, claude) = (scripted([answer()]), scripted([answer()]));
    let gw = gateway()
        .upstream(ApiFormat::OpenAi, &chat)
        .upstream(ApiFormat::Gemini, &claude)
        .with(|builder| builder.parts.settings.conversion_loss = ConversionLoss::Reject)
        .start();
    let (path, body) = lossy();
    let got = gw.post(&path, &body).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!((chat.requests().len(), claude.requests().len()), (0, 1), "Gemini has top_k");
    let codes: Vec<_> = gw.settled().trace.entries.iter().map(|entry| (entry.key_id, entry.code.clone())).collect();
    assert!(codes.contains(&(id(102), "conversion_unsupported".to_owned())), "{codes:?}");
}

#[tokio::test(start_paused = true)]
async fn state_that_another_vendor_keeps_is_refused_by_its_name() {
    let upstream = scripted([answer()]);
    let gw = gateway().upstream(ApiFormat::Claude, &upstream).start();
    let (path, mut body) = ask(ApiFormat::OpenAiCli, true);
    body["previous_response_id"] = json!("resp_1");
    let got = gw.post(&path, &body).await;
    assert_eq!(got.status, 400, "{}", got.text());
    assert_eq!(got.json()["error"]["param"], "previous_response_id");
    assert_eq!(got.json()["error"]["code"], "unsupported_parameter");
    assert_eq!(upstream.requests().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_closed_endpoint_converts_for_nobody_and_an_opened_one_for_all() {
    for (format, opened, want) in [
        (ApiFormat::ClaudeCli, None, 503),
        (ApiFormat::ClaudeCli, Some(true), 200),
        (ApiFormat::Claude, Some(false), 503),
        (ApiFormat::Claude, None, 200),
    ] {
        let upstream = scripted([answer()]);
        let gw = gateway()
            .upstream(format, &upstream)
            .with(|builder| builder.parts.endpoints[0].config.accepts_conversion = opened)
            .start();
        let (path, body) = ask(ApiFormat::OpenAi, false);
        assert_eq!(gw.post(&path, &body).await.status, want, "{format} {opened:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_gemini_caller_that_asks_for_no_events_gets_an_array() {
    for to in [ApiFormat::Claude, ApiFormat::OpenAi, ApiFormat::OpenAiCli] {
        for (reply, status) in [(answer(), Status::Completed), (answer().cut_after(7), Status::Failed)] {
            let upstream = scripted([reply]);
            let gw = gateway().upstream(to, &upstream).start();
            let (_, body) = ask(ApiFormat::Gemini, true);
            let got = gw.post(&format!("/v1beta/models/{MODEL}:streamGenerateContent"), &body).await;
            assert_eq!(got.header("content-type"), Some("application/json"));
            let elements = got.json();
            let last =
                elements.as_array().and_then(|elements| elements.last()).unwrap_or_else(|| panic!("{}", got.text()));
            let wanted = if status == Status::Completed { "/candidates/0/finishReason" } else { "/error/code" };
            assert!(last.pointer(wanted).is_some(), "{to}: {}", got.text());
            assert_eq!(gw.settled().usage.status, status, "{to}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_bounds_the_request_that_is_sent_in_another_dialect() {
    for (from, to) in pairs() {
        let case = format!("{from} on {to}");
        let upstream = scripted([answer()]);
        // Enough for the prompt and a few thousand tokens of answer.
        let gw = gateway().quota(NanoUsd(60_000_000)).upstream(to, &upstream).start();
        let (path, mut body) = ask(from, false);
        match from {
            ApiFormat::Claude => body["max_tokens"] = json!(100_000),
            ApiFormat::OpenAi => body["max_completion_tokens"] = json!(100_000),
            ApiFormat::OpenAiCli => body["max_output_tokens"] = json!(100_000),
            _ => body["generationConfig"]["maxOutputTokens"] = json!(100_000),
        }
        let got = gw.post(&path, &body).await;
        assert_eq!(got.status, 200, "{case}: {}", got.text());
        let told: u64 = got.header("x-tollgate-max-tokens").unwrap().parse().unwrap();
        assert!((1_024..4_000).contains(&told), "{case}: {told}");
        let sent = upstream.requests()[0].json();
        let maximum =
            ["/max_tokens", "/max_completion_tokens", "/max_output_tokens", "/generationConfig/maxOutputTokens"]
                .iter()
                .find_map(|field| sent.pointer(field).and_then(Value::as_u64));
        assert_eq!(maximum, Some(told), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_answer_is_converted_whole_and_one_above_the_bound_is_an_upstreams_fault() {
    for (bytes, want) in [(2 << 20, 200), (17 << 20, 502)] {
        let upstream = scripted(std::iter::repeat_n(Reply::text(["x".repeat(bytes)]).usage(1, 1), 4));
        let gw = gateway().upstream(ApiFormat::OpenAi, &upstream).start();
        let (path, body) = ask(ApiFormat::Claude, false);
        let got = gw.post(&path, &body).await;
        assert_eq!(got.status, want);
        if want == 200 {
            assert_eq!(said(ApiFormat::Claude, false, &got.text()).0.len(), bytes);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_converted_is_the_callers_fault() {
    let upstream = scripted([answer()]);
    let gw = gateway().upstream(ApiFormat::Claude, &upstream).start();
    let body = format!(r#"{{"model":"{MODEL}","messages":[{{"role":"nobody","content":7}}]}}"#);
    let got = gw.send(request(Method::POST, "/v1/chat/completions", body)).await;
    assert_eq!(got.status, 400, "{}", got.text());
    assert!(got.json()["error"]["param"].as_str().unwrap().starts_with("messages.0"), "{}", got.text());
    assert_eq!(upstream.requests().len(), 0);
}
