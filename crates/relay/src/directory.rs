//! Who is calling: a key's text to its owner, in memory, at the same cost for every key.

use domain::{
    catalog::{Access, Catalog, ClientKey, User},
    fault::{Fault, Kind},
    format::Role,
    policy::{KeyRefusal, check_key},
    secret::Secret,
};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Failures of one address in a minute before it gets a bare 429.
const FAILURES_MAX: u32 = 60;
/// The minute they are counted in.
const MINUTE_US: u64 = 60_000_000;
/// Addresses counted at a time; when it is full, the window starts anew for all.
const ADDRESSES_MAX: usize = 100_000;

/// A key that counts, and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub key: Arc<ClientKey>,
    pub user: Option<Arc<User>>,
}

impl Caller {
    /// The restrictions that apply, the user's first.
    pub(crate) fn access(&self) -> Vec<&Access> {
        self.user.iter().map(|user| &user.access).chain([&self.key.access]).collect()
    }

    /// Whether it may see the upstream account's rate headers.
    pub(crate) fn is_admin(&self) -> bool {
        self.user.as_ref().is_some_and(|user| user.role == Role::Admin)
    }
}

/// Why a key does not count; the client is told nothing of it.
#[derive(Debug)]
pub(crate) struct Rejected {
    pub reason: &'static str,
    pub key: Option<Arc<ClientKey>>,
    pub hash_prefix: Option<[u8; 4]>,
}

/// Looks a key up and checks it.
pub(crate) fn authenticate(catalog: &Catalog, secret: &Secret, from: IpAddr, now_us: i64) -> Result<Caller, Rejected> {
    let hash: [u8; 32] = Sha256::digest(secret.expose().as_bytes()).into();
    let Some(key) = catalog.client_key(&hash, now_us) else {
        return Err(Rejected {
            reason: "unknown_key",
            key: None,
            hash_prefix: Some([hash[0], hash[1], hash[2], hash[3]]),
        });
    };
    let user = key.user_id.and_then(|owner| catalog.users.get(&owner)).cloned();
    check_key(user.as_deref(), key, from, now_us).map_err(|refusal: KeyRefusal| Rejected {
        reason: refusal.as_str(),
        key: Some(key.clone()),
        hash_prefix: None,
    })?;
    Ok(Caller { key: key.clone(), user })
}

/// The one answer to every credential that does not count.
pub(crate) fn bad_key() -> Fault {
    Fault::new(Kind::BadKey, "the API key is missing or not valid")
}

/// Counts failed credentials per address.
#[derive(Debug, Default)]
pub(crate) struct Doorman(Mutex<Failures>);

#[derive(Debug, Default)]
struct Failures {
    since_us: u64,
    by_address: HashMap<IpAddr, u32>,
}

impl Doorman {
    /// Counts a failure; `Some` says that the address has had too many, and for how long it still waits.
    pub(crate) fn failed(&self, from: IpAddr, now_us: u64) -> Option<Duration> {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now_us.saturating_sub(failures.since_us) >= MINUTE_US || failures.by_address.len() >= ADDRESSES_MAX {
            failures.since_us = now_us;
            failures.by_address.clear();
        }
        let end = failures.since_us + MINUTE_US;
        let count = failures.by_address.entry(from).or_default();
        *count = count.saturating_add(1);
        (*count > FAILURES_MAX).then(|| Duration::from_micros(end - now_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_keeps_failing_waits_for_the_minute_to_end() {
        let doorman = Doorman::default();
        let (here, there) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        for _ in 0..FAILURES_MAX {
            assert_eq!(doorman.failed(here, 20_000_000), None);
        }
        assert_eq!(doorman.failed(here, 20_000_000), Some(Duration::from_secs(40)));
        assert_eq!(doorman.failed(there, 20_000_000), None);
        assert_eq!(doorman.failed(here, 60_000_000), None);
    }
}
