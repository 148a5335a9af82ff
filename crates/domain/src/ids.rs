//! Typed ids: `UUIDv7` values that cannot be mixed up, printed with a prefix.

use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasherDefault, Hasher},
};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// What the text form begins with, before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// The id as the database holds it.
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// The text form without a formatter, for what is written once per request.
            pub fn text(self) -> IdText {
                IdText::new(concat!($prefix, "_"), self.0)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text().as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

ids! {
    /// One call by a client, whatever number of attempts it took.
    RequestId = "req";
    /// A person who owns client keys.
    UserId = "usr";
    /// One period of a user's quota.
    QuotaId = "quo";
    /// A key that the gateway issued.
    ClientKeyId = "key";
    /// An upstream company or account group.
    ProviderId = "prv";
    /// One provider's base URL for one API format.
    EndpointId = "ep";
    /// One upstream credential of an endpoint.
    ProviderKeyId = "pk";
    /// The model name callers ask for.
    GlobalModelId = "gm";
    /// One provider's way to serve a global model.
    ModelId = "mdl";
    /// A price that was in force from some instant on.
    PriceVersionId = "prc";
    /// A running process that serves requests.
    NodeId = "node";
}

/// An id as text.
#[derive(Debug, Clone, Copy)]
pub struct IdText {
    bytes: [u8; Self::MAX],
    length: usize,
}

impl IdText {
    /// The longest prefix, and 32 digits.
    const MAX: usize = 40;

    fn new(prefix: &str, id: Uuid) -> Self {
        let mut bytes = [0; Self::MAX];
        let (before, rest) = bytes.split_at_mut(prefix.len());
        before.copy_from_slice(prefix.as_bytes());
        let digits = id.simple().encode_lower(rest).len();
        Self { bytes, length: prefix.len() + digits }
    }

    /// What [`fmt::Display`] shows of the id.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

/// What is looked up by an id, or by another thing that only operators choose.
pub type IdMap<K, V> = HashMap<K, V, BuildIdHasher>;

/// For maps of another library that are looked up by such things.
pub type BuildIdHasher = BuildHasherDefault<IdHasher>;

/// Hashes ids, whose last bits are random already: a request looks up dozens, and the standard hasher would take most of
/// the time of it. Not for what a caller can put into a map: whoever chooses keys can make them meet.
#[derive(Debug, Clone, Copy, Default)]
pub struct IdHasher(u64);

impl IdHasher {
    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.word(word);
    }

    /// Lengths, which say nothing of ids, and variants.
    fn write_usize(&mut self, word: usize) {
        self.word(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
