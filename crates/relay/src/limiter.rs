//! Rates and slots of one node, in memory.

use domain::{
    catalog::Route,
    ids::{ClientKeyId, EndpointId, ProviderId, ProviderKeyId},
    limit::{
        concurrency::{Permit, Slots},
        rate::{Admitted, RateWindow},
        window::{FixedMinute, Periods, Span},
    },
    ports::{Answer, Busy, Clock, Directory, Limiter, Room, UpstreamPermits},
    schedule::SkipCode,
};
use jiff::tz::TimeZone;
use std::{
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    directory: Arc<dyn Directory>,
    client_rates: PerId<ClientKeyId, Window>,
    client_slots: PerId<ClientKeyId, Slots>,
    provider_minutes: PerId<ProviderId, Mutex<FixedMinute>>,
    provider_rates: PerId<ProviderId, Window>,
    provider_slots: PerId<ProviderId, Slots>,
    endpoint_rates: PerId<EndpointId, Window>,
    endpoint_slots: PerId<EndpointId, Slots>,
    key_rates: PerId<ProviderKeyId, Window>,
    key_slots: PerId<ProviderKeyId, Slots>,
    key_periods: PerId<ProviderKeyId, Mutex<Periods>>,
    /// The day and month of now; a zone that changes counts from the next day on.
    calendar: Mutex<(Span, Span)>,
}

impl Local {
    /// Empty counters on this clock; days are those of the catalog's business zone.
    pub fn new(clock: Arc<dyn Clock>, directory: Arc<dyn Directory>) -> Self {
        Self {
            clock,
            directory,
            client_rates: PerId::new(),
            client_slots: PerId::new(),
            provider_minutes: PerId::new(),
            provider_rates: PerId::new(),
            provider_slots: PerId::new(),
            endpoint_rates: PerId::new(),
            endpoint_slots: PerId::new(),
            key_rates: PerId::new(),
            key_slots: PerId::new(),
            key_periods: PerId::new(),
            calendar: Mutex::default(),
        }
    }

    /// The days and months of all keys.
    pub fn periods_of_all(&self) -> Vec<(ProviderKeyId, Periods)> {
        self.key_periods.0.pin().iter().map(|(id, periods)| (*id, *lock(periods))).collect()
    }

    /// The fixed minutes of all providers that have one.
    pub fn minutes_of_all(&self) -> Vec<(ProviderId, FixedMinute)> {
        self.provider_minutes.0.pin().iter().map(|(id, minute)| (*id, *lock(minute))).collect()
    }

    /// Takes over a day and a month from an earlier process; they roll on when they are over.
    pub fn restore_periods(&self, key: ProviderKeyId, periods: Periods) {
        *lock(&self.key_periods.of(key)) = periods;
    }

    /// Takes over a fixed minute.
    pub fn restore_minute(&self, provider: ProviderId, minute: FixedMinute) {
        *lock(&self.provider_minutes.of(provider)) = minute;
    }

    /// Takes slots from the outside in, then tokens; what was taken goes back by itself when a later step is full.
    ///
    /// Tokens come last because they cannot be given back.
    pub(crate) fn take(&self, route: &Route, room: Room) -> Result<UpstreamPermits, Busy> {
        let Route { provider, endpoint, key, .. } = route;
        let full = |code| move || Busy { code, wait: None };
        let mut permits = [None, None, None];
        if provider.concurrent_limit.is_some() {
            let permit = self.provider_slots.of(provider.id).take(provider.concurrent_limit);
            permits[0] = Some(permit.ok_or_else(full(SkipCode::ProviderConcurrency))?);
        }
        if endpoint.max_concurrent.is_some() {
            let permit = self.endpoint_slots.of(endpoint.id).take(endpoint.max_concurrent);
            permits[1] = Some(permit.ok_or_else(full(SkipCode::EndpointConcurrency))?);
        }
        let slots = self.key_slots.of(key.id);
        let least = room.limit.into_iter().chain(room.cold).min();
        let (permit, in_flight) = slots.take_nth(least).ok_or_else(|| {
            // Between the two looks a slot may have become free; then it was the smaller of the limits.
            Busy { code: room.refuses(slots.taken()).unwrap_or(SkipCode::KeyReserved), wait: None }
        })?;
        permits[2] = Some(permit);
        self.take_tokens(route)?;
        Ok(UpstreamPermits { permits, attempted: Some(Periods::take(&self.periods(key.id))), in_flight })
    }

    fn take_tokens(&self, route: &Route) -> Result<(), Busy> {
        // All are looked at before one is taken: a full one must not cost the others a token.
        self.look_at_rates(route)?;
        let now_us = self.clock.monotonic_us();
        if let Some(limit) = route.provider.rpm_limit {
            let minute = self.provider_minutes.of(route.provider.id);
            let taken = lock(&minute).admit(limit, self.clock.unix_us());
            taken.map_err(|wait| Busy { code: SkipCode::ProviderRpm, wait: Some(wait) })?;
        }
        for (code, limit) in sliding(route) {
            let taken = lock(&self.window(route, code)).admit(limit, now_us);
            taken.map_err(|wait| Busy { code, wait: Some(wait) })?;
        }
        Ok(())
    }

    fn look_at_rates(&self, route: &Route) -> Result<(), Busy> {
        if let Some(limit) = route.provider.rpm_limit {
            let minute = self.provider_minutes.of(route.provider.id);
            let room = lock(&minute).look(limit, self.clock.unix_us());
            room.map_err(|wait| Busy { code: SkipCode::ProviderRpm, wait: Some(wait) })?;
        }
        let now_us = self.clock.monotonic_us();
        for (code, limit) in sliding(route) {
            let room = lock(&self.window(route, code)).look(limit, now_us);
            room.map_err(|wait| Busy { code, wait: Some(wait) })?;
        }
        let (daily, monthly) = (route.key.daily_limit, route.key.monthly_limit);
        if daily.is_none() && monthly.is_none() {
            return Ok(());
        }
        let (periods, now_us) = (*lock(&self.periods(route.key.id)), self.clock.unix_us());
        let full = |code| move |wait| Busy { code, wait: Some(wait) };
        daily.map_or(Ok(()), |limit| periods.day.look(limit, now_us)).map_err(full(SkipCode::KeyDaily))?;
        monthly.map_or(Ok(()), |limit| periods.month.look(limit, now_us)).map_err(full(SkipCode::KeyMonthly))
    }

    fn window(&self, route: &Route, code: SkipCode) -> Arc<Window> {
        match code {
            SkipCode::EndpointRate => self.endpoint_rates.of(route.endpoint.id),
            SkipCode::KeyRate => self.key_rates.of(route.key.id),
            _ => self.provider_rates.of(route.provider.id),
        }
    }

    /// A key's day and month, moved on to now.
    fn periods(&self, key: ProviderKeyId) -> Arc<Mutex<Periods>> {
        let now_us = self.clock.unix_us();
        let (day, month) = {
            let mut calendar = lock(&self.calendar);
            if !(calendar.0.start_us..calendar.0.end_us).contains(&now_us) {
                let zone = TimeZone::get(&self.directory.catalog().settings.timezone).unwrap_or(TimeZone::UTC);
                *calendar = Span::day_and_month(&zone, now_us);
            }
            *calendar
        };
        let periods = self.key_periods.of(key);
        lock(&periods).roll(day, month);
        periods
    }
}

/// The sliding minutes that a candidate's attempts count in.
fn sliding(route: &Route) -> impl Iterator<Item = (SkipCode, u32)> {
    [
        (SkipCode::ProviderRate, route.provider.rate_limit),
        (SkipCode::EndpointRate, route.endpoint.rate_limit),
        (SkipCode::KeyRate, route.key.rate_limit),
    ]
    .into_iter()
    .filter_map(|(code, limit)| Some((code, limit?)))
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Limiter for Local {
    fn client_rate(&self, key: ClientKeyId, limit: u32) -> Answer<Result<Admitted, Duration>> {
        Answer::now(lock(&self.client_rates.of(key)).admit(limit, self.clock.monotonic_us()))
    }

    fn client_slot(&self, key: ClientKeyId, limit: Option<u32>) -> Answer<Option<Permit>> {
        Answer::now(self.client_slots.of(key).take(limit))
    }

    fn key_slots(&self, key: ProviderKeyId) -> Arc<Slots> {
        self.key_slots.of(key)
    }

    fn look(&self, route: &Route, room: Room) -> Result<(), Busy> {
        let Route { provider, endpoint, key, .. } = route;
        let full = |limit: Option<u32>, taken: &dyn Fn() -> u32| limit.is_some_and(|limit| taken() >= limit);
        let busy = |code| Err(Busy { code, wait: None });
        if full(provider.concurrent_limit, &|| self.provider_slots.of(provider.id).taken()) {
            return busy(SkipCode::ProviderConcurrency);
        }
        if full(endpoint.max_concurrent, &|| self.endpoint_slots.of(endpoint.id).taken()) {
            return busy(SkipCode::EndpointConcurrency);
        }
        if room != Room::default()
            && let Some(code) = room.refuses(self.key_slots.of(key.id).taken())
        {
            return busy(code);
        }
        self.look_at_rates(route)
    }

    fn upstream(&self, route: &Route, room: Room) -> Answer<Result<UpstreamPermits, Busy>> {
        Answer::now(self.take(route, room))
    }

    fn upstream_rates(&self, route: &Route) -> Answer<Result<(), Busy>> {
        Answer::now(self.take_tokens(route))
    }
}

#[cfg(test)]
mod tests;
