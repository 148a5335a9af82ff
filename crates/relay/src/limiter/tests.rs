use super::*;
use domain::{
    catalog::{Catalog, Endpoint, EndpointConfig, Model, Provider, ProviderKey},
    format::{ApiFormat, BillingType},
    money::Factor,
    secret::Sealed,
};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::atomic::AtomicU64, sync::atomic::Ordering};
use uuid::Uuid;

/// Time that a test moves, and a catalog of nothing.
#[derive(Default)]
struct World(AtomicU64, Arc<Catalog>);

impl Clock for World {
    fn unix_us(&self) -> i64 {
        self.0.load(Ordering::Relaxed).cast_signed()
    }

    fn monotonic_us(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Directory for World {
    fn catalog(&self) -> Arc<Catalog> {
        self.1.clone()
    }
}

fn id<T: From<Uuid>>(number: u128) -> T {
    T::from(Uuid::from_u128(number))
}

/// One of two keys of a provider that has three slots; each key has two.
fn route(key: u128) -> Route {
    Route {
        provider: Arc::new(Provider {
            id: id(1),
            name: "p".to_owned(),
            billing_type: BillingType::PayAsYouGo,
            priority: 1,
            is_active: true,
            quota: None,
            quota_expires_at: None,
            rpm_limit: None,
            rate_limit: None,
            concurrent_limit: Some(3),
        }),
        model: Arc::new(Model {
            id: id(2),
            provider_id: id(1),
            global_model_id: id(3),
            provider_model_name: "m".to_owned(),
            aliases: Vec::new(),
            price_per_request: None,
            tiered_pricing: None,
            is_free: false,
            price_version: None,
            supports: BTreeMap::new(),
            is_active: true,
            is_available: true,
        }),
        endpoint: Arc::new(Endpoint {
            id: id(4),
            provider_id: id(1),
            api_format: ApiFormat::Claude,
            base_url: String::new(),
            headers: BTreeMap::new(),
            timeout_s: 300,
            max_retries: 0,
            max_concurrent: None,
            rate_limit: None,
            is_active: true,
            custom_path: None,
            config: EndpointConfig::default(),
            proxy: None,
            proxy_password: None,
        }),
        key: Arc::new(ProviderKey {
            id: id(10 + key),
            endpoint_id: id(4),
            name: "k".to_owned(),
            api_key: Sealed::default(),
            rate_multiplier: Factor::ONE,
            internal_priority: 1,
            global_priority: None,
            max_concurrent: Some(2),
            rate_limit: None,
            daily_limit: None,
            monthly_limit: None,
            allowed_models: None,
            capabilities: BTreeMap::new(),
            cache_ttl_minutes: 5,
            max_probe_interval_minutes: 32,
            is_active: true,
            expires_at: None,
        }),
    }
}

fn local(world: &Arc<World>) -> Local {
    Local::new(world.clone(), world.clone())
}

const TWO: Room = Room { limit: Some(2), cold: None };

proptest! {
    /// Attempts begin and end in any order; what is taken is what is held, at every level, and nothing is left at the end.
    #[test]
    fn permits_taken_are_permits_returned(steps in prop::collection::vec((0u128..2, any::<prop::sample::Index>(), any::<bool>()), 1..200)) {
        let limiter = local(&Arc::default());
        let mut held: Vec<(u128, UpstreamPermits)> = Vec::new();
        for (key, which, take) in steps {
            let of_key = |held: &[(u128, UpstreamPermits)]| held.iter().filter(|(other, _)| *other == key).count();
            if take {
                let fits = held.len() < 3 && of_key(&held) < 2;
                let looked = limiter.look_above(&route(key), &limiter.at());
                let taken = limiter.take(&route(key), TWO);
                prop_assert_eq!(taken.is_ok(), fits);
                prop_assert_eq!(looked.is_ok(), held.len() < 3);
                held.extend(taken.ok().map(|permits| (key, permits)));
            } else if !held.is_empty() {
                held.swap_remove(which.index(held.len()));
            }
            prop_assert_eq!(limiter.providers.of(id(1)).slots.taken() as usize, held.len());
            prop_assert_eq!(limiter.keys.of(id(10 + key)).slots.taken() as usize, of_key(&held));
        }
        drop(held);
        prop_assert_eq!(limiter.providers.of(id(1)).slots.taken(), 0);
        prop_assert_eq!(limiter.keys.of(id(10)).slots.taken() + limiter.keys.of(id(11)).slots.taken(), 0);
    }
}

#[test]
fn a_refusal_takes_no_token_and_no_slot() {
    let world = Arc::new(World::default());
    let limiter = local(&world);
    let mut tight = route(0);
    Arc::make_mut(&mut tight.provider).rpm_limit = Some(5);
    Arc::make_mut(&mut tight.key).rate_limit = Some(1);
    drop(limiter.take(&tight, TWO).unwrap());
    for _ in 0..9 {
        let busy = limiter.take(&tight, TWO).unwrap_err();
        assert_eq!(busy, Busy { code: SkipCode::KeyRate, wait: Some(Duration::from_mins(1)) });
    }
    assert_eq!(limiter.providers.of(id(1)).slots.taken(), 0);
    assert_eq!(lock(&limiter.providers.of(id(1)).minute).used, 1, "the key's minute was full before the provider's");
}

#[test]
fn cold_callers_leave_slots_to_warm_ones() {
    let limiter = local(&Arc::default());
    let (cold, warm) = (Room { limit: Some(2), cold: Some(1) }, TWO);
    let first = limiter.take(&route(0), cold).unwrap();
    let code = |room| limiter.take(&route(0), room).map(|_| ()).unwrap_err().code;
    assert_eq!((first.in_flight, code(cold)), (1, SkipCode::KeyReserved));
    let second = limiter.take(&route(0), warm).unwrap();
    assert_eq!((second.in_flight, code(warm), code(cold)), (2, SkipCode::KeyConcurrency, SkipCode::KeyConcurrency));
}
