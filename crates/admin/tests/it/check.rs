use crate::support::{EXAMPLE, Gateway, parse};
use admin::{Checked, check};
use store::repo::api_keys;
use testkit::servers::Home;

async fn findings(gateway: &Gateway, document: Option<&str>) -> Vec<String> {
    let document = document.map(|text| parse(text).unwrap());
    let checked = check(&gateway.store, document.as_ref(), &gateway.options, &gateway.egress).await.unwrap();
    printed(&checked)
}

fn printed(checked: &Checked) -> Vec<String> {
    checked.findings.iter().map(ToString::to_string).collect()
}

testkit::on_both![
    a_document_is_checked_as_it_would_be_applied_and_nothing_is_written,
    what_is_odd_in_a_document_is_found_once,
    the_catalog_of_the_database_is_checked_for_what_will_not_serve,
    a_key_of_another_master_key_and_a_forbidden_address_are_errors,
    what_an_export_would_refuse_and_an_interrupted_rotation_are_warnings,
];

async fn a_document_is_checked_as_it_would_be_applied_and_nothing_is_written(home: Home) {
    let gateway = Gateway::new(home).await;
    let before = gateway.picture().await;
    let document = parse(EXAMPLE).unwrap();
    let checked = check(&gateway.store, Some(&document), &gateway.options, &gateway.egress).await.unwrap();
    assert_eq!(
        printed(&checked),
        ["warning: global model local-test: no provider with an endpoint and a key serves it"]
    );
    assert!(!checked.has_errors());
    assert_eq!(checked.report.unwrap().changes.len(), 9);
    let reached: Vec<_> =
        checked.endpoints.iter().map(|(name, endpoint, _)| (name.as_str(), endpoint.base_url.as_str())).collect();
    assert_eq!(reached, [("acme/CLAUDE", "https://api.example.com")]);
    assert_eq!(gateway.picture().await, before);
    assert!(check(&gateway.store, None, &gateway.options, &gateway.egress).await.unwrap().findings.is_empty());
}

async fn what_is_odd_in_a_document_is_found_once(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let document = "
global_models: [{name: later}]
providers: [{name: acme, endpoints: [{api_format: CLAUDE, base_url: https://gone.example.com}]}]
api_keys: [{name: rich, is_standalone: true}]
";
    assert_eq!(
        findings(&gateway, Some(document)).await,
        [
            "warning: document: the host of https://gone.example.com does not resolve now",
            "warning: document: global model later has no prices and stays inactive",
            "warning: document: the standalone key rich has no balance_usd: it may spend without limit",
            "warning: global model local-test: no provider with an endpoint and a key serves it",
        ]
    );
}

async fn the_catalog_of_the_database_is_checked_for_what_will_not_serve(home: Home) {
    let gateway = Gateway::with_example(home).await;
    gateway.apply("global_models: [{name: local-test, is_active: false}]").await.unwrap();
    assert!(findings(&gateway, None).await.is_empty());

    let odd = "
providers:
  - name: acme
    endpoints: [{api_format: CLAUDE, base_url: https://gone.example.com, keys: [{name: main, expires_at: 2026-01-01T00:00:00Z}]}]
  - {name: empty}
  - {name: half, endpoints: [{api_format: OPENAI, base_url: https://api.example.com}]}
users: [{username: ann, is_active: false}]
api_keys: [{name: kiosk, expires_at: 2026-01-01T00:00:00Z}]
";
    gateway.apply(odd).await.unwrap();
    let mut found = findings(&gateway, None).await;
    found.sort();
    assert_eq!(
        found,
        [
            "warning: api key ann/laptop: is refused: its owner is not active",
            "warning: api key kiosk (standalone): is refused: its expires_at is past",
            "warning: endpoint acme/CLAUDE: the host of https://gone.example.com does not resolve now",
            "warning: endpoint half/OPENAI: has no key",
            "warning: global model claude-sonnet-4-5: every way to serve it is switched off or past its date",
            "warning: provider empty: has no endpoint",
            "warning: provider empty: serves no model",
            "warning: provider half: serves no model",
            "warning: provider key acme/CLAUDE/main: is skipped: its expires_at is past",
        ]
    );
}

async fn a_key_of_another_master_key_and_a_forbidden_address_are_errors(home: Home) {
    let mut gateway = Gateway::with_example(home).await;
    gateway.options.resolver =
        admin::Resolver::Table([("api.example.com".to_owned(), vec!["127.0.0.1".parse().unwrap()])].into());
    gateway.store = gateway.with_another_master_key().await;
    let found = findings(&gateway, None).await;
    assert_eq!(
        found[..4],
        [
            "error: provider key acme/CLAUDE/main: cannot be opened with this master key",
            "error: endpoint acme/CLAUDE: 127.0.0.1 is not a public address; the setting egress.allow does not hold it",
            "warning: api key ann/laptop: cannot be opened with this master key",
            "warning: api key kiosk (standalone): cannot be opened with this master key",
        ]
    );
}

async fn what_an_export_would_refuse_and_an_interrupted_rotation_are_warnings(home: Home) {
    let gateway = Gateway::with_example(home).await;
    let mut tx = gateway.store.db().begin().await.unwrap();
    let mut key = api_keys::all_any_owner(&mut tx).await.unwrap().remove(0);
    (key.id, key.key_hash, key.key_encrypted) = (store::mint(), [9; 32], None);
    api_keys::insert(&mut tx, &key).await.unwrap();
    tx.commit().await.unwrap();
    let master = gateway.store.data_dir().master_key();
    std::fs::hard_link(&master, master.with_added_extension("former")).unwrap();
    let found = findings(&gateway, None).await;
    let starts = [
        "warning: master key: its rotation was interrupted; run tollgate vault rotate again",
        "warning: catalog: ann has more than one client key laptop; rename all but one of ",
    ];
    assert_eq!(found.len(), 3, "{found:?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}");
    }
    store::vault::rotate(&gateway.store).await.unwrap();
    assert!(!findings(&gateway, None).await.iter().any(|found| found.contains("rotation")));
}
