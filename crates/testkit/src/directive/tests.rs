use super::{find, reply};
use crate::clock::Clock;
use crate::laid::lay_out;
use crate::wires::{Ask, Echo, Form, Wire};
use std::time::Duration;

use serde_json::{Value, json};

const WIRES: [Wire; 4] = [Wire::Anthropic, Wire::Chat, Wire::Responses, Wire::Gemini];

/// A conversation that ends with these words, or with this tool result after them.
fn body(wire: Wire, words: &str, result: Option<&str>) -> Value {
    let mut messages = match wire {
        Wire::Anthropic | Wire::Chat => vec![json!({ "role": "user", "content": words })],
        Wire::Responses => vec![json!({ "role": "user", "content": [{ "type": "input_text", "text": words }] })],
        Wire::Gemini => vec![json!({ "role": "user", "parts": [{ "text": words }] })],
    };
    if let Some(result) = result {
        messages.push(match wire {
            Wire::Anthropic => json!({ "role": "user", "content": [{ "type": "tool_result", "content": result }] }),
            Wire::Chat => json!({ "role": "tool", "tool_call_id": "c", "content": result }),
            Wire::Responses => json!({ "type": "function_call_output", "call_id": "c", "output": result }),
            Wire::Gemini => {
                json!({ "role": "user", "parts": [{ "functionResponse": { "name": "t", "response": { "output": result } } }] })
            }
        });
    }
    let name = match wire {
        Wire::Anthropic | Wire::Chat => "messages",
        Wire::Responses => "input",
        Wire::Gemini => "contents",
    };
    json!({ name: messages, "tools": [{ "name": "t" }] })
}

fn answer(wire: Wire, body: &Value) -> String {
    let ask = Ask {
        as_text: false,
        wire,
        model: "m".to_owned(),
        form: Form::Whole,
        include_usage: false,
        padded: true,
        echo: Echo::default(),
        prompt_bytes: 40,
        serial: 1,
        clock: Clock::starting_at(0),
    };
    lay_out(reply(wire, body, "m"), &ask, Duration::ZERO).text()
}

#[tokio::test]
async fn each_directive_is_followed_on_every_wire() {
    for wire in WIRES {
        for (words, result, want) in [
            ("hi", None, "scripted "),
            ("please [[say exactly this]] now", None, "exactly this"),
            ("[[tool weather {\"city\":[[1]]}]]", None, "weather"),
            ("[[tool weather {\"city\":1}]]", Some("22 degrees"), "tool said: 22 degrees"),
            ("[[tools one {\"a\":1} two {}]]", None, "two"),
            ("[[think hard]]", None, "Done "),
            ("[[error rate_limited]]", None, "429"),
            ("[[error overloaded]]", None, "verloaded"),
        ] {
            let got = answer(wire, &body(wire, words, result));
            assert!(got.contains(want), "{wire:?} {words}: {got}");
        }
    }
}

#[test]
fn a_directive_ends_at_the_outermost_brackets() {
    for (text, want) in [
        ("a [[say b]] c", Some(("say", "b"))),
        ("[[tool t {\"x\":[[1,2]]}]]", Some(("tool", "t {\"x\":[[1,2]]}"))),
        ("[[tool t {\"x\":[1]}]]", Some(("tool", "t {\"x\":[1]}"))),
        ("[[cut]] [[stall]]", Some(("stall", ""))),
        ("[[say one]] [[two]]", Some(("say", "one"))),
        ("[[say a ] b]]", Some(("say", "a ] b"))),
        ("[[say a [ b]]", Some(("say", "a [ b"))),
        ("[[open", None),
        ("[[say open", None),
        ("[[nothing known]]", None),
    ] {
        assert_eq!(find(text), want, "{text}");
    }
}
