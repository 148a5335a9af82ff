use super::*;
use std::os::unix::fs::PermissionsExt as _;

fn vault(seed: u8) -> Vault {
    Vault::new(&MasterKey::from_bytes([seed; 32]))
}

fn with_former(vault: Vault, seed: u8) -> Vault {
    let former = vec![Arc::new(Keys::new(&MasterKey::from_bytes([seed; 32])))];
    vault.ring.store(Arc::new(Ring { current: vault.ring.load().current.clone(), former }));
    vault
}

fn row(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn secret() -> Secret {
    Secret::new("sk-upstream".to_owned())
}

#[test]
fn a_secret_opens_in_its_row_and_column_with_its_key_only() {
    let sealed = vault(1).seal(Column::ProviderKey, row(1), &secret()).unwrap();
    for (name, vault, column, row, opens) in [
        ("as it was sealed", vault(1), Column::ProviderKey, row(1), true),
        ("in another row", vault(1), Column::ProviderKey, row(2), false),
        ("in another column", vault(1), Column::ClientKey, row(1), false),
        ("with another master key", vault(2), Column::ProviderKey, row(1), false),
        ("with a newer master key that knows the former", with_former(vault(2), 1), Column::ProviderKey, row(1), true),
    ] {
        let opened = vault.unseal(column, row, &sealed);
        assert_eq!(opened.map(|secret| secret.expose() == "sk-upstream").ok(), opens.then_some(true), "{name}");
    }
}

#[test]
fn every_changed_bit_and_every_cut_is_noticed() {
    let vault = vault(1);
    let sealed = vault.seal(Column::ProviderKey, row(1), &secret()).unwrap();
    for bit in 0..sealed.0.len() * 8 {
        let mut changed = sealed.clone();
        changed.0[bit / 8] ^= 1 << (bit % 8);
        assert!(vault.unseal(Column::ProviderKey, row(1), &changed).is_err(), "bit {bit}");
    }
    for length in 0..sealed.0.len() {
        let cut = Sealed(sealed.0[..length].to_vec());
        assert!(vault.unseal(Column::ProviderKey, row(1), &cut).is_err(), "{length} bytes");
    }
}

#[test]
fn sealing_twice_gives_different_bytes_without_the_secret_in_them() {
    let (a, b) = (
        vault(1).seal(Column::ProviderKey, row(1), &secret()).unwrap(),
        vault(1).seal(Column::ProviderKey, row(1), &secret()).unwrap(),
    );
    assert_ne!(a.0, b.0);
    assert!(!a.0.windows(8).any(|bytes| b"sk-upstream".starts_with(bytes)));
}

#[test]
fn the_key_file_is_made_once_and_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    let made = MasterKey::from_file(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(*MasterKey::from_file(&path).unwrap().0, *made.0);

    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(MasterKey::from_file(&path), Err(VaultError::Exposed { mode: 0o640, .. })));

    fs::remove_file(&path).unwrap();
    assert_ne!(*MasterKey::from_file(&path).unwrap().0, *made.0);
}

#[test]
fn a_given_master_key_is_base64_of_32_bytes() {
    let given = |text: &str| MasterKey::from_base64(&Secret::new(text.to_owned()));
    assert!(given(&(STANDARD.encode([7; 32]) + "\n")).is_ok());
    for bad in ["", "short", &STANDARD.encode([7; 31]), &STANDARD.encode([7; 33])] {
        let error = given(bad).unwrap_err();
        assert!(matches!(error, VaultError::BadMasterKey));
        assert!(bad.is_empty() || !error.to_string().contains(bad), "the text is not repeated");
    }
}

#[test]
fn a_credential_that_was_opened_is_kept_only_as_long_as_its_sealed_form_stays() {
    let vault = vault(1);
    let mut key = ProviderKey {
        id: row(1).into(),
        endpoint_id: row(2).into(),
        name: String::new(),
        api_key: vault.seal(Column::ProviderKey, row(1), &secret()).unwrap(),
        rate_multiplier: domain::money::Factor::ONE,
        internal_priority: 0,
        global_priority: None,
        max_concurrent: None,
        rate_limit: None,
        daily_limit: None,
        monthly_limit: None,
        allowed_models: None,
        capabilities: domain::catalog::Capabilities::default(),
        cache_ttl_minutes: 0,
        max_probe_interval_minutes: 0,
        is_active: true,
        expires_at: None,
    };
    let opened = |key: &ProviderKey| vault.open(key).map(|clear| clear.expose().to_owned());
    let first = key.api_key.clone();
    assert_eq!(opened(&key), Ok("sk-upstream".to_owned()));
    assert_eq!(opened(&key), Ok("sk-upstream".to_owned()), "known by now");

    key.api_key = vault.seal(Column::ProviderKey, row(1), &Secret::new("sk-new".to_owned())).unwrap();
    assert_eq!(opened(&key), Ok("sk-new".to_owned()), "sealed anew");
    key.api_key = first;
    key.api_key.0[40] ^= 1;
    assert_eq!(opened(&key), Err(CannotOpen), "changed");
    key.id = row(3).into();
    assert_eq!(opened(&key), Err(CannotOpen), "moved");
}
