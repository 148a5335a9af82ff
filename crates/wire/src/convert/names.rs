//! What an answer's conversion must know of its request: tool names that had to change, and how the client asked.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Wire,
    ir::{Members, Name},
};

/// What of a converted request its answer has to know.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Tools by their names at the upstream.
    pub(crate) names: BTreeMap<Name, Renamed>,
    /// Those names, by the tools' namespaces and their names to the client.
    pub(crate) upstream: BTreeMap<(Option<Name>, Name), Name>,
    /// Names, as the upstream knows them, of tools that take free text and had to become functions.
    pub(crate) customs: BTreeSet<String>,
    /// Chat: the client asked for the usage chunk.
    pub(crate) include_usage: bool,
    /// Responses: the client did not ask for reasoning that only its issuer can read.
    pub(crate) hide_sealed: bool,
    /// Responses: the request's values that an answer repeats.
    pub(crate) echo: Members,
}

/// What a client calls a tool.
#[derive(Clone, Debug)]
pub(crate) struct Renamed {
    client: Name,
    namespace: Option<Name>,
}

impl Memory {
    /// The client's name of a tool, and the namespace it is in.
    pub(crate) fn client_name(&self, upstream: &str) -> (String, Option<String>) {
        let text = |name: &Name| name.as_str().to_owned();
        match self.names.get(&Name::from(upstream)) {
            Some(name) => (text(&name.client), name.namespace.as_ref().map(text)),
            None => (upstream.to_owned(), None),
        }
    }

    /// The name under which the upstream is to know a tool, the same each time it is asked for.
    pub(crate) fn upstream_name(&mut self, client: &str, namespace: Option<&str>, wire: Wire) -> String {
        let key = (namespace.map(Name::from), Name::from(client));
        if let Some(known) = self.upstream.get(&key) {
            return known.as_str().to_owned();
        }
        let flat = namespace.map_or_else(|| client.to_owned(), |namespace| format!("{namespace}__{client}"));
        let mut upstream = fit(&flat, wire);
        if self.names.contains_key(&Name::from(upstream.as_str())) {
            upstream = shortened(&flat, longest(wire), &format!("{flat}\u{0}{}", self.upstream.len()));
        }
        let name = Name::from(upstream.as_str());
        let (namespace, client) = key.clone();
        self.names.entry(name.clone()).or_insert(Renamed { client, namespace });
        self.upstream.insert(key, name);
        upstream
    }
}

/// The id of a call as `wire` takes it, the same each time it is asked for: Anthropic refuses dots and colons, which other
/// servers put in theirs, and `OpenAI` refuses long ones.
pub(crate) fn fit_id(id: &mut String, wire: Wire) {
    const LONGEST: usize = 64;
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    let fits = match wire {
        Wire::Anthropic => id.len() <= LONGEST && !id.is_empty() && id.chars().all(allowed),
        Wire::Chat | Wire::Responses => id.len() <= LONGEST,
        Wire::Gemini => true,
    };
    if !fits {
        *id = format!("call_{}", digest(id));
    }
}

const fn longest(wire: Wire) -> usize {
    match wire {
        Wire::Chat | Wire::Responses => 64,
        Wire::Anthropic | Wire::Gemini => 128,
    }
}

fn fit(name: &str, wire: Wire) -> String {
    let allowed = |letter: char| match wire {
        Wire::Gemini => letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | ':' | '-'),
        _ => letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-'),
    };
    let starts = wire != Wire::Gemini || name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if name.len() <= longest(wire) && !name.is_empty() && starts && name.chars().all(allowed) {
        return name.to_owned();
    }
    shortened(name, longest(wire), name)
}

/// The name's allowed letters, as many as leave room for a mark that tells it from its like.
fn shortened(name: &str, longest: usize, marked: &str) -> String {
    let mark = &digest(marked)[..8];
    let plain = name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' });
    let start: String = std::iter::once('t')
        .filter(|_| !name.starts_with(|c: char| c.is_ascii_alphabetic()))
        .chain(plain)
        .take(longest - 9)
        .collect();
    format!("{start}_{mark}")
}

/// 32 hexadecimal digits of a text (FNV-1a, 128 bits): stable across processes, and no secret.
pub(crate) fn digest(text: &str) -> String {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0100_0000_0000_0000_0000_013b;
    let hash = text.bytes().fold(BASIS, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    format!("{hash:032x}")
}
