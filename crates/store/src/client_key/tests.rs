use super::*;

#[test]
fn a_minted_key_has_its_shape_and_its_fingerprint() {
    let key = mint_client_key("sk").unwrap();
    let text = key.text.expose();
    assert_eq!(text.len(), 35);
    assert!(text.starts_with("sk-") && text[3..].bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!((key.prefix.as_str(), key.last4.as_str()), (&text[..10], &text[31..]));
    assert_eq!(key.hash, fingerprint(key.text.clone()).hash);
    assert_ne!(text, mint_client_key("sk").unwrap().text.expose());
}

#[test]
fn a_hash_is_the_sha256_of_the_whole_text() {
    // printf %s sk-test | sha256sum
    let hash = fingerprint(Secret::new("sk-test".to_owned())).hash;
    let hex = "f3abf2a6cc4f00987743db5f544ba345b4899ae31f326d8ee9c4816de153c9e0";
    for (place, byte) in hash.iter().enumerate() {
        assert_eq!(format!("{byte:02x}"), hex[2 * place..][..2]);
    }
}

#[test]
fn every_character_is_equally_likely() {
    let mut seen = [0u32; 256];
    for _ in 0..2_000 {
        for byte in mint_client_key("k").unwrap().text.expose().bytes().skip(2) {
            seen[usize::from(byte)] += 1;
        }
    }
    // 64,000 draws from 62: 1,032 expected, standard deviation 32. Eight of them never happen by chance; modulo bias
    // would give the first eight characters 25 % more.
    for character in ALPHABET {
        let count = seen[usize::from(*character)];
        assert!((776..=1_288).contains(&count), "{} came {count} times", char::from(*character));
    }
}
