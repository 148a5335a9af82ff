//! Where an answer is held, slowed or broken.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

/// A place in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Before the status line: the request was read, nothing is answered.
    Nothing,
    /// After the head, before the first byte of the body.
    Head,
    /// After so many frames of the body. A stream's frames are its events (or the pieces that
    /// [`Reply::chunked_at`](crate::Reply::chunked_at) makes of them); a whole body is one frame.
    Frames(usize),
    /// After so many bytes of the body.
    Bytes(usize),
}

impl From<usize> for At {
    fn from(frames: usize) -> Self {
        Self::Frames(frames)
    }
}

/// A place counted in bytes of the body.
pub const fn bytes(count: usize) -> At {
    At::Bytes(count)
}

/// What breaks an answer at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// Nothing more is sent; the connection stays open until the client leaves.
    Stall,
    /// A plain close without the end of the body.
    Cut,
    /// A TCP reset.
    Reset,
    /// A chunk whose size line is no number, then a plain close.
    BadChunk,
}

/// A stream that ends with an error event in place of its rest, then with a proper end of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failing {
    /// Events before it.
    pub(crate) after: usize,
    pub(crate) overloaded: bool,
    /// On Responses, a failed response in place of an error event.
    pub(crate) as_status: bool,
}

/// How an answer is handed over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) delay: Duration,
    pub(crate) gap: Duration,
    pub(crate) sizes: Vec<usize>,
    pub(crate) hold_head: Option<Gate>,
    pub(crate) holds: Vec<(usize, Gate)>,
    pub(crate) breaks: Option<(At, Break)>,
    pub(crate) fails: Option<Failing>,
    pub(crate) gzip: Gzip,
    pub(crate) one_write: bool,
    pub(crate) chunked: Option<bool>,
    pub(crate) endless: bool,
    pub(crate) close: bool,
}

/// The content coding of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Gzip {
    #[default]
    None,
    Good,
    /// Says gzip, and is not.
    Bad,
}

/// Stops an answer at a known place until the test opens it. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    passes: Arc<Semaphore>,
    arrivals: Arc<Semaphore>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self { passes: Arc::new(Semaphore::new(0)), arrivals: Arc::new(Semaphore::new(0)) }
    }

    /// Waits until an answer stands at the gate. Each arrival is reported to one waiter.
    pub async fn reached(&self) {
        if let Ok(arrival) = self.arrivals.acquire().await {
            arrival.forget();
        }
    }

    /// Lets one answer pass: the one that waits, or the next that comes.
    pub fn pass_one(&self) {
        self.passes.add_permits(1);
    }

    /// Lets everything pass from now on.
    pub fn open(&self) {
        self.passes.close();
    }

    pub(crate) async fn wait(&self) {
        self.arrivals.add_permits(1);
        if let Ok(pass) = self.passes.acquire().await {
            pass.forget();
        }
    }
}

/// Cuts the joined frames anew, at the sizes in turn, beginning anew with the first. Sizes of zero count as one.
pub(crate) fn recut(frames: &[Bytes], sizes: &[usize]) -> Vec<Bytes> {
    let mut rest = Bytes::from(frames.concat());
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        pieces.push(rest.split_to((*size).max(1).min(rest.len())));
    }
    pieces
}
