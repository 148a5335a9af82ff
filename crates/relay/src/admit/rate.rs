//! The client key's own limits: requests per minute, then requests in flight.

use crate::{Core, directory::Caller};
use domain::{
    fault::{Fault, Kind},
    limit::{concurrency::Permit, rate::Admitted},
};
use std::time::Duration;

/// When to come back for a slot: nobody knows when one is free, and a second is soon.
const SLOT_RETRY: Duration = Duration::from_secs(1);

/// Takes a token of the key's rate; `None` without a limit. An error comes with the state of the window.
pub(crate) async fn token(core: &Core, caller: &Caller) -> Result<Option<Admitted>, (Fault, Admitted)> {
    let Some(limit) = caller.key.limits.rate else { return Ok(None) };
    core.ports.limiter.client_rate(caller.key.id, limit).await.map(Some).map_err(|wait| {
        let words = format!("this key may send {limit} requests per minute");
        (Fault::new(Kind::RateLimited, words).retry_after(wait), Admitted { limit, remaining: 0, reset: wait })
    })
}

/// Takes one of the key's slots.
pub(crate) async fn slot(core: &Core, caller: &Caller) -> Result<Permit, Fault> {
    let limit = caller.key.limits.concurrent;
    core.ports.limiter.client_slot(caller.key.id, limit).await.ok_or_else(|| {
        let words = format!("this key may have {} requests in flight", limit.unwrap_or_default());
        Fault::new(Kind::RateLimited, words).retry_after(SLOT_RETRY).detail("concurrency")
    })
}
