//! Reading a request's body: bounded in size, in time, and together with all others in memory.

use crate::coding::{BadCoding, Coding, decode};
use bytes::{Bytes, BytesMut};
use domain::fault::{Fault, Kind};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use std::{fmt::Display, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// The budget's grain: a permit stands for so many bytes.
const GRAIN: usize = 1024;
/// Reserved at a time while a body comes in, so that an announced length alone reserves nothing.
const STEP: usize = 64 * 1024;
/// How long a body waits for its share of the budget.
const BUDGET_WAIT: Duration = Duration::from_secs(1);
/// When to come back after the budget was full.
const BUDGET_RETRY: Duration = Duration::from_secs(1);

/// Bytes of an unwanted body that are read …
const DISCARD_MAX: usize = 256 * 1024;
/// … and how long.
const DISCARD_WAIT: Duration = Duration::from_millis(250);

/// The bytes that all request bodies together may occupy.
#[derive(Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

/// One body's share of the budget; dropping it gives it back.
#[derive(Default)]
pub(crate) struct Share {
    permit: Option<OwnedSemaphorePermit>,
    reserved: usize,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / GRAIN).clamp(1, Semaphore::MAX_PERMITS))))
    }

    /// Adds `bytes` to what `share` covers.
    pub(crate) async fn add(&self, share: &mut Share, bytes: usize) -> Result<(), Fault> {
        let sum = share.reserved + bytes;
        self.cover(share, sum).await
    }

    /// Makes sure that `share` covers `bytes`, without waiting; false if there is no room.
    pub(crate) fn cover_now(&self, share: &mut Share, bytes: usize) -> bool {
        if bytes <= share.reserved {
            return true;
        }
        let step = (bytes - share.reserved).next_multiple_of(STEP);
        let grains = u32::try_from(step / GRAIN).unwrap_or(u32::MAX);
        let Ok(permit) = self.0.clone().try_acquire_many_owned(grains) else { return false };
        share.add(permit, step);
        true
    }

    /// Makes sure that `share` covers `bytes`.
    async fn cover(&self, share: &mut Share, bytes: usize) -> Result<(), Fault> {
        if bytes <= share.reserved {
            return Ok(());
        }
        let step = (bytes - share.reserved).next_multiple_of(STEP);
        let grains = u32::try_from(step / GRAIN).unwrap_or(u32::MAX);
        let full = || Fault::new(Kind::Unavailable, "the gateway is short of memory").retry_after(BUDGET_RETRY);
        let permit = match self.0.clone().try_acquire_many_owned(grains) {
            Ok(permit) => permit,
            Err(_) => timeout(BUDGET_WAIT, self.0.clone().acquire_many_owned(grains))
                .await
                .map_err(|_| full())?
                .map_err(|_| full())?,
        };
        share.add(permit, step);
        Ok(())
    }
}

impl Share {
    fn add(&mut self, permit: OwnedSemaphorePermit, bytes: usize) {
        self.reserved += bytes;
        match &mut self.permit {
            Some(held) => held.merge(permit),
            None => self.permit = Some(permit),
        }
    }
}

/// What bounds one body.
pub(crate) struct Limits {
    /// Bytes, decoded.
    pub max_bytes: usize,
    /// Until the last byte is here.
    pub deadline: Duration,
}

/// Reads a body to its end and decodes it.
pub(crate) async fn read<B>(
    body: B,
    headers: &HeaderMap,
    limits: &Limits,
    budget: &Budget,
) -> Result<(Bytes, Share), Fault>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let coding =
        headers.get(header::CONTENT_ENCODING).map_or(Ok(None), |value| Coding::parse(value.to_str().unwrap_or("?")));
    let Ok(coding) = coding else {
        let words = "content-encoding must be gzip, br, zstd or identity";
        return Err(Fault::new(Kind::BadRequest, words).param("content-encoding"));
    };
    let announced = body.size_hint().exact();
    if announced.is_some_and(|length| length > limits.max_bytes as u64) {
        return Err(too_large(limits));
    }
    let mut share = Share::default();
    let collected = timeout(limits.deadline, collect(body, limits, budget, &mut share)).await;
    let late = || Fault::new(Kind::RequestTimeout, "the request body did not arrive in time");
    let bytes = collected.map_err(|_| late())??;
    let Some(coding) = coding else { return Ok((bytes, share)) };
    let decoded = decode(coding, &bytes, limits.max_bytes as u64).map_err(|bad| match bad {
        BadCoding::TooLarge => too_large(limits),
        BadCoding::Broken => Fault::new(Kind::BadRequest, bad.to_string()).param("content-encoding"),
    })?;
    budget.cover(&mut share, decoded.len()).await?;
    Ok((decoded.into(), share))
}

/// Reads on what is left of a body that is not wanted, while it is short and comes at once.
///
/// A connection whose request is not read to its end is closed behind the answer. A client that still writes, or that
/// asks its next question over it, would learn of that and not of the answer.
pub(crate) async fn discard<B>(mut body: B)
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let rest = async {
        let mut left = DISCARD_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(room) = left.checked_sub(length) else { return };
            left = room;
        }
    };
    // What takes longer costs the connection, as it would have.
    let _ = timeout(DISCARD_WAIT, rest).await;
}

async fn collect<B>(mut body: B, limits: &Limits, budget: &Budget, share: &mut Share) -> Result<Bytes, Fault>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Fault::new(Kind::BadRequest, "the request body could not be read").detail(error.to_string())
        })?;
        let Ok(data) = frame.into_data() else { continue };
        let length = first.len() + all.len() + data.len();
        if length > limits.max_bytes {
            return Err(too_large(limits));
        }
        budget.cover(share, length).await?;
        if first.is_empty() && all.is_empty() {
            first = data; // usually the only one: kept without a copy
            continue;
        }
        if !first.is_empty() {
            let expected = body.size_hint().exact().and_then(|rest| usize::try_from(rest).ok()).unwrap_or(STEP);
            all.reserve(length + expected.min(limits.max_bytes));
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

fn too_large(limits: &Limits) -> Fault {
    Fault::new(Kind::BodyTooLarge, format!("the request body is larger than {} bytes", limits.max_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { max_bytes: 1000, deadline: Duration::from_secs(5) };

    type Frames = Vec<Result<http_body::Frame<Bytes>, std::convert::Infallible>>;

    /// A body of these frames; with `endless`, one that never ends after them.
    struct Script(std::vec::IntoIter<Result<http_body::Frame<Bytes>, std::convert::Infallible>>, bool);

    impl Script {
        fn new(frames: Frames, endless: bool) -> Self {
            Self(frames.into_iter(), endless)
        }
    }

    impl http_body::Body for Script {
        type Data = Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            match self.0.next() {
                None if self.1 => std::task::Poll::Pending,
                frame => std::task::Poll::Ready(frame),
            }
        }
    }

    fn frames(parts: &[&[u8]]) -> Frames {
        parts.iter().map(|part| Ok(http_body::Frame::data(Bytes::copy_from_slice(part)))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_bounded_in_size_time_and_memory() {
        let headers = HeaderMap::new();
        let budget = Budget::new(STEP);
        let kind =
            |result: Result<(Bytes, Share), Fault>| result.map(|(bytes, _)| bytes.len()).map_err(|fault| fault.kind);

        let exact = read(Full::new(Bytes::from(vec![b'x'; 1000])), &headers, &LIMITS, &budget).await;
        assert_eq!(kind(exact), Ok(1000));
        let announced = read(Full::new(Bytes::from(vec![b'x'; 1001])), &headers, &LIMITS, &budget).await;
        assert_eq!(kind(announced), Err(Kind::BodyTooLarge));
        let streamed = read(Script::new(frames(&[&[b'x'; 600], &[b'x'; 600]]), true), &headers, &LIMITS, &budget).await;
        assert_eq!(kind(streamed), Err(Kind::BodyTooLarge));
        let slow = read(Script::new(frames(&[b"{"]), true), &headers, &LIMITS, &budget).await;
        assert_eq!(kind(slow), Err(Kind::RequestTimeout));

        let (_, held) = read(Full::new(Bytes::from_static(b"first")), &headers, &LIMITS, &budget).await.unwrap();
        let second = read(Full::new(Bytes::from_static(b"second")), &headers, &LIMITS, &budget).await;
        assert_eq!(kind(second), Err(Kind::Unavailable));
        drop(held);
        let third = read(Full::new(Bytes::from_static(b"third")), &headers, &LIMITS, &budget).await;
        assert_eq!(kind(third), Ok(5));
    }

    #[tokio::test(start_paused = true)]
    async fn an_unwanted_body_is_read_on_while_it_is_short() {
        let piece = vec![b'x'; 100 * 1024];
        for (count, endless, left) in [(2, false, 0), (0, true, 0), (5, false, 2)] {
            let mut body = Script::new(frames(&vec![&piece[..]; count]), endless);
            let began = tokio::time::Instant::now();
            discard(&mut body).await;
            assert_eq!(body.0.len(), left, "{count} pieces");
            let waited = if endless { DISCARD_WAIT } else { Duration::ZERO };
            assert_eq!(began.elapsed().as_millis() / 10, waited.as_millis() / 10, "{count} pieces");
        }
    }

    #[tokio::test]
    async fn an_unknown_coding_is_refused_by_name() {
        let headers = [(header::CONTENT_ENCODING, "lzma".parse().unwrap())].into_iter().collect();
        let fault =
            read(Full::new(Bytes::from_static(b"x")), &headers, &LIMITS, &Budget::new(STEP)).await.err().unwrap();
        assert_eq!((fault.kind, fault.param.as_deref()), (Kind::BadRequest, Some("content-encoding")));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_bytes(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..10)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let body = Script::new(frames(&parts), false);
            let (bytes, _) = runtime.block_on(read(body, &HeaderMap::new(), &LIMITS, &Budget::new(STEP))).unwrap();
            prop_assert_eq!(&bytes[..], parts.concat());
        }
    }
}
