use crate::sample;
use std::{fs, os::unix::fs::MetadataExt as _};
use store::{DatabaseUrl, Db, OpenError, Store, StoreConfig, SyncMode, migrate};

#[tokio::test]
async fn migrations_are_applied_once() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::connect(&DatabaseUrl::sqlite(dir.path().join("t.db"))).await.unwrap();
    let first = migrate::run(&db).await.unwrap();
    assert_eq!(first.last(), Some(&migrate::known()));
    assert!(migrate::run(&db).await.unwrap().is_empty());
}

#[tokio::test]
async fn two_processes_that_start_at_once_agree() {
    let dir = tempfile::tempdir().unwrap();
    let url = DatabaseUrl::sqlite(dir.path().join("t.db"));
    let (one, other) = (Db::connect(&url).await.unwrap(), Db::connect(&url).await.unwrap());
    let (one, other) = tokio::join!(migrate::run(&one), migrate::run(&other));
    let applied = one.unwrap().len() + other.unwrap().len();
    assert_eq!(i64::try_from(applied).unwrap(), migrate::known());
}

#[tokio::test]
async fn a_schema_that_is_newer_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = sample::store(dir.path()).await;
    let Db::Sqlite(pool) = store.db() else { panic!("embedded by default") };
    let newer = migrate::known() + 1;
    let insert = "INSERT INTO schema_migrations (version, name, applied_at) VALUES ($1, 'later', 0)";
    sqlx::query(insert).bind(newer).execute(pool).await.unwrap();
    store.db().close().await;

    let data_dir = store.data_dir().path().to_owned();
    let config = StoreConfig { data_dir, database_url: None, master_key: None, sync: SyncMode::Interval };
    let error = Store::open(config).await.unwrap_err();
    assert!(matches!(error, OpenError::Migrate(migrate::MigrateError::Newer { .. })));
    let expected = format!("schema version {newer}, this binary knows versions up to {}", migrate::known());
    assert!(error.to_string().contains(&expected), "{error}");
}

#[tokio::test]
async fn a_data_directory_is_private_and_keeps_its_node() {
    let dir = tempfile::tempdir().unwrap();
    let first = sample::store(dir.path()).await;
    let again = sample::store(dir.path()).await;
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
