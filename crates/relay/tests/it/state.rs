//! What only its issuer understands: whose it is, where it goes, and what becomes of it when its issuer cannot serve.

use crate::support::{Builder, Gateway, Got, MODEL, gateway, id, post, request, scripted};
use domain::{
    format::ApiFormat,
    ids::{ClientKeyId, ProviderKeyId},
    records::Settled,
};
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::Duration;
use testkit::{ErrorShape, Limit, Reply, Upstream};
use wire::state::fingerprint;

/// The credential of a second client key.
const OTHER_KEY: &str = "sk-other-0123456789abcdef0123456789ab";

/// Two client keys; provider keys are 102 and, behind it, 112.
pub(crate) fn two_clients(format: ApiFormat, upstreams: &[&Upstream]) -> Builder {
    let builder = upstreams.iter().fold(gateway(), |builder, upstream| builder.upstream(format, upstream));
    builder.with(|builder| {
        let mut other = builder.parts.client_keys[0].clone();
        (other.id, other.name, other.key_hash) = (id(20), "other".to_owned(), Sha256::digest(OTHER_KEY).into());
        builder.parts.client_keys.push(other);
    })
}

/// As the second client key.
pub(crate) fn other(mut request: Request<Full<bytes::Bytes>>) -> Request<Full<bytes::Bytes>> {
    request.headers_mut().insert("x-api-key", OTHER_KEY.parse().unwrap());
    request
}

pub(crate) fn whole(body: &Value) -> Reply {
    Reply::raw(200, &[("content-type", "application/json")], body.to_string())
}

/// A response of this id, and of these items beside its message.
pub(crate) fn response(id: &str, items: &[Value]) -> Reply {
    let message = json!({ "id": format!("msg_{id}"), "type": "message", "role": "assistant", "status": "completed",
        "content": [{ "type": "output_text", "text": "hello", "annotations": [] }] });
    let usage = json!({ "input_tokens": 12, "output_tokens": 2, "total_tokens": 14 });
    let output: Vec<&Value> = items.iter().chain([&message]).collect();
    whole(
        &json!({ "id": id, "object": "response", "status": "completed", "model": "up-0", "output": output, "usage": usage }),
    )
}

fn go_on(previous: &str) -> Value {
    json!({ "model": MODEL, "input": "and then?", "previous_response_id": previous })
}

pub(crate) async fn respond(gw: &Gateway, body: &Value) -> Got {
    gw.post("/v1/responses", body).await
}

fn last(gw: &Gateway) -> Settled {
    gw.kept.settled.lock().unwrap().last().unwrap().clone()
}

/// The codes of the candidates that were not tried.
fn codes(settled: &Settled) -> Vec<(ProviderKeyId, &str)> {
    settled.trace.entries.iter().map(|entry| (entry.key_id, entry.code.as_str())).collect()
}

pub(crate) fn rate_limited() -> Reply {
    Reply::error(ErrorShape::RateLimited { limit: Limit::Requests, retry_after_s: Some(7) })
}

#[tokio::test(start_paused = true)]
async fn what_was_issued_for_one_client_key_does_not_exist_for_another() {
    let reasoning = json!({ "id": "rs_1", "type": "reasoning", "summary": [] });
    let call = json!({ "id": "ci_1", "type": "code_interpreter_call", "container_id": "cntr_1" });
    let ran = json!({ "type": "container_reference", "container_id": "cntr_2" });
    let shell = json!({ "type": "shell_call", "call_id": "c", "action": { "commands": ["ls"] }, "environment": ran });
    let upstream = scripted([response("resp_1", &[reasoning.clone(), call, shell.clone()])]);
    let gw = two_clients(ApiFormat::OpenAiCli, &[&upstream]).start();
    assert_eq!(respond(&gw, &json!({ "model": MODEL, "input": "hi" })).await.status, 200);
    let referring = |item: Value| json!({ "model": MODEL, "input": [item] });
    let tool = json!({ "type": "code_interpreter", "container": "cntr_1" });
    for (name, body) in [
        ("resp_1", go_on("resp_1")),
        ("msg_resp_1", referring(json!({ "type": "item_reference", "id": "msg_resp_1" }))),
        ("rs_1", referring(reasoning)),
        ("cntr_1", json!({ "model": MODEL, "input": "hi", "tools": [tool] })),
        (
            "cntr_1",
            referring(json!({ "type": "code_interpreter_call", "id": "ci_9", "container_id": "cntr_1", "code": "1" })),
        ),
        ("cntr_2", referring(shell)),
    ] {
        let asked = upstream.requests().len();
        let refused = gw.send(other(post("/v1/responses", &body))).await;
        assert_eq!(refused.status, 404, "{name}: {}", refused.text());
        assert_eq!(refused.json()["error"]["type"], "invalid_request_error", "{name}");
        assert!(refused.text().contains(name), "{name}: {}", refused.text());
        assert_eq!(upstream.requests().len(), asked, "{name}: nothing upstream happens");
        let record = gw.kept.refused.lock().unwrap().pop().unwrap();
        assert_eq!((record.api_key_id, record.reason.as_str()), (Some(id::<ClientKeyId>(20)), "bound_to_another"));
        upstream.push(response("resp_2", &[]));
        assert_eq!(respond(&gw, &body).await.status, 200, "{name}: its own");
    }
    upstream.push(response("resp_3", &[]));
    let unknown = gw.send(other(post("/v1/responses", &go_on("resp_nobodys")))).await;
    assert_eq!(unknown.status, 200, "what nobody is known to have issued is the upstream's to judge");
}

#[tokio::test(start_paused = true)]
async fn what_goes_on_from_a_response_goes_where_it_is_kept_and_nowhere_else() {
    let (first, second) = (scripted([rate_limited()]), scripted([response("resp_1", &[])]));
    let gw = two_clients(ApiFormat::OpenAiCli, &[&first, &second]).start();
    assert_eq!(respond(&gw, &json!({ "model": MODEL, "input": "hi" })).await.status, 200);
    let stored = [fingerprint(b"resp_1"), fingerprint(b"msg_resp_1")];
    assert_eq!(last(&gw).issued, stored, "the journal has it");

    tokio::time::sleep(Duration::from_mins(1)).await; // the first is as good as ever
    second.push(response("resp_2", &[]));
    assert_eq!(respond(&gw, &go_on("resp_1")).await.status, 200);
    assert_eq!((first.requests().len(), second.requests().len()), (1, 2));
    assert_eq!(codes(&last(&gw)), [(id(102), "state_bound")]);

    // Its home rests: a reason that passes, so there is a time to come back.
    second.push(rate_limited());
    let refused = respond(&gw, &go_on("resp_1")).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, Some("7")), "{}", refused.text());
    let refused = respond(&gw, &go_on("resp_1")).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, Some("7")), "cooling");
    assert_eq!((first.requests().len(), second.requests().len()), (1, 3), "no other is asked");
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_at_a_key_that_is_gone_is_a_native_404() {
    let (first, second) = (scripted([response("resp_1", &[])]), scripted([]));
    let gw = two_clients(ApiFormat::OpenAiCli, &[&first, &second])
        .with(|builder| {
            let soon = crate::support::START_US + 10_000_000;
            builder.parts.provider_keys[0].expires_at = Some(soon);
        })
        .start();
    assert_eq!(respond(&gw, &json!({ "model": MODEL, "input": "hi" })).await.status, 200);
    tokio::time::sleep(Duration::from_secs(11)).await;
    let refused = respond(&gw, &go_on("resp_1")).await;
    assert_eq!((refused.status.as_u16(), second.requests().len()), (404, 0), "{}", refused.text());
    assert_eq!(refused.json()["error"]["type"], "invalid_request_error");
}

#[tokio::test(start_paused = true)]
async fn things_that_are_kept_at_two_keys_meet_nowhere() {
    let (first, second) = (scripted([response("resp_1", &[]), rate_limited()]), scripted([response("resp_2", &[])]));
    let gw = two_clients(ApiFormat::OpenAiCli, &[&first, &second]).start();
    let hi = json!({ "model": MODEL, "input": "hi" });
    assert_eq!(
        (respond(&gw, &hi).await.status, respond(&gw, &hi).await.status),
        (http::StatusCode::OK, http::StatusCode::OK)
    );
    let mut both = go_on("resp_1");
    both["input"] = json!([{ "type": "item_reference", "id": "msg_resp_2" }]);
    assert_eq!(respond(&gw, &both).await.status, 404);
    assert_eq!(gw.kept.refused.lock().unwrap()[0].reason, "bound_to_two_keys");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_not_stored_is_bound_to_nobody_but_its_thoughts_are() {
    let thought = json!({ "id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAA" });
    let gw = two_clients(ApiFormat::OpenAiCli, &[&scripted([response("resp_1", &[thought])])]).start();
    assert_eq!(respond(&gw, &json!({ "model": MODEL, "input": "hi", "store": false })).await.status, 200);
    assert_eq!(last(&gw).issued, [fingerprint(b"gAAA")]);
}

#[tokio::test(start_paused = true)]
async fn what_the_request_named_itself_is_not_issued_by_its_answer() {
    let call = json!({ "id": "ci_1", "type": "code_interpreter_call", "container_id": "cntr_shared" });
    let upstream = scripted([response("resp_1", std::slice::from_ref(&call)), response("resp_2", &[call])]);
    let gw = two_clients(ApiFormat::OpenAiCli, &[&upstream]).start();
    let tool = json!({ "type": "code_interpreter", "container": "cntr_shared" });
    let body = json!({ "model": MODEL, "input": "hi", "tools": [tool] });
    assert_eq!(respond(&gw, &body).await.status, 200);
    let shared = gw.send(other(post("/v1/responses", &body))).await;
    assert_eq!(shared.status, 200, "what was shared before stays shared: {}", shared.text());
}

#[tokio::test(start_paused = true)]
async fn where_earlier_code_ran_is_asked_first_and_is_not_needed() {
    let run = |container: &str| json!({ "id": "ci_1", "type": "code_interpreter_call", "container_id": container, "code": "1" });
    let (first, second) = (
        scripted([response("resp_1", &[run("cntr_1")]), rate_limited()]),
        scripted([response("resp_2", &[run("cntr_2")])]),
    );
    let gw = two_clients(ApiFormat::OpenAiCli, &[&first, &second]).start();
    let hi = json!({ "model": MODEL, "input": "hi" });
    assert_eq!(respond(&gw, &hi).await.status, 200);
    assert_eq!(respond(&gw, &hi).await.status, 200, "the first rests");

    tokio::time::sleep(Duration::from_mins(6)).await; // no cache is warm any more, and nobody rests
    let body =
        json!({ "model": MODEL, "input": [run("cntr_1"), run("cntr_2"), { "role": "user", "content": "and?" }] });
    second.push(response("resp_3", &[]));
    assert_eq!(respond(&gw, &body).await.status, 200);
    assert_eq!((first.requests().len(), second.requests().len()), (2, 2), "the last run's is asked");
    second.push(rate_limited());
    first.push(response("resp_4", &[]));
    assert_eq!(respond(&gw, &body).await.status, 200, "containers last for minutes, and a new one is made");
    assert_eq!(first.requests()[2].body, body.to_string().replace(MODEL, "up-0"), "nothing is taken out");
    assert_eq!(last(&gw).usage.metadata.edits, ["model"]);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_a_history_named_is_not_issued_by_the_answer_that_goes_on_in_it() {
    let run = json!({ "id": "ci_1", "type": "code_interpreter_call", "container_id": "cntr_shared", "code": "1" });
    let upstream = scripted([response("resp_1", std::slice::from_ref(&run)), response("resp_2", &[])]);
    let gw = two_clients(ApiFormat::OpenAiCli, &[&upstream]).start();
    let body = json!({ "model": MODEL, "input": [run] });
    assert_eq!(respond(&gw, &body).await.status, 200);
    let shared = gw.send(other(post("/v1/responses", &body))).await;
    assert_eq!(shared.status, 200, "what was shared before stays shared: {}", shared.text());
}

/// A wire whose answers are signed: how a signed answer looks, the next turn with and without what was signed.
struct Signed {
    format: ApiFormat,
    path: String,
    answer: Reply,
    turn: String,
    stripped: String,
    edits: &'static [&'static str],
}

fn signed() -> [Signed; 3] {
    let claude = |thought: &str, thinking: &str| {
        format!(
            r#"{{"model":"{MODEL}","max_tokens":4096,{thinking}"system":"Be  brief.","messages":[{{"role":"user","content":"hi"}}, {{"role":"assistant","content":[{thought}{{"type":"tool_use","id":"t1","name":"f","input":{{"a" : 1}}}}]}},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"t1","content":"ok"}}]}}]}}"#
        )
    };
    let responses = |thought: &str| {
        format!(
            r#"{{"model":"{MODEL}","store":false,"input":[{{"role":"user","content":"hi"}},{thought} {{"type":"message","role":"assistant","content":"yes"}},{{"role":"user","content":"and?"}}]}}"#
        )
    };
    let gemini = |signature: &str| {
        format!(
            r#"{{"contents":[{{"role":"user","parts":[{{"text":"hi"}}]}},{{"role":"model","parts":[{{"text":"yes", "thoughtSignature" : "{signature}"}}]}},{{"role":"user","parts":[{{"text":"and?"}}]}}]}}"#
        )
    };
    [
        Signed {
            format: ApiFormat::Claude,
            path: "/v1/messages".to_owned(),
            answer: whole(
                &json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": "up-1", "stop_reason": "tool_use",
                "content": [{ "type": "thinking", "thinking": "hm", "signature": "EqSigned/1" }],
                "usage": { "input_tokens": 12, "output_tokens": 2 } }),
            ),
            turn: claude(
                r#"{"type":"thinking","thinking":"hm","signature":"EqSigned\/1"},"#,
                r#""thinking":{"type":"enabled","budget_tokens":1024},"#,
            ),
            stripped: claude("", ""),
            edits: &["model", "strip_params", "strip_sealed"],
        },
        Signed {
            format: ApiFormat::OpenAiCli,
            path: "/v1/responses".to_owned(),
            answer: response(
                "resp_1",
                &[json!({ "id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gASigned" })],
            ),
            turn: responses(r#"{"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":"gASigned"},"#),
            stripped: responses(""),
            edits: &["model", "strip_sealed"],
        },
        Signed {
            format: ApiFormat::Gemini,
            path: format!("/v1beta/models/{MODEL}:generateContent"),
            answer: whole(&json!({ "candidates": [{ "content": { "role": "model",
                "parts": [{ "text": "yes", "thoughtSignature": "CiSigned" }] }, "finishReason": "STOP" }],
                "usageMetadata": { "promptTokenCount": 12, "candidatesTokenCount": 2, "totalTokenCount": 14 } })),
            turn: gemini("CiSigned"),
            stripped: gemini("skip_thought_signature_validator"),
            edits: &["strip_sealed"],
        },
    ]
}

#[tokio::test(start_paused = true)]
async fn signed_thoughts_go_back_to_their_issuer_whole_and_to_others_not_at_all() {
    for Signed { format, path, answer, turn, stripped, edits } in signed() {
        let (first, second) = (scripted([rate_limited()]), scripted([answer.clone(), answer.clone(), rate_limited()]));
        let gw = two_clients(format, &[&first, &second]).start();
        let ask = |body: &str| request(Method::POST, &path, body.to_owned());
        let (_, plain) = crate::support::ask(format, false);
        assert_eq!(gw.send(ask(&plain.to_string())).await.status, 200, "{format}");

        tokio::time::sleep(Duration::from_mins(6)).await; // no cache is warm any more, and nobody rests
        assert_eq!(gw.send(ask(&turn)).await.status, 200, "{format}");
        let upstream_model = |body: &str| body.replace(MODEL, "up-1");
        assert_eq!(second.requests()[1].body, upstream_model(&turn), "{format}: the very bytes");
        assert_eq!(codes(&last(&gw)), [(id(102), "available")], "{format}: it could have served");

        // Its issuer cannot: another takes the turn without what it would not understand.
        first.push(answer.clone());
        let got = gw.send(ask(&turn)).await;
        assert_eq!(got.status, 200, "{format}: {}", got.text());
        let settled = last(&gw);
        assert_eq!(first.requests()[1].body, stripped.replace(MODEL, "up-0"), "{format}: every other byte stays");
        let mut made = settled.usage.metadata.edits.clone();
        made.sort_unstable();
        made.dedup();
        assert_eq!(made, edits, "{format}");
        assert_eq!(settled.candidates.iter().map(|row| row.key_id).collect::<Vec<_>>(), [id(112), id(102)], "{format}");

        // What is signed proves nothing about who holds it: another client key may go on with the conversation.
        tokio::time::sleep(Duration::from_mins(1)).await;
        second.push(answer);
        assert_eq!(gw.send(other(ask(&turn))).await.status, 200, "{format}");
        assert_eq!(second.requests().last().unwrap().body, upstream_model(&turn), "{format}");
    }
}

#[tokio::test(start_paused = true)]
async fn thoughts_that_were_converted_go_back_to_their_issuer() {
    let thought = json!({ "id": "rs_1", "type": "reasoning", "encrypted_content": "gAOnlyIKnow",
        "summary": [{ "type": "summary_text", "text": "hm" }] });
    let (first, second) =
        (scripted([rate_limited()]), scripted([response("resp_1", &[thought]), response("resp_2", &[])]));
    let gw = gateway().upstream(ApiFormat::Claude, &first).upstream(ApiFormat::OpenAiCli, &second).start();
    let (path, mut body) = crate::support::ask(ApiFormat::Claude, false);
    let got = gw.post(&path, &body).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(last(&gw).issued, [fingerprint(b"gAOnlyIKnow")], "its ids are ours, and bind nothing");

    tokio::time::sleep(Duration::from_mins(6)).await;
    let said = json!({ "role": "assistant", "content": got.json()["content"] });
    let turns = [body["messages"][0].clone(), said, json!({ "role": "user", "content": "and?" })];
    body["messages"] = json!(turns);
    assert_eq!(gw.post(&path, &body).await.status, 200);
    assert_eq!((first.requests().len(), second.requests().len()), (1, 2));
    assert!(second.requests()[1].json()["input"].to_string().contains("gAOnlyIKnow"));
}

#[tokio::test(start_paused = true)]
async fn more_names_than_any_conversation_has_are_refused() {
    let upstream = scripted([]);
    let gw = two_clients(ApiFormat::OpenAiCli, &[&upstream]).start();
    let references = vec![json!({ "type": "item_reference", "id": "msg_1" }); 1025];
    assert_eq!(respond(&gw, &json!({ "model": MODEL, "input": references })).await.status, 400);
    assert_eq!(upstream.requests().len(), 0);
}
