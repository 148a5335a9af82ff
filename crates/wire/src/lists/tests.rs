use super::*;

const MODELS: [ListedModel<'static>; 3] = [
    ListedModel {
        name: "claude-x",
        display_name: "Claude X",
        created_unix_s: 1_700_000_000,
        input_limit: Some(200_000),
        output_limit: None,
    },
    ListedModel { name: "gpt-y", display_name: "GPT Y", created_unix_s: 0, input_limit: None, output_limit: Some(9) },
    ListedModel { name: "z", display_name: "Z", created_unix_s: -1, input_limit: None, output_limit: None },
];

fn list(dialect: Dialect, page: Page<'_>) -> Value {
    serde_json::from_slice(&model_list(dialect, &MODELS, &page)).unwrap()
}

#[test]
fn an_openai_list_has_no_pages() {
    let got = list(Dialect::OpenAi, Page { limit: Some(1), after: Some("z") });
    assert_eq!(got["object"], "list");
    assert_eq!(got["data"].as_array().map(Vec::len), Some(3));
    assert_eq!(
        got["data"][0],
        json!({"id": "claude-x", "object": "model", "created": 1_700_000_000, "owned_by": "system"})
    );
}

#[test]
fn an_anthropic_list_is_paged_by_the_last_id() {
    let first = list(Dialect::Anthropic, Page { limit: Some(2), after: None });
    assert_eq!(
        first["data"][0],
        json!({
            "type": "model", "id": "claude-x", "display_name": "Claude X", "created_at": "2023-11-14T22:13:20Z",
            "max_input_tokens": 200_000,
        })
    );
    assert_eq!(
        (&first["has_more"], &first["first_id"], &first["last_id"]),
        (&true.into(), &"claude-x".into(), &"gpt-y".into())
    );
    let second = list(Dialect::Anthropic, Page { limit: Some(2), after: Some("gpt-y") });
    assert_eq!((&second["has_more"], &second["data"][0]["id"]), (&false.into(), &"z".into()));
    let none = list(Dialect::Anthropic, Page { limit: None, after: Some("gone") });
    assert_eq!(none, json!({"data": [], "has_more": false, "first_id": null, "last_id": null}));
}

#[test]
fn a_gemini_list_names_its_next_page() {
    let first = list(Dialect::Gemini, Page { limit: Some(1), after: None });
    assert_eq!(first["nextPageToken"], "claude-x");
    assert_eq!(first["models"][0]["name"], "models/claude-x");
    assert_eq!(first["models"][0]["inputTokenLimit"], 200_000);
    let last = list(Dialect::Gemini, Page { limit: None, after: Some("claude-x") });
    assert_eq!((last["models"].as_array().map(Vec::len), last.get("nextPageToken")), (Some(2), None));
}

#[test]
fn one_model_is_an_entry_of_its_list() {
    for (dialect, entries) in [(Dialect::OpenAi, "data"), (Dialect::Anthropic, "data"), (Dialect::Gemini, "models")] {
        let one: Value = serde_json::from_slice(&model_one(dialect, &MODELS[1])).unwrap();
        assert_eq!(one, list(dialect, Page::default())[entries][1], "{dialect:?}");
    }
}

#[test]
fn tokens_are_counted_in_each_wires_words() {
    for (wire, want) in [
        (Wire::Anthropic, r#"{"input_tokens":7}"#),
        (Wire::Responses, r#"{"input_tokens":7,"object":"response.input_tokens"}"#),
        (Wire::Gemini, r#"{"totalTokens":7}"#),
    ] {
        assert_eq!(String::from_utf8(token_count(wire, 7)).unwrap(), want);
    }
}
