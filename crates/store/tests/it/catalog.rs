use crate::sample;
use domain::{
    catalog::Catalog,
    format::{ApiFormat, OnDisconnect},
    ports::Keyring as _,
};
use store::{
    fingerprint, load,
    repo::{
        self,
        api_keys::{self, ClientKeyRow},
    },
};
use testkit::servers::Home;
use uuid::Uuid;

testkit::on_both![
    what_is_written_is_what_a_catalog_is_built_from,
    every_mutation_moves_the_revision_and_a_price_that_changes_gets_a_version,
    every_client_key_is_read_however_many_there_are,
];

async fn what_is_written_is_what_a_catalog_is_built_from(home: Home) {
    let store = sample::store(&home).await;
    let empty = Catalog::build(load(&store).await.unwrap()).unwrap();
    assert_eq!((empty.revision, empty.providers.len()), (0, 0));

    sample::seed(&store).await;
    sample::open_quota(&store, sample::quota()).await;
    let mut tx = store.db().begin().await.unwrap();
    repo::settings::set(&mut tx, "on_disconnect", Some(&serde_json::json!("drain"))).await.unwrap();
    repo::settings::set(&mut tx, "smtp", Some(&serde_json::json!({"host": "mail"}))).await.unwrap();
    tx.commit().await.unwrap();
    let catalog = Catalog::build(load(&store).await.unwrap()).unwrap();
    assert!(catalog.revision > empty.revision);
    assert_eq!(catalog.settings.on_disconnect, OnDisconnect::Drain);

    let hash = fingerprint(domain::secret::Secret::new("sk-laptop".to_owned())).hash;
    let key = catalog.client_key(&hash, 0).unwrap();
    let row = sample::client_key_row();
    assert_eq!((key.id, key.user_id, &key.name), (row.id, row.user_id, &"laptop".to_owned()));
    assert_eq!((key.limits.rate, key.limits.concurrent), (Some(100), Some(5)));
    assert_eq!(key.mappings, [sample::mapping_row().mapping()]);
    let balance = catalog.client_keys[&sample::standalone()].balance.unwrap();
    assert_eq!(balance.limit, sample::standalone_row().current_balance_usd);

    let user = &catalog.users[&sample::user()];
    assert_eq!(
        (user.access.models.clone(), user.quota.limit),
        (sample::user_row().access.models, Some(domain::money::NanoUsd(10_000_000_000)))
    );

    let routes = catalog.routes(sample::global_model());
    assert_eq!(routes.len(), 1);
    let route = &routes[0];
    assert_eq!((route.provider.name.as_str(), route.endpoint.api_format), ("acme", ApiFormat::Claude));
    assert_eq!(route.endpoint.config, sample::endpoint_row().config);
    assert_eq!((route.key.rate_multiplier, route.key.max_concurrent), (sample::half(), Some(4)));
    assert_eq!(store.vault().open(&route.key).unwrap().expose(), "sk-upstream");
    let global = &catalog.global_models[&sample::global_model()];
    assert_eq!(global.tiered_pricing, Some(sample::pricing()));
    assert!(global.price_version.is_some() && global.created_at > 0);
}

async fn every_mutation_moves_the_revision_and_a_price_that_changes_gets_a_version(home: Home) {
    let store = sample::store(&home).await;
    sample::seed(&store).await;
    let before = load(&store).await.unwrap();

    let mut tx = store.db().begin().await.unwrap();
    let mut row = sample::global_model_row();
    "Another".clone_into(&mut row.display_name);
    assert!(repo::global_models::update(&mut tx, &row).await.unwrap());
    tx.commit().await.unwrap();
    let renamed = load(&store).await.unwrap();
    assert_eq!(renamed.revision, before.revision + 1);
    assert_eq!(renamed.global_models[0].price_version, before.global_models[0].price_version);

    let mut tx = store.db().begin().await.unwrap();
    row.default_price_per_request = Some(domain::money::NanoUsd(1));
    assert!(repo::global_models::update(&mut tx, &row).await.unwrap());
    assert!(repo::providers::delete(&mut tx, sample::provider()).await.unwrap());
    tx.commit().await.unwrap();
    let after = load(&store).await.unwrap();
    assert_ne!(after.global_models[0].price_version, before.global_models[0].price_version);
    assert_eq!((after.endpoints.len(), after.provider_keys.len(), after.models.len()), (0, 0, 0));
    assert_eq!(after.client_keys.iter().map(|key| key.mappings.len()).sum::<usize>(), 0);

    // A transaction that is not committed changes nothing.
    let mut tx = store.db().begin().await.unwrap();
    assert!(repo::users::delete(&mut tx, sample::user()).await.unwrap());
    drop(tx);
    assert_eq!(load(&store).await.unwrap().revision, after.revision);
}

async fn every_client_key_is_read_however_many_there_are(home: Home) {
    // More than are read at a time.
    const MORE: u128 = 1_001;
    let store = sample::store(&home).await;
    sample::seed(&store).await;
    let before = load(&store).await.unwrap().client_keys.len();
    let mut tx = store.db().begin().await.unwrap();
    for number in 0..MORE {
        let mut row = ClientKeyRow { id: Uuid::from_u128((1 << 64) | number).into(), ..sample::client_key_row() };
        row.key_hash = [9; 32];
        row.key_hash[..16].copy_from_slice(&number.to_be_bytes());
        row.previous_key_hash = None;
        api_keys::insert(&mut tx, &row).await.unwrap();
    }
    tx.commit().await.unwrap();
    let keys = load(&store).await.unwrap().client_keys;
    assert_eq!(keys.len(), before + 1_001);
    let ids: std::collections::HashSet<_> = keys.iter().map(|key| key.id).collect();
    assert_eq!(ids.len(), keys.len(), "each once");
}
