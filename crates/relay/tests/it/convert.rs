//! Callers of one wire on upstreams of another.

use crate::support::{CLIENT_KEY, MODEL, PROVIDER_KEY, WIRES, gateway, post, request, scripted};
use domain::{
    catalog::Alias,
    format::{ApiFormat, Status, UsageSource},
    money::NanoUsd,
    price::TokenCounts,
    records::AttemptOutcome,
};
use http::Method;
use serde_json::{Value, json};
use testkit::{ErrorShape, Limit, Reply};

#[tokio::test(start_paused = true)]
async fn a_call_of_the_history_is_signed_for_the_model_that_is_sent_and_not_for_the_one_that_is_asked() {
    let call = json!({ "type": "tool_use", "id": "call_1", "name": "weather", "input": {} });
    let (path, mut body) = ask(ApiFormat::Claude, false);
    body["messages"] = json!([
        { "role": "user", "content": "how is Oslo?" }, { "role": "assistant", "content": [call] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "call_1", "content": "rain" }] },
    ]);
    let signed = json!("skip_thought_signature_validator");
    // An alias counts where it may be sent.
    for (name, alias, want) in [
        ("gemini-3-pro", None, &signed),
        ("gemini-2.5-pro", None, &Value::Null),
        ("gemini-2.5-pro", Some(ApiFormat::Gemini), &signed),
        ("gemini-2.5-pro", Some(ApiFormat::OpenAi), &Value::Null),
    ] {
        let alias = alias.map(|format| Alias {
            name: "gemini-flash-latest".to_owned(),
            priority: 1,
            api_formats: Some(vec![format]),
        });
        let upstream = scripted([answer()]);
        let gw = gateway()
            .upstream(ApiFormat::Gemini, &upstream)
            .with(|builder| {
                builder.parts.models[0].provider_model_name = name.to_owned();
                builder.parts.models[0].aliases.extend(alias.clone());
            })
            .start();
        assert_eq!(gw.post(&path, &body).await.status, 200);
        let sent = upstream.requests()[0].json();
        assert_eq!(&sent["contents"][1]["parts"][0]["thoughtSignature"], want, "{name}: {sent}");
    }
}

/// Every ordered pair of different wires: the caller's, then the upstream's.
pub(crate) fn pairs() -> impl Iterator<Item = (ApiFormat, ApiFormat)> {
    WIRES.into_iter().flat_map(|from| WIRES.into_iter().map(move |to| (from, to))).filter(|(from, to)| from != to)
}

/// A question with a tool, in each format, that every other wire can carry whole.
pub(crate) fn ask(format: ApiFormat, stream: bool) -> (String, Value) {
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
pub(crate) fn answer() -> Reply {
    Reply::text(["Let me ", "look."]).tool_as("call_7", "weather", r#"{"city":"Oslo"}"#).usage(100, 20).cache(40, 0, 0)
}

pub(crate) fn counts() -> TokenCounts {
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
pub(crate) fn said(format: ApiFormat, stream: bool, text: &str) -> (String, Vec<(String, Value)>) {
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
pub(crate) fn closing_mark(format: ApiFormat) -> &'static str {
    match format {
        ApiFormat::Claude | ApiFormat::ClaudeCli => "message_stop",
        ApiFormat::OpenAi => "[DONE]",
        ApiFormat::OpenAiCli => "response.completed",
        ApiFormat::Gemini | ApiFormat::GeminiCli => "finishReason",
    }
}

/// The message of the error that an answer, or the last event of a stream, is.
pub(crate) fn error_message(format: ApiFormat, text: &str) -> String {
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

#[tokio::test(start_paused = true)]
async fn every_conversion_that_is_kept_is_in_the_memory_budget() {
    const MIB: usize = 1024 * 1024;
    let (path, mut body) = ask(ApiFormat::Claude, false);
    body["messages"][0]["content"] = "word ".repeat(MIB / 5).into();
    // The request, and one conversion for both upstreams of the chat wire, or another for Gemini's.
    for (others, last_serves, budget, status) in [
        (&[ApiFormat::OpenAi, ApiFormat::OpenAi][..], true, 3, 200),
        (&[ApiFormat::OpenAi, ApiFormat::Gemini], true, 3, 503),
        (&[ApiFormat::OpenAi, ApiFormat::Gemini], true, 4, 200),
        // Who is out from the start wants none.
        (&[ApiFormat::OpenAi, ApiFormat::Gemini], false, 3, 200),
    ] {
        let upstream = scripted([Reply::text(["hello"])]);
        let gw = others
            .iter()
            .fold(gateway(), |builder, format| builder.upstream(*format, &upstream))
            .with(|builder| {
                builder.bounds.request_budget = budget * MIB;
                builder.parts.provider_keys[1].is_active = last_serves;
            })
            .start();
        let got = gw.post(&path, &body).await;
        assert_eq!(got.status.as_u16(), status, "{others:?} {last_serves} {budget}: {}", got.text());
    }
}
