use crate::sample;
use std::{fs, os::unix::fs::MetadataExt as _};
use store::{DatabaseUrl, Db, OpenError, Store, StoreConfig, SyncMode, migrate};
use testkit::servers::Home;

testkit::on_both![
    migrations_are_applied_once,
    two_processes_that_start_at_once_agree,
    a_schema_that_is_newer_is_refused_and_left_as_it_is,
];

async fn connect(home: &Home) -> Db {
    let url = match home.database_url() {
        Some(url) => url.parse().unwrap(),
        None => DatabaseUrl::sqlite(home.path().join("t.db")),
    };
    Db::connect(&url).await.unwrap()
}

async fn migrations_are_applied_once(home: Home) {
    let db = connect(&home).await;
    let first = migrate::run(&db).await.unwrap();
    assert_eq!(first.last(), Some(&migrate::known()));
    assert!(migrate::run(&db).await.unwrap().is_empty());
}

async fn two_processes_that_start_at_once_agree(home: Home) {
    let (one, other) = (connect(&home).await, connect(&home).await);
    let (one, other) = tokio::join!(migrate::run(&one), migrate::run(&other));
    let applied = one.unwrap().len() + other.unwrap().len();
    assert_eq!(i64::try_from(applied).unwrap(), migrate::known());
}

async fn a_schema_that_is_newer_is_refused_and_left_as_it_is(home: Home) {
    let store = sample::store(&home).await;
    sample::run(&store, "INSERT INTO schema_migrations (version, name, applied_at) VALUES (1000, 'later', 0)").await;
    store.db().close().await;

    let error = Store::open(sample::config(home.path(), home.database_url())).await.unwrap_err();
    assert!(matches!(error, OpenError::Migrate(migrate::MigrateError::Newer { .. })));
    let expected = format!("schema version 1000, this binary knows versions up to {}", migrate::known());
    assert!(error.to_string().contains(&expected), "{error}");
}

#[tokio::test]
async fn a_data_directory_is_private_and_keeps_its_node() {
    let home = Home::embedded().unwrap();
    let (first, again) = (sample::store(&home).await, sample::store(&home).await);
    assert_eq!(first.node(), again.node());
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(first.data_dir().path()), 0o700);
    assert_eq!(mode(&first.data_dir().master_key()), 0o600);
}

#[tokio::test]
async fn a_bad_address_is_refused_without_being_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let database_url = Some(domain::secret::Secret::new("mysql://root:hunter2@db/x".to_owned()));
    let config = StoreConfig { data_dir: dir.path().into(), database_url, master_key: None, sync: SyncMode::Interval };
    let error = Store::open(config).await.unwrap_err().to_string();
    assert!(!error.contains("hunter2"), "{error}");
}
