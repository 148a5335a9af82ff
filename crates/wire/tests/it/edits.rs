//! Peek, edits and splice together: the body that goes out is the one that came in, but for the values edited.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use wire::{
    Edit, Kind, Peek, Wire, peek,
    recode::{ask_usage, set_maximum, set_model, strip_params},
    splice,
};

/// Any JSON value of a moderate size.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A chat body: known members in any order among others, written with any amount of space.
fn chat_body() -> impl Strategy<Value = (Vec<(String, Value)>, bool)> {
    let known = (
        "[a-z/\"\\\\é]{1,8}",
        prop::option::of(prop_oneof![Just(Value::Null), (0..9_000_u64).prop_map(Value::from)]),
        prop::option::of(prop_oneof![
            Just(Value::Null),
            Just(json!({})),
            Just(json!({"include_usage": false})),
            Just(json!({"include_usage": true, "x": 1})),
            Just(json!({"include_usage": null})),
        ]),
    );
    let others = prop::collection::btree_map("x[a-c]{1,3}", any_value(), 0..5);
    (known, others, any::<bool>()).prop_flat_map(|((model, maximum, options), others, spaced)| {
        let mut members: Vec<(String, Value)> = others.into_iter().collect();
        members.push(("model".into(), model.into()));
        members.extend(maximum.map(|maximum| ("max_tokens".into(), maximum)));
        members.extend(options.map(|options| ("stream_options".into(), options)));
        (Just(members).prop_shuffle(), Just(spaced))
    })
}

fn write(members: &[(String, Value)], spaced: bool) -> Bytes {
    let (space, comma) = if spaced { (" \n", " ,\t") } else { ("", ",") };
    let member = |(key, value): &(String, Value)| {
        let value = if spaced { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        format!("{}{space}:{space}{}", Value::from(key.as_str()), value.unwrap())
    };
    let inside: Vec<String> = members.iter().map(member).collect();
    Bytes::from(format!("{space}{{{space}{}{space}}}{space}", inside.join(comma)))
}

fn chat(body: &[u8]) -> Peek {
    peek(Wire::Chat, Kind::Generate, body).unwrap()
}

fn spliced(body: &Bytes, edits: Vec<Edit>) -> Vec<u8> {
    splice(body, edits).concat()
}

fn parse(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body)))
}

proptest! {
    #[test]
    fn edits_together_make_the_edited_value((members, spaced) in chat_body(), name in "[a-z\"\\\\/é]{1,9}", limit in 1..9_000_u64) {
        let body = write(&members, spaced);
        let peek = chat(&body);
        let mut edits: Vec<Edit> = set_model(&peek, &name).into_iter().chain(ask_usage(&peek)).collect();
        edits.extend(set_maximum(Wire::Chat, &peek, limit, "max_tokens"));

        let mut want = parse(&body);
        want["model"] = name.into();
        match &mut want["stream_options"] {
            options @ Value::Null => *options = json!({"include_usage": true}),
            options => options["include_usage"] = true.into(),
        }
        let asked = want["max_tokens"].as_u64();
        want["max_tokens"] = asked.map_or(limit, |asked| asked.min(limit)).into();
        prop_assert_eq!(parse(&spliced(&body, edits)), want);
    }

    #[test]
    fn bytes_outside_the_edits_stay((members, spaced) in chat_body(), name in "[a-z]{1,9}") {
        let body = write(&members, spaced);
        let peek = chat(&body);
        let Some(edit) = set_model(&peek, &name) else { return Ok(()) };
        let (before, after) = (&body[..edit.at.start], &body[edit.at.end..]);
        let got = spliced(&body, vec![edit.clone()]);
        prop_assert!(got.starts_with(before) && got.ends_with(after));
        prop_assert_eq!(got.len(), before.len() + edit.with.len() + after.len());
    }

    #[test]
    fn stripped_members_are_gone_and_no_other(
        (members, spaced) in chat_body(), gone in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let body = write(&members, spaced);
        let names: Vec<String> = gone.iter().map(|which| which.get(&members).0.clone()).collect();
        let mut want = parse(&body);
        want.as_object_mut().unwrap().retain(|key, _| key == "model" || !names.contains(key));
        prop_assert_eq!(parse(&spliced(&body, strip_params(&body, &names))), want);
    }

    #[test]
    fn a_splice_is_what_replacing_text_would_do(
        body in prop::collection::vec(any::<u8>(), 0..200),
        spans in prop::collection::vec((any::<usize>(), 0..9_usize, prop::collection::vec(any::<u8>(), 0..5)), 0..6),
    ) {
        let body = Bytes::from(body);
        // Neighbours that do not overlap, in a shuffled order.
        let mut at = 0;
        let mut edits = Vec::new();
        for (gap, len, with) in spans {
            let start = at + gap % (body.len() - at + 1);
            let end = (start + len).min(body.len());
            edits.push(Edit { at: start..end, with, name: "test" });
            at = end;
        }
        let mut want = body.to_vec();
        for edit in edits.iter().rev() {
            want.splice(edit.at.clone(), edit.with.iter().copied());
        }
        prop_assert_eq!(splice(&body, edits).concat(), want);
    }
}

#[test]
fn what_is_not_edited_is_not_copied() {
    let body = Bytes::from_static(br#"{"model":"a","messages":[{"role":"user","content":"hi"}]}"#);
    let rope = splice(&body, set_model(&chat(&body), "b").into_iter().collect());
    assert_eq!(rope.len(), 3);
    for piece in [&rope[0], &rope[2]] {
        assert!(body.as_ptr_range().contains(&piece.as_ptr()));
    }
}

#[test]
fn edits_of_other_wires() {
    let one_maximum = |wire, value| move |peek: &Peek| set_maximum(wire, peek, value, "max_completion_tokens");
    type Make = Box<dyn Fn(&Peek) -> Vec<Edit>>;
    let table: Vec<(&str, Wire, &str, Make, &str)> = vec![
        (
            "Anthropic: the maximum and the budget above it",
            Wire::Anthropic,
            r#"{"model":"m","max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":8999}}"#,
            Box::new(one_maximum(Wire::Anthropic, 2000)),
            r#"{"model":"m","max_tokens":2000,"thinking":{"type":"enabled","budget_tokens":1999}}"#,
        ),
        (
            "a budget below the maximum stays",
            Wire::Anthropic,
            r#"{"model":"m","max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":1024}}"#,
            Box::new(one_maximum(Wire::Anthropic, 2000)),
            r#"{"model":"m","max_tokens":2000,"thinking":{"type":"enabled","budget_tokens":1024}}"#,
        ),
        (
            "chat: both maxima",
            Wire::Chat,
            r#"{"model":"m","max_tokens":50,"max_completion_tokens":90}"#,
            Box::new(one_maximum(Wire::Chat, 20)),
            r#"{"model":"m","max_tokens":20,"max_completion_tokens":20}"#,
        ),
        (
            "one that is lower stays",
            Wire::Chat,
            r#"{"model":"m","max_tokens":50,"max_completion_tokens":90}"#,
            Box::new(one_maximum(Wire::Chat, 60)),
            r#"{"model":"m","max_tokens":50,"max_completion_tokens":60}"#,
        ),
        (
            "chat: none given, the endpoint's field",
            Wire::Chat,
            r#"{"model":"m"}"#,
            Box::new(|peek| set_maximum(Wire::Chat, peek, 7, "max_tokens")),
            r#"{"max_tokens":7,"model":"m"}"#,
        ),
        (
            "Responses: null is none",
            Wire::Responses,
            r#"{"model":"m","max_output_tokens": null }"#,
            Box::new(one_maximum(Wire::Responses, 16)),
            r#"{"model":"m","max_output_tokens": 16 }"#,
        ),
        (
            "Gemini: no configuration",
            Wire::Gemini,
            r#"{"contents":[]}"#,
            Box::new(one_maximum(Wire::Gemini, 5)),
            r#"{"generationConfig":{"maxOutputTokens":5},"contents":[]}"#,
        ),
        (
            "Gemini: an empty body",
            Wire::Gemini,
            "{ }",
            Box::new(one_maximum(Wire::Gemini, 5)),
            r#"{"generationConfig":{"maxOutputTokens":5} }"#,
        ),
        (
            "Gemini: a configuration in snake case, and its budget",
            Wire::Gemini,
            r#"{"generation_config":{"max_output_tokens":900,"thinking_config":{"thinking_budget":900}}}"#,
            Box::new(one_maximum(Wire::Gemini, 500)),
            r#"{"generation_config":{"max_output_tokens":500,"thinking_config":{"thinking_budget":499}}}"#,
        ),
        (
            "Gemini: an empty configuration",
            Wire::Gemini,
            r#"{"generationConfig":{}}"#,
            Box::new(one_maximum(Wire::Gemini, 5)),
            r#"{"generationConfig":{"maxOutputTokens":5}}"#,
        ),
        (
            "Gemini: the model wherever the body repeats it",
            Wire::Gemini,
            r#"{"model":"models/b","requests":[{"model":"models/a","content":{"parts":[{"text":"x"}]}},{"model":"a"}]}"#,
            Box::new(|peek| wire::recode::set_model_echoes(peek, "b")),
            r#"{"model":"models/b","requests":[{"model":"models/b","content":{"parts":[{"text":"x"}]}},{"model":"models/b"}]}"#,
        ),
        (
            "a TTL for every mark without one",
            Wire::Anthropic,
            r#"{"model":"m","system":[{"text":"a","cache_control":{"type":"ephemeral"}}],"tools":[{"cache_control":{"ttl":null}}],"messages":[{"content":[{"cache_control":{"type":"ephemeral","ttl":"5m"}},{"cache_control":{}}]}]}"#,
            Box::new(wire::recode::add_ttl),
            r#"{"model":"m","system":[{"text":"a","cache_control":{"type":"ephemeral","ttl":"1h"}}],"tools":[{"cache_control":{"ttl":"1h"}}],"messages":[{"content":[{"cache_control":{"type":"ephemeral","ttl":"5m"}},{"cache_control":{"ttl":"1h"}}]}]}"#,
        ),
    ];
    for (name, wire, body, make, want) in table {
        let peek = peek(wire, Kind::Generate, body.as_bytes()).unwrap();
        let got = spliced(&Bytes::from_static(body.as_bytes()), make(&peek));
        assert_eq!(String::from_utf8(got).unwrap(), want, "{name}");
    }
}

#[test]
fn an_edit_within_what_another_removes_is_void() {
    let body = Bytes::from_static(br#"{"model":"m","max_tokens":9,"stream_options":{}}"#);
    let peek = chat(&body);
    let mut edits = set_maximum(Wire::Chat, &peek, 3, "max_tokens");
    edits.extend(ask_usage(&peek));
    edits.extend(strip_params(&body, &["max_tokens".into(), "stream_options".into()]));
    assert_eq!(spliced(&body, edits), br#"{"model":"m"}"#);
}
