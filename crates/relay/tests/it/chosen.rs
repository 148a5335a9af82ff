//! Who is asked, and under which name, because of who asks: capabilities, mappings and aliases.

use crate::support::{Builder, CLIENT_KEY, MODEL, gateway, id, post, scripted};
use domain::{
    catalog::{Alias, Mapping},
    format::{ApiFormat, Capability},
};
use serde_json::{Value, json};
use testkit::{ErrorShape, Reply};

fn healthy() -> Reply {
    Reply::text(["hello"]).usage(12, 2)
}

/// A prompt with one marked block, which names a lifetime or leaves it open.
fn marked(ttl: Option<&str>) -> Value {
    let mut control = json!({ "type": "ephemeral" });
    if let Some(ttl) = ttl {
        control["ttl"] = ttl.into();
    }
    let block = |control: Value| json!({ "type": "text", "text": "x", "cache_control": control });
    let content = [block(json!({ "type": "ephemeral" })), block(control)];
    json!({ "model": MODEL, "messages": [{ "role": "user", "content": content }], "max_tokens": 10 })
}

#[tokio::test(start_paused = true)]
async fn only_a_user_or_a_key_that_wants_the_hour_adds_it_to_what_names_no_lifetime() {
    type Change = fn(&mut Builder);
    type Case = (&'static str, Change, Option<&'static str>, Option<&'static str>, bool);
    let cases: [Case; 7] = [
        ("the key", |b| force(b, true), None, None, true),
        ("the user", user, None, None, true),
        ("the user, and the header says so too", user, Some("cache_1h"), None, true),
        ("the user, but the header rules it out", user, Some("-cache_1h"), None, false),
        ("a header alone", |_| (), Some("cache_1h"), None, false),
        ("another block alone", |_| (), None, Some("1h"), false),
        ("the key rules out what the user wants", |b| (user(b), force(b, false)).0, None, None, false),
    ];
    for (name, change, header, other_block, want) in cases {
        let upstream = scripted([healthy()]);
        let gw = gateway()
            .upstream(ApiFormat::Claude, &upstream)
            .upstream(ApiFormat::Claude, &upstream)
            .with(|builder| {
                builder.parts.global_models[0].supported_capabilities = vec![Capability::Cache1h];
                builder.parts.provider_keys[0].capabilities = [(Capability::Cache1h, true)].into();
                change(builder);
            })
            .start();
        let mut request = post("/v1/messages", &marked(other_block));
        if let Some(header) = header {
            request.headers_mut().insert("x-require-capability", header.parse().unwrap());
        }
        assert_eq!(gw.send(request).await.status, 200, "{name}");
        let received = &upstream.requests()[0];
        let ttl = received.json()["messages"][0]["content"][0]["cache_control"]["ttl"].clone();
        assert_eq!(ttl, if want { json!("1h") } else { Value::Null }, "{name}");
        assert_eq!(received.header("x-require-capability"), None, "{name}");
    }

    fn force(builder: &mut Builder, on: bool) {
        builder.parts.client_keys[0].force_capabilities = [(Capability::Cache1h, on)].into();
    }
    fn user(builder: &mut Builder) {
        builder.parts.users[0].model_capability_settings.insert(MODEL.to_owned(), [(Capability::Cache1h, true)].into());
    }
}

#[tokio::test(start_paused = true)]
async fn a_required_capability_chooses_the_keys_and_its_lack_is_traced() {
    for (header, served_by, code) in
        [(None, 0, "capability_reserved"), (Some("cache_1h"), 1, "capability_missing"), (Some("telepathy"), 0, "")]
    {
        let upstreams = [scripted([healthy()]), scripted([healthy()])];
        let gw = gateway()
            .upstream(ApiFormat::Claude, &upstreams[0])
            .upstream(ApiFormat::Claude, &upstreams[1])
            .with(|builder| {
                builder.parts.global_models[0].supported_capabilities = vec![Capability::Cache1h];
                builder.parts.provider_keys[1].capabilities = [(Capability::Cache1h, true)].into();
            })
            .start();
        let mut request = post("/v1/messages", &marked(None));
        if let Some(header) = header {
            request.headers_mut().insert("x-require-capability", header.parse().unwrap());
        }
        assert_eq!(gw.send(request).await.status, 200, "{header:?}");
        assert_eq!(upstreams[served_by].requests().len(), 1, "{header:?}");
        let skipped = gw.settled().trace.entries;
        assert!(code.is_empty() || skipped.iter().any(|skip| skip.code == code), "{header:?}: {skipped:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_with_mappings_uses_only_their_providers_in_their_order() {
    let mapping = |number: u128, priority_adjustment, is_enabled| Mapping {
        provider_id: id(100 + 10 * number),
        priority_adjustment,
        weight_millionths: 1_000_000,
        is_enabled,
    };
    for (name, mappings, want) in [
        ("none", vec![], &[0, 1, 2][..]),
        ("one", vec![mapping(1, 0, true)], &[1]),
        ("two, turned round by an adjustment", vec![mapping(1, 0, true), mapping(2, -5, true)], &[2, 1]),
        ("none that is enabled", vec![mapping(2, 0, false)], &[0, 1, 2]),
    ] {
        let broken = || scripted([Reply::error(ErrorShape::Overloaded), Reply::error(ErrorShape::Overloaded)]);
        let upstreams = [broken(), broken(), broken()];
        let gw = upstreams
            .iter()
            .fold(gateway(), |gateway, upstream| gateway.upstream(ApiFormat::Claude, upstream))
            .with(|builder| builder.parts.client_keys[0].mappings = mappings)
            .start();
        gw.post("/v1/messages", &marked(None)).await;
        let rows = gw.settled().candidates;
        let mut asked: Vec<_> = rows.iter().map(|row| row.provider_id).collect();
        asked.dedup();
        let want: Vec<_> = want.iter().map(|number| id(100 + 10 * number)).collect();
        assert_eq!(asked, want, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn three_more_names_are_tried_where_the_first_is_unknown() {
    let unknown = || Reply::error(ErrorShape::UnknownModel);
    let first = scripted([unknown(), unknown(), unknown(), unknown()]);
    let second = scripted([healthy()]);
    let gw = gateway()
        .upstream(ApiFormat::OpenAi, &first)
        .upstream(ApiFormat::OpenAi, &second)
        .with(|builder| {
            let named =
                |(number, name): (u32, &str)| Alias { name: name.to_owned(), priority: number, api_formats: None };
            builder.parts.models[0].aliases = (0..).zip(["a", "b", "c", "d", "e"]).map(named).collect();
        })
        .start();
    let got = gw.post("/v1/chat/completions", &json!({ "model": MODEL, "messages": [] })).await;
    assert_eq!(got.status, 200);
    let asked: Vec<_> = first.requests().iter().map(|request| request.json()["model"].clone()).collect();
    assert_eq!(asked, ["a", "b", "c", "d"]);
    assert_eq!(second.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_two_models_claim_says_nothing() {
    let upstream = scripted([healthy()]);
    let gw = gateway()
        .upstream(ApiFormat::OpenAi, &upstream)
        .upstream(ApiFormat::OpenAi, &upstream)
        .with(|builder| {
            let mut other = builder.parts.global_models[0].clone();
            other.id = id(4);
            other.name = "other-model".to_owned();
            builder.parts.global_models.push(other);
            builder.parts.models[0].provider_model_name = "claimed-twice".to_owned();
            builder.parts.models[1].provider_model_name = "claimed-twice".to_owned();
            builder.parts.models[1].global_model_id = id(4);
        })
        .start();
    let got = gw.post("/v1/chat/completions", &json!({ "model": "claimed-twice", "messages": [] })).await;
    assert_eq!(
        (got.status, got.json()["error"]["code"].clone()),
        (http::StatusCode::NOT_FOUND, json!("model_not_found"))
    );
    assert!(!got.text().contains("other-model") && !got.text().contains(CLIENT_KEY));
    assert_eq!(upstream.requests().len(), 0);
}
