use super::*;
use crate::{Published, load, repo::api_keys, sample};
use domain::{
    catalog::Catalog,
    ports::{CannotOpen, Directory as _, Keyring as _},
    secret::Secret,
};
use std::{sync::Arc, time::Duration};
use testkit::servers::Home;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

testkit::on_both![
    every_secret_is_sealed_under_the_new_key_alone,
    a_running_node_opens_every_credential_all_the_time,
    a_rotation_goes_on_wherever_it_was_interrupted,
    a_secret_that_nothing_opens_is_named_and_stays,
    a_process_that_began_before_seals_under_the_new_key,
];

/// A store with a provider's credential and a client's key in it.
async fn store(home: &Home) -> Store {
    let store = sample::store(home).await;
    sample::seed(&store).await;
    let mut tx = store.db().begin().await.unwrap();
    let mut row = sample::client_key_row();
    let clear = Secret::new("sk-laptop".to_owned());
    row.key_encrypted = Some(store.vault().seal(Column::ClientKey, row.id.uuid(), &clear).unwrap());
    assert!(api_keys::update_any_owner(&mut tx, &row).await.unwrap());
    tx.commit().await.unwrap();
    store
}

async fn catalog(store: &Store) -> Catalog {
    Catalog::build(load(store).await.unwrap()).unwrap()
}

/// What a vault makes of the two secrets.
async fn opened(store: &Store, vault: &Vault) -> [Result<String, CannotOpen>; 2] {
    let catalog = catalog(store).await;
    let provider_key = vault.open(catalog.provider_key(sample::provider_key()).unwrap());
    let mut tx = store.db().read().await.unwrap();
    let mut keys = api_keys::all_any_owner(&mut tx).await.unwrap().into_iter();
    let row = keys.find(|row| row.id == sample::key()).unwrap();
    let client_key = vault.unseal(Column::ClientKey, row.id.uuid(), &row.key_encrypted.unwrap());
    [provider_key, client_key].map(|clear| clear.map(|clear| clear.expose().to_owned()))
}

fn both() -> [Result<String, CannotOpen>; 2] {
    [Ok("sk-upstream".to_owned()), Ok("sk-laptop".to_owned())]
}

fn key_files(store: &Store) -> Vec<String> {
    let files = fs::read_dir(store.data_dir().path()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("master.key")).collect();
    names.sort();
    names
}

async fn every_secret_is_sealed_under_the_new_key_alone(home: Home) {
    let store = store(&home).await;
    let path = store.data_dir().master_key();
    let before = Vault::new(&MasterKey::from_file(&path).unwrap());
    assert_eq!(opened(&store, &before).await, both());

    let rotated = rotate(&store).await.unwrap();
    assert_eq!(rotated, Rotated { sealed: 2, unreadable: vec![], resumed: false });
    assert_eq!(key_files(&store), ["master.key"]);
    assert_eq!(opened(&store, &before).await, [Err(CannotOpen), Err(CannotOpen)]);
    assert_eq!(opened(&store, &Vault::new(&MasterKey::from_file(&path).unwrap())).await, both());
    assert_eq!(opened(&store, store.vault()).await, both());
}

async fn a_running_node_opens_every_credential_all_the_time(home: Home) {
    let (node, other) = (store(&home).await, sample::store(&home).await);
    let published = Arc::new(Published::new(catalog(&node).await));
    let (cancel, tracker) = (CancellationToken::new(), TaskTracker::new());
    tracker.spawn(feed::follow(node.clone(), published.clone(), cancel.clone()));
    let open = || {
        let catalog = published.catalog();
        let key = catalog.provider_key(sample::provider_key()).unwrap();
        node.vault().open(key).map(|clear| clear.expose().to_owned())
    };
    let held = published.catalog();
    for _ in 0..2 {
        assert_eq!(rotate(&other).await.unwrap().sealed, 2);
        assert_eq!(open(), Ok("sk-upstream".to_owned()), "what it has loaded still opens");
        let revision = feed::current_revision(other.db()).await.unwrap();
        tokio::time::timeout(Duration::from_secs(5), published.reached(revision)).await.unwrap();
        assert_eq!(open(), Ok("sk-upstream".to_owned()), "and so does what it loads");
    }
    // A request that began before both.
    let key = held.provider_key(sample::provider_key()).unwrap();
    assert_eq!(node.vault().open(key).map(|clear| clear.expose().to_owned()), Ok("sk-upstream".to_owned()));
    cancel.cancel();
    tracker.close();
    tracker.wait().await;
}

async fn a_rotation_goes_on_wherever_it_was_interrupted(home: Home) {
    /// What an interrupted run has left.
    type Left = fn(&Path);
    let made: Left = |path| MasterKey::make(&next(path)).unwrap();
    let linked: Left = |path| {
        MasterKey::make(&next(path)).unwrap();
        fs::hard_link(path, former(path)).unwrap();
    };
    let renamed: Left = |path| assert!(!exchange(path).unwrap());
    for (name, left, sealed) in
        [("made", made, 0), ("linked", linked, 0), ("renamed", renamed, 0), ("half-way", renamed, 1)]
    {
        let home = home.another().unwrap();
        let first = store(&home).await;
        let path = first.data_dir().master_key();
        let old = Vault::new(&MasterKey::from_file(&path).unwrap());
        left(&path);
        let mut rotated = Rotated { sealed: 0, unreadable: vec![], resumed: false };
        for _ in 0..sealed {
            seal_batch(&first, &PROVIDER_KEYS, Uuid::nil(), 1, &mut rotated).await.unwrap();
        }
        assert_eq!(rotated.sealed, sealed, "{name}");
        // Whatever starts now opens everything.
        let second = sample::store(&home).await;
        assert_eq!(opened(&second, second.vault()).await, both(), "{name}");
        let rotated = rotate(&second).await.unwrap();
        assert!(rotated.resumed && rotated.unreadable.is_empty(), "{name}: {rotated:?}");
        assert_eq!(key_files(&second), ["master.key"], "{name}");
        assert_eq!(opened(&second, &old).await, [Err(CannotOpen), Err(CannotOpen)], "{name}");
        let third = sample::store(&home).await;
        assert_eq!(opened(&third, third.vault()).await, both(), "{name}");
    }
}

async fn a_secret_that_nothing_opens_is_named_and_stays(home: Home) {
    let store = store(&home).await;
    let mut tx = store.db().begin().await.unwrap();
    let broken = "UPDATE api_keys SET key_encrypted = $1 WHERE id = $2";
    tx.run(broken, vec![[1_u8; 60].as_slice().into(), sample::standalone().uuid().into()]).await.unwrap();
    tx.commit().await.unwrap();
    let rotated = rotate(&store).await.unwrap();
    let name = format!("api_keys {}", sample::standalone().uuid());
    assert_eq!((rotated.sealed, rotated.unreadable), (2, vec![name]));
    assert_eq!(opened(&store, store.vault()).await, both());
}

async fn a_process_that_began_before_seals_under_the_new_key(home: Home) {
    let (early, other) = (store(&home).await, sample::store(&home).await);
    rotate(&other).await.unwrap();
    let mut tx = early.db().begin().await.unwrap();
    early.sealing(&mut tx).await.unwrap();
    let sealed = early.vault().seal(Column::ProviderKey, Uuid::nil(), &Secret::new("x".to_owned())).unwrap();
    drop(tx);
    let now = Vault::new(&MasterKey::from_file(&early.data_dir().master_key()).unwrap());
    assert!(now.unseal(Column::ProviderKey, Uuid::nil(), &sealed).is_ok());
}

#[tokio::test]
async fn a_key_that_is_given_from_outside_is_not_replaced() {
    let home = Home::embedded().unwrap();
    let mut config = sample::config(home.path(), None);
    config.master_key = Some(Secret::new("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned()));
    let store = Store::open(config).await.unwrap();
    assert!(matches!(rotate(&store).await, Err(RotateError::Given { .. })));
}

#[tokio::test]
async fn two_rotations_do_not_meet() {
    let home = Home::embedded().unwrap();
    let store = store(&home).await;
    let directory = fs::File::open(store.data_dir().path()).unwrap();
    directory.lock().unwrap();
    assert!(matches!(rotate(&store).await, Err(RotateError::Busy)));
}
