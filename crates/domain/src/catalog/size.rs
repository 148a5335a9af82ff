//! What a catalog of many client keys occupies.

use super::{
    Catalog, KeyLimits,
    tests::{Fixture, id},
};
use allocation_counter::measure;

/// Most bytes of one client key, with everything that finds it.
const KEY_MAX: i64 = 1_024;

#[test]
fn a_client_key_occupies_a_kibibyte_at_most() {
    const KEYS: u128 = 100_000;
    let mut catalog = None;
    let info = measure(|| {
        let mut fixture = Fixture::new();
        let template = fixture.parts.client_keys.remove(0);
        for number in 0..KEYS {
            let mut key = template.clone();
            key.id = id(1_000 + number);
            key.name = format!("laptop of somebody, number {number}");
            key.key_hash[..16].copy_from_slice(&number.to_be_bytes());
            key.limits = KeyLimits { rate: Some(100), concurrent: Some(5) };
            fixture.parts.client_keys.push(key);
        }
        catalog = Some(fixture.build());
    });
    let catalog: Catalog = catalog.unwrap_or_default();
    assert_eq!(catalog.client_keys.len(), usize::try_from(KEYS).unwrap_or_default());
    let each = info.bytes_current / i64::try_from(KEYS).unwrap_or(1);
    assert!(each <= KEY_MAX, "{each} bytes for each key");
}
