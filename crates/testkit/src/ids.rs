//! Ids that look like the vendors' and are the same in every run.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `prefix` and `len` letters or digits that depend on `serial` and the prefix only.
pub(crate) fn id(prefix: &str, serial: u64, len: usize) -> String {
    let salt = prefix.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    spelled(prefix, serial.wrapping_mul(0x1000).wrapping_add(salt), len, 62)
}

/// As [`id`], of hexadecimal digits.
pub(crate) fn hex(prefix: &str, serial: u64, len: usize) -> String {
    spelled(prefix, serial, len, 16).to_lowercase()
}

fn spelled(prefix: &str, seed: u64, len: usize, base: u64) -> String {
    let mut state = seed;
    let mut text = prefix.to_owned();
    for _ in 0..len {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let digit = usize::try_from(mix(state) % base).unwrap_or_default();
        text.push(DIGITS.get(digit).map_or('0', |digit| char::from(*digit)));
    }
    text
}

/// The output function of splitmix64.
pub(crate) const fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}
