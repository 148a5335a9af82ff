//! Where the endpoints of the catalog lead, parsed once.

use crate::upstream::{BadEndpoint, Target};
use domain::{
    catalog::{Catalog, Endpoint, Proxy},
    ports::Keyring,
};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A target, and the path of its base URL without a final slash.
type Parsed = Arc<(Arc<Target>, String)>;

/// Parsed base URLs, by their text; those of endpoints that are dialled in a way of their own, by that too.
///
/// Each new catalog clears out what none of its endpoints has any more.
#[derive(Default)]
pub(crate) struct Targets {
    plain: papaya::HashMap<String, Parsed>,
    special: papaya::HashMap<Special, Parsed>,
    /// The newest catalog that they were cleared by.
    cleared: AtomicU64,
}

/// What distinguishes such an endpoint.
#[derive(PartialEq, Eq, Hash)]
struct Special {
    base_url: String,
    http2: Option<bool>,
    proxy: Option<Proxy>,
    /// Sealed: it is opened once per connection pool.
    password: Option<Vec<u8>>,
}

impl Special {
    fn of(endpoint: &Endpoint) -> Option<Self> {
        let proxy = endpoint.live_proxy();
        let http2 = endpoint.config.http2;
        (proxy.is_some() || http2.is_some()).then(|| Self {
            base_url: endpoint.base_url.clone(),
            http2,
            proxy: proxy.cloned(),
            password: endpoint.proxy_password.as_ref().filter(|_| proxy.is_some()).map(|sealed| sealed.0.clone()),
        })
    }
}

impl Targets {
    /// Where an endpoint of this catalog leads.
    pub(crate) fn of(
        &self,
        catalog: &Catalog,
        endpoint: &Endpoint,
        keyring: &dyn Keyring,
    ) -> Result<Parsed, BadEndpoint> {
        let revision = catalog.revision;
        // Requests that still hold an older one leave it at that.
        if self.cleared.load(Ordering::Relaxed) < revision
            && self.cleared.fetch_max(revision, Ordering::Relaxed) < revision
        {
            self.clear(catalog);
        }
        let parse = || -> Result<Parsed, BadEndpoint> {
            let (target, path) = Target::of(endpoint, || keyring.proxy_password(endpoint))?;
            Ok(Arc::new((Arc::new(target), path.trim_end_matches('/').to_owned())))
        };
        let Some(special) = Special::of(endpoint) else {
            let known = self.plain.pin();
            if let Some(parsed) = known.get(&endpoint.base_url) {
                return Ok(parsed.clone());
            }
            let parsed = parse()?;
            known.insert(endpoint.base_url.clone(), parsed.clone());
            return Ok(parsed);
        };
        let known = self.special.pin();
        if let Some(parsed) = known.get(&special) {
            return Ok(parsed.clone());
        }
        let parsed = parse()?;
        known.insert(special, parsed.clone());
        Ok(parsed)
    }

    /// Forgets what leads nowhere in this catalog.
    fn clear(&self, catalog: &Catalog) {
        let special: HashSet<Special> = catalog.endpoints().filter_map(Special::of).collect();
        self.special.pin().retain(|known, _| special.contains(known));
        let plain = catalog.endpoints().filter(|endpoint| Special::of(endpoint).is_none());
        let plain: HashSet<&str> = plain.map(|endpoint| endpoint.base_url.as_str()).collect();
        self.plain.pin().retain(|known, _| plain.contains(known.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{
        catalog::{EndpointConfig, Parts, Provider, ProviderKey},
        format::{ApiFormat, BillingType},
        ports::CannotOpen,
        secret::{Sealed, Secret},
    };
    use std::collections::BTreeMap;
    use uuid::Uuid;

    struct Passwords;

    impl Keyring for Passwords {
        fn open(&self, _: &ProviderKey) -> Result<Secret, CannotOpen> {
            Err(CannotOpen)
        }

        fn proxy_password(&self, _: &Endpoint) -> Result<Option<Secret>, CannotOpen> {
            Ok(Some(Secret::new("word".to_owned())))
        }
    }

    fn endpoint(number: u128, base_url: &str, proxied: bool) -> Endpoint {
        Endpoint {
            id: Uuid::from_u128(number).into(),
            provider_id: Uuid::from_u128(1).into(),
            api_format: ApiFormat::OpenAi,
            base_url: base_url.to_owned(),
            headers: BTreeMap::new(),
            timeout_s: 300,
            max_retries: 0,
            max_concurrent: None,
            rate_limit: None,
            is_active: true,
            custom_path: None,
            config: EndpointConfig::default(),
            proxy: proxied.then(|| Proxy {
                url: "http://proxy.test:1".to_owned(),
                username: Some("user".to_owned()),
                enabled: true,
            }),
            proxy_password: proxied.then(Sealed::default),
        }
    }

    fn catalog(revision: u64, endpoints: &[Endpoint]) -> Catalog {
        let provider = Provider {
            id: Uuid::from_u128(1).into(),
            name: "p".to_owned(),
            billing_type: BillingType::PayAsYouGo,
            priority: 0,
            is_active: true,
            quota: None,
            quota_expires_at: None,
            rpm_limit: None,
            rate_limit: None,
            concurrent_limit: None,
        };
        let (providers, endpoints) = (vec![provider], endpoints.to_vec());
        Catalog::build(Parts { revision, providers, endpoints, ..Parts::default() }).unwrap()
    }

    #[test]
    fn a_new_catalog_clears_out_what_its_endpoints_no_longer_have() {
        let targets = Targets::default();
        let stays = endpoint(2, "https://stays.test", false);
        let goes = endpoint(3, "https://goes.test", false);
        let behind = endpoint(4, "https://behind.test", true);
        let known = || {
            let (plain, special) = (targets.plain.pin(), targets.special.pin());
            let mut known: Vec<String> = plain.keys().cloned().collect();
            known.extend(special.keys().map(|special| special.base_url.clone()));
            known.sort();
            known
        };
        let ask = |catalog: &Catalog, endpoint| targets.of(catalog, endpoint, &Passwords).unwrap();

        let first = catalog(1, &[stays.clone(), goes.clone(), behind.clone()]);
        let before = ask(&first, &stays);
        ask(&first, &goes);
        ask(&first, &behind);
        assert_eq!(known(), ["https://behind.test", "https://goes.test", "https://stays.test"]);

        let second = catalog(2, std::slice::from_ref(&stays));
        assert!(Arc::ptr_eq(&before, &ask(&second, &stays)), "it is not parsed anew");
        assert_eq!(known(), ["https://stays.test"]);

        // A request that began before goes on, and clears nothing.
        ask(&first, &behind);
        assert_eq!(known(), ["https://behind.test", "https://stays.test"]);
        let third = catalog(3, std::slice::from_ref(&stays));
        ask(&third, &stays);
        assert_eq!(known(), ["https://stays.test"]);
    }
}
