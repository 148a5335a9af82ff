//! The way in: a listener, the connections that came through it, and how both are closed.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Shared;
use crate::http::{Conn, Io};

/// Connections that wait to be accepted.
pub(super) const BACKLOG: u32 = 4_096;
/// How long to wait before accepting again when there is no file descriptor left, or the like.
const PAUSE: Duration = Duration::from_millis(10);

/// The tasks of a listener and of its connections, until they are told to end.
#[derive(Clone)]
pub(super) struct Door {
    shut: CancellationToken,
    tasks: TaskTracker,
}

impl Door {
    pub(super) fn open(end: &CancellationToken) -> Self {
        Self { shut: end.child_token(), tasks: TaskTracker::new() }
    }

    /// Ends every task, and waits for the last.
    pub(super) async fn close(&self) {
        self.shut.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// A socket that has the address, and refuses connections until it listens.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

impl Shared {
    pub(super) fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn accept(self: &Arc<Self>, listener: TcpListener) {
        let (shared, door) = (self.clone(), self.door().clone());
        door.tasks.spawn(door.shut.run_until_cancelled_owned(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let _ = stream.set_nodelay(true);
                        shared.serve(Io::Tcp(stream));
                    }
                    // A connection that is gone before it is accepted is no reason to stop.
                    Err(_) => sleep(PAUSE).await,
                }
            }
        }));
    }

    /// Serves a connection until it ends; at once, if the door is shut.
    pub(super) fn serve(self: &Arc<Self>, io: Io) {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        self.log.changed();
        let (shared, door) = (self.clone(), self.door().clone());
        door.tasks.spawn(door.shut.run_until_cancelled_owned(async move {
            shared.connection(Conn::new(io, number)).await;
        }));
    }
}
