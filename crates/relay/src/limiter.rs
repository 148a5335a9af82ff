//! Rates and slots of one node, in memory.

use domain::{
    catalog::Route,
    ids::{BuildIdHasher, ClientKeyId, EndpointId, ProviderId, ProviderKeyId},
    limit::{
        concurrency::{Permit, Slots},
        key::{At, KeyCounts},
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
struct PerId<K, V>(papaya::HashMap<K, Arc<V>, BuildIdHasher>);

impl<K: Hash + Eq + Copy, V: Default> PerId<K, V> {
    fn new() -> Self {
        Self(papaya::HashMap::default())
    }

    fn of(&self, id: K) -> Arc<V> {
        self.0.pin().get_or_insert_with(id, Arc::default).clone()
    }

    /// Looks without taking hold of it.
    fn with<T>(&self, id: K, look: impl FnOnce(&V) -> T) -> T {
        look(self.0.pin().get_or_insert_with(id, Arc::default))
    }
}

type Window = Mutex<RateWindow>;

#[derive(Default)]
struct ClientCounts {
    slots: Arc<Slots>,
    rate: Window,
}

#[derive(Default)]
struct ProviderCounts {
    slots: Arc<Slots>,
    minute: Mutex<FixedMinute>,
    rate: Window,
}

#[derive(Default)]
struct EndpointCounts {
    slots: Arc<Slots>,
    rate: Window,
}

/// The limiter of a node that stands alone.
pub struct Local {
    clock: Arc<dyn Clock>,
    directory: Arc<dyn Directory>,
    clients: PerId<ClientKeyId, ClientCounts>,
    providers: PerId<ProviderId, ProviderCounts>,
    endpoints: PerId<EndpointId, EndpointCounts>,
    keys: PerId<ProviderKeyId, KeyCounts>,
    /// The day and month of now.
    calendar: Mutex<(Span, Span)>,
}

impl Local {
    /// Empty counters on this clock; days are those of the catalog's business zone.
    pub fn new(clock: Arc<dyn Clock>, directory: Arc<dyn Directory>) -> Self {
        Self {
            clock,
            directory,
            clients: PerId::new(),
            providers: PerId::new(),
            endpoints: PerId::new(),
            keys: PerId::new(),
            calendar: Mutex::default(),
        }
    }

    /// The fixed minutes of all providers that have had one.
    pub fn minutes_of_all(&self) -> Vec<(ProviderId, FixedMinute)> {
        let all = self.providers.0.pin();
        let minutes = all.iter().map(|(id, counts)| (*id, *lock(&counts.minute)));
        minutes.filter(|(_, minute)| *minute != FixedMinute::default()).collect()
    }

    /// Takes over a day and a month from an earlier process; they roll on when they are over.
    pub fn restore_periods(&self, key: ProviderKeyId, periods: Periods) {
        self.keys.with(key, |counts| *lock(&counts.periods) = periods);
    }

    /// Takes over a fixed minute.
    pub fn restore_minute(&self, provider: ProviderId, minute: FixedMinute) {
        self.providers.with(provider, |counts| *lock(&counts.minute) = minute);
    }

    /// Takes slots from the outside in, then tokens; what was taken goes back by itself when a later step is full.
    pub(crate) fn take(&self, route: &Route, room: Room) -> Result<UpstreamPermits, Busy> {
        let Route { provider, endpoint, key, .. } = route;
        let full = |code| move || Busy { code, wait: None };
        let mut permits = [None, None, None];
        if provider.concurrent_limit.is_some() {
            let permit = self.providers.with(provider.id, |counts| counts.slots.take(provider.concurrent_limit));
            permits[0] = Some(permit.ok_or_else(full(SkipCode::ProviderConcurrency))?);
        }
        if endpoint.max_concurrent.is_some() {
            let permit = self.endpoints.with(endpoint.id, |counts| counts.slots.take(endpoint.max_concurrent));
            permits[1] = Some(permit.ok_or_else(full(SkipCode::EndpointConcurrency))?);
        }
        let counts = self.keys.of(key.id);
        let least = room.limit.into_iter().chain(room.cold).min();
        let (permit, in_flight) = counts.slots.take_nth(least).ok_or_else(|| {
            // Between the two looks a slot may have become free; then it was the smaller of the limits.
            Busy { code: room.refuses(counts.slots.taken()).unwrap_or(SkipCode::KeyReserved), wait: None }
        })?;
        permits[2] = Some(permit);
        let at = self.at();
        self.take_tokens(route, &at)?;
        counts.roll(&at);
        Ok(UpstreamPermits { permits, attempted: Some(Periods::take(&counts.periods)), in_flight })
    }

    /// Takes a token of every rate, or of none.
    fn take_tokens(&self, route: &Route, at: &At) -> Result<(), Busy> {
        let looked = self.keys.with(route.key.id, |counts| counts.look(&route.key, at));
        looked.map_err(|(code, wait)| Busy { code, wait: Some(wait) })?;
        // Where a later one is full, the earlier ones go back.
        let Route { provider, endpoint, key, .. } = route;
        let busy = |code| move |wait| Busy { code, wait: Some(wait) };
        let now_us = at.monotonic_us;
        let upper = self.providers.of(provider.id);
        if let Some(limit) = provider.rpm_limit {
            lock(&upper.minute).admit(limit, at.unix_us).map_err(busy(SkipCode::ProviderRpm))?;
        }
        let minute_back = |why| {
            provider.rpm_limit.is_some().then(|| lock(&upper.minute).give_back());
            why
        };
        take(&upper.rate, provider.rate_limit, now_us).map_err(busy(SkipCode::ProviderRate)).map_err(minute_back)?;
        let provider_back = |why| {
            give_back(&upper.rate, provider.rate_limit, now_us);
            minute_back(why)
        };
        let middle = self.endpoints.of(endpoint.id);
        let taken = take(&middle.rate, endpoint.rate_limit, now_us);
        taken.map_err(busy(SkipCode::EndpointRate)).map_err(provider_back)?;
        let taken = self.keys.with(key.id, |counts| take(&counts.rate, key.rate_limit, now_us));
        taken.map_err(busy(SkipCode::KeyRate)).map_err(|why| {
            give_back(&middle.rate, endpoint.rate_limit, now_us);
            provider_back(why)
        })
    }

    /// The business day and month of an instant; a zone that changes counts from the next day on.
    fn calendar(&self, now_us: i64) -> (Span, Span) {
        let mut calendar = lock(&self.calendar);
        if !(calendar.0.start_us..calendar.0.end_us).contains(&now_us) {
            let zone = TimeZone::get(&self.directory.catalog().settings.timezone).unwrap_or(TimeZone::UTC);
            *calendar = Span::day_and_month(&zone, now_us);
        }
        *calendar
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look(window: &Window, limit: Option<u32>, now_us: u64) -> Result<(), Duration> {
    limit.map_or(Ok(()), |limit| lock(window).look(limit, now_us))
}

fn take(window: &Window, limit: Option<u32>, now_us: u64) -> Result<(), Duration> {
    limit.map_or(Ok(()), |limit| lock(window).admit(limit, now_us).map(drop))
}

fn give_back(window: &Window, limit: Option<u32>, now_us: u64) {
    limit.is_some().then(|| lock(window).give_back(now_us));
}

impl Limiter for Local {
    fn client_rate(&self, key: ClientKeyId, limit: u32) -> Answer<Result<Admitted, Duration>> {
        let now_us = self.clock.monotonic_us();
        Answer::now(self.clients.with(key, |counts| lock(&counts.rate).admit(limit, now_us)))
    }

    fn client_slot(&self, key: ClientKeyId, limit: Option<u32>) -> Answer<Option<Permit>> {
        Answer::now(self.clients.with(key, |counts| counts.slots.take(limit)))
    }

    fn key_counts(&self, key: ProviderKeyId) -> Arc<KeyCounts> {
        self.keys.of(key)
    }

    fn at(&self) -> At {
        let (unix_us, monotonic_us) = (self.clock.unix_us(), self.clock.monotonic_us());
        let (day, month) = self.calendar(unix_us);
        At { unix_us, monotonic_us, day, month }
    }

    fn look_above(&self, route: &Route, at: &At) -> Result<(), Busy> {
        let Route { provider, endpoint, .. } = route;
        let full = |code| move |wait| Busy { code, wait: Some(wait) };
        let no_slot = |code| Err(Busy { code, wait: None });
        if provider.rpm_limit.or(provider.rate_limit).or(provider.concurrent_limit).is_some() {
            self.providers.with(provider.id, |counts| {
                let minute = provider.rpm_limit.map_or(Ok(()), |limit| lock(&counts.minute).look(limit, at.unix_us));
                minute.map_err(full(SkipCode::ProviderRpm))?;
                look(&counts.rate, provider.rate_limit, at.monotonic_us).map_err(full(SkipCode::ProviderRate))?;
                match provider.concurrent_limit {
                    Some(limit) if counts.slots.taken() >= limit => no_slot(SkipCode::ProviderConcurrency),
                    _ => Ok(()),
                }
            })?;
        }
        if endpoint.rate_limit.or(endpoint.max_concurrent).is_none() {
            return Ok(());
        }
        self.endpoints.with(endpoint.id, |counts| {
            look(&counts.rate, endpoint.rate_limit, at.monotonic_us).map_err(full(SkipCode::EndpointRate))?;
            match endpoint.max_concurrent {
                Some(limit) if counts.slots.taken() >= limit => no_slot(SkipCode::EndpointConcurrency),
                _ => Ok(()),
            }
        })
    }

    fn upstream(&self, route: &Route, room: Room) -> Answer<Result<UpstreamPermits, Busy>> {
        Answer::now(self.take(route, room))
    }

    fn upstream_rates(&self, route: &Route) -> Answer<Result<(), Busy>> {
        Answer::now(self.take_tokens(route, &self.at()))
    }
}

#[cfg(test)]
mod tests;
