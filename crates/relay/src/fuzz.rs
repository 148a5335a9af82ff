//! What must hold of any headers at all: `fuzz/` attacks this, and tests replay what it found. Built for tests and
//! fuzzing only.
#![allow(clippy::missing_panics_doc, reason = "a law that does not hold is what is looked for")]

use crate::{
    attempt::limits,
    ingress::{client, credentials, credentials::Presented, route},
    lists,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};
use wire::{Peek, Wire};

/// Headers that one input may hold.
const HEADERS_MAX: usize = 64;

/// A path with its query, lines of headers, a blank line and an error's body: whatever reads these reads them in
/// bounds, and a key never stays in a query.
pub fn headers(data: &[u8]) {
    let (head, body) = match data.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&data[..at], &data[at + 2..]),
        None => (data, &[][..]),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let target = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let mut headers = HeaderMap::new();
    for line in lines.take(HEADERS_MAX) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&line[colon + 1..])) {
            headers.append(name, value);
        }
    }

    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let (kept, key) = credentials::take_key(query);
    assert_eq!(credentials::take_key(&kept), (kept.clone(), None), "a key stayed in the query");
    let presented = credentials::presented(&headers, key.as_deref());
    if let Presented::Key { secret, .. } = &presented {
        assert!(!secret.expose().is_empty());
    }
    for method in [Method::GET, Method::POST] {
        if let Ok(route) = route::find(&method, path) {
            client::format(route.wire, &headers);
            lists::wire(route.wire, &headers, &presented);
        }
    }
    for wire in [Wire::Anthropic, Wire::Chat, Wire::Responses, Wire::Gemini] {
        let peek = wire::peek(wire, wire::Kind::Metered, body).unwrap_or_else(|_| Peek::default());
        client::session(&headers, &peek, body);
    }
    let proxies: [IpNet; 1] = [IpNet::from(IpAddr::from(Ipv4Addr::LOCALHOST))];
    let address = client::address(Ipv4Addr::LOCALHOST.into(), &headers, &proxies);
    assert_eq!(address, address.to_canonical());
    let id = client::own_request_id(&headers);
    assert!(id.is_none_or(|id| id.chars().count() <= 256), "an id of the caller's has no bound");
    limits::read(&headers, &wire::read_error(body));
    limits::retry_after(&headers);
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[test]
    fn headers_are_read_in_bounds() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
        for kind in ["seeds", "found"] {
            let Ok(entries) = fs::read_dir(folder.join(kind).join("headers")) else { continue };
            for entry in entries {
                super::headers(&fs::read(entry.unwrap().path()).unwrap());
            }
        }
    }
}
