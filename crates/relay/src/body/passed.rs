//! An answer that is neither tapped nor billed: its bytes as they come, within bounds of length and silence.

use super::{Aborted, Source, patience::Patience};
use crate::attempt::Shape;
use bytes::Bytes;
use std::{
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;

/// The rest of an upstream's body.
pub(crate) struct Passed {
    /// Gone once the body has ended.
    source: Option<Source>,
    patience: Patience,
}

impl Passed {
    /// Passes `source` on until it ends, or is silent for so long while the client waits for it.
    pub(crate) fn new(source: Source, silence: Duration) -> Self {
        let mut patience = Patience::new(Shape::Stream, Instant::now(), silence);
        patience.hand_on(); // the answer's head
        Self { source: Some(source), patience }
    }

    /// The next bytes; a break cuts the connection.
    pub(super) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Aborted>>> {
        let Some(source) = &mut self.source else { return Poll::Ready(None) };
        self.patience.go_on();
        match source.poll_next(cx) {
            Poll::Ready(Some(Ok(piece))) => {
                self.patience.came();
                self.patience.hand_on();
                return Poll::Ready(Some(Ok(piece)));
            }
            Poll::Pending if self.patience.poll(cx).is_pending() => return Poll::Pending,
            Poll::Ready(None) => {
                self.source = None;
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        self.source = None;
        Poll::Ready(Some(Err(Aborted)))
    }
}
