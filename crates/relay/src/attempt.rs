//! The attempt loop: candidates in order, until one answers or nothing is left to try.

mod exchange;
mod inspect;
mod request;
mod sanitise;
mod verdict;

pub(crate) use exchange::{Commit, Failure, Sending, Shape, Tap};
pub(crate) use request::Targets;
pub(crate) use sanitise::{Hidden, sanitise};

use crate::{
    Core,
    call::{Call, Prompt},
    flight::{Flight, Place},
};
use domain::{
    catalog::Route,
    fault::{Fault, Kind},
    format::RequestType,
    ports::{Busy, UpstreamPermits},
    schedule::{
        Plan, Skip,
        attempt::{AllFailed, Failed, Left, Next, Verdict, all_failed, backoff_ms, next},
    },
};
use exchange::Exchange;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until, timeout_at};

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

/// Tries the planned candidates.
pub(crate) async fn run(
    core: &Arc<Core>,
    call: &Arc<Call>,
    prompt: &Prompt,
    plan: Plan<'_>,
    flight: &mut Flight,
) -> Outcome {
    let deadline = Instant::now() + core.bounds.total_timeout;
    let max = core.bounds.max_candidates as usize;
    let mut skipped = plan.skipped;
    let mut tried: Vec<Tried> = Vec::new();
    let mut order = plan.order.iter();
    let mut index = 0;

    while tried.len() < max
        && let Some(planned) = order.next()
    {
        let candidates = u32::try_from(order.len().min(max - tried.len() - 1)).unwrap_or(u32::MAX);
        let place = Place { index, retry: 0, warm: planned.warm };
        index += 1;
        match candidate(core, call, prompt, planned.route, place, candidates, deadline, flight).await {
            One::Answer(commit) => {
                flight.unreached(order.map(|planned| planned.route.key.id), &skipped);
                return Outcome::Answer(commit);
            }
            One::Busy(skip) => skipped.push(skip),
            One::Failed(failure, Next::Stop) if failure.verdict == Verdict::CallersFault => {
                flight.unreached(order.map(|planned| planned.route.key.id), &skipped);
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
    flight.unreached(order.map(|planned| planned.route.key.id), &skipped);
    give_up(tried, &skipped, call.arrival.unix_us)
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
    route: &Route,
    mut place: Place,
    candidates: u32,
    deadline: Instant,
    flight: &mut Flight,
) -> One {
    let names = route.model.upstream_names(&route.endpoint, Some(call.caller.key.id));
    let names = &names[..names.len().min(NAMES_MAX)];
    let (mut name, mut retries) = (0, 0);
    let mut last: Option<Box<Failure>> = None;
    loop {
        let permits = match permits(core, call, route).await {
            Ok(permits) => permits,
            Err(busy) => {
                let until = busy.wait.map_or(0, |wait| call.arrival.unix_us.saturating_add(micros(wait)) / 1_000);
                return match last {
                    Some(failure) => One::Failed(failure, Next::OtherCandidate),
                    None => One::Busy(Skip { key_id: route.key.id, code: busy.code, number: until }),
                };
            }
        };
        let exchange = match Exchange::prepare(core, call, prompt, route, names[name], deadline) {
            Ok(exchange) => exchange,
            Err(failure) => return One::Failed(failure, Next::OtherCandidate),
        };
        flight.begin(place, route, names[name], permits, &exchange.edits);
        flight.send(Box::pin(exchange.run()));
        let failure = match flight.exchanged().await {
            Ok(commit) => return One::Answer(commit),
            Err(failure) => failure,
        };
        flight.failed(&failure);
        if call.request_type != RequestType::CountTokens {
            core.health.failed(
                route.key.id,
                call.model.id,
                failure.verdict,
                failure.retry_after,
                core.ports.clock.unix_us(),
            );
        }
        let left = Left {
            retries: route.endpoint.max_retries.saturating_sub(retries),
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
            Next::OtherCandidate | Next::Stop => return One::Failed(failure, after),
        }
        place.retry += 1;
        last = Some(failure);
    }
}

/// Takes what an attempt needs; counting tokens takes no slot.
async fn permits(core: &Core, call: &Call, route: &Route) -> Result<UpstreamPermits, Busy> {
    if call.request_type == RequestType::CountTokens {
        return core.ports.limiter.upstream_rates(route).await.map(|()| UpstreamPermits::default());
    }
    core.ports.limiter.upstream(route).await
}

/// Names of one model that are tried at one candidate.
const NAMES_MAX: usize = 3;

fn micros(wait: Duration) -> i64 {
    i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)
}

/// Chance for the back-off, from the request's random id.
fn chance(call: &Call, place: Place) -> u32 {
    let (_, low) = call.id.uuid().as_u64_pair();
    let mixed = low.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(place.retry * 7 + place.index);
    u32::try_from(mixed >> 32).unwrap_or(0)
}

/// The client's error when all that could be tried has failed.
fn give_up(mut tried: Vec<Tried>, skipped: &[Skip], now_us: i64) -> Outcome {
    if tried.is_empty() {
        return Outcome::Fault(nobody(skipped, now_us));
    }
    let busy = skipped.iter().any(|skip| skip.code.is_busy());
    let facts: Vec<Failed> = tried
        .iter()
        .map(|tried| Failed { verdict: tried.failure.verdict, timed_out: tried.failure.deadline.is_some() })
        .collect();
    let wait = tried.iter().filter_map(|tried| tried.failure.retry_after).min();
    let fault = match all_failed(&facts, busy) {
        AllFailed::HandOn(index) if tried[index].failure.answer.is_some() => {
            let Tried { failure, route } = tried.swap_remove(index);
            return Outcome::HandOn(failure, route);
        }
        AllFailed::RateLimited => Fault::new(Kind::RateLimited, "the model is rate limited; try again later")
            .retry_after(wait.unwrap_or(Duration::from_secs(5))),
        AllFailed::Timeout => Fault::new(Kind::Timeout, "the model did not answer in time"),
        AllFailed::Overloaded => {
            let fault = Fault::new(Kind::Overloaded, "the model is overloaded; try again later");
            match wait {
                Some(wait) => fault.retry_after(wait),
                None => fault,
            }
        }
        AllFailed::HandOn(_) | AllFailed::Upstream => Fault::new(Kind::Upstream, "the model could not be reached"),
    };
    let detail = tried.last().map(|tried| tried.failure.message.clone()).unwrap_or_default();
    Outcome::Fault(fault.detail(detail))
}

/// The client's error when there was nobody to try.
pub(crate) fn nobody(skipped: &[Skip], now_us: i64) -> Fault {
    let passing = || skipped.iter().filter(|skip| !skip.code.is_static());
    let codes = || {
        let mut codes: Vec<&str> = skipped.iter().map(|skip| skip.code.as_str()).collect();
        codes.sort_unstable();
        codes.dedup();
        codes.join(", ")
    };
    if passing().next().is_none() {
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
