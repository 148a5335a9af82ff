//! Nothing disappears in silence: what a stream or an answer says beside what is carried is named.

use serde_json::{Value, json};

use super::support::{answered, sse, stream};
use crate::{
    Wire,
    convert::{Asked, Quirks, request},
};

const A: Wire = Wire::Anthropic;
const C: Wire = Wire::Chat;
const R: Wire = Wire::Responses;
const G: Wire = Wire::Gemini;

fn lost_of_stream(from: Wire, to: Wire, events: &[Value]) -> Vec<String> {
    let mut bytes = sse(events);
    if from == C {
        bytes += "data: [DONE]\n\n";
    }
    let (_, _, loss, _) = stream(from, to, [bytes.as_bytes()]);
    loss.items().iter().map(|lost| lost.pointer.clone()).collect()
}

#[test]
fn unknown_members_of_a_chat_stream_are_named() {
    let events = [
        json!({ "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "xTop": 1, "obfuscation": "aa", "choices": [
            { "index": 0, "xChoice": 1, "logprobs": null, "finish_reason": null, "delta": { "role": "assistant", "content": "a", "xDelta": 1, "refusal": null } },
        ] }),
        json!({ "choices": [{ "index": 0, "delta": { "tool_calls": [
            { "index": 0, "id": "c1", "type": "function", "xCall": 1, "function": { "name": "f", "arguments": "{}", "xFunction": 1 } },
            { "index": 3, "function": { "arguments": "lone" } },
        ] } }] }),
        json!({ "choices": [], "usage": { "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "prompt_tokens_details": { "audio_tokens": 0, "cached_tokens": 0 }, "completion_tokens_details": { "accepted_prediction_tokens": 4 } } }),
    ];
    let mut lost = lost_of_stream(C, A, &events);
    lost.sort();
    assert_eq!(
        lost,
        [
            "/choices/0/message/tool_calls/0/function/xFunction",
            "/choices/0/message/tool_calls/0/xCall",
            "/choices/0/message/tool_calls/3",
            "/choices/0/message/xDelta",
            "/choices/0/xChoice",
            "/usage/completion_tokens_details/accepted_prediction_tokens",
            "/xTop",
        ]
    );
}

#[test]
fn unknown_members_of_a_messages_stream_are_named() {
    let events = [
        json!({ "type": "message_start", "xTop": 1, "message": { "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": null, "xMessage": 1, "usage": { "input_tokens": 1, "xCount": 2 } } }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": { "type": "direct" }, "xBlock": 1 } }),
        json!({ "type": "content_block_delta", "index": 0, "xEvent": 1, "delta": { "type": "input_json_delta", "partial_json": "{}", "xDelta": 1 } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "ping" }),
        json!({ "type": "future_event", "x": 1 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "pause_turn", "stop_sequence": "END", "xLast": 1 }, "xAfter": 1, "usage": { "server_tool_use": { "web_search_requests": 2 } } }),
        json!({ "type": "message_stop" }),
    ];
    let mut lost = lost_of_stream(A, C, &events);
    lost.sort();
    assert_eq!(
        lost,
        [
            "/content/0/xBlock",
            "/content/0/xDelta",
            "/future_event",
            "/stop_reason",
            "/stop_sequence",
            "/usage/server_tool_use/web_search_requests",
            "/usage/xCount",
            "/xAfter",
            "/xEvent",
            "/xLast",
            "/xMessage",
            "/xTop",
        ]
    );
}

#[test]
fn unknown_members_of_a_responses_stream_are_named() {
    let events = [
        json!({ "type": "response.created", "sequence_number": 0, "response": { "id": "r", "model": "m", "output": [] } }),
        json!({ "type": "response.output_item.added", "output_index": 0, "item": { "type": "message", "id": "i", "content": [] } }),
        json!({ "type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "i", "delta": "a", "xDelta": 1, "logprobs": [], "obfuscation": "b" }),
        json!({ "type": "response.future.delta", "output_index": 0, "delta": "a" }),
        json!({ "type": "response.output_item.done", "output_index": 0, "item": { "type": "message", "id": "i", "role": "assistant", "status": "completed", "xItem": 1, "content": [{ "type": "output_text", "text": "a", "annotations": [], "xPart": 1 }] } }),
        json!({ "type": "response.output_item.added", "output_index": 1, "item": { "type": "web_search_call" } }),
        json!({ "type": "response.web_search_call.searching", "output_index": 1 }),
        json!({ "type": "response.completed", "response": { "id": "r", "status": "completed", "output": [], "xEnd": 1, "tools": [{}], "temperature": 1.0, "tool_usage": { "web_search": { "num_requests": 0 } }, "usage": { "input_tokens": 1, "output_tokens": 1, "total_tokens": 2, "xCount": 1 } } }),
    ];
    let mut lost = lost_of_stream(R, A, &events);
    lost.sort();
    assert_eq!(
        lost,
        [
            "/output/0/content/0/xPart",
            "/output/0/xItem",
            "/output/1",
            "/response.future.delta",
            "/usage/xCount",
            "/xDelta",
            "/xEnd",
        ]
    );
}

#[test]
fn unknown_members_of_a_gemini_stream_are_named() {
    let events = [json!({
        "xTop": 1, "responseId": "r", "modelVersion": "g", "createTime": "2026-01-01T00:00:00Z", "promptFeedback": { "xFeedback": 1 },
        "candidates": [{ "index": 0, "finishReason": "STOP", "xCandidate": 1, "content": { "role": "model", "xContent": 1, "parts": [
            { "text": "a", "xText": 1 }, { "functionCall": { "name": "f", "args": {}, "xCall": 1 } }, { "executableCode": { "code": "x" } },
        ] } }],
        "usageMetadata": { "promptTokenCount": 1, "xCount": 1, "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": 1 }], "candidatesTokensDetails": [{ "modality": "AUDIO", "tokenCount": 1 }] },
    })];
    let mut lost = lost_of_stream(G, C, &events);
    lost.sort();
    assert_eq!(
        lost,
        [
            "/candidates/0/content/parts/0/xText",
            "/candidates/0/content/parts/1/functionCall",
            "/candidates/0/content/parts/2",
            "/candidates/0/content/xContent",
            "/candidates/0/xCandidate",
            "/promptFeedback/xFeedback",
            "/usageMetadata/candidatesTokensDetails",
            "/usageMetadata/xCount",
            "/xTop",
        ]
    );
}

#[test]
fn what_a_whole_answer_says_beside_the_carried_is_named() {
    let lost = |from: Wire, to: Wire, body: &Value| {
        let (_, loss) = answered(from, to, &serde_json::to_vec(body).unwrap());
        let mut lost: Vec<String> = loss.items().iter().map(|lost| lost.pointer.clone()).collect();
        lost.sort();
        lost
    };
    let body = json!({
        "id": "r", "object": "response", "status": "completed", "model": "m", "tools": [{ "type": "function" }], "store": true, "xTop": 1, "tool_usage": { "web_search": { "num_requests": 0 }, "image_gen": { "total_tokens": 3 } },
        "output": [{ "type": "function_call", "id": "fc", "status": "completed", "call_id": "c", "name": "f", "arguments": "{}", "namespace": "n" }],
        "usage": { "input_tokens": 1, "output_tokens": 1, "total_tokens": 2, "xCount": 1 },
    });
    assert_eq!(
        lost(R, A, &body),
        ["/output/0/namespace", "/tool_usage/image_gen/total_tokens", "/usage/xCount", "/xTop"]
    );
    let body = json!({
        "id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "stop_sequence", "stop_sequence": "END",
        "content": [{ "type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": { "type": "code_execution_20250825", "tool_id": "x" }, "status": "odd" }],
        "usage": { "input_tokens": 1, "output_tokens": 1, "service_tier": "standard" },
    });
    assert_eq!(
        lost(A, C, &body),
        ["/content/0/caller/tool_id", "/content/0/caller/type", "/content/0/status", "/stop_sequence",]
    );
}

#[test]
fn a_bound_of_zero_is_no_count_of_zero() {
    let asked = json!({ "model": "m", "input": "hi", "max_tool_usage": 0, "tool_usage": { "most": 0 } }).to_string();
    let there = request(R, A, asked.as_bytes(), &Asked::default(), Quirks::default()).unwrap();
    let lost: Vec<&str> = there.loss.items().iter().map(|lost| lost.pointer.as_str()).collect();
    assert_eq!(lost, ["/max_tool_usage", "/tool_usage/most"]);
}
