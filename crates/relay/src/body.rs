//! Answers on their way to the client.

pub(crate) mod drain;
mod passed;
mod patience;
mod relayed;
mod source;
mod transcode;

pub(crate) use passed::Passed;
pub(crate) use relayed::Relayed;
pub(crate) use source::Source;
pub(crate) use transcode::{Framing, Transcode};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// A response body of the data plane.
pub struct Body(Inner);

enum Inner {
    Whole(Option<Bytes>),
    Relayed(Box<Relayed>),
    Passed(Box<Passed>),
}

/// A whole answer broke after its first byte: the connection is cut, so that nobody takes it for complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the upstream broke off in the middle of its answer")]
pub struct Aborted;

impl Body {
    /// A body that is here.
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self(Inner::Whole(Some(bytes.into())))
    }

    /// An upstream's answer.
    pub(crate) fn relayed(relayed: Relayed) -> Self {
        Self(Inner::Relayed(Box::new(relayed)))
    }

    /// An upstream's answer that owes no settlement.
    pub(crate) fn passed(passed: Passed) -> Self {
        Self(Inner::Passed(Box::new(passed)))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        match &mut self.0 {
            Inner::Whole(bytes) => {
                Poll::Ready(bytes.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes))))
            }
            Inner::Relayed(relayed) => relayed.poll_bytes(cx).map(|bytes| bytes.map(|bytes| bytes.map(Frame::data))),
            Inner::Passed(passed) => passed.poll_bytes(cx).map(|bytes| bytes.map(|bytes| bytes.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Inner::Relayed(_) | Inner::Passed(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Inner::Passed(_) => SizeHint::default(),
            Inner::Relayed(relayed) => relayed.length().map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
