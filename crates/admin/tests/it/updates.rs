use crate::support::{Gateway, LAPTOP_KEY, NOW};
use domain::{money::NanoUsd, ports::Keyring as _, secret::Secret};
use store::{
    repo::{endpoints, provider_keys, users},
    vault::Column,
};
use testkit::servers::Home;

/// A document about the example's only provider key.
fn key(fields: &str) -> String {
    format!(
        "providers: [{{name: acme, endpoints: [{{api_format: CLAUDE, keys: [{{name: main{}{fields}}}]}}]}}]",
        if fields.is_empty() { "" } else { ", " }
    )
}

testkit::on_both![
    one_field_is_one_line,
    what_a_document_does_not_name_stays,
    a_missing_secret_keeps_the_stored_one,
    a_proxy_is_set_kept_and_cleared_and_its_password_is_sealed,
    a_client_key_takes_another_text_and_the_old_one_is_gone,
    balance_and_password_act_on_creation_only,
    a_new_price_is_a_new_version_and_the_same_is_none,
    only_changed_settings_are_stored,
    a_user_may_be_made_without_a_password_if_that_is_said,
    a_model_without_prices_stays_inactive,
    short_keys_are_not_shown_in_part,
    models_may_pass_their_upstream_names_on,
    applying_can_be_left_to_a_task,
];

async fn one_field_is_one_line(home: Home) {
    let gateway = Gateway::with_example(home).await;
    for (document, line) in [
        (key("rate_limit: 20"), "~ provider_key acme/CLAUDE/main: rate_limit none -> 20"),
        (key("rate_limit: 30, note: \"a\\tb\""), "~ provider_key acme/CLAUDE/main: note none -> \"a\\tb\", rate_limit 20 -> 30"),
        (key("rate_limit: null"), "~ provider_key acme/CLAUDE/main: rate_limit 30 -> none"),
        (key("api_key: sk-other"), "~ provider_key acme/CLAUDE/main: api_key *** -> ***"),
        (key("rate_multiplier: 0.25"), "~ provider_key acme/CLAUDE/main: rate_multiplier 1 -> 0.25"),
        (
            key("allowed_models: [claude-sonnet-4-5-20250929]"),
            "~ provider_key acme/CLAUDE/main: allowed_models none -> [\"claude-sonnet-4-5-20250929\"]",
        ),
        ("providers: [{name: acme, is_active: false}]".to_owned(), "~ provider acme: is_active true -> false"),
        (
            "providers: [{name: acme, endpoints: [{api_format: CLAUDE, headers: {x-team: other, x-new: {mode: remove}}}]}]"
                .to_owned(),
            "~ endpoint acme/CLAUDE: headers.user-agent override *** -> none, headers.x-team *** -> ***, \
             headers.x-new none -> remove",
        ),
        (
            "providers: [{name: acme, models: [{global_model: claude-sonnet-4-5, supports_vision: false}]}]".to_owned(),
            "~ model acme/claude-sonnet-4-5: supports_vision none -> false",
        ),
        (
            "global_models: [{name: local-test, display_name: Test}]".to_owned(),
            "~ global_model local-test: display_name \"local-test\" -> \"Test\"",
        ),
        ("users: [{username: ann, role: admin}]".to_owned(), "~ user ann: role user -> admin"),
        (
            "users: [{username: ann, allowed_providers: [acme], allowed_models: []}]".to_owned(),
            "~ user ann: allowed_providers none -> [acme], allowed_models none -> []",
        ),
        (
            "users: [{username: ann, model_capability_settings: {claude-sonnet-4-5: {context_1m: true}}}]".to_owned(),
            "~ user ann: model_capability_settings {} -> {\"claude-sonnet-4-5\":{\"context_1m\":true}}",
        ),
        (
            "api_keys: [{name: laptop, user: ann, mappings: [{provider: acme, weight_multiplier: 2}]}]".to_owned(),
            "~ api_key ann/laptop: mappings [acme -10] -> [acme +0 weight 2]",
        ),
        (
            "api_keys: [{name: laptop, user: ann, mappings: null, allowed_endpoints: null}]".to_owned(),
            "~ api_key ann/laptop: allowed_endpoints [acme/CLAUDE] -> none, mappings [acme +0 weight 2] -> []",
        ),
        (
            "api_keys: [{name: kiosk, expires_at: 2026-03-01T00:00:00Z}]".to_owned(),
            "~ api_key kiosk (standalone): expires_at none -> 2026-03-01T00:00:00Z",
        ),
        (
            "settings: {scheduling_mode: fixed_order}".to_owned(),
            "~ setting scheduling_mode: \"cache_affinity\" -> \"fixed_order\"",
        ),
        ("settings: {scheduling_mode: null}".to_owned(), "~ setting scheduling_mode: \"fixed_order\" -> \"cache_affinity\""),
    ] {
        assert_eq!(gateway.diff(&document).await, [line], "{document}");
        assert!(gateway.diff(&document).await.is_empty(), "again: {document}");
    }
}

async fn what_a_document_does_not_name_stays(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let before = gateway.picture().await;
    for document in ["", "{}", "users: []", "settings: {}", "users: [{username: ann}]", "providers: [{name: acme}]"] {
        assert!(gateway.diff(document).await.is_empty(), "{document}");
    }
    assert!(gateway.diff(&key("")).await.is_empty());
    assert_eq!(gateway.picture().await, before);
}

async fn a_missing_secret_keeps_the_stored_one(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let stored = async || {
        let mut tx = gateway.store.db().read().await.unwrap();
        let row = provider_keys::all(&mut tx).await.unwrap().remove(0);
        gateway.store.vault().unseal(Column::ProviderKey, row.id.uuid(), &row.api_key).unwrap().expose().to_owned()
    };
    gateway.diff(&key("rate_limit: 5")).await;
    assert_eq!(stored().await, "sk-acme-upstream");
    gateway.diff(&key("api_key: sk-rotated")).await;
    assert_eq!(stored().await, "sk-rotated");
}

async fn a_proxy_is_set_kept_and_cleared_and_its_password_is_sealed(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let endpoint = |fields: &str| format!("providers: [{{name: acme, endpoints: [{{api_format: CLAUDE, {fields}}}]}}]");
    let password = async || {
        let rows = endpoints::all(&mut gateway.store.db().read().await.unwrap()).await.unwrap();
        gateway.store.vault().proxy_password(&rows[0].endpoint()).unwrap().map(|secret| secret.expose().to_owned())
    };
    let set = "proxy: {url: \"socks5h://127.0.0.1:9\", username: u, password: pass-word}";
    let report = gateway.apply(&endpoint(set)).await.unwrap().to_string();
    assert!(report.contains("proxy.password none -> ***") && !report.contains("pass-word"), "{report}");
    assert_eq!(password().await.as_deref(), Some("pass-word"));
    assert!(gateway.apply(&endpoint(set)).await.unwrap().changes.is_empty());
    gateway.apply(&endpoint("timeout: 20")).await.unwrap();
    gateway.apply(&endpoint("proxy: {url: \"http://p.example.com\", username: u}")).await.unwrap();
    assert_eq!(password().await.as_deref(), Some("pass-word"), "a missing password keeps the stored one");
    gateway.apply(&endpoint("proxy: null")).await.unwrap();
    assert_eq!(password().await, None);

    for (proxy, why) in [
        ("{url: \"http://169.254.169.254\"}", "never dialled"),
        ("{url: \"ftp://p\"}", "must begin with"),
        ("{url: \"http://u:p@h\"}", "must not hold credentials"),
        ("{url: \"http://p\", password: x}", "no meaning without username"),
    ] {
        let refused = gateway.apply(&endpoint(&format!("proxy: {proxy}"))).await.unwrap_err();
        assert!(refused.to_string().contains(why), "{proxy}: {refused}");
    }
    // Behind a proxy literal addresses are still judged; a name is the proxy's to resolve.
    let behind = |url: &str| endpoint(&format!("base_url: \"{url}\", proxy: {{url: \"http://127.0.0.1:9\"}}"));
    assert!(gateway.apply(&behind("http://10.9.9.9")).await.is_err());
    assert!(gateway.apply(&behind("http://localhost")).await.is_err());
    assert_eq!(gateway.apply(&behind("https://only.the.proxy.knows")).await.unwrap().warnings, [""; 0]);
}

async fn a_client_key_takes_another_text_and_the_old_one_is_gone(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let text = "sk-new-0123456789abcdefghijklmnopqr";
    let lines = gateway.diff(&format!("api_keys: [{{name: laptop, user: ann, key: {text}}}]")).await;
    assert_eq!(lines, ["~ api_key ann/laptop: key *** -> ***"]);
    let catalog = gateway.catalog().await;
    let find = |text: &str| catalog.client_key(&store::fingerprint(Secret::new(text.to_owned())).hash, NOW).is_some();
    assert!(find(text));
    assert!(!find(LAPTOP_KEY));
}

async fn balance_and_password_act_on_creation_only(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let document = "
users: [{username: ann, password: another password}]
api_keys: [{name: kiosk, balance_usd: 500}]
";
    assert!(gateway.diff(document).await.is_empty());
    let catalog = gateway.catalog().await;
    let kiosk = catalog.client_keys.values().find(|key| key.name == "kiosk").unwrap();
    assert_eq!(kiosk.balance.unwrap().limit, Some(NanoUsd(5_000_000_000)));
}

async fn a_new_price_is_a_new_version_and_the_same_is_none(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let version = async || {
        let catalog = gateway.catalog().await;
        catalog.resolve("claude-sonnet-4-5", &[]).unwrap().model.price_version.unwrap()
    };
    let first = version().await;
    gateway.diff("global_models: [{name: claude-sonnet-4-5, display_name: Sonnet}]").await;
    assert_eq!(version().await, first);
    let price = "{tiers: [{input_price_per_1m: 3.5, output_price_per_1m: 15}]}";
    let document = format!("global_models: [{{name: claude-sonnet-4-5, default_tiered_pricing: {price}}}]");
    assert_eq!(gateway.diff(&document).await.len(), 1);
    assert_ne!(version().await, first);
}

async fn only_changed_settings_are_stored(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let stored = async || {
        let mut tx = gateway.store.db().read().await.unwrap();
        store::repo::settings::all(&mut tx).await.unwrap().into_keys().collect::<Vec<_>>()
    };
    assert!(stored().await.is_empty(), "the example names two defaults");
    gateway.diff("settings: {default_rate_limit: 3, price_defaults: {read: 0.2}}").await;
    assert_eq!(stored().await, ["default_rate_limit", "price_defaults"]);
    gateway.diff("api_keys: [{name: phone, user: ann}]").await;
    let catalog = gateway.catalog().await;
    let phone = catalog.client_keys.values().find(|key| key.name == "phone").unwrap();
    assert_eq!(phone.limits.rate, Some(3));
    gateway.diff("settings: {default_rate_limit: null, price_defaults: null}").await;
    assert!(stored().await.is_empty());
}

async fn a_user_may_be_made_without_a_password_if_that_is_said(home: Home) {
    let gateway = Gateway::with_example(home).await;
    gateway.diff("users: [{username: bot, email: bot@example.com, password: null, role: admin}]").await;
    let mut tx = gateway.store.db().read().await.unwrap();
    let users = users::all_any_owner(&mut tx).await.unwrap();
    assert!(users.iter().find(|user| user.username == "bot").unwrap().password_hash.is_none());
}

async fn a_model_without_prices_stays_inactive(home: Home) {
    let gateway = Gateway::new(home).await;
    let report = gateway.apply("global_models: [{name: later}]").await.unwrap();
    assert_eq!(report.warnings, ["global model later has no prices and stays inactive"]);
    assert!(gateway.catalog().await.resolve("later", &[]).is_none());
    let priced = "global_models: [{name: later, is_active: true, default_tiered_pricing: \
                  {tiers: [{input_price_per_1m: 1, output_price_per_1m: 2}]}}]";
    gateway.diff(priced).await;
    assert!(gateway.catalog().await.resolve("later", &[]).is_some());
}

async fn short_keys_are_not_shown_in_part(home: Home) {
    let gateway = Gateway::with_example(home).await;
    gateway.diff("api_keys: [{name: short, user: ann, key: sixteen-chars-ok}]").await;
    let mut tx = gateway.store.db().read().await.unwrap();
    let rows = store::repo::api_keys::all_any_owner(&mut tx).await.unwrap();
    let short = rows.iter().find(|row| row.name.as_deref() == Some("short")).unwrap();
    assert_eq!((&short.key_prefix, &short.key_last4), (&None, &None));
}

async fn models_may_pass_their_upstream_names_on(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let models = |sonnet: &str, local: &str| {
        format!(
            "providers: [{{name: acme, models: [{{global_model: claude-sonnet-4-5, provider_model_name: {sonnet}}}, \
             {{global_model: local-test, provider_model_name: {local}}}]}}]"
        )
    };
    gateway.diff(&models("v2", "v1")).await;
    for (sonnet, local) in [("v1", "v2"), ("v2", "v3"), ("v1", "v2"), ("v3", "v1")] {
        assert_eq!(gateway.diff(&models(sonnet, local)).await.len(), 2);
        let catalog = gateway.catalog().await;
        for (asked, want) in [("claude-sonnet-4-5", sonnet), ("local-test", local)] {
            let model = catalog.resolve(asked, &[]).unwrap().model;
            assert_eq!(catalog.routes(model.id)[0].model.provider_model_name, want);
        }
    }
}

async fn applying_can_be_left_to_a_task(home: Home) {
    fn is_send<T: Send>(future: T) -> T {
        future
    }
    let gateway = Gateway::new(home).await;
    let document = crate::support::parse("").unwrap();
    let report = is_send(admin::apply(&gateway.store, &document, &gateway.options, &gateway.egress)).await.unwrap();
    assert!(report.changes.is_empty());
}
