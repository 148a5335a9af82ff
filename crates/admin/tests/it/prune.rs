//! What a document does not name goes when that is asked for.

use crate::{
    export::FULL,
    support::{EXAMPLE, Gateway},
};
use admin::{ApplyError, Report, Secrets};
use store::repo::audit;
use testkit::servers::Home;

testkit::on_both![
    each_list_of_a_document_is_all_that_there_is,
    a_setting_that_is_not_named_goes_back_to_its_default,
    an_export_prunes_nothing_where_it_comes_from,
    the_catalog_becomes_what_the_document_says_whatever_it_was,
    names_and_addresses_of_what_goes_are_free_at_once,
    a_global_model_that_is_served_and_the_last_admin_stay,
    a_provider_that_goes_is_nobodys_default_and_a_key_that_it_alone_served_is_a_warning,
];

fn lines(report: &Report) -> Vec<String> {
    report.changes.iter().map(ToString::to_string).collect()
}

async fn each_list_of_a_document_is_all_that_there_is(home: Home) {
    for (document, gone) in [
        ("", vec![]),
        ("providers: [{name: acme}]", vec![]),
        ("providers: [{name: acme, models: []}]", vec!["- model acme/claude-sonnet-4-5"]),
        ("providers: [{name: acme, endpoints: [{api_format: CLAUDE}]}]", vec![]),
        (
            "providers: [{name: acme, endpoints: [{api_format: CLAUDE, keys: []}]}]",
            vec!["- provider_key acme/CLAUDE/main"],
        ),
        ("providers: [{name: acme, endpoints: []}]", vec!["- endpoint acme/CLAUDE", "- provider_key acme/CLAUDE/main"]),
        (
            "providers: []\nglobal_models: [{name: local-test}]",
            vec![
                "- global_model claude-sonnet-4-5",
                "- provider acme",
                "- endpoint acme/CLAUDE",
                "- provider_key acme/CLAUDE/main",
                "- model acme/claude-sonnet-4-5",
                "~ api_key ann/laptop: mappings [acme -10] -> []",
            ],
        ),
        ("users: []", vec!["- user ann"]),
        ("api_keys: [{name: laptop, user: ann}]", vec!["- api_key kiosk (standalone)"]),
        ("users: []\napi_keys: []", vec!["- user ann", "- api_key ann/laptop", "- api_key kiosk (standalone)"]),
    ] {
        let gateway = Gateway::with_example(home.another().unwrap()).await;
        let report = gateway.prune(document).await.unwrap();
        assert_eq!(lines(&report), gone, "{document}");
        assert_eq!(lines(&gateway.prune(document).await.unwrap()), [""; 0], "{document}");
        let mut tx = gateway.store.db().read().await.unwrap();
        let rows = audit::latest_any_owner(&mut tx, gateway.store.node(), 100).await.unwrap();
        let deleted = rows.iter().filter(|row| row.description.ends_with("deleted by a document")).count();
        assert_eq!(deleted, gone.iter().filter(|line| line.starts_with('-')).count(), "{document}");
    }
}

async fn a_setting_that_is_not_named_goes_back_to_its_default(home: Home) {
    let gateway = Gateway::new(home).await;
    gateway.apply("settings: {timezone: Europe/Berlin, default_rate_limit: 7}").await.unwrap();
    let report = gateway.prune("settings: {default_rate_limit: 7}").await.unwrap();
    assert_eq!(lines(&report), ["~ setting timezone: \"Europe/Berlin\" -> \"UTC\""]);
}

async fn an_export_prunes_nothing_where_it_comes_from(home: Home) {
    let gateway = Gateway::new(home).await;
    gateway.apply(EXAMPLE).await.unwrap();
    gateway.apply(FULL).await.unwrap();
    // The key of a user who is deleted softly is in no export.
    gateway.apply("users: [{username: eve, email: eve@example.com, password: null}]").await.unwrap();
    gateway.apply("api_keys: [{name: old, user: eve}]").await.unwrap();
    let users = store::repo::users::all_any_owner(&mut gateway.store.db().read().await.unwrap()).await.unwrap();
    let eve = users.iter().find(|user| user.username == "eve").unwrap().id;
    let mut tx = gateway.store.db().begin().await.unwrap();
    store::repo::users::delete(&mut tx, eve).await.unwrap();
    tx.commit().await.unwrap();
    for secrets in [Secrets::Included, Secrets::Omitted] {
        let written = gateway.export(secrets).await;
        assert!(!written.contains("eve@"));
        assert_eq!(lines(&gateway.prune(&written).await.unwrap()), [""; 0]);
    }
}

async fn the_catalog_becomes_what_the_document_says_whatever_it_was(home: Home) {
    let gateway = Gateway::with_example(home).await;
    gateway.prune(FULL).await.unwrap();
    // What was there keeps what acts on creation only, and so does a balance.
    let written = gateway.export(Secrets::Included).await;
    let kept = |text: &str| text.lines().filter(|line| !line.contains("balance_usd")).collect::<Vec<_>>().join("\n");
    assert_eq!(kept(&written), kept(FULL));
}

async fn names_and_addresses_of_what_goes_are_free_at_once(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let next = EXAMPLE
        .replace("username: ann", "username: bea")
        .replace("user: ann", "user: bea")
        .replace("name: laptop", "name: tablet")
        .replace("name: claude-sonnet-4-5", "name: sonnet")
        .replace("{global_model: claude-sonnet-4-5", "{global_model: sonnet");
    let report = gateway.prune(&next).await.unwrap();
    let gone: Vec<_> = lines(&report).into_iter().filter(|line| line.starts_with('-')).collect();
    assert_eq!(
        gone,
        ["- global_model claude-sonnet-4-5", "- model acme/claude-sonnet-4-5", "- user ann", "- api_key ann/laptop"]
    );
    let catalog = gateway.catalog().await;
    assert_eq!(catalog.users.values().map(|user| user.username.as_str()).collect::<Vec<_>>(), ["bea"]);
}

async fn a_global_model_that_is_served_and_the_last_admin_stay(home: Home) {
    let gateway = Gateway::with_example(home).await;
    gateway.diff("users: [{username: ann, role: admin}]").await;
    let before = gateway.picture().await;
    for (document, want) in [
        (
            "global_models: []",
            "line 1: global_models: does not name claude-sonnet-4-5, which cannot go while it is served by acme",
        ),
        ("users: []", "line 1: users: names no active admin; the last one cannot go"),
    ] {
        let error = gateway.prune(document).await.unwrap_err();
        assert!(matches!(error, ApplyError::Refused(_)));
        assert_eq!(error.to_string(), want);
        assert_eq!(gateway.picture().await, before, "{document}");
    }
}

async fn a_provider_that_goes_is_nobodys_default_and_a_key_that_it_alone_served_is_a_warning(home: Home) {
    let gateway = Gateway::with_example(home).await;
    gateway.apply("users: [{username: ann, default_provider_id: acme}]").await.unwrap();
    let report = gateway.prune("providers: []").await.unwrap();
    assert!(lines(&report).contains(&"~ user ann: default_provider_id acme -> none".to_owned()), "{report}");
    let want = "the client key laptop loses the last of its mappings: any provider may serve it from here on";
    assert_eq!(report.warnings, [want]);
}
