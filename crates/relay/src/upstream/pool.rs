//! Connections between two requests.

use super::{
    Target,
    exchange::Connection,
    multiplexed::{Lease, Multiplexed, Tasks},
};
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
pub(super) struct Pool {
    state: Mutex<State>,
    /// Where shared connections run.
    pub tasks: Tasks,
}

#[derive(Default)]
struct State {
    idle: HashMap<Arc<Target>, Vec<(Instant, Connection)>>,
    /// Connections that many requests share, each with its last use.
    shared: HashMap<Arc<Target>, Vec<(Instant, Multiplexed)>>,
    swept: Option<Instant>,
}

/// What a request may be sent on.
pub(super) enum Taken {
    /// A connection of its own; the caller finds out whether it is still good.
    Own(Connection),
    Shared(Lease),
}

impl Pool {
    /// The warmest connection, or room on a shared one.
    pub(super) fn take(&self, target: &Arc<Target>) -> Option<Taken> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, connection)) = state.idle.get_mut(target).and_then(Vec::pop) {
            return (since.elapsed() < IDLE_TIME).then_some(Taken::Own(connection));
        }
        if state.shared.is_empty() {
            return None;
        }
        let shared = state.shared.get_mut(target)?;
        shared.retain(|(_, connection)| connection.is_good());
        shared.iter_mut().find_map(|(used, connection)| {
            let lease = connection.lease()?;
            *used = Instant::now();
            Some(Taken::Shared(lease))
        })
    }

    /// Keeps a connection that others may share from now on.
    pub(super) fn share(&self, target: &Arc<Target>, connection: Multiplexed) {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Dropping the last handle lets what is under way on it end.
        state.shared.retain(|_, shared| {
            shared.retain(|(used, old)| old.is_good() && !(old.is_idle() && now - *used >= IDLE_TIME));
            !shared.is_empty()
        });
        state.shared.entry(target.clone()).or_default().push((now, connection));
    }

    /// Keeps a connection for the next request.
    pub(super) fn put(&self, target: &Arc<Target>, connection: Connection) {
        let now = Instant::now();
        let mut gone = Vec::new(); // closed after the lock is released
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
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
