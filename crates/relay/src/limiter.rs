//! Rates and slots of one node, in memory.

use domain::{
    catalog::Route,
    ids::{ClientKeyId, EndpointId, ProviderId, ProviderKeyId},
    limit::{
        concurrency::{Permit, Slots},
        rate::{Admitted, RateWindow},
    },
    ports::{Answer, Busy, Clock, Limiter, UpstreamPermits},
    schedule::SkipCode,
};
use std::{
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Counters of one kind of thing, made when first used.
struct PerId<K, V>(papaya::HashMap<K, Arc<V>>);

impl<K: Hash + Eq + Copy, V: Default> PerId<K, V> {
    fn new() -> Self {
        Self(papaya::HashMap::new())
    }

    fn of(&self, id: K) -> Arc<V> {
        self.0.pin().get_or_insert_with(id, Arc::default).clone()
    }
}

type Window = Mutex<RateWindow>;

/// The limiter of a node that stands alone.
pub struct Local {
    clock: Arc<dyn Clock>,
    client_rates: PerId<ClientKeyId, Window>,
    client_slots: PerId<ClientKeyId, Slots>,
    provider_rates: PerId<ProviderId, Window>,
    provider_slots: PerId<ProviderId, Slots>,
    endpoint_rates: PerId<EndpointId, Window>,
    endpoint_slots: PerId<EndpointId, Slots>,
    key_rates: PerId<ProviderKeyId, Window>,
    key_slots: PerId<ProviderKeyId, Slots>,
}

impl Local {
    /// Empty counters on this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            client_rates: PerId::new(),
            client_slots: PerId::new(),
            provider_rates: PerId::new(),
            provider_slots: PerId::new(),
            endpoint_rates: PerId::new(),
            endpoint_slots: PerId::new(),
            key_rates: PerId::new(),
            key_slots: PerId::new(),
        }
    }

    /// Takes slots from the outside in, then tokens; what was taken goes back by itself when a later step is full.
    ///
    /// Tokens come last because they cannot be given back.
    fn take(&self, route: &Route) -> Result<UpstreamPermits, Busy> {
        let Route { provider, endpoint, key, .. } = route;
        let busy = |code| move || Busy { code, wait: None };
        let key_slots = self.key_slots.of(key.id);
        let mut permits = Vec::with_capacity(3);
        if provider.concurrent_limit.is_some() {
            let permit = self.provider_slots.of(provider.id).take(provider.concurrent_limit);
            permits.push(permit.ok_or_else(busy(SkipCode::ProviderConcurrency))?);
        }
        if endpoint.max_concurrent.is_some() {
            let permit = self.endpoint_slots.of(endpoint.id).take(endpoint.max_concurrent);
            permits.push(permit.ok_or_else(busy(SkipCode::EndpointConcurrency))?);
        }
        permits.push(key_slots.take(key.max_concurrent).ok_or_else(busy(SkipCode::KeyConcurrency))?);
        self.take_tokens(route)?;
        Ok(UpstreamPermits { permits, in_flight: key_slots.taken() })
    }

    fn take_tokens(&self, route: &Route) -> Result<(), Busy> {
        let Route { provider, endpoint, key, .. } = route;
        let now_us = self.clock.monotonic_us();
        let rates = [
            provider.rpm_limit.map(|limit| (SkipCode::ProviderRpm, limit)),
            provider.rate_limit.map(|limit| (SkipCode::ProviderRate, limit)),
            endpoint.rate_limit.map(|limit| (SkipCode::EndpointRate, limit)),
            key.rate_limit.map(|limit| (SkipCode::KeyRate, limit)),
        ];
        for (code, limit) in rates.into_iter().flatten() {
            let window = match code {
                SkipCode::EndpointRate => self.endpoint_rates.of(endpoint.id),
                SkipCode::KeyRate => self.key_rates.of(key.id),
                _ => self.provider_rates.of(provider.id),
            };
            admit(&window, limit, now_us).map_err(|wait| Busy { code, wait: Some(wait) })?;
        }
        Ok(())
    }
}

fn admit(window: &Window, limit: u32, now_us: u64) -> Result<Admitted, Duration> {
    window.lock().unwrap_or_else(PoisonError::into_inner).admit(limit, now_us)
}

impl Limiter for Local {
    fn client_rate(&self, key: ClientKeyId, limit: u32) -> Answer<Result<Admitted, Duration>> {
        Answer::now(admit(&self.client_rates.of(key), limit, self.clock.monotonic_us()))
    }

    fn client_slot(&self, key: ClientKeyId, limit: Option<u32>) -> Answer<Option<Permit>> {
        Answer::now(self.client_slots.of(key).take(limit))
    }

    fn upstream(&self, route: &Route) -> Answer<Result<UpstreamPermits, Busy>> {
        Answer::now(self.take(route))
    }

    fn upstream_rates(&self, route: &Route) -> Answer<Result<(), Busy>> {
        Answer::now(self.take_tokens(route))
    }
}
