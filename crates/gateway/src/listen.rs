//! Listeners: connections from accept to end, each within its bounds.

mod connection;
mod patient;
mod tls;

pub(crate) use connection::{Link, UnderWay};
pub(crate) use tls::Tls;

use crate::front::Front;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_util::task::TaskTracker;

/// How long accepting rests after it failed: usually file descriptors have run out, and some will be closed.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How far the end of the process has come, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Requests are taken.
    Serving,
    /// No new ones; those under way may end.
    Draining,
    /// Connections are cut.
    Cut,
}

/// What is counted over all listeners.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    connections: AtomicU64,
    open: AtomicU64,
    ended: AtomicU64,
    accept_errors: AtomicU64,
}

impl Traffic {
    /// Connections that are open.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Requests to the data plane that are under way.
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Requests to the data plane that have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Connections that could not be accepted.
    pub(crate) fn accept_errors(&self) -> u64 {
        self.accept_errors.load(Ordering::Relaxed)
    }
}

/// Serves everybody who connects, until the phase says to end; returns when the last connection has ended.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    front: Front,
    traffic: Arc<Traffic>,
    mut phase: watch::Receiver<Phase>,
    streams: TaskTracker,
) {
    let shared = Arc::new(connection::Shared::new(tls, front, streams));
    let phases = phase.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let link = Link::new(traffic.clone());
                    connections.spawn(connection::serve(stream, peer, shared.clone(), link, phases.clone()));
                }
                Err(error) => {
                    refused(&error, &traffic);
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = left(&mut phase, Phase::Serving) => break,
        }
    }
    drop(listener);
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => {}
        () = left(&mut phase, Phase::Draining) => connections.shutdown().await,
    }
}

/// Waits for a later phase; a gateway that is gone has left every phase.
async fn left(phases: &mut watch::Receiver<Phase>, phase: Phase) {
    let _ = phases.wait_for(|now| *now > phase).await;
}

fn refused(error: &io::Error, traffic: &Traffic) {
    // Of a row of failures the first is told, and then each thousandth.
    if traffic.accept_errors.fetch_add(1, Ordering::Relaxed).is_multiple_of(1_000) {
        tracing::error!(%error, "a connection cannot be accepted");
    }
}

#[cfg(test)]
mod tests;
