//! A request in flight: from its admission to its one settlement.
//!
//! Whoever holds the [`Flight`] owes the settlement. It is made by [`Flight::end`], and by dropping the flight, which is
//! what happens when the client leaves.

use crate::{
    Core,
    admit::money::Bounds,
    attempt::{Changes, Commit, Failure, Sending, without_key},
    body::drain,
    call::Call,
    health::{Held, Probe},
    meter::{self, Measured},
};
use domain::{
    catalog::Route,
    format::OnDisconnect,
    ids::ProviderKeyId,
    ledger::Hold,
    limit::concurrency::Permit,
    ports::{Answer, NotRecorded},
    records::{AttemptEnded, AttemptOutcome, CONVERTED, CandidateRow, TRACE_MAX, Trace, TraceEntry},
    schedule::{
        Skip,
        attempt::{Deadline, Verdict},
    },
};
use std::{future::poll_fn, mem, sync::Arc};

/// Where an attempt stands in the plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub index: u32,
    pub retry: u32,
    pub warm: bool,
    /// Waited for a slot before.
    pub queue_ms: u32,
}

/// An attempt under way.
pub(crate) struct Open {
    pub place: Place,
    pub route: Route,
    pub upstream_model: String,
    pub held: Held,
    pub probe: Option<Probe>,
    pub began_us: i64,
    pub began_mono_us: u64,
}

/// How a request ends.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The closing frame of an answer.
    Completed,
    /// The answer itself is a failure, such as `response.failed`.
    AnsweredFailure,
    /// An upstream's refusal was handed on with this status.
    HandedOn { status: u16, error_type: Option<String>, message: String },
    /// Our own error.
    Refused { status: u16, error_type: &'static str, message: String },
    /// The upstream broke after the commit.
    Broke { message: String, deadline: Option<Deadline> },
    /// The client left; `drained` if the upstream was read to its end all the same.
    Left { drained: bool },
}

/// Everything a settlement is made of.
pub(crate) struct Flown {
    pub core: Arc<Core>,
    pub call: Arc<Call>,
    pub hold: Hold,
    /// What an estimate of its usage may not exceed.
    pub bounds: Bounds,
    pub client_slot: Option<Permit>,
    pub rows: Vec<CandidateRow>,
    pub trace: Trace,
    /// What the last attempt changed.
    pub changes: Changes,
    /// The attempt that is open, or the one whose answer is being relayed.
    pub open: Option<Open>,
    pub committed: Option<Committed>,
    /// The last deadline that ended an attempt.
    pub deadline: Option<Deadline>,
    exchange: Option<Sending>,
}

/// Facts of the answer that is being relayed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Committed {
    pub status: u16,
    pub connect_ms: Option<u32>,
    pub first_byte_ms: u32,
    /// From the request's arrival.
    pub since_arrival_ms: u32,
}

/// The obligation to settle; empty once it is done.
pub(crate) struct Flight(Option<Box<Flown>>);

impl Flight {
    /// An admitted request.
    pub(crate) fn new(
        core: &Arc<Core>,
        call: &Arc<Call>,
        hold: Hold,
        bounds: Bounds,
        client_slot: Option<Permit>,
    ) -> Self {
        core.metrics.open.inc();
        Self(Some(Box::new(Flown {
            core: core.clone(),
            call: call.clone(),
            hold,
            bounds,
            client_slot,
            rows: Vec::new(),
            trace: Trace::default(),
            changes: Changes::default(),
            open: None,
            committed: None,
            deadline: None,
            exchange: None,
        })))
    }

    /// An attempt begins.
    pub(crate) fn begin(
        &mut self,
        place: Place,
        route: &Route,
        model: &str,
        (held, probe): (Held, Option<Probe>),
        changes: &Changes,
    ) {
        let Some(flown) = &mut self.0 else { return };
        flown.changes = changes.clone();
        if place.retry == 0 && flown.is_converted(route) && flown.trace.entries.len() < TRACE_MAX {
            let number = i64::try_from(changes.losses.len()).unwrap_or(i64::MAX);
            flown.trace.entries.push(TraceEntry { key_id: route.key.id, code: CONVERTED.to_owned(), number });
        }
        flown.open = Some(Open {
            place,
            route: route.clone(),
            upstream_model: model.to_owned(),
            held,
            probe,
            began_us: flown.core.ports.clock.unix_us(),
            began_mono_us: flown.core.ports.clock.monotonic_us(),
        });
    }

    /// Hands the exchange over, so that it outlives a client that leaves, if the policy is to drain.
    pub(crate) fn send(&mut self, exchange: Sending) {
        if let Some(flown) = &mut self.0 {
            flown.exchange = Some(exchange);
        }
    }

    /// Waits for the exchange.
    pub(crate) async fn exchanged(&mut self) -> Result<Box<Commit>, Box<Failure>> {
        let result = poll_fn(|cx| match self.0.as_mut().and_then(|flown| flown.exchange.as_mut()) {
            Some(exchange) => exchange.as_mut().poll(cx),
            None => std::task::Poll::Pending, // nothing was sent: there is nothing to wait for
        })
        .await;
        if let Some(flown) = &mut self.0 {
            flown.exchange = None;
            if let Ok(commit) = &result {
                flown.commit(commit);
            }
        }
        result
    }

    /// The open attempt failed; what it held beside its slots is handed back. From here on its message holds no key.
    pub(crate) fn failed(&mut self, failure: &mut Failure) -> Option<Probe> {
        let flown = self.0.as_mut()?;
        let mut open = flown.open.take()?;
        if failure.status.is_some() {
            open.held.answered();
        }
        flown.deadline = failure.deadline.or(flown.deadline);
        let mut row = flown.row(&open, AttemptOutcome::Failed);
        row.skip_reason = Some(verdict_named(failure.verdict, failure.deadline));
        row.status_code = failure.status;
        row.error_type = failure.facts.kind.clone().or_else(|| failure.facts.code.clone());
        failure.message = without_key(&flown.core, &open.route.key, mem::take(&mut failure.message));
        row.error_message = Some(clipped(&failure.message));
        row.connect_ms = failure.timing.as_ref().and_then(|timing| timing.connect_ms);
        row.actual_cost_usd = meter::failed_over_cost(flown, &open, &failure.usage);
        flown.core.ports.ledger.spend(&open.route.provider, row.actual_cost_usd);
        flown.core.metrics.attempt(failure.verdict.as_str());
        flown.core.ports.recorder.attempt(AttemptEnded { request_id: flown.call.id, candidate: row.clone() });
        flown.rows.push(row);
        open.probe.take()
    }

    /// Notes a number that decided, beside the skipped.
    pub(crate) fn decided_by(&mut self, key_id: ProviderKeyId, code: &str, number: i64) {
        if let Some(flown) = &mut self.0 {
            flown.trace.entries.push(TraceEntry { key_id, code: code.to_owned(), number });
        }
    }

    /// Notes who was skipped, and who was not reached under which word.
    pub(crate) fn unreached(
        &mut self,
        unreached: impl Iterator<Item = (ProviderKeyId, &'static str)>,
        skipped: &[Skip],
    ) {
        let Some(flown) = &mut self.0 else { return };
        let skipped = skipped.iter().map(|skip| (skip.key_id, skip.code.as_str(), skip.number));
        for (key_id, code, number) in skipped.chain(unreached.map(|(key_id, word)| (key_id, word, 0))) {
            if flown.trace.entries.len() < TRACE_MAX {
                flown.trace.entries.push(TraceEntry { key_id, code: code.to_owned(), number });
            } else {
                flown.trace.more += 1;
            }
        }
    }

    /// The facts of the flight, until it has ended.
    pub(crate) fn flown(&self) -> Option<&Flown> {
        self.0.as_deref()
    }

    /// Hands the obligation on; this flight owes nothing any more.
    pub(crate) fn take(&mut self) -> Self {
        Self(self.0.take())
    }

    /// Gives the client's slot back before the end: its client has left.
    pub(crate) fn release_client(&mut self) {
        if let Some(flown) = &mut self.0 {
            flown.client_slot = None;
        }
    }

    /// Settles; resolves when the journal has it. The second call of a request does nothing.
    pub(crate) fn end(&mut self, ending: &Ending, measured: &Measured) -> Answer<Result<(), NotRecorded>> {
        match self.0.take() {
            Some(flown) => meter::settle(*flown, ending, measured, false).1,
            None => Answer::now(Ok(())),
        }
    }

    /// Settles like [`Flight::end`] and keeps what is needed to settle again, should later usage differ.
    pub(crate) fn end_for_now(
        &mut self,
        ending: &Ending,
        measured: &Measured,
    ) -> (Option<Box<meter::Resettle>>, Answer<Result<(), NotRecorded>>) {
        match self.0.take() {
            Some(flown) => meter::settle(*flown, ending, measured, true),
            None => (None, Answer::now(Ok(()))),
        }
    }
}

impl Flown {
    /// Whether a candidate speaks another wire than the client.
    pub(crate) fn is_converted(&self, route: &Route) -> bool {
        route.endpoint.api_format.family() != self.call.format.family()
    }

    fn commit(&mut self, commit: &Commit) {
        let now = self.core.ports.clock.monotonic_us();
        if let Some(open) = &mut self.open {
            open.held.answered();
        }
        self.committed = Some(Committed {
            status: commit.status.as_u16(),
            connect_ms: commit.timing.connect_ms,
            first_byte_ms: commit.first_byte_ms,
            since_arrival_ms: millis(now.saturating_sub(self.call.arrival.monotonic_us)),
        });
    }

    /// The row of an attempt that ends now.
    pub(crate) fn row(&self, open: &Open, outcome: AttemptOutcome) -> CandidateRow {
        let clock = &self.core.ports.clock;
        CandidateRow {
            candidate_index: open.place.index,
            retry_index: open.place.retry,
            provider_id: open.route.provider.id,
            endpoint_id: open.route.endpoint.id,
            key_id: open.route.key.id,
            outcome,
            skip_reason: None,
            is_cached: open.place.warm,
            status_code: None,
            error_type: None,
            error_message: None,
            latency_ms: millis(clock.monotonic_us().saturating_sub(open.began_mono_us)),
            queue_ms: open.place.queue_ms,
            connect_ms: None,
            first_byte_ms: None,
            stream_ms: None,
            concurrent_requests: open.held.in_flight(),
            actual_cost_usd: domain::money::NanoUsd::ZERO,
            upstream_model: open.upstream_model.clone(),
            started_at: open.began_us,
            finished_at: clock.unix_us(),
        }
    }
}

impl Drop for Flight {
    /// The client left before an answer was committed, or while one was relayed.
    fn drop(&mut self) {
        let Some(mut flown) = self.0.take() else { return };
        flown.client_slot = None;
        let exchange = flown.exchange.take();
        if let Some(exchange) = exchange
            && flown.call.on_disconnect() == OnDisconnect::Drain
        {
            let core = flown.core.clone();
            core.tracker.spawn_on(drain::exchange(exchange, Self(Some(flown))), &core.runtime);
            return;
        }
        let _ = meter::settle(*flown, &Ending::Left { drained: false }, &Measured::default(), false);
    }
}

/// A verdict as rows have it: with the deadline that led to it.
pub(crate) fn verdict_named(verdict: Verdict, deadline: Option<Deadline>) -> String {
    match deadline {
        Some(deadline) => format!("{verdict}: {deadline}"),
        None => verdict.as_str().to_owned(),
    }
}

/// Milliseconds of a span of microseconds.
pub(crate) fn millis(us: u64) -> u32 {
    u32::try_from(us / 1_000).unwrap_or(u32::MAX)
}

/// An error message as long as a row may hold.
pub(crate) fn clipped(message: &str) -> String {
    message.chars().take(500).collect()
}
