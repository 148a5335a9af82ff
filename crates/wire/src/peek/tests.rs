use super::*;
use crate::json::MAX_DEPTH;

fn generate(wire: Wire, body: &str) -> Peek {
    peek(wire, Kind::Generate, body.as_bytes()).unwrap_or_else(|error| panic!("{body}: {error}"))
}

fn refusal(wire: Wire, body: &str) -> PeekError {
    peek(wire, Kind::Generate, body.as_bytes()).expect_err(body)
}

#[test]
fn a_turn_of_an_agent_is_understood() {
    let body = r#"{"model":"claude-sonnet-4-5","messages":[{"role":"user","content":[{"type":"text","text":"ping","cache_control":{"type":"ephemeral"}}]},{"role":"assistant","content":"pong"}],"system":[{"type":"text","text":"be kind","cache_control":{"type":"ephemeral","ttl":"1h"}}],"tools":[{"name":"Bash","input_schema":{"type":"object","properties":{"cache_control":{"type":"string"}}}},{"name":"Edit"}],"metadata":{"user_id":"{\"session_id\":\"s-1\"}"},"max_tokens":32000,"thinking":{"budget_tokens":31999,"type":"enabled"},"stream":true}"#;
    let peek = generate(Wire::Anthropic, body);
    assert_eq!(peek.model.as_ref().map(|model| &body[model.span.clone()]), Some("\"claude-sonnet-4-5\""));
    assert_eq!(peek.stream.map(|stream| stream.value), Some(true));
    assert_eq!(peek.maxima[0].tokens.value, 32_000);
    assert_eq!(&body[peek.maxima[0].tokens.span.clone()], "32000");
    assert!(peek.thinking.asked);
    assert_eq!(peek.thinking.budget.map(|budget| budget.value), Some(31_999));
    assert_eq!((peek.messages, peek.tools, peek.choices), (2, 2, 1));
    assert!(peek.cache.any && peek.cache.one_hour);
    assert_eq!(peek.cache.bare.len(), 1, "a schema's property is no mark");
    assert_eq!(peek.metadata_user_id.as_deref(), Some(r#"{"session_id":"s-1"}"#));
    assert!(peek.system.is_some_and(|span| body[span].starts_with(r#"[{"type":"text","text":"be kind""#)));
    assert!(peek.tools_span.is_some_and(|span| body[span].starts_with(r#"[{"name":"Bash""#)));
    assert!(!peek.uncountable && !peek.image_output && !peek.background);
    assert_eq!((peek.root_open, peek.root_empty), (1, false));
}

#[test]
fn thinking_is_found_where_each_wire_has_it() {
    for (wire, member, asked, budget) in [
        (Wire::Anthropic, r#""thinking":{"type":"adaptive"}"#, true, None),
        (Wire::Anthropic, r#""thinking":{"type":"disabled"}"#, false, None),
        (Wire::Anthropic, r#""thinking":null"#, false, None),
        (Wire::Chat, r#""reasoning_effort":"low""#, true, None),
        (Wire::Chat, r#""reasoning_effort":"none""#, false, None),
        (Wire::Chat, r#""reasoning":{"max_tokens":500}"#, true, Some(500)),
        (Wire::Responses, r#""reasoning":{"summary":"auto"}"#, true, None),
        (Wire::Responses, r#""reasoning":{"effort":"minimal","summary":"auto"}"#, false, None),
        (Wire::Responses, r#""reasoning":{}"#, false, None),
        (Wire::Gemini, r#""generationConfig":{"thinkingConfig":{"thinkingBudget":8192}}"#, true, Some(8192)),
        (
            Wire::Gemini,
            r#""generationConfig":{"thinkingConfig":{"thinkingBudget":0,"includeThoughts":true}}"#,
            false,
            Some(0),
        ),
        (Wire::Gemini, r#""generationConfig":{"thinkingConfig":{"thinkingBudget":-1}}"#, true, None),
        (Wire::Gemini, r#""generation_config":{"thinking_config":{"thinking_level":"HIGH"}}"#, true, None),
        (Wire::Gemini, r#""generationConfig":{"thinkingConfig":{"includeThoughts":false}}"#, false, None),
    ] {
        let thinking = generate(wire, &format!(r#"{{"model":"m",{member}}}"#)).thinking;
        assert_eq!((thinking.asked, thinking.budget.map(|budget| budget.value)), (asked, budget), "{member}");
    }
}

#[test]
fn content_is_counted_by_its_kind() {
    // (what, wire, one part, images, documents, uncountable)
    for (wire, part, images, documents, uncountable) in [
        (
            Wire::Anthropic,
            r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"QUJD"}}"#,
            1,
            0,
            false,
        ),
        (Wire::Anthropic, r#"{"source":{"data":"QUJD","type":"base64"},"type":"image"}"#, 1, 0, false),
        (Wire::Anthropic, r#"{"type":"image","source":{"type":"url","url":"https://a/b.png"}}"#, 1, 0, true),
        (
            Wire::Anthropic,
            r#"{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"QUJD"}}"#,
            0,
            1,
            false,
        ),
        (
            Wire::Anthropic,
            r#"{"type":"document","source":{"type":"text","media_type":"text/plain","data":"words"}}"#,
            0,
            0,
            false,
        ),
        (Wire::Anthropic, r#"{"type":"document","source":{"type":"file","file_id":"file_1"}}"#, 0, 1, true),
        (
            Wire::Anthropic,
            r#"{"type":"tool_result","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"QUJD"}}]}"#,
            1,
            0,
            false,
        ),
        (
            Wire::Anthropic,
            r#"{"type":"search_result","source":"https://a/b","title":"t","content":[{"type":"text","text":"x"}]}"#,
            0,
            0,
            false,
        ),
        (Wire::Anthropic, r#"{"type":"container_upload","file_id":"file_1"}"#, 0, 0, true),
        (Wire::Chat, r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD"}}"#, 1, 0, false),
        (Wire::Chat, r#"{"type":"image_url","image_url":{"url":"https://a/b.png","detail":"low"}}"#, 1, 0, true),
        (Wire::Chat, r#"{"type":"input_audio","input_audio":{"data":"QUJD","format":"wav"}}"#, 0, 0, true),
        (
            Wire::Chat,
            r#"{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,QUJD"}}"#,
            0,
            1,
            false,
        ),
        (Wire::Chat, r#"{"type":"file","file":{"file_id":"file-1"}}"#, 0, 1, true),
        (Wire::Responses, r#"{"type":"input_image","image_url":"data:image/png;base64,QUJD"}"#, 1, 0, false),
        (Wire::Responses, r#"{"type":"input_image","file_id":"file-1"}"#, 0, 0, true),
        (
            Wire::Responses,
            r#"{"type":"input_file","filename":"a","file_data":"data:application/pdf;base64,QUJD"}"#,
            0,
            1,
            false,
        ),
        (Wire::Responses, r#"{"type":"input_file","file_url":"https://a/b.pdf"}"#, 0, 1, true),
        (Wire::Gemini, r#"{"inlineData":{"data":"QUJD","mime_type":"image/png"}}"#, 1, 0, false),
        (Wire::Gemini, r#"{"inline_data":{"mimeType":"application/pdf","data":"QUJD"}}"#, 0, 1, false),
        (Wire::Gemini, r#"{"inlineData":{"mimeType":"video/mp4","data":"QUJD"}}"#, 0, 0, true),
        (Wire::Gemini, r#"{"fileData":{"mimeType":"image/png","fileUri":"gs://a/b"}}"#, 1, 0, true),
        (
            Wire::Gemini,
            r#"{"functionResponse":{"name":"f","response":{},"parts":[{"inlineData":{"mimeType":"image/png","data":"QUJD"}}]}}"#,
            1,
            0,
            false,
        ),
    ] {
        let body = match wire {
            Wire::Gemini => format!(r#"{{"contents":[{{"role":"user","parts":[{part}]}}]}}"#),
            Wire::Responses => format!(r#"{{"model":"m","input":[{{"role":"user","content":[{part}]}}]}}"#),
            _ => format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{part}]}}]}}"#),
        };
        let peek = generate(wire, &body);
        assert_eq!((peek.images, peek.documents, peek.uncountable), (images, documents, uncountable), "{part}");
        assert_eq!(peek.messages, 1, "{part}");
        let longer = generate(wire, &body.replace("QUJD", &"QUJD".repeat(1000)));
        assert_eq!(longer.text_bytes, peek.text_bytes, "data is not text: {part}");
    }
}

#[test]
fn what_is_elsewhere_cannot_be_counted() {
    for (wire, member, uncountable) in [
        (Wire::Responses, r#""previous_response_id":"resp_1""#, true),
        (Wire::Responses, r#""previous_response_id":null"#, false),
        (Wire::Responses, r#""conversation":{"id":"conv_1"}"#, true),
        (Wire::Responses, r#""input":[{"type":"item_reference","id":"msg_1"}]"#, true),
        (Wire::Responses, r#""input":[{"type":"image_generation_call","id":"ig_1","result":null}]"#, true),
        (Wire::Responses, r#""input":[{"type":"image_generation_call","id":"ig_1","result":"iVBOR"}]"#, false),
        (Wire::Responses, r#""input":[{"type":"reasoning","content":null,"encrypted_content":"x"}]"#, false),
        (Wire::Gemini, r#""cachedContent":"cachedContents/1""#, true),
        (Wire::Gemini, r#""cached_content":"cachedContents/1""#, true),
        (Wire::Anthropic, r#""container":"container_1""#, true),
        (Wire::Anthropic, r#""container":null"#, false),
    ] {
        let peek = generate(wire, &format!(r#"{{"model":"m",{member}}}"#));
        assert_eq!(peek.uncountable, uncountable, "{member}");
    }
    let body = r#"{"model":"m","previous_response_id":"resp_1","background":true,"prompt_cache_key":"k"}"#;
    let peek = generate(Wire::Responses, body);
    assert_eq!(peek.previous_response_id.as_deref(), Some("resp_1"));
    assert_eq!(peek.prompt_cache_key.as_deref(), Some("k"));
    assert!(peek.background);
}

#[test]
fn text_is_measured_where_it_stands() {
    // (wire, members, bytes, of them outside ASCII)
    for (wire, members, bytes, wide) in [
        (Wire::Chat, r#""messages":[{"content":"hello"}]"#, 5, 0),
        (Wire::Chat, r#""messages":[{"content":"h\u00e9\n天"}]"#, 7, 5),
        (Wire::Chat, r#""messages":[],"user":"not prompt""#, 0, 0),
        (Wire::Responses, r#""input":"hello","instructions":"be"  "#, 7, 0),
        (Wire::Anthropic, r#""system":"be","messages":[{"content":[{"text":"hi"},{"input":{"a": 1}}]}]"#, 12, 0),
        (Wire::Anthropic, r#""tools":[{"name":"f"}]"#, 12, 0),
        (Wire::Gemini, r#""systemInstruction":{"parts":[{"text":"be"}]},"contents":[{"parts":[{"text":"hi"}]}]"#, 4, 0),
        (Wire::Gemini, r#""contents":{"parts":{"text":"hi"}}"#, 2, 0),
        (Wire::Anthropic, r#""messages":[{"content":[{"source":{"data":"plain","type":"text"}}]}]"#, 5, 0),
        (Wire::Chat, r#""input":["ab","c"]"#, 3, 0),
        (Wire::Chat, r#""prompt":[1,22,333]"#, 6, 0),
        (Wire::Responses, r#""input":[{"environment":{"a":["b"]}},{"environment":["c"]},{"environment":"d"}]"#, 11, 0),
    ] {
        let peek = generate(wire, &format!(r#"{{"model":"m",{members}}}"#));
        assert_eq!((peek.text_bytes, peek.wide_bytes), (bytes, wide), "{members}");
    }
}

#[test]
fn tools_messages_and_choices_are_counted() {
    for (wire, members, messages, tools, choices) in [
        (Wire::Chat, r#""messages":[{},{}],"tools":[{"type":"function"}],"n":3"#, 2, 1, 3),
        (Wire::Chat, r#""messages":[],"n":0"#, 0, 0, 1),
        (Wire::Responses, r#""input":"hi""#, 1, 0, 1),
        (Wire::Responses, r#""input":[{},{},{}]"#, 3, 0, 1),
        (
            Wire::Gemini,
            r#""contents":[{}],"tools":[{"functionDeclarations":[{},{}]},{"googleSearch":{}}],"generationConfig":{"candidateCount":2}"#,
            1,
            3,
            2,
        ),
        (Wire::Gemini, r#""requests":[{"content":{"parts":[]}},{"content":{"parts":[]}}]"#, 2, 0, 1),
        (
            Wire::Gemini,
            r#""generateContentRequest":{"contents":[{}],"tools":[{"functionDeclarations":[{}]}]}"#,
            1,
            1,
            1,
        ),
    ] {
        let peek = generate(wire, &format!(r#"{{"model":"m",{members}}}"#));
        assert_eq!((peek.messages, peek.tools, peek.choices), (messages, tools, choices), "{members}");
    }
}

#[test]
fn image_output_is_noticed() {
    for (wire, member, asked) in [
        (Wire::Chat, r#""modalities":["text","image"]"#, true),
        (Wire::Chat, r#""modalities":["text","audio"]"#, false),
        (Wire::Responses, r#""tools":[{"type":"image_generation"}]"#, true),
        (Wire::Responses, r#""tools":[{"type":"web_search"}]"#, false),
        (Wire::Gemini, r#""generationConfig":{"responseModalities":["TEXT","IMAGE"]}"#, true),
        (Wire::Gemini, r#""generation_config":{"response_modalities":["AUDIO"]}"#, false),
    ] {
        let peek = generate(wire, &format!(r#"{{"model":"m",{member}}}"#));
        assert_eq!(peek.image_output, asked, "{member}");
    }
}

#[test]
fn a_field_that_is_read_may_be_given_once() {
    for (wire, body, field) in [
        (Wire::Chat, r#"{"model":"a","model":"a"}"#, "model"),
        (Wire::Chat, r#"{"model":"a","\u006dodel":"b"}"#, "model"),
        (Wire::Chat, r#"{"model":"a","stream":true,"stream":true}"#, "stream"),
        (Wire::Chat, r#"{"model":"a","stream_options":{},"stream_options":null}"#, "stream_options"),
        (Wire::Chat, r#"{"model":"a","max_tokens":null,"max_tokens":5}"#, "max_tokens"),
        (Wire::Chat, r#"{"model":"a","n":1,"n":2}"#, "n"),
        (Wire::Chat, r#"{"model":"a","messages":[],"messages":[]}"#, "messages"),
        (Wire::Anthropic, r#"{"model":"a","thinking":{},"thinking":{}}"#, "thinking"),
        (Wire::Anthropic, r#"{"model":"a","tools":[],"tools":[]}"#, "tools"),
        (Wire::Responses, r#"{"model":"a","input":"a","input":"b"}"#, "input"),
        (Wire::Responses, r#"{"model":"a","max_output_tokens":16,"max_output_tokens":17}"#, "max_output_tokens"),
        (Wire::Gemini, r#"{"generationConfig":{},"generation_config":{}}"#, "generationConfig"),
        (
            Wire::Gemini,
            r#"{"generationConfig":{"maxOutputTokens":1,"max_output_tokens":2}}"#,
            "generationConfig.maxOutputTokens",
        ),
        (Wire::Gemini, r#"{"generationConfig":{"candidateCount":1,"candidate_count":2}}"#, "candidateCount"),
        (Wire::Gemini, r#"{"contents":[],"contents":[]}"#, "contents"),
    ] {
        assert_eq!(refusal(wire, body), PeekError::DuplicateKey(field), "{body}");
        assert_eq!(refusal(wire, body).field(), Some(field));
    }
    let others = r#"{"model":"a","user":1,"user":2,"messages":[{"role":"a","role":"b","model":1,"model":2}],"temperature":1,"temperature":1}"#;
    generate(Wire::Chat, others);
    generate(Wire::Gemini, r#"{"model":"a","model":"b","contents":[{"parts":[]},{"parts":[]}]}"#);
}

#[test]
fn a_field_that_is_read_has_its_type() {
    for (wire, body, field) in [
        (Wire::Chat, r#"{"model":5}"#, "model"),
        (Wire::Chat, r#"{"model":""}"#, "model"),
        (Wire::Chat, r#"{"model":["a"]}"#, "model"),
        (Wire::Chat, r#"{"model":true}"#, "model"),
        (Wire::Chat, r#"{"model":"m","stream":"true"}"#, "stream"),
        (Wire::Chat, r#"{"model":"m","stream":1}"#, "stream"),
        (Wire::Chat, r#"{"model":"m","max_tokens":-1}"#, "max_tokens"),
        (Wire::Chat, r#"{"model":"m","max_tokens":1.5}"#, "max_tokens"),
        (Wire::Chat, r#"{"model":"m","max_tokens":1e3}"#, "max_tokens"),
        (Wire::Chat, r#"{"model":"m","max_tokens":"9"}"#, "max_tokens"),
        (Wire::Chat, r#"{"model":"m","max_tokens":99999999999999999999}"#, "max_tokens"),
        (Wire::Chat, r#"{"model":"m","n":"2"}"#, "n"),
        (Wire::Gemini, r#"{"generationConfig":{"maxOutputTokens":{}}}"#, "generationConfig.maxOutputTokens"),
        (Wire::Gemini, r#"{"generationConfig":{"candidateCount":false}}"#, "candidateCount"),
    ] {
        assert_eq!(refusal(wire, body).field(), Some(field), "{body}");
        assert!(matches!(refusal(wire, body), PeekError::WrongType { .. }), "{body}");
    }
    let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(513));
    assert_eq!(refusal(Wire::Chat, &long).field(), Some("model"));
    let absent = generate(Wire::Chat, r#"{"model":"m","stream":null,"max_tokens":null,"n":null}"#);
    assert_eq!((absent.stream, absent.maxima, absent.choices), (None, vec![], 1));
}

#[test]
fn a_body_is_one_object_with_a_model() {
    for (body, want) in [
        ("[]", PeekError::NotAnObject),
        ("\"model\"", PeekError::NotAnObject),
        ("", PeekError::NotJson { at: 0 }),
        ("{", PeekError::NotJson { at: 1 }),
        (r#"{"model":"m"} x"#, PeekError::NotJson { at: 14 }),
        ("{}", PeekError::MissingModel),
        (r#"{"model":null}"#, PeekError::MissingModel),
        (r#"{"x":{"model":"m"}}"#, PeekError::MissingModel),
    ] {
        assert_eq!(refusal(Wire::Chat, body), want, "{body}");
    }
    assert_eq!(peek(Wire::Chat, Kind::Generate, b"{\"a\":\"\xff\"}"), Err(PeekError::NotUtf8 { at: 6 }));
    let deep = format!(r#"{{"model":"m","x":{}{}}}"#, "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    assert_eq!(refusal(Wire::Chat, &deep), PeekError::TooDeep);
    assert!(peek(Wire::Chat, Kind::Metered, b"{}").is_ok_and(|peek| peek.root_empty && peek.root_open == 1));
    assert!(peek(Wire::Gemini, Kind::CountTokens, b" { } ").is_ok_and(|peek| peek.root_empty && peek.root_open == 2));
}

#[test]
fn marks_beyond_the_bound_are_not_remembered() {
    let marks = vec![r#"{"cache_control":{"type":"ephemeral"}}"#; BARE_MAX + 10].join(",");
    let peek = generate(Wire::Anthropic, &format!(r#"{{"model":"m","system":[{marks}]}}"#));
    assert_eq!(peek.cache.bare.len(), BARE_MAX);
}

#[test]
fn hints_are_cut_at_a_character() {
    let body = format!(r#"{{"model":"m","prompt_cache_key":"a{}"}}"#, "é".repeat(600));
    let key = generate(Wire::Chat, &body).prompt_cache_key.unwrap_or_default();
    assert_eq!((key.len(), key.chars().count()), (1023, 512));
}

/// What a body names: ids, and what can be taken out.
fn named(wire: Wire, body: &str) -> (Vec<&str>, Vec<&str>) {
    let peek = peek(wire, Kind::Metered, body.as_bytes()).unwrap();
    let texts =
        |sealed| peek.named.iter().filter(move |named| named.sealed == sealed).map(|named| &body[named.at.clone()]);
    (texts(false).collect(), texts(true).collect())
}

#[test]
fn what_only_its_issuer_understands_is_found_wherever_it_is_named() {
    // (wire, body, ids, signatures)
    for (wire, body, ids, signatures) in [
        (
            Wire::Responses,
            r#"{"previous_response_id":"resp_1","conversation":"conv_1","input":"hi"}"#,
            &["resp_1", "conv_1"][..],
            &[][..],
        ),
        (Wire::Responses, r#"{"conversation":{"id":"conv_1"},"previous_response_id":null}"#, &["conv_1"], &[]),
        (
            Wire::Responses,
            r#"{"input":[{"type":"item_reference","id":"msg_1"},{"id":"msg_2","type":"item_reference"},{"id":"msg_3"}]}"#,
            &["msg_1", "msg_2", "msg_3"],
            &[],
        ),
        (
            Wire::Responses,
            r#"{"input":[{"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":"gAA"},
                {"id":"msg_1","type":"message","role":"assistant","content":[]},{"id":"msg_2","role":"user","content":"x"}]}"#,
            &[],
            &["gAA"],
        ),
        (Wire::Responses, r#"{"input":[{"id":"rs_1","type":"reasoning","summary":[]}]}"#, &[], &["rs_1"]),
        // What says nothing of itself stands for what is kept.
        (
            Wire::Responses,
            r#"{"input":[{"id":"msg_1","type":null},{"type":"message","id":"msg_2","content":null},{"id":"rs_1","type":"reasoning"},
                {"type":"image_generation_call","id":"ig_1"},{"id":"ig_2","type":"image_generation_call","status":"completed","result":null},
                {"type":"image_generation_call","id":"ig_3","result":"iVBOR"},{"type":"web_search_call","id":"ws_1","status":"completed"}]}"#,
            &["msg_1", "msg_2", "ig_1", "ig_2"],
            &["rs_1"],
        ),
        // Without the conversation before it nothing can be answered.
        (
            Wire::Responses,
            r#"{"input":[{"encrypted_content":"gAB","id":"cmp_1","type":"compaction"},{"type":"compaction","encrypted_content":"gAC"}]}"#,
            &["gAB", "gAC"],
            &[],
        ),
        (
            Wire::Responses,
            r#"{"input":[{"role":"user","content":[{"type":"input_file","file_id":"file_1"}]},
                {"type":"code_interpreter_call","id":"ci_1","container_id":"cntr_0","code":"1","outputs":null},
                {"type":"shell_call","environment":{"type":"container_reference","container_id":"cntr_3"}},{"environment":{}}],
                "tools":[{"type":"code_interpreter","container":"cntr_1"},
                {"type":"shell","environment":{"type":"container_reference","container_id":"cntr_2"}},
                {"type":"code_interpreter","container":{"type":"auto","file_ids":["file_2"]}}]}"#,
            &["file_1", "cntr_1", "cntr_2", "file_2"],
            &["cntr_0", "cntr_3"],
        ),
        (
            Wire::Anthropic,
            r#"{"container":"container_1","messages":[{"role":"user","content":[
                {"type":"container_upload","file_id":"file_1"},
                {"type":"document","source":{"type":"file","file_id":"file_2"}}]}]}"#,
            &["container_1", "file_1", "file_2"],
            &[],
        ),
        (Wire::Anthropic, r#"{"container":{"id":"container_1","skills":[]},"messages":[]}"#, &["container_1"], &[]),
        (
            Wire::Anthropic,
            r#"{"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"Eq"},
                {"type":"redacted_thinking","data":"Em"}]}]}"#,
            &[],
            &["Eq", "Em"],
        ),
        (
            Wire::Chat,
            r#"{"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file_1"}}]}]}"#,
            &["file_1"],
            &[],
        ),
        (
            Wire::Gemini,
            r#"{"contents":[{"role":"model","parts":[{"functionCall":{"name":"f"},"thoughtSignature":"Ci"},
                {"text":"a","thought_signature":"Cj"},{"fileData":{"fileUri":"https://g/files/1"}}]}]}"#,
            &["https://g/files/1"],
            &["Ci", "Cj"],
        ),
        // Words are words.
        (
            Wire::Anthropic,
            r#"{"messages":[{"role":"user","content":"file_id signature"}],"system":"resp_1"}"#,
            &[],
            &[],
        ),
        (Wire::Responses, r#"{"container":"x","input":[{"type":"message","signature":"y","content":""}]}"#, &[], &[]),
    ] {
        assert_eq!(named(wire, body), (ids.to_vec(), signatures.to_vec()), "{body}");
    }
}

#[test]
fn words_are_read_with_their_escapes_undone() {
    type Reads = fn(&Peek) -> bool;
    let rows: [(Wire, &str, Reads); 9] = [
        (Wire::Responses, r#""input":[{"type":"item_refer\u0065nce","id":"msg_1","x":1}]"#, |peek| {
            peek.named.len() == 1 && peek.uncountable
        }),
        (Wire::Responses, r#""input":[{"type":"re\u0061soning","id":"rs_1","summary":[]}]"#, |peek| {
            peek.named.len() == 1 && peek.named[0].sealed
        }),
        (Wire::Responses, r#""tools":[{"type":"image\u005fgeneration"}]"#, |peek| peek.image_output),
        (Wire::Anthropic, r#""cache_control":{"ttl":"1\u0068"}"#, |peek| peek.cache.one_hour),
        (Wire::Anthropic, r#""thinking":{"type":"enabl\u0065d"}"#, |peek| peek.thinking.asked),
        (Wire::Chat, r#""reasoning_effort":"n\u006fne""#, |peek| !peek.thinking.asked),
        (Wire::Chat, r#""messages":[{"content":[{"type":"aud\u0069o"}]}]"#, |peek| peek.uncountable),
        (Wire::Chat, r#""messages":[{"content":[{"image_url":{"url":"https\u003a//a/b"}}]}]"#, |peek| peek.uncountable),
        (Wire::Gemini, r#""contents":[{"parts":[{"inlineData":{"mimeType":"image\/png","data":"x"}}]}]"#, |peek| {
            peek.images == 1
        }),
    ];
    for (wire, members, reads) in rows {
        let peek = generate(wire, &format!(r#"{{"model":"m",{members}}}"#));
        assert!(reads(&peek), "{members}: {peek:?}");
    }
}

#[test]
fn of_too_many_signatures_the_last_ones_count_and_too_many_ids_are_told() {
    let blocks: Vec<String> =
        (0..NAMED_MAX + 5).map(|number| format!(r#"{{"type":"thinking","signature":"s{number}"}}"#)).collect();
    let body = format!(r#"{{"messages":[{{"role":"assistant","content":[{}]}}]}}"#, blocks.join(","));
    let (ids, mut signatures) = named(Wire::Anthropic, &body);
    signatures.sort_by_key(|text| text[1..].parse::<usize>().unwrap());
    let want: Vec<String> = (5..NAMED_MAX + 5).map(|number| format!("s{number}")).collect();
    assert_eq!((ids.len(), signatures), (0, want.iter().map(String::as_str).collect()));

    for (count, more) in [(NAMED_MAX, false), (NAMED_MAX + 1, true)] {
        let files = vec![r#"{"type":"container_upload","file_id":"f"}"#; count].join(",");
        let body = format!(r#"{{"messages":[{{"role":"user","content":[{files}]}}]}}"#);
        let peek = peek(Wire::Anthropic, Kind::Metered, body.as_bytes()).unwrap();
        assert_eq!((peek.named.len(), peek.more_named), (NAMED_MAX, more));
    }
}

#[test]
fn a_source_that_no_vendor_marked_is_told_and_counts_as_any_other() {
    let said = |citations: &str| {
        format!(
            r#"{{"messages":[{{"role":"assistant","content":[{{"type":"text","text":"so","citations":{citations}}}]}}]}}"#
        )
    };
    for (wire, citations, want) in [
        (Wire::Anthropic, r#"[{"type":"web_search_result_location","encrypted_index":"","cited_text":""}]"#, true),
        (Wire::Anthropic, r#"[{"encrypted_index":"E"},{"encrypted\u005findex" : ""}]"#, true),
        (Wire::Anthropic, r#"[{"encrypted_index":"E"},{"type":"char_location","cited_text":""}]"#, false),
        (Wire::Anthropic, r#"{"encrypted_index":""}"#, false),
        (Wire::Anthropic, r#"["encrypted_index",""]"#, false),
        (Wire::Anthropic, "7", false),
        (Wire::Chat, r#"[{"encrypted_index":""}]"#, false),
    ] {
        let body = said(citations);
        let told = peek(wire, Kind::Metered, body.as_bytes()).unwrap();
        assert_eq!(told.written, want, "{body}");
        let other = peek(wire, Kind::Metered, body.replace("citations", "citatioms").as_bytes()).unwrap();
        assert_eq!((told.text_bytes, told.wide_bytes), (other.text_bytes, other.wide_bytes), "{body}");
    }
}
