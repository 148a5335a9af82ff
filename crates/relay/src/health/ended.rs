//! How requests end, in the words of health and affinity.

use super::Probe;
use crate::{
    Core,
    attempt::Failure,
    call::Call,
    flight::{Ending, Open},
    meter::Measured,
};
use domain::{
    catalog::Route,
    format::{Family, RequestType, SchedulingMode},
    price::TokenCounts,
    schedule::{adaptive::Hints, affinity::Served, attempt::Verdict, health::Failed},
};
use std::time::Duration;

/// A candidate failed for good, and the request goes on without it.
pub(crate) fn lost(core: &Core, call: &Call, route: &Route, failure: &Failure, in_flight: u32, probe: Option<Probe>) {
    if call.request_type != RequestType::CountTokens {
        tell_failed(core, call, route, failure.verdict, failure.hints, in_flight, probe);
    }
}

/// A request ended at the attempt that was open: its one outcome there.
pub(crate) fn settled(
    core: &Core,
    call: &Call,
    open: &mut Open,
    ending: &Ending,
    tokens: &TokenCounts,
    measured: &Measured,
) {
    if call.request_type == RequestType::CountTokens {
        return;
    }
    match ending {
        Ending::Completed => served(core, call, open, tokens),
        Ending::AnsweredFailure | Ending::Broke { .. } => {
            let hints = measured.error.as_ref().map(|error| error.hints).unwrap_or_default();
            let in_flight = open.held.in_flight();
            tell_failed(core, call, &open.route, measured.verdict(), hints, in_flight, open.probe.take());
        }
        // A client that leaves says nothing of the key; the others have no open attempt.
        Ending::Left { .. } | Ending::HandedOn { .. } | Ending::Refused { .. } => {}
    }
}

fn tell_failed(
    core: &Core,
    call: &Call,
    route: &Route,
    verdict: Verdict,
    hints: Hints,
    in_flight: u32,
    probe: Option<Probe>,
) {
    let failed = Failed {
        verdict,
        model: call.model.id,
        by: call.caller.key.id.into(),
        probe: probe.is_some(),
        hints,
        in_flight,
        learns: route.key.max_concurrent.is_none(),
        suspect: false,
    };
    core.health.failed(route, &failed, core.ports.clock.unix_us());
    if let Some(probe) = probe {
        probe.told();
    }
}

fn served(core: &Core, call: &Call, open: &mut Open, tokens: &TokenCounts) {
    let clock = &core.ports.clock;
    let now_us = clock.unix_us();
    let took = Duration::from_micros(clock.monotonic_us().saturating_sub(open.began_mono_us));
    let probe = open.probe.take();
    core.health.succeeded(&open.route, call.caller.key.id.into(), probe.is_some(), took, now_us);
    if let Some(probe) = probe {
        probe.told();
    }
    if call.catalog.settings.scheduling_mode != SchedulingMode::CacheAffinity {
        return;
    }
    let key = &open.route.key;
    let is_hour = call.cache_ttl_minutes >= 60 || tokens.cache_write_1h > 0;
    let served = Served {
        target: key.id,
        ttl_minutes: if is_hour && key.cache_ttl_minutes > 0 { 60 } else { key.cache_ttl_minutes },
        cache_tokens: tokens.cache_read.saturating_add(tokens.cache_creation()),
        // The others' caches work by themselves, and say nothing of what they store.
        reports: open.route.endpoint.api_format.family() == Family::Anthropic,
    };
    core.health.served(call.conversation(), &served, now_us);
}
