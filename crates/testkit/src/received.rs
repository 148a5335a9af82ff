//! What the upstream received and what it handed over, for tests to look at.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

/// A request exactly as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method, such as `POST`.
    pub method: String,
    /// The path without the query, still percent-encoded.
    pub path: String,
    /// The query without its `?`, empty if there is none.
    pub query: String,
    /// Names and values as they were spelled, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body, without its transfer encoding.
    pub body: Bytes,
    /// The connection it came on, counted from 0.
    pub at_connection: u64,
}

impl Received {
    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// How the answer to one request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It has not yet.
    Open,
    /// Its last byte was handed to the connection.
    Whole,
    /// It was broken off as scripted.
    Broken,
    /// The client left before the end.
    Abandoned,
}

#[derive(Debug)]
struct Exchange {
    received: Received,
    sent: BytesMut,
    ended: Ended,
}

/// Everything that came and went, in the order the requests arrived.
#[derive(Debug)]
pub(crate) struct Log {
    keep: usize,
    exchanges: Mutex<Vec<Exchange>>,
    changes: watch::Sender<u64>,
}

/// The place of a request in the log; none when the log is full.
pub(crate) type Slot = Option<usize>;

impl Log {
    pub(crate) fn keeping(keep: usize) -> Self {
        Self { keep, exchanges: Mutex::default(), changes: watch::Sender::new(0) }
    }

    fn exchanges(&self) -> MutexGuard<'_, Vec<Exchange>> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    pub(crate) const fn keeps(&self) -> bool {
        self.keep > 0
    }

    pub(crate) fn arrived(&self, received: Received) -> Slot {
        let mut exchanges = self.exchanges();
        if exchanges.len() >= self.keep {
            return None;
        }
        exchanges.push(Exchange { received, sent: BytesMut::new(), ended: Ended::Open });
        let slot = exchanges.len() - 1;
        drop(exchanges);
        self.changed();
        Some(slot)
    }

    pub(crate) fn sent(&self, slot: Slot, bytes: &[u8]) {
        let Some(slot) = slot else { return };
        if let Some(exchange) = self.exchanges().get_mut(slot) {
            exchange.sent.extend_from_slice(bytes);
        }
        self.changed();
    }

    pub(crate) fn ended(&self, slot: Slot, how: Ended) {
        let Some(slot) = slot else { return };
        if let Some(exchange) = self.exchanges().get_mut(slot) {
            exchange.ended = how;
        }
        self.changed();
    }

    pub(crate) fn requests(&self) -> Vec<Received> {
        self.exchanges().iter().map(|exchange| exchange.received.clone()).collect()
    }

    pub(crate) fn sent_bytes(&self) -> Vec<Bytes> {
        self.exchanges().iter().map(|exchange| Bytes::copy_from_slice(&exchange.sent)).collect()
    }

    pub(crate) fn endings(&self) -> Vec<Ended> {
        self.exchanges().iter().map(|exchange| exchange.ended).collect()
    }

    /// Waits until what was logged satisfies the condition.
    pub(crate) async fn until(&self, met: impl Fn(&Self) -> bool) {
        let mut changes = self.changes.subscribe();
        while !met(self) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// How many requests ended so.
    pub(crate) fn count(&self, how: Ended) -> usize {
        self.exchanges().iter().filter(|exchange| exchange.ended == how).count()
    }

    pub(crate) fn len(&self) -> usize {
        self.exchanges().len()
    }
}
