//! Reading an answer on for a client that has left, so that it is billed as reported.

use super::Source;
use crate::{
    Core,
    attempt::{Commit, Failure, Sending, Tap},
    flight::{Ending, Flight},
    meter::Measured,
};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use wire::Frame;

/// How long is read on.
const TIME: Duration = Duration::from_mins(1);
/// How much.
const BYTES: usize = 4 * 1024 * 1024;

/// Waits for an exchange whose client has left, and reads its answer.
pub(crate) async fn exchange(exchange: Sending, mut flight: Flight) {
    let end = Instant::now() + TIME;
    let Some(core) = flight.flown().map(|flown| flown.core.clone()) else { return };
    let within = core.shutdown.run_until_cancelled(timeout_at(end, exchange));
    match within.await.unwrap_or_else(|| Ok(Err(Failure::abandoned()))) {
        Ok(Ok(commit)) => {
            let Commit { source, mut tap, closing, rest, complete, losses, .. } = *commit;
            let drained = closing.is_some() || complete || read_on(&core, source, &mut tap, rest, end).await;
            finish(&mut flight, &tap, drained, false, losses);
        }
        Ok(Err(mut failure)) => {
            drop(flight.failed(&mut failure)); // a client that has left says nothing of the key
            drop(flight.end(&Ending::Left { drained: false }, &Measured::default()));
        }
        Err(_) => drop(flight.end(&Ending::Left { drained: false }, &Measured::default())),
    }
}

/// Reads the rest of an answer.
///
/// `measured` is what the client had of it.
pub(crate) async fn rest(source: Source, mut tap: Tap, rest: Bytes, mut flight: Flight, measured: Measured) {
    let Some(core) = flight.flown().map(|flown| flown.core.clone()) else { return };
    let drained = read_on(&core, source, &mut tap, rest, Instant::now() + TIME).await;
    finish(&mut flight, &tap, drained, measured.delivered, measured.losses);
}

fn finish(flight: &mut Flight, tap: &Tap, drained: bool, delivered: bool, losses: Vec<String>) {
    drop(flight.end(&Ending::Left { drained }, &Measured { losses, ..Measured::of(tap.seen(), delivered) }));
}

/// Whether the answer came to its end within the bounds, and before the process must end.
async fn read_on(core: &Core, mut source: Source, tap: &mut Tap, rest: Bytes, end: Instant) -> bool {
    let mut left = BYTES;
    let mut piece = rest;
    loop {
        if closes(tap, &piece) {
            return true;
        }
        let Some(room) = left.checked_sub(piece.len()) else { return false };
        left = room;
        let next = core.shutdown.run_until_cancelled(timeout_at(end, source.next())).await;
        piece = match next.unwrap_or(Ok(None)) {
            Ok(Some(Ok(piece))) => piece,
            Ok(None) if core.shutdown.is_cancelled() => return false,
            Ok(None) => return ends_well(tap),
            Ok(Some(Err(_))) | Err(_) => return false,
        };
    }
}

/// Whether an answer that has ended is whole: some servers leave the last blank line out, and chat's closing frame.
fn ends_well(tap: &mut Tap) -> bool {
    let Tap::Stream(stream) = tap else { return tap.finish_whole() };
    stream.finish() == Some(Frame::Closing) || stream.seen().all_choices_finished
}

/// Feeds a piece; true at a stream's closing frame.
fn closes(tap: &mut Tap, piece: &[u8]) -> bool {
    let Tap::Stream(stream) = tap else {
        tap.feed_whole(piece);
        return false;
    };
    let mut at = 0;
    while at < piece.len() {
        let (used, frame) = stream.next(&piece[at..]);
        at += used;
        if frame == Some(Frame::Closing) {
            return true;
        }
    }
    false
}
