//! The text of client keys.

use domain::{catalog::KeyHash, secret::Secret};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Characters after the prefix: about 190 bits.
const LENGTH: usize = 32;
/// Four times the alphabet's length: bytes at or above this would favour its beginning.
const UNBIASED: u8 = 4 * 62;
const SHOWN_FIRST: usize = 10;
const SHOWN_LAST: usize = 4;

/// A client key in the clear, with what is stored of it.
#[derive(Debug, Clone)]
pub struct ClientKeyText {
    /// The key; shown once.
    pub text: Secret,
    /// SHA-256 of the whole text: how it is found.
    pub hash: KeyHash,
    /// First 10 characters.
    pub prefix: String,
    /// Last 4 characters.
    pub last4: String,
}

/// No randomness to be had from the operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct NoRandomness;

/// Makes a key: `prefix`, a hyphen, and 32 letters and digits, each equally likely.
pub fn mint_client_key(prefix: &str) -> Result<ClientKeyText, NoRandomness> {
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + 1 + LENGTH));
    text.push_str(prefix);
    text.push('-');
    let mut bytes = Zeroizing::new([0u8; LENGTH]);
    let mut left = LENGTH;
    while left > 0 {
        getrandom::fill(&mut *bytes).map_err(|_| NoRandomness)?;
        for byte in bytes.iter().filter(|byte| **byte < UNBIASED).take(left) {
            text.push(char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
            left -= 1;
        }
    }
    Ok(fingerprint(Secret::new(text.to_string())))
}

/// What is stored of a key whose text is given.
pub fn fingerprint(text: Secret) -> ClientKeyText {
    let exposed = text.expose();
    let hash = Sha256::digest(exposed.as_bytes()).into();
    let prefix = exposed.chars().take(SHOWN_FIRST).collect();
    let skipped = exposed.chars().count().saturating_sub(SHOWN_LAST);
    let last4 = exposed.chars().skip(skipped).collect();
    ClientKeyText { text, hash, prefix, last4 }
}

#[cfg(test)]
mod tests;
