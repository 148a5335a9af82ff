//! An upstream's answer on its way to the client. Over the same wire the bytes that arrive are the bytes that leave; for
//! another, [`Framing::Converted`] writes them anew.
//!
//! The body owns the request's ending: at the closing frame, at a break, or when it is dropped, there is one settlement.
//! The closing frame waits until the journal has it; everything before passes at once.

use super::{Aborted, Framing, Source, drain, patience::Patience, source::Broken};
use crate::{
    attempt::{Commit, Shape, Tap},
    call::Call,
    flight::{Ending, Flight},
    meter::{self, Measured, Resettle},
};
use bytes::Bytes;
use domain::{
    format::OnDisconnect,
    ports::{Answer, NotRecorded},
    schedule::attempt::Deadline,
};
use std::{
    collections::VecDeque,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};
use wire::{Class, Frame, Problem, Seen, Wire};

/// An incomplete event is kept back up to this size, so that a break between two events ends in a proper error event.
const HELD_MAX: usize = 64 * 1024;
/// How often the journal is told how far an answer has come that is still under way.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);
/// How long the closing frame waits for the journal.
const ACK_WAIT: Duration = Duration::from_secs(1);

/// A relayed answer.
#[allow(clippy::struct_excessive_bools, reason = "independent facts of one answer")]
pub(crate) struct Relayed {
    flight: Flight,
    call: Arc<Call>,
    shape: Shape,
    tap: Tap,
    framing: Framing,
    /// What the upstream speaks.
    wire: Wire,
    source: Option<Source>,
    /// Read and not yet tapped.
    rest: Bytes,
    /// May leave now.
    out: VecDeque<Bytes>,
    /// Of a stream, the beginning of an event; of a whole body, its last piece so far.
    held: Vec<Bytes>,
    held_bytes: usize,
    /// A part of an event that was too large to keep back has left.
    mid_event: bool,
    /// What a whole answer's conversion lost.
    losses: Vec<String>,
    parked: Option<Parked>,
    resettle: Option<Box<Resettle>>,
    patience: Patience,
    /// When the journal was last told how far it is.
    noted: Option<Instant>,
    length: Option<u64>,
    delivered: bool,
    complete: bool,
    abort: bool,
}

/// Frames that leave when the journal has the settlement.
struct Parked {
    frames: Vec<Bytes>,
    recorded: Answer<Result<(), NotRecorded>>,
    /// Made when the journal is not ready at once.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Relayed {
    /// Takes a committed answer over; `length` is its exact size, if nothing will change it.
    pub(crate) fn new(flight: Flight, call: Arc<Call>, commit: Commit, framing: Framing, length: Option<u64>) -> Self {
        let Commit { shape, tap, passed, closing, rest, source, sent, timeout, complete, wire, losses, .. } = commit;
        let patience = Patience::new(shape, sent, timeout);
        let mut relayed = Self {
            flight,
            call,
            shape,
            tap,
            framing,
            wire,
            losses,
            source: Some(source),
            rest,
            out: VecDeque::new(),
            held: Vec::new(),
            held_bytes: 0,
            mid_event: false,
            parked: None,
            resettle: None,
            patience,
            noted: None,
            length,
            delivered: false,
            complete,
            abort: false,
        };
        // What is converted leaves in whole frames.
        relayed.mid_event = !relayed.converts() && matches!(&relayed.tap, Tap::Stream(tap) if tap.mid_frame());
        relayed.take_over(passed, closing);
        relayed
    }

    fn take_over(&mut self, mut passed: Vec<Bytes>, closing: Option<Bytes>) {
        if self.converts() {
            passed.extend(closing);
            for piece in passed {
                if self.flight.flown().is_some() {
                    self.convert(&piece);
                }
            }
            return;
        }
        if self.shape == Shape::Stream {
            if closing.is_some() {
                self.noted = Some(self.patience.read()); // nothing comes between this and the settlement
            }
            self.leave(passed);
            if let Some(closing) = closing {
                self.settle_and_park(vec![closing]);
            }
            return;
        }
        self.held.extend(passed.pop());
        self.leave(passed);
        if self.complete {
            self.source = None;
            let last = mem::take(&mut self.held);
            self.settle_and_park(last);
        }
    }

    /// The exact length, while it is known.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// The next bytes for the client.
    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Aborted>>> {
        loop {
            while let Some(bytes) = self.out.pop_front() {
                if bytes.is_empty() {
                    continue;
                }
                self.delivered = true;
                self.patience.hand_on();
                if let Some(length) = &mut self.length {
                    *length = length.saturating_sub(bytes.len() as u64);
                }
                return Poll::Ready(Some(Ok(bytes)));
            }
            if let Some(parked) = &mut self.parked {
                ready!(parked.poll(cx));
                if let Some(parked) = self.parked.take() {
                    self.out.extend(parked.frames);
                }
                continue;
            }
            if mem::take(&mut self.abort) {
                self.source = None;
                return Poll::Ready(Some(Err(Aborted)));
            }
            if !self.rest.is_empty() {
                let rest = mem::take(&mut self.rest);
                self.take(rest);
                continue;
            }
            let Some(source) = &mut self.source else { return Poll::Ready(None) };
            self.patience.go_on();
            match source.poll_next(cx) {
                Poll::Ready(Some(Ok(piece))) => {
                    self.patience.came();
                    self.take(piece);
                }
                Poll::Ready(Some(Err(broken))) => self.broke(&broken),
                Poll::Ready(None) => self.ended(),
                Poll::Pending => {
                    ready!(self.patience.poll(cx));
                    let deadline = self.patience.name();
                    self.broke_by(&format!("the {deadline} deadline passed"), Some(deadline));
                }
            }
        }
    }

    fn converts(&self) -> bool {
        matches!(self.framing, Framing::Converted(_))
    }

    /// A piece that was tapped, on its way to the other wire; false if the answer has come to its end.
    fn convert(&mut self, piece: &[u8]) -> bool {
        let Framing::Converted(transcode) = &mut self.framing else { return false };
        let (written, fed) = transcode.feed(piece);
        self.leave(vec![written.leaves]);
        if self.flight.flown().is_none() {
            return true; // what follows the end is only tapped
        }
        if let Some(closing) = written.closing {
            self.settle_and_park(vec![closing]);
            return false;
        }
        match fed {
            Ok(()) => true,
            Err(why) => {
                self.broke_off(&why.to_string());
                false
            }
        }
    }

    /// Frame by frame, so that the tap has seen all that the converter has when the answer ends.
    fn convert_events(&mut self, piece: &Bytes) {
        let mut at = 0;
        while at < piece.len() {
            let Tap::Stream(tap) = &mut self.tap else { return };
            let (used, _) = tap.next(&piece[at..]);
            let frame = piece.slice(at..at + used);
            at += used;
            if !self.convert(&frame) {
                self.rest = piece.slice(at..);
                return;
            }
        }
    }

    /// A piece came in.
    fn take(&mut self, piece: Bytes) {
        match self.shape {
            Shape::Stream if self.converts() => self.convert_events(&piece),
            Shape::Stream => self.take_events(&piece),
            Shape::Whole | Shape::Opaque => {
                if !self.tap.feed_whole(&piece) {
                    return self.broke(&Broken::Coding);
                }
                let before = mem::replace(&mut self.held, vec![piece]);
                self.leave(before);
                if self.source.as_ref().is_some_and(Source::is_end) {
                    self.ended();
                }
            }
        }
    }

    fn take_events(&mut self, piece: &Bytes) {
        let Tap::Stream(tap) = &mut self.tap else { return };
        let (mut at, mut whole) = (0, 0);
        while at < piece.len() {
            let (used, frame) = tap.next(&piece[at..]);
            at += used;
            let Some(frame) = frame else { continue };
            let began = mem::replace(&mut whole, at);
            let closes = matches!(frame, Frame::Closing | Frame::Error) && self.flight.flown().is_some();
            if !closes {
                continue;
            }
            let mut closing = mem::take(&mut self.held);
            if began > 0 {
                // What was held belongs to the event before.
                closing.push(piece.slice(..began));
                let before = mem::take(&mut closing);
                self.leave(before);
            }
            closing.push(piece.slice(began..at));
            self.held_bytes = 0;
            self.rest = piece.slice(at..);
            return self.settle_and_park(closing);
        }
        if whole > 0 {
            let mut events = mem::take(&mut self.held);
            events.push(piece.slice(..whole));
            self.held_bytes = 0;
            self.mid_event = false;
            self.leave(events);
        }
        if whole < piece.len() {
            self.held_bytes += piece.len() - whole;
            self.held.push(piece.slice(whole..));
        }
        if self.held_bytes > HELD_MAX {
            let part = mem::take(&mut self.held);
            self.held_bytes = 0;
            self.mid_event = true;
            self.leave(part);
        }
    }

    /// Lets pieces go, framed for the client. The journal learns of the first, and then of some: should this process be
    /// killed, what was handed on is billed all the same.
    fn leave(&mut self, pieces: Vec<Bytes>) {
        let framed = self.framed(pieces);
        self.out.extend(framed);
        let due = self.noted.is_none_or(|noted| self.patience.read() - noted >= PROGRESS_EVERY);
        if let Some(flown) = self.flight.flown().filter(|_| due && !self.complete && !self.out.is_empty()) {
            if let Some(progress) = meter::progress(flown, &self.measured()) {
                flown.core.ports.recorder.progress(progress);
            }
            self.noted = Some(self.patience.read());
        }
    }

    fn framed(&mut self, pieces: Vec<Bytes>) -> Vec<Bytes> {
        if matches!(self.framing, Framing::Verbatim | Framing::Converted(_)) {
            return pieces;
        }
        let mut framed = Vec::with_capacity(pieces.len());
        for piece in pieces {
            self.framing.push(piece, &mut framed);
        }
        framed
    }

    /// Settles an answer that is complete, and keeps its last frames until that is recorded.
    fn settle_and_park(&mut self, closing: Vec<Bytes>) {
        let mut measured = self.measured();
        measured.delivered = true; // the frames that are parked here leave in any case
        let ending = match (measured.error.is_some(), measured.usage.reported && self.wire == Wire::Responses) {
            (false, _) => Ending::Completed,
            (true, true) => Ending::AnsweredFailure,
            (true, false) => {
                let message = measured.error.as_ref().and_then(|error| error.message.clone()).unwrap_or_default();
                Ending::Broke { message, deadline: None }
            }
        };
        // Gemini may report more after the chunk that finishes, and another picture may follow one; what is converted is
        // complete at its end.
        let goes_on = self.wire == Wire::Gemini || !self.call.generates();
        let may_change = goes_on && self.shape == Shape::Stream && !self.converts();
        let recorded = if may_change {
            let (again, recorded) = self.flight.end_for_now(&ending, &measured);
            self.resettle = again;
            recorded
        } else {
            self.flight.end(&ending, &measured)
        };
        let frames = self.framed(closing);
        self.parked = Some(Parked { frames, recorded, patience: None });
    }

    fn measured(&self) -> Measured {
        let mut measured = Measured::of(self.tap.seen(), self.delivered);
        let Framing::Converted(transcode) = &self.framing else {
            measured.losses.clone_from(&self.losses);
            return measured;
        };
        measured.losses = transcode.losses();
        if let (Some(facts), Some(seen)) = (transcode.error(), self.tap.seen()) {
            measured.failed_by(facts, seen);
        }
        measured
    }

    /// The upstream's body ended.
    fn ended(&mut self) {
        self.source = None;
        let open = self.flight.flown().is_some();
        if let Framing::Converted(transcode) = &mut self.framing {
            let (written, ending) = transcode.finish();
            if !open {
                return;
            }
            if let Tap::Stream(tap) = &mut self.tap {
                tap.finish();
            }
            self.leave(vec![written.leaves]);
            return match (written.closing, ending) {
                (Some(closing), Ok(true)) => self.settle_and_park(vec![closing]),
                (_, Ok(_)) => self.broke_off("the stream ended without its closing frame"),
                (_, Err(why)) => self.broke_off(&why.to_string()),
            };
        }
        match &mut self.tap {
            Tap::Stream(tap) => {
                let last = tap.finish();
                let finished = self.wire == Wire::Chat && tap.seen().all_choices_finished;
                let closes = finished || matches!(last, Some(Frame::Closing | Frame::Error));
                if open && !closes {
                    return self.broke_off("the stream ended without its closing frame");
                }
                let held = mem::take(&mut self.held);
                if open {
                    self.settle_and_park(held);
                } else {
                    self.leave(held);
                }
                let mut tail = Vec::new();
                self.framing.finish(&mut tail);
                match &mut self.parked {
                    Some(parked) => parked.frames.extend(tail),
                    None => self.out.extend(tail),
                }
                if let (Some(again), Some(seen)) = (self.resettle.take(), self.tap.seen()) {
                    again.again(&seen.usage);
                }
            }
            Tap::Whole(..) | Tap::Opaque => {
                if open && !self.tap.finish_whole() {
                    return self.broke_off("the answer is truncated");
                }
                let held = mem::take(&mut self.held);
                self.settle_and_park(held);
            }
        }
    }

    fn broke(&mut self, broken: &Broken) {
        self.broke_off(&broken.to_string());
    }

    /// The upstream broke after the commit: a stream ends with an error event, a whole body is cut.
    fn broke_off(&mut self, why: &str) {
        self.broke_by(why, None);
    }

    fn broke_by(&mut self, why: &str, deadline: Option<Deadline>) {
        self.source = None;
        if self.flight.flown().is_none() {
            return; // the closing frame has left; what breaks after it is nobody's loss
        }
        let recorded = self.flight.end(&Ending::Broke { message: why.to_owned(), deadline }, &self.measured());
        let request_id = self.call.id.to_string();
        let problem = Problem {
            class: Class::Upstream,
            message: "the upstream broke off in the middle of its answer",
            param: None,
            model: Some(&self.call.asked),
            request_id: &request_id,
            retry_after_ms: None,
        };
        let mut frames = Vec::new();
        self.held.clear();
        let nothing_seen = Seen::default();
        let ends_well = self.shape == Shape::Stream
            && !self.mid_event
            && self.framing.fail(self.call.wire, &problem, self.tap.seen().unwrap_or(&nothing_seen), &mut frames);
        self.abort = !ends_well;
        self.parked = Some(Parked { frames, recorded, patience: None });
    }
}

impl Parked {
    /// Ready when the journal has the settlement, or has had its time; then memory keeps it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if Pin::new(&mut self.recorded).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        self.patience.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + ACK_WAIT))).as_mut().poll(cx)
    }
}

impl Drop for Relayed {
    /// The client left, if the answer had not come to its end.
    fn drop(&mut self) {
        if let (Some(again), Some(seen)) = (self.resettle.take(), self.tap.seen()) {
            again.again(&seen.usage);
        }
        let Some(flown) = self.flight.flown() else { return };
        let core = flown.core.clone();
        self.flight.release_client();
        let measured = self.measured();
        let source = self.source.take();
        if let Some(source) = source
            && self.call.on_disconnect() == OnDisconnect::Drain
        {
            let flight = self.flight.take();
            let tap = mem::replace(&mut self.tap, Tap::Opaque);
            let rest = mem::take(&mut self.rest);
            core.tracker.spawn_on(drain::rest(source, tap, rest, flight, measured), &core.runtime);
            return;
        }
        drop(self.flight.end(&Ending::Left { drained: false }, &measured));
    }
}
