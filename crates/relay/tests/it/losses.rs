//! What conversion cannot carry: named, refused, or carried by another upstream; and thoughts that only their issuer reads.

use crate::{
    convert::{answer, ask, error_message},
    state::{rate_limited, response},
    support::{Builder, gateway, id, scripted},
};
use domain::format::{ApiFormat, ConversionLoss};
use serde_json::{Value, json};
use testkit::Reply;

/// Asks with a parameter that the chat wire has no place for.
pub(crate) fn lossy() -> (String, Value) {
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
async fn what_is_done_all_the_same_is_named_and_never_refused() {
    let (_, mut claude) = ask(ApiFormat::Claude, false);
    claude["system"] = json!([{ "type": "text", "text": "be brief", "cache_control": { "type": "ephemeral" } }]);
    claude["tools"][0]["eager_input_streaming"] = json!(true);
    claude["context_management"] = json!({ "edits": [{ "type": "clear_thinking_20251015", "keep": "all" }] });
    claude["thinking"] = json!({ "type": "adaptive", "display": "summarized" });
    let (_, mut gemini) = ask(ApiFormat::Gemini, false);
    gemini["generationConfig"]["thinkingConfig"] = json!({ "includeThoughts": true, "thinkingBudget": 2_048 });
    for (from, body, want) in [
        (
            ApiFormat::Claude,
            &claude,
            &["/context_management", "/system/*/cache_control", "/thinking/display", "anthropic-beta"][..],
        ),
        (ApiFormat::Gemini, &gemini, &["/generationConfig/thinkingConfig/includeThoughts"]),
    ] {
        let (builder, _upstream) = with_loss(ConversionLoss::Reject, None);
        let (path, _) = ask(from, false);
        let mut request = crate::support::post(&path, body);
        if from == ApiFormat::Claude {
            request.headers_mut().insert("anthropic-beta", "context-management-2025-06-27".parse().unwrap());
        }
        let gw = builder.start();
        let got = gw.send(request).await;
        assert_eq!(got.status, 200, "{from}: {}", got.text());
        let losses = gw.settled().usage.metadata.losses;
        let mut named: Vec<_> = losses.iter().filter_map(|loss| loss.split(": ").next()).collect();
        named.retain(|name| !name.starts_with("answer/"));
        named.sort_unstable();
        assert_eq!(named, want, "{from}");
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

/// The first turn of a conversation, with thinking on.
fn first_turn() -> (String, Value) {
    let (path, mut body) = ask(ApiFormat::Claude, false);
    body["max_tokens"] = json!(9_000);
    body["thinking"] = json!({ "type": "enabled", "budget_tokens": 2_000 });
    (path, body)
}

/// The second turn, after `first`, the answer to the first one.
fn second_turn(first: &Value) -> (String, Value) {
    let (path, mut body) = first_turn();
    let id = first["content"].as_array().unwrap().iter().find_map(|block| block["id"].as_str()).unwrap();
    body["messages"] = json!([
        { "role": "user", "content": "how is Oslo?" },
        { "role": "assistant", "content": first["content"] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": id, "content": "rain" }] },
    ]);
    (path, body)
}

#[tokio::test(start_paused = true)]
async fn thoughts_go_back_to_the_key_that_signed_them_and_to_nobody_else() {
    let thoughtful = || Reply::nothing().thinking("hm").tool_as("call_7", "weather", r#"{"city":"Oslo"}"#).usage(9, 9);
    let signer = scripted([thoughtful(), answer()]);
    let other = scripted([answer()]);
    let gw = gateway().upstream(ApiFormat::OpenAiCli, &signer).upstream(ApiFormat::OpenAiCli, &other).start();
    let (path, body) = first_turn();
    let first = gw.post(&path, &body).await.json();
    let thought = &first["content"][0];
    assert_eq!((&thought["type"], &thought["thinking"]), (&json!("thinking"), &json!("hm")), "{first}");
    let sealed = thought["signature"].as_str().unwrap();

    let (path, body) = second_turn(&first);
    assert_eq!(gw.post(&path, &body).await.status, 200);
    let reasoning = |request: Value| {
        let items = request["input"].as_array().unwrap().clone();
        items.into_iter().find(|item| item["type"] == "reasoning")
    };
    let kept = reasoning(signer.requests()[1].json()).unwrap();
    let signature = kept["encrypted_content"].as_str().unwrap();
    assert!(!signature.is_empty() && signature != sealed, "the signer's own again: {kept}");

    // The same turn where the signer is out.
    let gone = gateway()
        .upstream(ApiFormat::OpenAiCli, &signer)
        .upstream(ApiFormat::OpenAiCli, &other)
        .with(|builder| builder.parts.provider_keys[0].is_active = false)
        .start();
    assert_eq!(gone.post(&path, &body).await.status, 200);
    assert_eq!(reasoning(other.requests()[0].json()), None);
    let losses = gone.settled().usage.metadata.losses;
    assert!(losses.iter().any(|loss| loss.starts_with("/messages/*/content/*: ")), "{losses:?}");
}

#[tokio::test(start_paused = true)]
async fn thoughts_signed_on_another_wire_are_taken_out_where_nothing_is_converted() {
    let thoughtful = Reply::nothing().thinking("hm").tool_as("call_7", "weather", r#"{"city":"Oslo"}"#).usage(9, 9);
    let converted = scripted([thoughtful]);
    let gw = gateway().upstream(ApiFormat::Gemini, &converted).start();
    let (path, body) = first_turn();
    let first = gw.post(&path, &body).await.json();
    assert_eq!(first["content"][0]["type"], "thinking", "{first}");

    let native = scripted([answer()]);
    let gw = gateway().upstream(ApiFormat::Claude, &native).start();
    let (path, body) = second_turn(&first);
    assert_eq!(gw.post(&path, &body).await.status, 200);
    let sent = native.requests()[0].json();
    assert_eq!(sent["messages"][1]["content"], json!([first["content"][1]]), "only the call is left");
    assert_eq!(sent.get("thinking"), None, "it may not be on in a step that has lost its thoughts");
    assert_eq!(gw.settled().usage.metadata.edits, ["model", "strip_params", "strip_sealed"]);
}

#[tokio::test(start_paused = true)]
async fn sources_that_a_conversion_wrote_do_not_reach_the_vendor_that_never_marked_them() {
    let page = json!({ "start_index": 0, "end_index": 2, "title": "X", "url": "https://a.example" });
    let message = json!({ "role": "assistant", "content": "So", "annotations": [{ "type": "url_citation", "url_citation": page }] });
    let body = json!({ "choices": [{ "index": 0, "finish_reason": "stop", "message": message }], "usage": { "prompt_tokens": 9, "completion_tokens": 9 } });
    let converted = scripted([Reply::raw(200, &[("content-type", "application/json")], body.to_string())]);
    let gw = gateway().upstream(ApiFormat::OpenAi, &converted).start();
    let (path, mut body) = ask(ApiFormat::Claude, false);
    let first = gw.post(&path, &body).await.json();
    let source = &first["content"][0]["citations"][0];
    assert_eq!((&source["url"], &source["encrypted_index"]), (&json!("https://a.example"), &json!("")), "{first}");

    let native = scripted([answer(), answer()]);
    let gw = gateway().upstream(ApiFormat::Claude, &native).start();
    let mut marked = source.clone();
    marked["encrypted_index"] = json!("Eo8B");
    body["messages"] = json!([
        { "role": "user", "content": "so?" },
        { "role": "assistant", "content": [first["content"][0], { "type": "text", "text": "!", "citations": [source, marked] }] },
        { "role": "user", "content": "why?" },
    ]);
    assert_eq!(gw.post(&path, &body).await.status, 200);
    let sent = native.requests()[0].json();
    let text = &first["content"][0]["text"];
    assert_eq!(
        sent["messages"][1]["content"],
        json!([{ "type": "text", "text": text, "citations": [] }, { "type": "text", "text": "!", "citations": [marked] }])
    );
    assert_eq!(gw.settled().usage.metadata.edits, ["model", "strip_sealed"]);

    // The vendor's own goes back as it came.
    body["messages"][1]["content"] = json!([{ "type": "text", "text": "!", "citations": [marked] }]);
    assert_eq!(gw.post(&path, &body).await.status, 200);
    assert_eq!(native.requests()[1].json()["messages"], body["messages"]);
    assert_eq!(gw.kept.settled.lock().unwrap().last().unwrap().usage.metadata.edits, ["model"]);
}

#[tokio::test(start_paused = true)]
async fn thoughts_that_nobody_signed_do_not_reach_the_vendor_that_would_look_for_them() {
    let message = json!({ "role": "assistant", "content": "So", "reasoning_content": "hm" });
    let usage = json!({ "prompt_tokens": 9, "completion_tokens": 9 });
    let body = json!({ "choices": [{ "index": 0, "finish_reason": "stop", "message": message }], "usage": usage });
    let converted = scripted([Reply::raw(200, &[("content-type", "application/json")], body.to_string())]);
    let gw = gateway().upstream(ApiFormat::OpenAi, &converted).start();
    let (path, mut body) = ask(ApiFormat::OpenAiCli, false);
    let first = gw.post(&path, &body).await.json();
    let [thought, said] = first["output"].as_array().unwrap().as_slice() else { panic!("{first}") };
    assert_eq!((&thought["type"], &thought["encrypted_content"]), (&json!("reasoning"), &Value::Null), "{first}");

    let native = scripted([answer(), answer()]);
    let gw = gateway().upstream(ApiFormat::OpenAiCli, &native).start();
    let own =
        json!({ "type": "reasoning", "id": "rs_68950839aac081a2954c163ca06f2c050fa9ecbb0620e928", "summary": [] });
    let user = json!({ "role": "user", "content": "why?" });
    body["input"] = json!([user, thought, said, user, own]);
    assert_eq!(gw.post(&path, &body).await.status, 200);
    assert_eq!(native.requests()[0].json()["input"], json!([user, said, user, own]));
    assert_eq!(gw.settled().usage.metadata.edits, ["model", "strip_sealed"]);
}

#[tokio::test(start_paused = true)]
async fn thoughts_that_nobody_signed_are_known_without_their_ids_where_encrypted_ones_were_asked_for() {
    let message = json!({ "role": "assistant", "content": "So", "reasoning_content": "hm" });
    let usage = json!({ "prompt_tokens": 9, "completion_tokens": 9 });
    let answered = json!({ "choices": [{ "index": 0, "finish_reason": "stop", "message": message }], "usage": usage });
    let converted = scripted([Reply::raw(200, &[("content-type", "application/json")], answered.to_string())]);
    let gw = gateway().upstream(ApiFormat::OpenAi, &converted).start();
    let (path, mut body) = ask(ApiFormat::OpenAiCli, false);
    (body["store"], body["include"]) = (json!(false), json!(["reasoning.encrypted_content"]));
    let first = gw.post(&path, &body).await.json();
    let [thought, said] = first["output"].as_array().unwrap().as_slice() else { panic!("{first}") };

    let native = scripted([answer()]);
    let gw = gateway().upstream(ApiFormat::OpenAiCli, &native).start();
    // As Codex sends it.
    let thought = json!({ "type": "reasoning", "summary": thought["summary"], "content": null,
        "encrypted_content": thought["encrypted_content"] });
    let user = json!({ "role": "user", "content": "why?" });
    body["input"] = json!([user, thought, said, user]);
    assert_eq!(gw.post(&path, &body).await.status, 200);
    assert_eq!(native.requests()[0].json()["input"], json!([user, said, user]));
    assert_eq!(gw.settled().usage.metadata.edits, ["model", "strip_sealed"]);
}

#[tokio::test(start_paused = true)]
async fn thoughts_that_a_gateway_upstream_wrote_go_back_to_it() {
    let id = "rs_0123456789abcdef0123456789abcdef_0";
    let thought = json!({ "type": "reasoning", "id": id, "summary": [{ "type": "summary_text", "text": "hm" }] });
    let (converts, other) = (
        scripted([response("resp_1", std::slice::from_ref(&thought)), answer(), rate_limited()]),
        scripted([answer()]),
    );
    let gw = gateway().upstream(ApiFormat::OpenAiCli, &converts).upstream(ApiFormat::OpenAiCli, &other).start();
    let (path, mut body) = ask(ApiFormat::OpenAiCli, false);
    assert_eq!(gw.post(&path, &body).await.status, 200);
    let user = json!({ "role": "user", "content": "why?" });
    body["input"] = json!([user, thought, user]);
    assert_eq!(gw.post(&path, &body).await.status, 200);
    assert_eq!(converts.requests()[1].json()["input"], body["input"], "its issuer serves: it passes untouched");
    assert_eq!(gw.post(&path, &body).await.status, 200);
    assert_eq!(other.requests()[0].json()["input"], json!([user, user]));
}
