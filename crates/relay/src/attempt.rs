//! The attempt loop: candidates in order, until one answers or nothing is left to try.

mod exchange;
mod inspect;
pub(crate) mod limits;
mod refusal;
pub(crate) mod request;
mod sanitise;
mod targets;
mod verdict;
mod waiting;

pub(crate) use exchange::{CONNECT, Changes, Commit, Failure, Sending, Shape, Tap, is_page};
pub(crate) use refusal::gather;
pub(crate) use sanitise::{Hidden, masked, sanitise, without_key};
pub(crate) use targets::Targets;
pub(crate) use verdict::judge;

use crate::{
    Core,
    call::{Call, Prompt},
    convert::Conversions,
    flight::{Flight, Place},
    health::{self, Held, micros},
};
use domain::{
    catalog::Route,
    fault::{Fault, Kind},
    format::{RequestType, SchedulingMode},
    ports::{Busy, UpstreamPermits},
    schedule::{
        self, Blank, Eligible, Facts, Pin, Plan, Planned, Skip, SkipCode,
        attempt::{AllFailed, Failed, Left, Next, Verdict, all_failed, backoff_ms, next},
        plan,
    },
};
use exchange::Exchange;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until, timeout_at};
use waiting::Waiting;

/// What the loop came to.
pub(crate) enum Outcome {
    /// An answer that is committed.
    Answer(Box<Commit>),
    /// An upstream's own refusal, to be handed on.
    HandOn(Box<Failure>, Route),
    /// Nobody answered.
    Fault(Fault),
}

/// What is left when a candidate has failed for good.
struct Tried {
    failure: Box<Failure>,
    route: Route,
}

/// Tries the candidates in the plan's order. While all of them are busy it waits its turn, and plans again.
pub(crate) async fn run(
    core: &Arc<Core>,
    call: &Arc<Call>,
    prompt: &Prompt,
    eligible: Eligible<'_>,
    flight: &mut Flight,
) -> Outcome {
    let deadline = Instant::now() + core.bounds.total_timeout;
    let max = core.bounds.max_candidates as usize;
    let mut waiting = Waiting::new(core, call);
    let mut eligible = Some(eligible);
    loop {
        let facts = call.facts(&prompt.conversions, core.ports.clock.unix_us());
        let eligible = eligible.take().unwrap_or_else(|| schedule::eligible(&call.catalog, &facts));
        let plan = planned(core, call, eligible, &facts);
        if let Some(economy) = &plan.economy
            && Box::pin(waiting.for_warm(economy, &plan.skipped, flight)).await
        {
            continue;
        }
        let mut skipped = plan.skipped;
        let mut tried: Vec<Tried> = Vec::new();
        let mut order = plan.order.iter();
        let mut index = 0;
        while tried.len() < max
            && let Some(planned) = order.next()
        {
            let candidates = u32::try_from(order.len().min(max - tried.len() - 1)).unwrap_or(u32::MAX);
            let queue_ms = if tried.is_empty() { waiting.waited_ms() } else { 0 };
            let place = Place { index, retry: 0, warm: planned.warm, queue_ms };
            index += 1;
            match candidate(core, call, prompt, planned, place, candidates, deadline, &mut waiting, flight).await {
                One::Answer(commit) => {
                    flight.unreached(order.map(|planned| (planned.route.key.id, AVAILABLE)), &skipped);
                    return Outcome::Answer(commit);
                }
                One::Busy(skip) => skipped.push(skip),
                One::Failed(failure, Next::Stop) if failure.verdict == Verdict::CallersFault => {
                    flight.unreached(order.map(|planned| (planned.route.key.id, AVAILABLE)), &skipped);
                    return Outcome::HandOn(failure, planned.route.clone());
                }
                One::Failed(failure, after) => {
                    tried.push(Tried { failure, route: planned.route.clone() });
                    if after == Next::Stop || Instant::now() >= deadline {
                        break;
                    }
                }
            }
        }
        if tried.is_empty() && Box::pin(waiting.turn(&skipped)).await {
            continue;
        }
        flight.unreached(order.map(|planned| (planned.route.key.id, AVAILABLE)), &skipped);
        return give_up(tried, &skipped, &prompt.conversions, call.pin, core.ports.clock.unix_us());
    }
}

/// The plan of this instant. Counting tokens occupies nothing and teaches nothing, so health does not order it.
fn planned<'a>(core: &Core, call: &Call, eligible: Eligible<'a>, facts: &Facts<'_>) -> Plan<'a> {
    let settings = &call.catalog.settings;
    if call.request_type == RequestType::CountTokens {
        return plan(settings, eligible, facts, None, &Blank);
    }
    let by_affinity = settings.scheduling_mode == SchedulingMode::CacheAffinity;
    let record = if by_affinity { core.health.warm(call.conversation(), facts.now_us) } else { None };
    plan(settings, eligible, facts, record.as_ref(), &core.health.view(facts.key.id.into(), by_affinity, facts.now_us))
}

/// What came of one candidate.
enum One {
    Answer(Box<Commit>),
    /// A limit is reached; nothing was sent.
    Busy(Skip),
    Failed(Box<Failure>, Next),
}

#[allow(clippy::too_many_arguments, reason = "the loop's whole state, used once")]
async fn candidate(
    core: &Arc<Core>,
    call: &Arc<Call>,
    prompt: &Prompt,
    planned: &Planned<'_>,
    mut place: Place,
    candidates: u32,
    deadline: Instant,
    waiting: &mut Waiting<'_>,
    flight: &mut Flight,
) -> One {
    let route = planned.route;
    let now_us = || core.ports.clock.unix_us();
    let busy = |Busy { code, wait }: Busy| {
        let number = wait.map_or(0, |wait| now_us().saturating_add(micros(wait)) / 1_000);
        One::Busy(Skip { key_id: route.key.id, code, number })
    };
    let mut probe = None;
    if planned.probe != domain::schedule::Probe::No && call.request_type != RequestType::CountTokens {
        probe = core.health.probe(&route.key, planned.probe == domain::schedule::Probe::Forced, now_us());
        if probe.is_none() {
            return busy(Busy { code: SkipCode::CircuitOpen, wait: Some(PROBE_RETRY) });
        }
    }
    let names = route.model.upstream_names(&route.endpoint, Some(call.caller.key.id));
    let names = &names[..names.len().min(1 + OTHER_NAMES_MAX)];
    let (mut name, mut retries) = (0, 0);
    let mut last: Option<(Box<Failure>, u32)> = None;
    loop {
        let held = match held(core, call, planned, waiting).await {
            Ok(held) => held,
            Err(full) => {
                let Some((failure, in_flight)) = last else { return busy(full) };
                health::lost(core, call, route, &failure, in_flight, probe);
                return One::Failed(failure, Next::OtherCandidate);
            }
        };
        waiting.leave();
        let in_flight = held.in_flight();
        let exchange = match Exchange::prepare(core, call, prompt, route, names[name], deadline) {
            Ok(exchange) => exchange,
            Err(failure) => {
                health::lost(core, call, route, &failure, in_flight, probe);
                return One::Failed(failure, Next::OtherCandidate);
            }
        };
        flight.begin(place, route, names[name], (held, probe.take()), &exchange.changes);
        flight.send(Box::pin(exchange.run()));
        let mut failure = match flight.exchanged().await {
            Ok(commit) => return One::Answer(commit),
            Err(failure) => failure,
        };
        probe = flight.failed(&mut failure);
        let left = Left {
            // A probe asks once: a key that fails it is left alone.
            retries: if probe.is_some() { 0 } else { route.endpoint.max_retries.saturating_sub(retries) },
            names: u32::try_from(names.len() - name - 1).unwrap_or(0),
            candidates,
            retried: retries > 0,
        };
        let mut after = next(failure.verdict, false, left);
        if after == Next::Retry {
            let wait = Duration::from_millis(backoff_ms(retries, chance(call, place)));
            // A wait that would pass the deadline is not begun.
            if Instant::now() + wait < deadline {
                sleep_until(Instant::now() + wait).await;
                retries += 1;
            } else {
                after = Next::Stop;
            }
        }
        match after {
            Next::Retry => {}
            Next::OtherName => name += 1,
            Next::OtherCandidate | Next::Stop => {
                health::lost(core, call, route, &failure, in_flight, probe);
                return One::Failed(failure, after);
            }
        }
        place.retry += 1;
        place.queue_ms = 0;
        last = Some((failure, in_flight));
    }
}

/// Takes what an attempt needs; counting tokens takes no slot. Nobody overtakes those who wait for the same slot.
async fn held(core: &Core, call: &Call, planned: &Planned<'_>, waiting: &Waiting<'_>) -> Result<Held, Busy> {
    let Planned { route, warm, .. } = planned;
    let queue = &core.health.queue;
    if call.request_type == RequestType::CountTokens {
        return core
            .ports
            .limiter
            .upstream_rates(route)
            .await
            .map(|()| Held::new(queue, route, UpstreamPermits::default()));
    }
    let reserves = call.catalog.settings.scheduling_mode == SchedulingMode::CacheAffinity;
    if let Some(code) = queue.ahead(route, reserves && !warm, waiting.place()) {
        return Err(Busy { code, wait: None });
    }
    let now_us = core.ports.clock.unix_us();
    let room = core.health.room(&route.key, *warm, reserves, now_us);
    match core.ports.limiter.upstream(route, room).await {
        Ok(permits) => {
            core.health.began(route.key.id, permits.in_flight, now_us);
            Ok(Held::new(queue, route, permits))
        }
        Err(busy) => {
            core.health.refused(route.key.id, now_us);
            Err(busy)
        }
    }
}

/// When to come back while another request probes: nobody knows its end, and a second is soon.
const PROBE_RETRY: Duration = Duration::from_secs(1);

/// Names that are tried at one candidate after the first was not known there.
const OTHER_NAMES_MAX: usize = 3;

/// The word of a trace for a candidate that was not reached.
const AVAILABLE: &str = "available";

/// Chance for the back-off, from the request's random id.
fn chance(call: &Call, place: Place) -> u32 {
    let (_, low) = call.id.uuid().as_u64_pair();
    let mixed = low.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(place.retry * 7 + place.index);
    u32::try_from(mixed >> 32).unwrap_or(0)
}

/// The client's error when all that could be tried has failed.
fn give_up(mut tried: Vec<Tried>, skipped: &[Skip], conversions: &Conversions, pin: Pin, now_us: i64) -> Outcome {
    if tried.is_empty() {
        return Outcome::Fault(nobody(skipped, conversions, pin, now_us));
    }
    let busy = skipped.iter().any(|skip| skip.code.is_busy());
    let facts: Vec<Failed> = tried
        .iter()
        .map(|tried| Failed { verdict: tried.failure.verdict, timed_out: tried.failure.timed_out() })
        .collect();
    let wait = tried.iter().filter_map(|tried| tried.failure.retry_after).min();
    let waits = |fault: Fault| match wait {
        Some(wait) => fault.retry_after(wait),
        None => fault,
    };
    let fault = match all_failed(&facts, busy) {
        AllFailed::HandOn(index) if tried[index].failure.answer.is_some() => {
            let Tried { failure, route } = tried.swap_remove(index);
            return Outcome::HandOn(failure, route);
        }
        AllFailed::RateLimited => Fault::new(Kind::RateLimited, "the model is rate limited; try again later")
            .retry_after(wait.unwrap_or(Duration::from_secs(5))),
        AllFailed::Timeout => waits(Fault::new(Kind::Timeout, "the model did not answer in time")),
        AllFailed::Overloaded => waits(Fault::new(Kind::Overloaded, "the model is overloaded; try again later")),
        AllFailed::HandOn(_) | AllFailed::Upstream => Fault::new(Kind::Upstream, "the model could not be reached"),
    };
    let detail = tried.last().map(|tried| tried.failure.message.clone()).unwrap_or_default();
    Outcome::Fault(fault.detail(detail))
}

/// The client's error when there was nobody to try.
pub(crate) fn nobody(skipped: &[Skip], conversions: &Conversions, pin: Pin, now_us: i64) -> Fault {
    let passing = || skipped.iter().filter(|skip| !skip.code.is_static());
    let codes = || {
        let mut codes: Vec<&str> = skipped.iter().map(|skip| skip.code.as_str()).collect();
        codes.sort_unstable();
        codes.dedup();
        codes.join(", ")
    };
    if passing().next().is_none() {
        let unsaid =
            |home| skipped.iter().any(|skip| skip.key_id == home && skip.code == SkipCode::ConversionUnsupported);
        if matches!(pin, Pin::Only(home) if !unsaid(home)) {
            return Fault::new(Kind::NotFound, "what the request goes on from is not available any more")
                .detail(codes());
        }
        // Whoever is out for other reasons would not help: the request itself is what could be changed.
        if skipped.iter().any(|skip| skip.code == SkipCode::ConversionUnsupported) {
            return conversions.refusal().detail(codes());
        }
        return Fault::new(Kind::NoCandidate, "no provider serves this model for this key").detail(codes());
    }
    let waits = passing().filter(|skip| skip.number > 0).map(|skip| skip.number.saturating_sub(now_us / 1_000).max(1));
    let wait = Duration::from_millis(waits.min().and_then(|ms| u64::try_from(ms).ok()).unwrap_or(1_000));
    let kind = if passing().any(|skip| skip.code.is_busy()) { Kind::RateLimited } else { Kind::Unavailable };
    Fault::new(kind, "all capacity for this model is in use; try again later").retry_after(wait).detail(codes())
}

/// Runs a future until the earlier of two instants; tells which one came first.
pub(crate) async fn until<F: Future>(future: F, own: Instant, total: Instant) -> Result<F::Output, bool> {
    let total_first = total < own;
    timeout_at(own.min(total), future).await.map_err(|_| total_first)
}
