//! The credential a request presents, wherever its client puts it.

use super::route::percent_decoded;
use domain::secret::Secret;
use http::{HeaderMap, HeaderName, header::AUTHORIZATION};

/// Headers that carry a bare key.
static KEY_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// What a request presents.
#[derive(Debug)]
pub(crate) enum Presented {
    /// Nothing.
    Nothing,
    /// Two different keys: nobody can tell which one is meant.
    Conflicting,
    /// One key; `google_only` if it came only in Google's ways.
    Key {
        /// The key's text.
        secret: Secret,
        /// Presented as `x-goog-api-key` or `?key=` alone.
        google_only: bool,
    },
}

/// Reads the credential from all the places where clients put it.
pub(crate) fn presented(headers: &HeaderMap, query_key: Option<&str>) -> Presented {
    let bare = KEY_HEADERS.iter().flat_map(|name| {
        let google = name.as_str() == "x-goog-api-key";
        headers.get_all(name).iter().map(move |value| (value.to_str().ok(), google))
    });
    let bearer = headers.get_all(AUTHORIZATION).iter().map(|value| (value.to_str().ok().and_then(bearer_token), false));
    let in_query = query_key.map(|key| (Some(key), true));

    let (mut found, mut google_only): (Option<&str>, bool) = (None, true);
    for (text, google) in bare.chain(bearer).chain(in_query) {
        let text = text.map_or("", str::trim);
        match found {
            Some(other) if other != text => return Presented::Conflicting,
            _ => found = Some(text),
        }
        google_only &= google;
    }
    match found {
        None | Some("") => Presented::Nothing,
        Some(text) => Presented::Key { secret: Secret::new(text.to_owned()), google_only },
    }
}

fn bearer_token(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// Splits a query into what may be logged and forwarded, and the `key` that may not.
pub(crate) fn take_key(query: &str) -> (String, Option<String>) {
    if !query.split('&').any(|pair| name_of(pair) == "key") {
        return (query.to_owned(), None);
    }
    let mut key = None;
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| {
            let is_key = name_of(pair) == "key";
            if is_key {
                let value = pair.split_once('=').map_or("", |(_, value)| value);
                key = percent_decoded(value);
            }
            !is_key
        })
        .collect();
    (kept.join("&"), key)
}

/// A pair's name, unescaped: `%6bey` is `key` too.
fn name_of(pair: &str) -> String {
    let name = pair.split_once('=').map_or(pair, |(name, _)| name);
    percent_decoded(name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_wherever_it_is() {
        for (headers, query, want) in [
            (&[("x-api-key", "k")][..], None, Some(("k", false))),
            (&[("authorization", "bEaReR k")], None, Some(("k", false))),
            (&[("api-key", "k")], None, Some(("k", false))),
            (&[("x-goog-api-key", "k")], None, Some(("k", true))),
            (&[], Some("k"), Some(("k", true))),
            (&[("x-goog-api-key", "k"), ("authorization", "Bearer k")], None, Some(("k", false))),
            (&[("authorization", "Basic k")], None, None),
            (&[("x-api-key", "")], None, None),
            (&[], None, None),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            let got = match presented(&map, query) {
                Presented::Key { secret, google_only } => Some((secret.expose().to_owned(), google_only)),
                _ => None,
            };
            assert_eq!(got, want.map(|(key, google): (&str, bool)| (key.to_owned(), google)), "{headers:?} {query:?}");
        }
    }

    #[test]
    fn two_different_keys_are_none() {
        let mut map = HeaderMap::new();
        map.append("x-api-key", "a".parse().unwrap());
        map.append("authorization", "Bearer b".parse().unwrap());
        assert!(matches!(presented(&map, None), Presented::Conflicting));
    }

    #[test]
    fn the_key_never_stays_in_the_query() {
        for (query, kept, key) in [
            ("alt=sse&key=s%2Dk&x=1", "alt=sse&x=1", Some("s-k")),
            ("%6bey=k", "", Some("k")),
            ("beta=true", "beta=true", None),
            ("keys=1", "keys=1", None),
        ] {
            assert_eq!(take_key(query), (kept.to_owned(), key.map(str::to_owned)), "{query}");
        }
    }
}
