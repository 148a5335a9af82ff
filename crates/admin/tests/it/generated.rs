//! The laws of documents, over documents that nobody has written.

use crate::support::Gateway;
use admin::{
    Secrets, apply,
    document::{Document, Sources, Syntax},
};
use proptest::{
    collection::{btree_map, btree_set, vec},
    option,
    prelude::*,
    sample::subsequence,
    test_runner::{Config, TestRunner},
};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use testkit::servers::Home;

/// Text as people type it, and as they should not.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9][a-zA-Z0-9 :#'\"{}\\[\\],&*!|>%@`-]{0,20}",
        "[\\p{L}\\p{N}\\p{S}]{1,12}",
        Just("null".to_owned())
    ]
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_.-]{2,10}"
}

fn money() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0..5_000_000_000_000_u64).prop_map(|nanos| json!(format!(
            "{}.{:09}",
            nanos / 1_000_000_000,
            nanos % 1_000_000_000
        ))),
        (0..1_000_u32).prop_map(|dollars| json!(dollars)),
    ]
}

fn instant() -> impl Strategy<Value = Value> {
    (0..4_000_000_000_000_000_i64).prop_map(|us| json!(jiff::Timestamp::from_microsecond(us).unwrap().to_string()))
}

/// A field that is absent, null or there.
type Field = Option<Option<Value>>;

fn patch(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Field> {
    prop_oneof![Just(None), Just(Some(None)), value.prop_map(|value| Some(Some(value)))].boxed()
}

fn keep(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Field> {
    option::of(value.prop_map(Some)).boxed()
}

/// A table of these fields, each in one of its forms.
fn table(fields: Vec<(&'static str, BoxedStrategy<Field>)>) -> impl Strategy<Value = Map<String, Value>> {
    let (names, fields): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
    fields.prop_map(move |values| {
        let pairs = names.iter().zip(values);
        pairs.filter_map(|(name, value)| Some(((*name).to_owned(), value?.unwrap_or(Value::Null)))).collect()
    })
}

fn limit() -> BoxedStrategy<Field> {
    patch((0..100_000_u32).prop_map(Value::from))
}

fn flag() -> BoxedStrategy<Field> {
    keep(any::<bool>().prop_map(Value::from))
}

fn switches() -> BoxedStrategy<Field> {
    let names = prop_oneof![Just("cache_1h".to_owned()), Just("context_1m".to_owned())];
    patch(btree_map(names, any::<bool>(), 0..3).prop_map(|switches| json!(switches)))
}

fn formats() -> BoxedStrategy<Field> {
    patch(subsequence(FORMATS.to_vec(), 0..=3).prop_map(|formats| json!(formats)))
}

const FORMATS: [&str; 6] = ["CLAUDE", "CLAUDE_CLI", "OPENAI", "OPENAI_CLI", "GEMINI", "GEMINI_CLI"];

fn some_of(names: Vec<String>) -> BoxedStrategy<Field> {
    let most = names.len();
    patch(subsequence(names, 0..=most).prop_map(|names| json!(names)))
}

fn pricing() -> impl Strategy<Value = Value> {
    let bounds = btree_set(1..1_000_000_u32, 0..3);
    (bounds, vec((money(), money(), option::of(money()), option::of(money())), 3)).prop_map(|(bounds, prices)| {
        let bounds = bounds.into_iter().map(Value::from).chain([Value::Null]);
        let tiers = bounds.zip(prices).map(|(up_to, (input, output, write, read))| {
            json!({"up_to": up_to, "input_price_per_1m": input, "output_price_per_1m": output,
                   "cache_creation_price_per_1m": write, "cache_read_price_per_1m": read})
        });
        json!({"tiers": tiers.collect::<Vec<_>>()})
    })
}

fn global_model() -> impl Strategy<Value = Map<String, Value>> {
    table(vec![
        ("display_name", keep(any_text().prop_map(Value::from))),
        ("default_price_per_request", patch(money())),
        // Prices of 0 are meant, whatever comes out.
        ("is_free", Just(Some(Some(json!(true)))).boxed()),
        ("default_tiered_pricing", keep(pricing())),
        ("supported_capabilities", patch(Just(json!(["context_1m", "cache_1h"])))),
        ("config", patch(any_text().prop_map(|text| json!({"description": text, "vision": true, "context_limit": 7})))),
    ])
}

fn endpoint() -> impl Strategy<Value = Map<String, Value>> {
    let header = ("x-[a-z]{1,6}", any_text())
        .prop_map(|(name, value)| json!({name: value.chars().filter(char::is_ascii).chain(['x']).collect::<String>()}));
    let key = table(vec![
        (
            "api_key",
            keep("[!-~]{1,30}".prop_map(Value::from)).prop_map(|key| key.or(Some(Some(json!("${ENV}"))))).boxed(),
        ),
        ("note", patch(any_text().prop_map(Value::from))),
        (
            "rate_multiplier",
            keep((0..3_000_000_u32).prop_map(|m| json!(format!("{}.{:06}", m / 1_000_000, m % 1_000_000)))),
        ),
        ("global_priority", patch((-9..9_i32).prop_map(Value::from))),
        ("max_concurrent", limit()),
        ("daily_limit", limit()),
        ("capabilities", switches()),
        ("is_active", flag()),
        ("expires_at", patch(instant())),
    ]);
    let keys = btree_map(any_text().prop_map(|text| text.trim().to_owned()), key, 0..3).prop_map(|keys| {
        let keyed = keys.into_iter().filter(|(name, _)| !name.is_empty());
        Some(Some(Value::from(keyed.map(|(name, key)| with(key, "name", name)).collect::<Vec<_>>())))
    });
    table(vec![
        ("base_url", Just(Some(Some(json!("https://api.example.com/x")))).boxed()),
        ("headers", patch(header)),
        ("timeout", keep((10..3_600_u32).prop_map(Value::from))),
        ("rate_limit", limit()),
        ("custom_path", patch(Just(json!("/a/{model}")))),
        ("config", patch(any_text().prop_map(|text| json!({"azure_deployment": text, "http2": true})))),
        ("proxy", patch(proxy())),
        ("keys", keys.boxed()),
    ])
}

/// With every scheme, and with and without credentials.
fn proxy() -> impl Strategy<Value = Value> {
    let credentials = proptest::option::of(("[a-z]{1,9}", proptest::option::of("[!-~]{1,20}")));
    ("(http|https|socks5|socks5h)", credentials, any::<bool>()).prop_map(|(scheme, credentials, enabled)| {
        let mut proxy = json!({ "url": format!("{scheme}://proxy.example.com:3128"), "enabled": enabled });
        if let Some((name, password)) = credentials {
            proxy["username"] = json!(name);
            if let Some(password) = password.filter(|password| !password.starts_with(['$', 'f'])) {
                proxy["password"] = json!(password);
            }
        }
        proxy
    })
}

fn with(mut table: Map<String, Value>, name: &str, value: impl Into<Value>) -> Value {
    table.insert(name.to_owned(), value.into());
    table.into()
}

fn provider(models: Vec<String>) -> impl Strategy<Value = Map<String, Value>> {
    let endpoints = (subsequence(FORMATS.to_vec(), 0..=3), vec(endpoint(), 3)).prop_map(|(formats, endpoints)| {
        let pairs = formats.into_iter().zip(endpoints);
        Some(Some(Value::from(pairs.map(|(format, table)| with(table, "api_format", format)).collect::<Vec<_>>())))
    });
    let most = models.len();
    let serving = (subsequence(models, 0..=most), any_text()).prop_map(|(models, alias)| {
        let model = |name| {
            json!({"global_model": name, "provider_model_name": format!("up {name}"), "is_free": true,
                                  "provider_model_aliases": [{"name": alias, "api_formats": ["OPENAI"]}]})
        };
        Some(Some(Value::from(models.into_iter().map(model).collect::<Vec<_>>())))
    });
    table(vec![
        ("display_name", keep(any_text().prop_map(Value::from))),
        ("description", patch(any_text().prop_map(|text| json!(format!("{text}\n{text}"))))),
        ("monthly_quota_usd", patch(money())),
        ("provider_priority", keep(any::<i32>().prop_map(Value::from))),
        ("quota_last_reset_at", patch(instant())),
        ("rpm_limit", limit()),
        ("endpoints", endpoints.boxed()),
        ("models", serving.boxed()),
    ])
}

fn access(providers: Vec<String>, models: Vec<String>) -> Vec<(&'static str, BoxedStrategy<Field>)> {
    vec![
        ("allowed_providers", some_of(providers)),
        ("allowed_models", some_of(models)),
        ("allowed_api_formats", formats()),
        ("is_active", flag()),
    ]
}

fn user(providers: Vec<String>, models: Vec<String>) -> impl Strategy<Value = Map<String, Value>> {
    let quota = (prop_oneof![Just("none"), Just("daily"), Just("monthly")], money());
    let mut fields = access(providers, models);
    fields.push(("password", Just(Some(None)).boxed()));
    fields.push(("quota", patch(quota.prop_map(|(kind, usd)| json!({"type": kind, "usd": usd})))));
    table(fields)
}

fn client_key(providers: Vec<String>, models: Vec<String>) -> impl Strategy<Value = Map<String, Value>> {
    let most = providers.len();
    let mappings = subsequence(providers.clone(), 0..=most).prop_map(|providers| {
        let mapping = |provider| json!({"provider": provider, "priority_adjustment": -3, "weight_multiplier": "0.5"});
        json!(providers.into_iter().map(mapping).collect::<Vec<_>>())
    });
    let mut fields = access(providers, models);
    fields.push(("rate_limit", limit()));
    fields.push(("concurrent_limit", limit()));
    fields.push(("force_capabilities", switches()));
    fields.push(("allowed_ips", patch(Just(json!(["10.0.0.0/8", "::1"])))));
    fields.push(("expires_at", patch(instant())));
    fields.push(("lock_reason", patch(any_text().prop_map(Value::from))));
    fields.push(("mappings", patch(mappings)));
    table(fields)
}

fn named(tables: impl IntoIterator<Item = (String, Map<String, Value>)>, name: &str) -> Vec<Value> {
    tables.into_iter().map(|(text, table)| with(table, name, text)).collect()
}

fn document() -> impl Strategy<Value = Value> {
    let names = (btree_set(name(), 0..4), btree_set(name(), 0..3));
    names.prop_flat_map(|(models, providers)| {
        let (models, providers): (Vec<_>, Vec<_>) = (models.into_iter().collect(), providers.into_iter().collect());
        let tables = (
            vec(global_model(), models.len()),
            vec(provider(models.clone()), providers.len()),
            btree_map("[a-z]{3,8}", user(providers.clone(), models.clone()), 0..3),
            btree_map("[a-z]{1,8}", (client_key(providers.clone(), models.clone()), any::<bool>()), 0..4),
        );
        tables.prop_map(move |(global, upstream, users, keys)| {
            let owner = users.keys().next().cloned();
            let email = |(name, user): (String, Map<String, Value>)| {
                let Value::Object(user) = with(user, "email", format!("{name}@example.com")) else { unreachable!() };
                (name, user)
            };
            let keys = keys.into_iter().map(|(name, (key, is_standalone))| match &owner {
                Some(owner) if !is_standalone => {
                    with(key, "user", owner.clone()).as_object().cloned().map(|key| (name, key))
                }
                _ => with(with(key, "is_standalone", true).as_object().cloned().unwrap(), "balance_usd", "2.5")
                    .as_object()
                    .cloned()
                    .map(|key| (name, key)),
            });
            json!({
                "global_models": named(models.iter().cloned().zip(global), "name"),
                "providers": named(providers.iter().cloned().zip(upstream), "name"),
                "users": named(users.into_iter().map(email), "username"),
                "api_keys": named(keys.flatten(), "name"),
            })
        })
    })
}

async fn apply_json(gateway: &Gateway, text: &str, syntax: Syntax) -> Vec<String> {
    let env = |_: &str| Some("sk-from-the-environment".to_owned());
    let document = Document::parse(text, syntax, &Sources { env: &env, folder: PathBuf::new() });
    let document = document.unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    let report = apply(&gateway.store, &document, &gateway.options, &gateway.egress).await;
    let report = report.unwrap_or_else(|error| panic!("{error}\n{text}"));
    report.changes.iter().map(ToString::to_string).collect()
}

async fn holds(home: Home, document: &Value) {
    let (there, text) = (home.another().unwrap(), document.to_string());
    let gateway = Gateway::new(home).await;
    apply_json(&gateway, &text, Syntax::Json).await;
    assert_eq!(apply_json(&gateway, &text, Syntax::Json).await, [""; 0], "applied twice: {text}");
    let written = gateway.export(Secrets::Included).await;
    assert_eq!(apply_json(&gateway, &written, Syntax::Yaml).await, [""; 0], "{written}");
    let other = Gateway::new(there).await;
    apply_json(&other, &written, Syntax::Yaml).await;
    assert_eq!(other.export(Secrets::Included).await, written);
}

fn law(cases: u32, home: impl Fn() -> Home) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let tested = runner.run(&document(), |document| {
        runtime.block_on(holds(home(), &document));
        Ok(())
    });
    tested.unwrap();
}

#[test]
fn what_any_document_makes_is_written_as_one_that_makes_the_same() {
    law(40, || Home::embedded().unwrap());
}

#[test]
fn and_on_postgres() {
    law(6, || Home::on_server().unwrap());
}
