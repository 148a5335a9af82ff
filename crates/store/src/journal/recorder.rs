//! The journal as the data plane sees it: one encoding and one write on the caller's thread.

use super::{
    ACKNOWLEDGED_WITHIN, Journal, Shared,
    codec::{self, Entry, TooLarge},
    lock_soon,
    writer::{Taken, Writer},
};
use domain::{
    ids::RequestId,
    ports::{Answer, NotRecorded, Recorder},
    records::{AttemptEnded, Opened, Progress, Refusal, Settled},
};
use std::{cell::RefCell, io, sync::Arc, sync::atomic::Ordering};

/// A buffer that grew beyond this is not kept.
const BUFFER_KEPT: usize = 64 << 10;
/// What a settlement above the codec's bound is cut down to.
const CUT_CANDIDATES: usize = 16;
const CUT_CHARS: usize = 1_000;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Encodes into this thread's buffer.
fn encoded<T>(entry: Entry<'_>, then: impl FnOnce(&[u8]) -> T) -> Result<T, TooLarge> {
    BUFFER.with_borrow_mut(|buffer| {
        codec::encode(entry, buffer)?;
        let result = then(buffer);
        if buffer.capacity() > BUFFER_KEPT {
            *buffer = Vec::new();
        }
        Ok(result)
    })
}

impl Recorder for Journal {
    fn opened(&self, record: Opened) -> Answer<Result<(), NotRecorded>> {
        let shared = &self.shared;
        let taken = encoded(Entry::Opened(&record), |bytes| {
            shared.write(|writer| {
                let taken = writer.open(bytes);
                let failure = taken.as_ref().err().map(clone_of);
                (taken, failure)
            })
        });
        match taken {
            Ok(Ok(Taken::Now)) => Answer::now(Ok(())),
            Ok(Ok(Taken::Later(receiver))) => {
                let mut written = Written { shared: shared.clone(), request: record.request_id, stands: false };
                Answer::Later(Box::pin(async move {
                    let answer = match tokio::time::timeout(ACKNOWLEDGED_WITHIN, receiver).await {
                        Ok(Ok(answer)) => answer,
                        Ok(Err(_)) => Err(NotRecorded("it is closed".to_owned())),
                        Err(_) => Err(NotRecorded("the disk is too slow".to_owned())),
                    };
                    written.answered(&answer);
                    answer
                }))
            }
            Ok(Err(error)) => Answer::now(Err(NotRecorded(error.to_string()))),
            Err(error) => Answer::now(Err(NotRecorded(error.to_string()))),
        }
    }

    fn attempt(&self, record: AttemptEnded) {
        self.shared.note(Entry::Attempt(&record));
    }

    fn progress(&self, record: Progress) {
        self.shared.note(Entry::Progress(&record));
    }

    fn settled(&self, mut record: Box<Settled>) -> Answer<Result<(), NotRecorded>> {
        let taken = self.shared.settle(&record).or_else(|TooLarge| {
            cut(&mut record);
            self.shared.settle(&record)
        });
        match taken {
            Ok(Ok(Taken::Now)) => Answer::now(Ok(())),
            Ok(Ok(Taken::Later(receiver))) => Answer::Later(Box::pin(async move {
                receiver.await.unwrap_or_else(|_| Err(NotRecorded("it is closed".to_owned())))
            })),
            Ok(Err(error)) => self.lost(&record, error),
            Err(error) => self.lost(&record, NotRecorded(error.to_string())),
        }
    }

    fn refused(&self, refusal: Refusal) {
        self.shared.refusals.add(refusal);
    }

    fn is_writable(&self) -> bool {
        self.shared.writable.load(Ordering::Relaxed)
    }
}

/// An admission in the journal that nobody was told of: unless it stands, it must not be found open.
struct Written {
    shared: Arc<Shared>,
    request: RequestId,
    stands: bool,
}

impl Written {
    fn answered(&mut self, answer: &Result<(), NotRecorded>) {
        self.stands = answer.is_ok();
    }
}

impl Drop for Written {
    /// It was refused, or who asked has not waited for the answer.
    fn drop(&mut self) {
        if !self.stands {
            self.shared.release(self.request);
        }
    }
}

impl Journal {
    fn lost(&self, record: &Settled, error: NotRecorded) -> Answer<Result<(), NotRecorded>> {
        self.shared.lost.fetch_add(1, Ordering::Relaxed);
        let usage = &record.usage;
        tracing::error!(
            request.id = %usage.request_id, client_key.id = %usage.api_key_id, cost_usd = %usage.cost.total, error = %error,
            "the settlement of request {} is lost", usage.request_id
        );
        Answer::now(Err(error))
    }
}

impl Shared {
    /// Does something under the lock and wakes the worker if there is something for it to do.
    fn write<T>(&self, action: impl FnOnce(&mut Writer) -> (T, Option<io::Error>)) -> T {
        let mut writer = lock_soon(&self.writer);
        let (result, failure) = action(&mut writer);
        self.observe(&writer, failure.as_ref());
        if writer.asleep && writer.has_work() {
            writer.asleep = false;
            self.work.notify_one();
        }
        result
    }

    fn note(&self, entry: Entry<'_>) {
        // What does not fit is no loss: it only tells more than a settlement does.
        let _ = encoded(entry, |bytes| self.write(|writer| ((), writer.note(bytes).err())));
    }

    fn settle(&self, record: &Settled) -> Result<Result<Taken, NotRecorded>, TooLarge> {
        encoded(Entry::Settled(record), |bytes| {
            self.write(|writer| match writer.settle(bytes) {
                Ok((taken, failure)) => {
                    if failure.is_none() && writer.waiting() == 0 {
                        self.unshipped.fetch_add(1, Ordering::Relaxed);
                    }
                    (Ok(taken), failure)
                }
                Err(error) => (Err(error), None),
            })
        })
    }

    /// Says that a request that was opened owes nothing.
    pub(crate) fn release(self: &Arc<Self>, request: RequestId) {
        // Without room it stays open and ends as interrupted, with nothing charged.
        let _ = encoded(Entry::Released(request), |bytes| self.write(|writer| (writer.release(bytes), None)));
    }
}

/// Drops what a bill does not need.
fn cut(record: &mut Settled) {
    let clip = |text: &mut String| {
        if let Some((at, _)) = text.char_indices().nth(CUT_CHARS) {
            text.truncate(at);
        }
    };
    record.trace.more = record.trace.more.saturating_add(u32::try_from(record.trace.entries.len()).unwrap_or(u32::MAX));
    record.trace.entries.clear();
    record.candidates.truncate(CUT_CANDIDATES);
    for row in &mut record.candidates {
        [&mut row.skip_reason, &mut row.error_type, &mut row.error_message].into_iter().flatten().for_each(clip);
        clip(&mut row.upstream_model);
    }
    let usage = &mut record.usage;
    [&mut usage.provider, &mut usage.model].into_iter().for_each(clip);
    let optional = [
        &mut usage.client_request_id,
        &mut usage.target_model,
        &mut usage.error_type,
        &mut usage.error_message,
        &mut usage.user_agent,
    ];
    optional.into_iter().flatten().for_each(clip);
    usage.metadata.required_capabilities.truncate(CUT_CANDIDATES);
    usage.metadata.edits.truncate(CUT_CANDIDATES);
    let texts = usage.metadata.required_capabilities.iter_mut().chain(&mut usage.metadata.edits);
    texts.chain(&mut usage.metadata.session_hash).chain(&mut usage.metadata.deadline).for_each(clip);
}

fn clone_of(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

#[cfg(test)]
mod tests;
