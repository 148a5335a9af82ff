//! An answer that is neither tapped nor billed: its bytes as they come, within bounds of length and silence.

use super::{Aborted, Source};
use bytes::Bytes;
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep};

/// The rest of an upstream's body.
pub(crate) struct Passed {
    /// Gone once the body has ended.
    source: Option<Source>,
    silence: Duration,
    timer: Pin<Box<Sleep>>,
}

impl Passed {
    /// Passes `source` on until it ends, or is silent for so long.
    pub(crate) fn new(source: Source, silence: Duration) -> Self {
        Self { source: Some(source), silence, timer: Box::pin(sleep(silence)) }
    }

    /// The next bytes; a break cuts the connection.
    pub(super) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Aborted>>> {
        let Some(source) = &mut self.source else { return Poll::Ready(None) };
        match source.poll_next(cx) {
            Poll::Ready(Some(Ok(piece))) => {
                self.timer.as_mut().reset(Instant::now() + self.silence);
                return Poll::Ready(Some(Ok(piece)));
            }
            Poll::Pending if self.timer.as_mut().poll(cx).is_pending() => return Poll::Pending,
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
