//! How long an upstream may take for an answer that is being relayed.

use crate::attempt::Shape;
use domain::schedule::attempt::Deadline;
use std::{
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

/// The upstream's time: of a stream each silence, otherwise the whole attempt. What the client takes to read is not counted.
pub(super) struct Patience {
    limit: Duration,
    name: Deadline,
    /// From here it runs.
    since: Instant,
    /// When the upstream was last read.
    read: Instant,
    client_waits: bool,
    /// When the client was handed what it has not asked on from yet.
    handed: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Of an answer whose request was sent then.
    pub(super) fn new(shape: Shape, sent: Instant, limit: Duration) -> Self {
        let now = Instant::now();
        let (name, since) = if shape == Shape::Stream { (Deadline::Idle, now) } else { (Deadline::Whole, sent) };
        Self { limit, name, since, read: now, client_waits: false, handed: now, timer: None }
    }

    /// The client was handed something.
    pub(super) fn hand_on(&mut self) {
        // Of several pieces the first: the client's time begins with it.
        if !mem::replace(&mut self.client_waits, true) {
            self.handed = Instant::now();
        }
    }

    /// The client has read what it was handed.
    pub(super) fn go_on(&mut self) {
        if mem::take(&mut self.client_waits) {
            self.read = Instant::now();
            self.since = if self.name == Deadline::Whole { self.since + (self.read - self.handed) } else { self.read };
        }
    }

    /// The upstream sent something.
    pub(super) fn came(&mut self) {
        self.read = Instant::now();
        if self.name == Deadline::Idle {
            self.since = self.read;
        }
    }

    /// Ready when it has run out.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let end = self.since + self.limit;
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= end {
                return Poll::Ready(());
            }
            timer.as_mut().reset(end);
        }
    }

    /// The deadline that it is.
    pub(super) fn name(&self) -> Deadline {
        self.name
    }

    /// When the upstream was last read.
    pub(super) fn read(&self) -> Instant {
        self.read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn the_clients_time_with_several_pieces_is_not_the_upstreams() {
        let second = Duration::from_secs(1);
        let mut cx = Context::from_waker(Waker::noop());
        let mut patience = Patience::new(Shape::Whole, Instant::now(), 3 * second);
        advance(second).await;
        for _ in 0..3 {
            patience.hand_on();
            advance(second).await;
        }
        patience.go_on();
        advance(second).await;
        assert_eq!(patience.poll(&mut cx), Poll::Pending, "2 of 3 seconds are used");
        advance(2 * second).await;
        assert_eq!(patience.poll(&mut cx), Poll::Ready(()));
    }
}
