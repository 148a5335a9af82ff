//! From what was seen of an answer to a bill, a record, a log line and metrics.

mod metrics;

pub(crate) use metrics::Metrics;

use crate::{
    Core,
    attempt::{Changes, judge, limits, without_key},
    bindings,
    call::Call,
    flight::{Ending, Flown, Open, clipped, millis, verdict_named},
    health,
    ingress::route::Metered,
};
use domain::{
    catalog::Route,
    format::{RequestType, Status, UsageSource},
    ledger::{Bill, bill},
    money::NanoUsd,
    ports::{Answer, NotRecorded},
    price::{EffectivePrice, TokenCounts},
    records::{AttemptOutcome, CandidateRow, Progress, RequestMetadata, Settled, UsageRow},
    schedule::{adaptive::Hints, attempt::Verdict},
};
use http::HeaderMap;
use std::{fmt::Write, sync::Arc};
use tracing::{error, info};
use wire::{ErrorFacts, Seen, Usage, estimate, state::Issued};

/// What was measured of an answer while it passed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measured {
    pub usage: Usage,
    /// Bytes of generated text that passed.
    pub output_bytes: u64,
    /// A byte of the answer was handed on.
    pub delivered: bool,
    /// What its conversion lost.
    pub losses: Vec<String>,
    /// The error inside the answer.
    pub error: Option<Inside>,
    /// What only its issuer understands.
    pub issued: Vec<Issued>,
}

/// An error inside an answer that had begun.
#[derive(Debug, Clone)]
pub(crate) struct Inside {
    pub kind: Option<String>,
    pub message: Option<String>,
    pub verdict: Verdict,
    pub hints: Hints,
}

impl Inside {
    fn of(facts: &ErrorFacts) -> Self {
        Self {
            kind: facts.kind.clone().or_else(|| facts.code.clone()),
            message: facts.message.clone(),
            verdict: judge(200, facts),
            hints: limits::read(&HeaderMap::new(), facts),
        }
    }
}

impl Measured {
    /// Takes over what a tap has seen.
    pub(crate) fn of(seen: Option<&Seen>, delivered: bool) -> Self {
        let Some(seen) = seen else { return Self { delivered, ..Self::default() } };
        Self {
            usage: seen.usage,
            output_bytes: seen.output_text_bytes,
            delivered,
            losses: Vec::new(),
            issued: seen.issued.clone(),
            error: seen.error.as_ref().map(Inside::of),
        }
    }

    /// Takes over the error that only the conversion of what was seen makes of it: a call that is none.
    pub(crate) fn failed_by(&mut self, facts: &ErrorFacts, seen: &Seen) {
        let inside = Inside::of(facts);
        let verdict = if seen.malformed_call { Verdict::MalformedCall } else { inside.verdict };
        self.error.get_or_insert(Inside { verdict, ..inside });
    }

    /// What it means that the answer failed.
    pub(crate) fn verdict(&self) -> Verdict {
        self.error.as_ref().map_or(Verdict::Transient, |error| error.verdict)
    }
}

/// A settled request whose usage may still change.
pub(crate) struct Resettle {
    settled: Settled,
    route: Option<Route>,
    core: Arc<Core>,
    call: Arc<Call>,
}

impl Resettle {
    /// Settles again if the usage has changed since; the later record replaces the earlier one.
    pub(crate) fn again(mut self, usage: &Usage) {
        let tokens = counts(usage);
        let Some(route) = self.route.filter(|_| usage.reported && tokens != self.settled.usage.tokens) else { return };
        let row = &mut self.settled.usage;
        let bill = billed(&tokens, &self.call, &route, row.delivered);
        if let Some(account) = self.settled.account {
            let difference = bill.list.total.0.saturating_sub(row.cost.total.0);
            self.core.ports.ledger.correct(account, NanoUsd(difference));
            let difference = bill.actual.total.0.saturating_sub(row.actual.total.0);
            self.core.ports.ledger.spend(&route.provider, NanoUsd(difference));
        }
        row.tokens = tokens;
        row.usage_source = UsageSource::Upstream;
        (row.prices, row.cost, row.actual) = (bill.prices, bill.list, bill.actual);
        // The recorder keeps a record that it could not write; there is nobody left to wait for it.
        drop(self.core.ports.recorder.settled(Box::new(self.settled)));
    }
}

fn counts(usage: &Usage) -> TokenCounts {
    TokenCounts {
        input: usage.input,
        cache_read: usage.cache_read,
        cache_write_5m: usage.cache_write_5m,
        cache_write_1h: usage.cache_write_1h,
        output: usage.output,
        reasoning: usage.reasoning,
    }
}

/// The vector to bill, and where it comes from.
fn vector(flown: &Flown, ending: &Ending, measured: &Measured) -> (TokenCounts, UsageSource) {
    let nothing = (TokenCounts::default(), UsageSource::None);
    if flown.call.request_type == RequestType::CountTokens {
        return nothing;
    }
    let reported = counts(&measured.usage);
    let kind = flown.call.request_type;
    let speaks = flown.call.metered == Some(Metered::Speech);
    if kind.is_billed_per_request() && !measured.usage.reported && !speaks {
        return nothing;
    }
    if kind == RequestType::Embedding || speaks {
        // What was embedded or is spoken is known from the request, and no text is generated.
        let ends_billed = !matches!(ending, Ending::HandedOn { .. } | Ending::Refused { .. } | Ending::AnsweredFailure);
        let input = flown.call.prompt_estimate.min(flown.bounds.prompt);
        return match (measured.usage.reported, ends_billed && flown.open.is_some()) {
            (true, _) if speaks => (reported, UsageSource::Upstream),
            (true, _) => (TokenCounts { output: 0, ..reported }, UsageSource::Upstream),
            (false, true) => (TokenCounts { input, ..TokenCounts::default() }, UsageSource::Estimated),
            (false, false) => nothing,
        };
    }
    // An estimate stays within what was held.
    let bounds = flown.bounds;
    let estimated_output = estimate::text_tokens(measured.output_bytes).min(bounds.output.unwrap_or(u64::MAX));
    let estimated_prompt = flown.call.prompt_estimate.min(bounds.prompt);
    let estimated = || TokenCounts { input: estimated_prompt, output: estimated_output, ..TokenCounts::default() };
    match ending {
        Ending::Completed | Ending::Left { drained: true } if measured.usage.reported => {
            (reported, UsageSource::Upstream)
        }
        Ending::Completed | Ending::Left { drained: true } => (estimated(), UsageSource::Estimated),
        Ending::AnsweredFailure if measured.usage.reported => (reported, UsageSource::Upstream),
        Ending::AnsweredFailure | Ending::HandedOn { .. } | Ending::Refused { .. } => nothing,
        Ending::Left { drained: false } if flown.open.is_none() => nothing,
        Ending::Broke { .. } | Ending::Left { drained: false } => {
            let prompt = if reported.context() > 0 { reported } else { estimated() };
            (TokenCounts { output: reported.output.max(estimated_output), ..prompt }, UsageSource::Estimated)
        }
    }
}

/// The bill at a candidate's price.
fn billed(tokens: &TokenCounts, call: &Call, route: &Route, delivered: bool) -> Bill {
    let price = EffectivePrice::of(&call.model, &route.model);
    let rate = (route.provider.billing_type, route.key.rate_multiplier);
    let family = route.endpoint.api_format.family();
    let defaults = &call.catalog.settings.price_defaults;
    bill(tokens, &price, call.cache_ttl_minutes, family, defaults, rate, delivered).unwrap_or_else(|overflow| {
        error!(request.id = call.id.text().as_str(), error = %overflow, "request {} cannot be billed", call.id);
        Bill::default()
    })
}

/// What is known of an answer while it is relayed; `None` of one that is not billed.
pub(crate) fn progress(flown: &Flown, measured: &Measured) -> Option<Progress> {
    let route = &flown.open.as_ref()?.route;
    let (tokens, source) = vector(flown, &Ending::Broke { message: String::new(), deadline: None }, measured);
    if source == UsageSource::None {
        return None;
    }
    let bill = billed(&tokens, &flown.call, route, true);
    Some(Progress {
        request_id: flown.call.id,
        tokens,
        source: if measured.usage.reported { UsageSource::Upstream } else { source },
        provider_api_key_id: route.key.id,
        prices: bill.prices,
        price_version_id: EffectivePrice::of(&flown.call.model, &route.model).version,
        cost: bill.list,
        actual: bill.actual,
        rate_multiplier: bill.multiplier,
    })
}

/// What a failed-over attempt that reported usage cost the operator.
pub(crate) fn failed_over_cost(flown: &Flown, open: &Open, usage: &Usage) -> NanoUsd {
    if !usage.reported {
        return NanoUsd::ZERO;
    }
    billed(&counts(usage), &flown.call, &open.route, false).actual.total
}

/// Makes the one settlement of a request.
///
/// With `keep`, what is needed to settle again is handed back.
pub(crate) fn settle(
    mut flown: Flown,
    ending: &Ending,
    measured: &Measured,
    keep: bool,
) -> (Option<Box<Resettle>>, Answer<Result<(), NotRecorded>>) {
    let (tokens, source) = vector(&flown, ending, measured);
    let call = flown.call.clone();
    let core = flown.core.clone();
    let (status, status_code) = match ending {
        Ending::Completed => (Status::Completed, flown.committed.map_or(200, |commit| commit.status)),
        Ending::AnsweredFailure | Ending::Broke { .. } => {
            (Status::Failed, flown.committed.map_or(200, |commit| commit.status))
        }
        Ending::HandedOn { status, .. } | Ending::Refused { status, .. } => (Status::Failed, *status),
        Ending::Left { .. } => (Status::Cancelled, 499),
    };
    let (error_type, error_message) = match ending {
        Ending::Completed => (None, None),
        Ending::AnsweredFailure => {
            measured.error.clone().map_or((None, None), |Inside { kind, message, .. }| (kind, message))
        }
        Ending::HandedOn { error_type, message, .. } => (error_type.clone(), Some(message.clone())),
        Ending::Refused { error_type, message, .. } => (Some((*error_type).to_owned()), Some(message.clone())),
        Ending::Broke { message, deadline } => {
            flown.deadline = deadline.or(flown.deadline);
            (Some("upstream_broke".to_owned()), Some(message.clone()))
        }
        Ending::Left { .. } => (Some("client_left".to_owned()), None),
    };
    let mut open = flown.open.take();
    let error_message = match (&open, error_message) {
        (Some(open), Some(message)) => Some(without_key(&core, &open.route.key, message)),
        (_, message) => message,
    };
    if let Some(open) = &mut open {
        health::settled(&core, &call, open, ending, &tokens, measured);
        let row = last_row(&flown, open, ending, measured.verdict(), error_type.as_deref(), error_message.as_deref());
        flown.rows.push(row);
    }
    // The candidate that answered, else the last one tried.
    let last = flown.rows.last().map(|row| (row.key_id, row.upstream_model.clone()));
    let route = open.as_ref().map(|open| open.route.clone()).or_else(|| {
        let (key_id, _) = last.as_ref()?;
        call.catalog.routes(call.model.id).iter().find(|route| route.key.id == *key_id).cloned()
    });
    // Counting tokens costs nothing, also where a request has a price.
    let delivered = measured.delivered && call.request_type != RequestType::CountTokens;
    let bill = route.as_ref().map_or_else(Bill::default, |route| billed(&tokens, &call, route, delivered));
    let price_version_id = route.as_ref().and_then(|route| EffectivePrice::of(&call.model, &route.model).version);
    let upstream_status = flown.rows.last().and_then(|row| row.status_code);
    let target_model = last.map(|(_, name)| name).filter(|name| *name != call.asked);
    let now_us = core.ports.clock.unix_us();
    let usage = UsageRow {
        request_id: call.id,
        client_request_id: call.arrival.client_request_id.clone(),
        user_id: call.caller.key.user_id,
        api_key_id: call.caller.key.id,
        provider: route.as_ref().map(|route| route.provider.name.clone()).unwrap_or_default(),
        model: call.asked.clone(),
        global_model_id: call.model.id,
        target_model,
        provider_id: route.as_ref().map(|route| route.provider.id),
        provider_endpoint_id: route.as_ref().map(|route| route.endpoint.id),
        provider_api_key_id: route.as_ref().map(|route| route.key.id),
        tokens,
        prices: bill.prices,
        price_version_id,
        delivered,
        cost: bill.list,
        actual: bill.actual,
        rate_multiplier: bill.multiplier,
        usage_source: source,
        request_type: call.request_type,
        api_format: call.format,
        endpoint_api_format: route.as_ref().map(|route| route.endpoint.api_format),
        is_stream: call.is_stream,
        is_converted: route.as_ref().is_some_and(|route| flown.is_converted(route)),
        status_code,
        upstream_status_code: upstream_status,
        error_type,
        error_message: error_message.as_deref().map(clipped),
        response_time_ms: millis(core.ports.clock.monotonic_us().saturating_sub(call.arrival.monotonic_us)),
        first_byte_time_ms: flown.committed.map(|commit| commit.since_arrival_ms),
        status,
        client_ip: Some(call.arrival.client_ip),
        user_agent: call.user_agent.clone(),
        metadata: RequestMetadata {
            required_capabilities: call
                .required
                .iter()
                .filter(|(_, on)| **on)
                .map(|(what, _)| what.to_string())
                .collect(),
            edits: flown.changes.edits.iter().map(|edit| (*edit).to_owned()).collect(),
            losses: losses(&flown.changes, measured),
            session_hash: call.session.map(hex),
            usage_disagrees: measured.usage.disagrees,
            deadline: flown.deadline.map(|deadline| deadline.to_string()),
        },
        created_at: call.arrival.unix_us,
        finished_at: now_us,
    };
    let hold = std::mem::take(&mut flown.hold);
    let account = hold.account();
    hold.settle(usage.cost.total);
    if let Some(route) = &route {
        core.ports.ledger.spend(&route.provider, usage.actual.total);
    }
    core.metrics.ended(&usage);
    log(&usage, flown.rows.len());
    let issued = open.as_ref().map_or_else(Vec::new, |open| {
        let converted = flown.is_converted(&open.route);
        bindings::issue(&core.bindings, &call, open.route.key.id, &measured.issued, converted, now_us)
    });
    let settled = Settled {
        usage,
        issued,
        candidates: std::mem::take(&mut flown.rows),
        trace: std::mem::take(&mut flown.trace),
        account,
    };
    let again = keep.then(|| Box::new(Resettle { settled: settled.clone(), route, core: core.clone(), call }));
    (again, core.ports.recorder.settled(Box::new(settled)))
}

/// The row of the attempt whose answer the client got, or that was open when it left.
fn last_row(
    flown: &Flown,
    open: &Open,
    ending: &Ending,
    verdict: Verdict,
    error_type: Option<&str>,
    message: Option<&str>,
) -> CandidateRow {
    let (outcome, counted) = match ending {
        Ending::Completed => (AttemptOutcome::Success, "success"),
        Ending::Left { .. } => (AttemptOutcome::Cancelled, "cancelled"),
        _ => (AttemptOutcome::Failed, verdict.as_str()),
    };
    flown.core.metrics.attempt(counted);
    let mut row = flown.row(open, outcome);
    if outcome == AttemptOutcome::Failed {
        let deadline = if let Ending::Broke { deadline, .. } = ending { *deadline } else { None };
        row.skip_reason = Some(verdict_named(verdict, deadline));
        row.error_type = error_type.map(str::to_owned);
        row.error_message = message.map(clipped);
    }
    if let Some(commit) = flown.committed {
        row.status_code = Some(commit.status);
        row.connect_ms = commit.connect_ms;
        row.first_byte_ms = Some(commit.first_byte_ms);
        row.stream_ms = Some(row.latency_ms.saturating_sub(commit.first_byte_ms));
    }
    row
}

/// The one line of a request. What is text goes as text: shown by way of a formatter it would cost twice as much.
fn log(row: &UsageRow, attempts: usize) {
    info!(
        request.id = row.request_id.text().as_str(),
        client_key.id = row.api_key_id.text().as_str(),
        model = row.model.as_str(),
        provider = row.provider.as_str(),
        format = row.api_format.as_str(),
        status = row.status.as_str(),
        status_code = row.status_code,
        attempts,
        input_tokens = row.tokens.input,
        cache_read_tokens = row.tokens.cache_read,
        cache_write_tokens = row.tokens.cache_creation(),
        output_tokens = row.tokens.output,
        cost_usd = %row.cost.total,
        response_ms = row.response_time_ms,
        first_byte_ms = row.first_byte_time_ms,
        error_type = row.error_type.as_deref(),
        error_message = row.error_message.as_deref(),
        "request {}", row.status
    );
}

/// What conversion lost of the request, and then of its answer.
fn losses(changes: &Changes, measured: &Measured) -> Vec<String> {
    let mut losses = changes.losses.clone();
    let of_answer =
        |loss: &String| if loss.starts_with('/') { format!("answer{loss}") } else { format!("answer: {loss}") };
    losses.extend(measured.losses.iter().map(of_answer));
    losses
}

fn hex(bytes: [u8; 16]) -> String {
    bytes.iter().fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
