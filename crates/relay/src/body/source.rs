//! An upstream's body, decoded if it must be, never longer than allowed.

use crate::{
    coding::Decoder,
    upstream::{AnswerBody, BodyError},
};
use bytes::Bytes;
use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
};

/// Why an upstream's body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the upstream broke off: {0}")]
    Upstream(#[from] BodyError),
    #[error("the answer is longer than is taken")]
    TooLong,
    #[error("the answer is not what its content-encoding says")]
    Coding,
}

/// The body of one answer.
pub(crate) struct Source {
    body: AnswerBody,
    decoder: Option<Decoder>,
    left: u64,
    ended: bool,
}

impl Source {
    /// At most `max` bytes of this body; with a decoder, of what it decodes to.
    pub(crate) fn new(body: AnswerBody, decoder: Option<Decoder>, max: u64) -> Self {
        Self { body, decoder, left: max, ended: false }
    }

    /// Whether everything has been read.
    pub(crate) fn is_end(&self) -> bool {
        self.ended || (self.decoder.is_none() && self.body.is_end())
    }

    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        while !self.ended {
            let piece = match ready!(self.body.poll_data(cx)) {
                Some(Ok(piece)) => self.decoded(piece),
                Some(Err(error)) => Err(error.into()),
                None => {
                    self.ended = true;
                    self.finished()
                }
            };
            let piece = piece.and_then(|piece| {
                self.left = self.left.checked_sub(piece.len() as u64).ok_or(Broken::TooLong)?;
                Ok(piece)
            });
            match piece {
                Ok(piece) if piece.is_empty() => {}
                Ok(piece) => return Poll::Ready(Some(Ok(piece))),
                Err(broken) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(broken)));
                }
            }
        }
        Poll::Ready(None)
    }

    fn decoded(&mut self, piece: Bytes) -> Result<Bytes, Broken> {
        let Some(decoder) = &mut self.decoder else { return Ok(piece) };
        let mut plain = Vec::new();
        decoder.push(&piece, &mut plain).map_err(|_| Broken::Coding)?;
        Ok(plain.into())
    }

    fn finished(&mut self) -> Result<Bytes, Broken> {
        let Some(decoder) = &mut self.decoder else { return Ok(Bytes::new()) };
        let mut plain = Vec::new();
        decoder.finish(&mut plain).map_err(|_| Broken::Coding)?;
        Ok(plain.into())
    }
}
