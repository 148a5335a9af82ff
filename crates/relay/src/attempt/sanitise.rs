//! An upstream's own words, cleared of what callers must not learn: key material, hosts, upstream model names.

use crate::Core;
use bytes::Bytes;
use domain::{catalog::ProviderKey, secret::Secret};
use memchr::memmem;
use std::borrow::Cow;

/// So many bytes of a key in a row are key material.
const KEY_PART: usize = 8;
/// What stands in its place.
const MASK: &[u8] = b"***";

/// What must not be seen.
pub(crate) struct Hidden<'a> {
    pub key: &'a Secret,
    pub host: &'a str,
    /// The name sent upstream.
    pub upstream_model: &'a str,
    /// What the caller knows it as.
    pub asked: &'a str,
}

/// What an upstream said, as it may be recorded and logged: operators see all of it but the key.
pub(crate) fn without_key(core: &Core, key: &ProviderKey, message: String) -> String {
    let Ok(secret) = core.ports.keyring.open(key) else { return message };
    masked(message, &secret)
}

/// The same, with the key at hand.
pub(crate) fn masked(message: String, secret: &Secret) -> String {
    let mut clean = Cow::Borrowed(message.as_bytes());
    mask_key(&mut clean, secret.expose().as_bytes());
    match clean {
        Cow::Borrowed(_) => message,
        Cow::Owned(clean) => String::from_utf8_lossy(&clean).into_owned(),
    }
}

/// Replaces what must not be seen; the very bytes if nothing of it occurs.
pub(crate) fn sanitise(body: &Bytes, hidden: &Hidden<'_>) -> Bytes {
    let mut clean = Cow::Borrowed(&body[..]);
    mask_key(&mut clean, hidden.key.expose().as_bytes());
    replace(&mut clean, hidden.host.as_bytes(), b"upstream");
    replace(&mut clean, hidden.upstream_model.as_bytes(), hidden.asked.as_bytes());
    match clean {
        Cow::Borrowed(_) => body.clone(),
        Cow::Owned(clean) => clean.into(),
    }
}

/// Masks every run of [`KEY_PART`] or more bytes that the key holds too.
fn mask_key(text: &mut Cow<'_, [u8]>, key: &[u8]) {
    let is_part =
        |at: usize, text: &[u8]| text.get(at..at + KEY_PART).is_some_and(|part| memmem::find(key, part).is_some());
    let Some(first) = (0..text.len()).find(|at| is_part(*at, text)) else { return };
    let mut out = text[..first].to_vec();
    let mut at = first;
    while at < text.len() {
        if is_part(at, text) {
            let mut end = at + 1;
            while is_part(end, text) {
                end += 1;
            }
            out.extend_from_slice(MASK);
            at = end + KEY_PART - 1;
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    *text = Cow::Owned(out);
}

fn replace(text: &mut Cow<'_, [u8]>, needle: &[u8], word: &[u8]) {
    // Names of one or two letters would garble the sentence and give nothing away.
    if needle.len() < 3 || needle == word || memmem::find(text, needle).is_none() {
        return;
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = &text[..];
    while let Some(at) = memmem::find(rest, needle) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(word);
        rest = &rest[at + needle.len()..];
    }
    out.extend_from_slice(rest);
    *text = Cow::Owned(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clean(body: &str) -> String {
        let key = Secret::new("sk-ant-0123456789abcdef".to_owned());
        let hidden =
            Hidden { key: &key, host: "api.example.com", upstream_model: "model-20250929", asked: "big-model" };
        String::from_utf8(sanitise(&Bytes::copy_from_slice(body.as_bytes()), &hidden).to_vec()).unwrap()
    }

    #[test]
    fn callers_see_neither_key_nor_host_nor_upstream_name() {
        for (body, want) in [
            ("Incorrect API key provided: sk-ant-0***cdef.", "Incorrect API key provided: ******cdef."),
            ("key 456789ab is bad", "key *** is bad"),
            ("key 456789a is short", "key 456789a is short"),
            ("model-20250929 at api.example.com", "big-model at upstream"),
            ("nothing here", "nothing here"),
        ] {
            assert_eq!(clean(body), want, "{body}");
        }
    }

    #[test]
    fn bytes_without_anything_to_hide_are_the_same_bytes() {
        let body = Bytes::from_static(b"{\"error\":{\"message\":\"max_tokens: required\"}}");
        let key = Secret::new("sk-ant-0123456789abcdef".to_owned());
        let hidden = Hidden { key: &key, host: "api.example.com", upstream_model: "m1", asked: "big" };
        assert_eq!(sanitise(&body, &hidden).as_ptr(), body.as_ptr());
    }

    proptest! {
        #[test]
        fn no_eight_bytes_of_a_key_survive(before in "[a-z ]{0,20}", from in 0usize..24, length in 0usize..40, after in "[a-z ]{0,20}") {
            let key = "sk-ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
            let part = &key[from.min(key.len())..(from + length).min(key.len())];
            let body = Bytes::from(format!("{before}{part}{after}"));
            let secret = Secret::new(key.to_owned());
            let hidden = Hidden { key: &secret, host: "", upstream_model: "", asked: "" };
            let clean = sanitise(&body, &hidden);
            prop_assert!(!clean.windows(KEY_PART).any(|window| memmem::find(key.as_bytes(), window).is_some()));
        }
    }
}
