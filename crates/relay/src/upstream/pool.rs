//! Connections between two requests.

use super::{Target, exchange::Connection};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Idle connections kept per target.
const IDLE_MAX: usize = 512;
/// How long one is kept: below the minute after which common servers and balancers close.
const IDLE_TIME: Duration = Duration::from_secs(55);
/// How often connections of all targets are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// Idle connections by target, the most recently used last.
#[derive(Default)]
pub(super) struct Pool(Mutex<State>);

#[derive(Default)]
struct State {
    idle: HashMap<Arc<Target>, Vec<(Instant, Connection)>>,
    swept: Option<Instant>,
}

impl Pool {
    /// The warmest connection, if there is one; the caller finds out whether it is still good.
    pub(super) fn take(&self, target: &Arc<Target>) -> Option<Connection> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, connection) = state.idle.get_mut(target)?.pop()?;
        (since.elapsed() < IDLE_TIME).then_some(connection)
    }

    /// Keeps a connection for the next request.
    pub(super) fn put(&self, target: &Arc<Target>, connection: Connection) {
        let now = Instant::now();
        let mut gone = Vec::new(); // closed after the lock is released
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.swept.is_none_or(|swept| now - swept >= SWEEP_EVERY) {
            state.swept = Some(now);
            state.idle.retain(|_, idle| {
                let old = idle.partition_point(|(since, _)| now - *since >= IDLE_TIME);
                gone.extend(idle.drain(..old));
                !idle.is_empty()
            });
        }
        let idle = match state.idle.get_mut(target) {
            Some(idle) => idle,
            None => state.idle.entry(target.clone()).or_default(),
        };
        if idle.len() < IDLE_MAX {
            idle.push((now, connection));
        } else {
            gone.push((now, connection));
        }
        drop(state);
    }
}
