use crate::support::{EXAMPLE, Gateway, LAPTOP_KEY, NOW};
use admin::ApplyError;
use domain::{
    catalog::HeaderMode,
    format::{ApiFormat, Capability, Role},
    ids::ClientKeyId,
    money::NanoUsd,
    secret::Secret,
};
use std::collections::BTreeMap;
use store::{
    repo::{api_keys, audit, users},
    vault::Column,
};
use testkit::servers::Home;

testkit::on_both![
    a_document_makes_its_catalog_on_an_empty_database,
    what_is_applied_twice_changes_nothing_the_second_time,
    a_dry_run_says_the_same_and_writes_nothing,
    a_key_without_text_is_minted_and_works,
    a_password_is_kept_as_an_argon2id_hash,
    each_change_is_in_the_audit_log_without_secrets,
    a_database_that_is_away_is_an_error_and_no_refusal,
];

async fn a_document_makes_its_catalog_on_an_empty_database(home: Home) {
    let gateway = Gateway::new(home).await;

    let report = gateway.apply(EXAMPLE).await.unwrap();

    let lines: Vec<_> = report.changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "+ global_model claude-sonnet-4-5",
            "+ global_model local-test",
            "+ provider acme",
            "+ endpoint acme/CLAUDE",
            "+ provider_key acme/CLAUDE/main",
            "+ model acme/claude-sonnet-4-5",
            "+ user ann",
            "+ api_key ann/laptop",
            "+ api_key kiosk (standalone)",
        ]
    );
    assert!(report.to_string().ends_with("9 created, 0 updated"), "{report}");
    assert_eq!(report.warnings, Vec::<String>::new());

    let catalog = gateway.catalog().await;
    let hash = store::fingerprint(Secret::new(LAPTOP_KEY.to_owned())).hash;
    let laptop = catalog.client_key(&hash, NOW).unwrap();
    assert_eq!((laptop.name.as_str(), laptop.limits.rate, laptop.limits.concurrent), ("laptop", Some(100), Some(5)));
    let ann = &catalog.users[&laptop.user_id.unwrap()];
    assert_eq!(
        (ann.email.as_str(), ann.role, ann.quota.limit),
        ("ann@example.com", Role::User, Some(NanoUsd(10_000_000_000)))
    );

    let sonnet = catalog.resolve("claude-sonnet-4-5", &[]).unwrap().model;
    assert_eq!(sonnet.supported_capabilities, [Capability::Cache1h, Capability::Context1m]);
    assert!(sonnet.price_version.is_some());
    let [route] = catalog.routes(sonnet.id) else { panic!("one provider serves it") };
    assert_eq!(laptop.access.endpoints, Some(vec![route.endpoint.id]));
    assert_eq!(laptop.mappings[0].provider_id, route.provider.id);
    assert_eq!(laptop.mappings[0].priority_adjustment, -10);
    assert_eq!((route.provider.priority, route.endpoint.api_format), (50, ApiFormat::Claude));
    assert_eq!(route.endpoint.headers["user-agent"].mode, HeaderMode::Override);
    assert_eq!((route.endpoint.timeout_s, route.endpoint.max_retries), (300, 3));
    assert_eq!(route.model.provider_model_name, "claude-sonnet-4-5-20250929");
    assert_eq!(route.key.capabilities, BTreeMap::from([(Capability::Context1m, true)]));
    let credential = gateway.store.vault().unseal(Column::ProviderKey, route.key.id.uuid(), &route.key.api_key);
    assert_eq!(credential.unwrap().expose(), "sk-acme-upstream");
    assert!(catalog.resolve("local-test", &[]).unwrap().model.is_free);
}

async fn what_is_applied_twice_changes_nothing_the_second_time(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let before = gateway.picture().await;

    let report = gateway.apply(EXAMPLE).await.unwrap();

    assert_eq!(report.to_string(), "no changes");
    assert!(report.minted.is_empty());
    assert_eq!(gateway.picture().await, before);
}

async fn a_dry_run_says_the_same_and_writes_nothing(home: Home) {
    let gateway = Gateway::new(home).await;
    let before = gateway.picture().await;

    let dry = gateway.dry_run(EXAMPLE).await.unwrap();

    assert_eq!(gateway.picture().await, before);
    assert!(dry.minted.is_empty(), "a key that is not there cannot be handed out");
    assert!(dry.to_string().ends_with("9 created, 0 updated (dry run: nothing was written)"), "{dry}");
    assert_eq!(gateway.apply(EXAMPLE).await.unwrap().changes.len(), dry.changes.len());
}

async fn a_key_without_text_is_minted_and_works(home: Home) {
    let gateway = Gateway::new(home).await;

    let minted = gateway.apply(EXAMPLE).await.unwrap().minted;

    let [kiosk] = minted.as_slice() else { panic!("{minted:?}") };
    assert_eq!(kiosk.name, "kiosk");
    let text = kiosk.key.expose();
    assert_eq!((text.len(), text.starts_with("sk-")), (35, true));
    assert!(!format!("{minted:?}").contains(text));
    let found = store::fingerprint(kiosk.key.clone());
    let catalog = gateway.catalog().await;
    let key = catalog.client_key(&found.hash, NOW).unwrap();
    assert_eq!(key.balance.unwrap().limit, Some(NanoUsd(5_000_000_000)));

    let row = key_row(&gateway, key.id).await;
    assert_eq!(row.key_prefix, Some(found.prefix));
    let sealed = row.key_encrypted.unwrap();
    let revealed = gateway.store.vault().unseal(Column::ClientKey, row.id.uuid(), &sealed).unwrap();
    assert_eq!(revealed.expose(), text);
}

async fn key_row(gateway: &Gateway, id: ClientKeyId) -> api_keys::ClientKeyRow {
    let mut tx = gateway.store.db().read().await.unwrap();
    let rows = api_keys::all_any_owner(&mut tx).await.unwrap();
    rows.into_iter().find(|row| row.id == id).unwrap()
}

async fn a_password_is_kept_as_an_argon2id_hash(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let mut tx = gateway.store.db().read().await.unwrap();
    let ann = users::all_any_owner(&mut tx).await.unwrap().remove(0);
    assert!(ann.password_hash.unwrap().0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
}

async fn each_change_is_in_the_audit_log_without_secrets(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let change = "api_keys: [{name: laptop, user: ann, rate_limit: 7, key: sk-another-text-0123456789abcdefgh}]";
    gateway.apply(change).await.unwrap();

    let mut tx = gateway.store.db().read().await.unwrap();
    let rows = audit::latest_any_owner(&mut tx, gateway.store.node(), 100).await.unwrap();
    assert_eq!(rows.len(), 10);
    assert_eq!(rows[0].event_type, "api_key_updated");
    assert_eq!(
        rows[0].metadata,
        serde_json::json!({
            "kind": "api_key", "name": "ann/laptop",
            "before": {"key": "***", "rate_limit": "100"}, "after": {"key": "***", "rate_limit": "7"},
        })
    );
    let types: Vec<_> = rows.iter().rev().map(|row| row.event_type.as_str()).take(9).collect();
    assert_eq!(
        types,
        [
            "model_added",
            "model_added",
            "provider_added",
            "provider_updated",
            "provider_updated",
            "model_added",
            "user_created",
            "api_key_created",
            "api_key_created",
        ]
    );
    let all = format!("{rows:?}");
    for secret in ["sk-acme-upstream", "correct horse", LAPTOP_KEY, "sk-another", "$argon2", "gateway"] {
        assert!(!all.contains(secret), "{secret}");
    }
    assert_eq!(audit::broken_any_owner(&mut tx, gateway.store.node()).await.unwrap(), None);
}

async fn a_database_that_is_away_is_an_error_and_no_refusal(home: Home) {
    let gateway = Gateway::new(home).await;
    gateway.store.db().close().await;
    assert!(matches!(gateway.apply(EXAMPLE).await, Err(ApplyError::Db(_))));
}
