//! The laws of the document that the catalog is written as.

use crate::support::{EXAMPLE, Gateway};
use admin::{ExportError, Secrets, export};
use store::repo::{api_keys, audit, global_models, provider_keys, providers};
use testkit::servers::Home;

testkit::on_both![
    every_field_is_written_as_it_was_applied,
    an_export_changes_nothing_where_it_comes_from,
    without_secrets_none_is_written_and_all_are_kept,
    an_export_with_secrets_is_in_the_audit_log_and_one_without_is_not,
    what_deleted_objects_left_in_lists_is_not_written_and_not_lost,
    names_that_a_document_cannot_tell_apart_are_refused_with_their_ids,
    a_secret_of_another_master_key_is_named_and_not_written,
];

/// Each field of a document in each of its forms, in the order and layout of an export.
pub(crate) const FULL: &str = include_str!("full.yaml");

async fn every_field_is_written_as_it_was_applied(home: Home) {
    let gateway = Gateway::new(home).await;
    gateway.apply(FULL).await.unwrap();
    let written = gateway.export(Secrets::Included).await;
    for (line, (got, want)) in (1..).zip(written.lines().zip(FULL.lines())) {
        assert_eq!(got, want, "line {line}");
    }
    assert_eq!(written, FULL);
}

async fn an_export_changes_nothing_where_it_comes_from(home: Home) {
    let gateway = Gateway::new(home).await;
    for document in [EXAMPLE, FULL] {
        gateway.apply(document).await.unwrap();
        let before = gateway.picture().await;
        for secrets in [Secrets::Included, Secrets::Omitted] {
            let written = gateway.export(secrets).await;
            assert_eq!(gateway.diff(&written).await, [""; 0], "{secrets:?}");
            assert_eq!(gateway.picture().await, before);
        }
    }
}

#[tokio::test]
async fn an_export_makes_the_same_catalog_on_either_engine_byte_for_byte() {
    let embedded = || Home::embedded().unwrap();
    let on_server = || Home::on_server().unwrap();
    for homes in [
        [embedded(), embedded(), embedded()],
        [on_server(), on_server(), on_server()],
        [embedded(), on_server(), embedded()],
        [on_server(), embedded(), on_server()],
    ] {
        for document in [EXAMPLE, FULL] {
            let mut text = document.to_owned();
            let mut first: Option<String> = None;
            for home in &homes {
                let gateway = Gateway::new(home.another().unwrap()).await;
                gateway.apply(&text).await.unwrap();
                text = gateway.export(Secrets::Included).await;
                assert_eq!(&text, first.get_or_insert_with(|| text.clone()));
            }
        }
    }
}

async fn without_secrets_none_is_written_and_all_are_kept(home: Home) {
    let gateway = Gateway::new(home).await;
    gateway.apply(FULL).await.unwrap();
    let written = gateway.export(Secrets::Omitted).await;
    for secret in
        ["sk-acme-upstream", "looks-like-a-path", "argon2id", "$2b$", "sk-laptop", "00112233", "password_hash", "key:"]
    {
        assert!(!written.contains(secret), "{secret}");
    }
    assert_eq!(gateway.diff(&written).await, [""; 0]);
    // Somewhere else it misses what it does not hold.
    let other = Gateway::new(gateway.home.another().unwrap()).await;
    let problems = other.refused(&written).await;
    assert!(problems.iter().any(|problem| problem.ends_with("api_key: is required for a new key")), "{problems:?}");
}

async fn an_export_with_secrets_is_in_the_audit_log_and_one_without_is_not(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let latest = async || {
        let mut tx = gateway.store.db().read().await.unwrap();
        audit::latest_any_owner(&mut tx, gateway.store.node(), 1).await.unwrap().remove(0)
    };
    gateway.export(Secrets::Omitted).await;
    assert_ne!(latest().await.event_type, "data_export");
    gateway.export(Secrets::Included).await;
    let row = latest().await;
    assert_eq!((row.event_type.as_str(), &row.metadata["provider_keys"]), ("data_export", &1.into()));
}

async fn what_deleted_objects_left_in_lists_is_not_written_and_not_lost(home: Home) {
    let gateway = Gateway::new(home).await;
    let more = FULL
        .replace("allowed_providers: [acme]", "allowed_providers: [gone, acme]")
        .replace("allowed_models: [unpriced, big-model]", "allowed_models: [unpriced, gone, big-model]")
        .replace("{big-model: {cache_1h", "{gone: {cache_1h: true}, big-model: {cache_1h")
        .replace("providers:\n", "providers:\n  - {name: gone}\n")
        .replace("global_models:\n", "global_models:\n  - {name: gone, is_active: false}\n");
    gateway.apply(&more).await.unwrap();
    let mut tx = gateway.store.db().begin().await.unwrap();
    let provider = providers::all(&mut tx).await.unwrap().into_iter().find(|row| row.name == "gone").unwrap();
    let model = global_models::all(&mut tx).await.unwrap().into_iter().find(|row| row.name == "gone").unwrap();
    assert!(providers::delete(&mut tx, provider.id).await.unwrap());
    assert!(global_models::delete(&mut tx, model.id).await.unwrap());
    tx.commit().await.unwrap();

    let before = gateway.picture().await;
    let written = gateway.export(Secrets::Included).await;
    assert_eq!(written, FULL);
    assert_eq!(gateway.diff(&written).await, [""; 0]);
    assert_eq!(gateway.picture().await, before);
    // A list that says something else is taken as it is.
    gateway.diff("users: [{username: ann, allowed_providers: []}]").await;
    let catalog = gateway.catalog().await;
    let ann = catalog.users.values().find(|user| user.username == "ann").unwrap();
    assert_eq!(ann.access.providers.as_deref(), Some(&[][..]));
}

async fn names_that_a_document_cannot_tell_apart_are_refused_with_their_ids(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let mut tx = gateway.store.db().begin().await.unwrap();
    let mut provider_key = provider_keys::all(&mut tx).await.unwrap().remove(0);
    provider_key.id = store::mint();
    provider_keys::insert(&mut tx, &provider_key).await.unwrap();
    let mut client_key = api_keys::all_any_owner(&mut tx).await.unwrap().remove(0);
    let mut nameless = client_key.clone();
    (client_key.id, client_key.key_hash) = (store::mint(), [9; 32]);
    (nameless.id, nameless.key_hash, nameless.name) = (store::mint(), [8; 32], None);
    api_keys::insert(&mut tx, &client_key).await.unwrap();
    api_keys::insert(&mut tx, &nameless).await.unwrap();
    tx.commit().await.unwrap();

    let Err(ExportError::Unnamed(problems)) = export(&gateway.store, Secrets::Omitted).await else {
        panic!("it has two of a name")
    };
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(
        problems[0].starts_with("endpoint acme/CLAUDE has more than one provider key main; rename all but one of ")
    );
    assert!(problems[0].contains(&provider_key.id.to_string()), "{problems:?}");
    assert!(problems[1].contains(&nameless.id.to_string()), "{problems:?}");
    assert!(problems[2].starts_with("ann has more than one client key laptop"), "{problems:?}");
    assert!(problems[2].contains(&client_key.id.to_string()), "{problems:?}");
}

async fn a_secret_of_another_master_key_is_named_and_not_written(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let stolen = gateway.with_another_master_key().await;
    let error = export(&stolen, Secrets::Included).await.unwrap_err();
    assert_eq!(error.to_string(), "provider key acme/CLAUDE/main cannot be opened with this master key");
    export(&stolen, Secrets::Omitted).await.unwrap();
}
