//! Connections between two requests.

use super::{
    Target,
    exchange::Connection,
    multiplexed::{Lease, Multiplexed, Tasks},
};
use domain::ids::IdMap;
use std::{
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
    idle: IdMap<Arc<Target>, Vec<(Instant, Connection)>>,
    /// Connections that many requests share, each with its last use.
    shared: IdMap<Arc<Target>, Vec<(Instant, Multiplexed)>>,
    swept: Option<Instant>,
}

/// What a request may be sent on.
pub(super) enum Taken {
    /// A connection of its own; the caller finds out whether it is still good.
    Own(Connection),
    Shared(Lease),
}

/// What is no longer kept: closed once the lock is released.
#[derive(Default)]
struct Gone {
    own: Vec<(Instant, Connection)>,
    shared: Vec<(Instant, Multiplexed)>,
}

impl State {
    /// Lets go of what has been idle too long, once in a while.
    fn sweep(&mut self, now: Instant, gone: &mut Gone) {
        if self.swept.is_some_and(|swept| now - swept < SWEEP_EVERY) {
            return;
        }
        self.swept = Some(now);
        self.idle.retain(|_, idle| {
            let old = idle.partition_point(|(since, _)| now - *since >= IDLE_TIME);
            gone.own.extend(idle.drain(..old));
            !idle.is_empty()
        });
        self.shared.retain(|_, shared| {
            let is_old = |(used, connection): &mut (Instant, Multiplexed)| {
                !connection.is_good() || (connection.is_idle() && now - *used >= IDLE_TIME)
            };
            gone.shared.extend(shared.extract_if(.., is_old));
            !shared.is_empty()
        });
    }

    fn take(&mut self, target: &Arc<Target>, now: Instant, gone: &mut Gone) -> Option<Taken> {
        if let Some((since, connection)) = self.idle.get_mut(target).and_then(Vec::pop) {
            if now - since < IDLE_TIME {
                return Some(Taken::Own(connection));
            }
            gone.own.push((since, connection));
            return None;
        }
        if self.shared.is_empty() {
            return None;
        }
        let shared = self.shared.get_mut(target)?;
        gone.shared.extend(shared.extract_if(.., |(_, connection)| !connection.is_good()));
        shared.iter_mut().find_map(|(used, connection)| {
            let lease = connection.lease()?;
            *used = now;
            Some(Taken::Shared(lease))
        })
    }
}

impl Pool {
    /// The warmest connection, or room on a shared one.
    pub(super) fn take(&self, target: &Arc<Target>) -> Option<Taken> {
        let now = Instant::now();
        let mut gone = Gone::default();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sweep(now, &mut gone);
        let taken = state.take(target, now, &mut gone);
        drop(state);
        taken
    }

    /// Keeps a connection that others may share from now on.
    pub(super) fn share(&self, target: &Arc<Target>, connection: Multiplexed) {
        let mut gone = Gone::default();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = state.shared.entry(target.clone()).or_default();
        // Dropping the last handle lets what is under way on it end.
        gone.shared.extend(shared.extract_if(.., |(_, old)| !old.is_good()));
        shared.push((Instant::now(), connection));
    }

    /// Keeps a connection for the next request.
    pub(super) fn put(&self, target: &Arc<Target>, connection: Connection) {
        let now = Instant::now();
        let mut gone = Gone::default();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sweep(now, &mut gone);
        let idle = match state.idle.get_mut(target) {
            Some(idle) => idle,
            None => state.idle.entry(target.clone()).or_default(),
        };
        if idle.len() < IDLE_MAX {
            idle.push((now, connection));
        } else {
            gone.own.push((now, connection));
        }
        drop(state);
    }
}
