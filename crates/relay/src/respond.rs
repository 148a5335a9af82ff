//! What the client gets: answers, refusals and failures, each in its own dialect.

mod headers;

use crate::{
    Core,
    attempt::{Commit, Failure, Hidden, Shape, sanitise},
    body::{Body, Framing, Relayed, Transcode},
    call::Call,
    directory::Rejected,
    flight::{Ending, Flight},
    ingress::Arrival,
    meter::Measured,
    wire_of,
};
use bytes::Bytes;
use domain::{
    catalog::{ClientKey, Route},
    fault::{Fault, Kind},
    format::ConversionLoss,
    limit::rate::Admitted,
    ports::{Answer, NotRecorded},
    records::Refusal,
    schedule::attempt::Verdict,
    secret::Secret,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;
use tracing::{debug, info};
use wire::{ArrayFramer, Class, Problem, UsageFilter, Wire};

/// How long an error waits for the journal, which is its closing frame.
const ACK_WAIT: Duration = Duration::from_secs(1);
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// What a refusal is recorded and worded with.
pub(crate) struct Refused {
    pub wire: Wire,
    pub key: Option<Arc<ClientKey>>,
    pub hash_prefix: Option<[u8; 4]>,
    /// The precise reason, where the fault's kind does not say it.
    pub reason: Option<&'static str>,
    pub model: Option<String>,
    /// The state of the key's rate window, if that was the reason.
    pub window: Option<Admitted>,
    /// Too many failures of this address: it gets nothing but a time.
    pub bare_wait: Option<Duration>,
}

impl Refused {
    /// Nothing is known yet but the dialect.
    pub(crate) fn new(wire: Wire) -> Self {
        Self { wire, key: None, hash_prefix: None, reason: None, model: None, window: None, bare_wait: None }
    }

    /// The credential does not count.
    pub(crate) fn rejected(&mut self, rejected: Rejected) {
        self.reason = Some(rejected.reason);
        self.key = rejected.key;
        self.hash_prefix = rejected.hash_prefix;
    }
}

/// The class of a fault on every wire.
const fn class(kind: Kind) -> Class {
    match kind {
        Kind::BadKey => Class::BadKey,
        Kind::NotAllowed => Class::NotAllowed,
        Kind::UnknownModel => Class::UnknownModel,
        Kind::NotFound => Class::NotFound,
        Kind::MethodNotAllowed => Class::MethodNotAllowed,
        Kind::BadRequest => Class::BadRequest,
        Kind::Unsupported => Class::Unsupported,
        Kind::BodyTooLarge => Class::BodyTooLarge,
        Kind::RequestTimeout => Class::RequestTimeout,
        Kind::RateLimited => Class::RateLimited,
        Kind::OutOfMoney => Class::OutOfMoney,
        Kind::NoCandidate | Kind::Unavailable => Class::Unavailable,
        Kind::Overloaded => Class::Overloaded,
        Kind::Timeout => Class::Timeout,
        Kind::Upstream => Class::Upstream,
        Kind::Internal => Class::Internal,
    }
}

/// Refuses a request before it is admitted: counted, logged, and told in the client's dialect.
pub(crate) fn refuse(core: &Core, arrival: &Arrival, refused: &Refused, fault: &Fault) -> Response<Body> {
    let kind = fault.kind.as_str();
    let reason = refused.reason.unwrap_or(kind);
    core.metrics.refused(kind);
    if refused.key.is_some() || refused.reason.is_some() {
        core.ports.recorder.refused(Refusal {
            api_key_id: refused.key.as_ref().map(|key| key.id),
            key_hash_prefix: refused.hash_prefix,
            reason: reason.to_owned(),
            at: arrival.unix_us,
            path: arrival.path.clone(),
            model: refused.model.clone(),
            ip: arrival.client_ip,
        });
    }
    if let Some(key) = &refused.key {
        info!(request.id = %arrival.id, client_key.id = %key.id, fault.kind = kind, reason, model = refused.model,
              error = %fault, "request refused: {reason}");
    } else {
        debug!(request.id = %arrival.id, fault.kind = kind, reason, error = %fault, "request refused: {reason}");
    }
    if let Some(wait) = refused.bare_wait {
        let mut response = Response::new(Body::whole(Bytes::new()));
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        headers::set_retry(response.headers_mut(), Wire::Anthropic, wait);
        return response;
    }
    let mut response = rendered(refused.wire, arrival, refused.model.as_deref(), fault);
    if let Some(window) = &refused.window {
        headers::set_window(response.headers_mut(), refused.wire, window);
    }
    response
}

/// A fault as a native answer.
fn rendered(wire: Wire, arrival: &Arrival, model: Option<&str>, fault: &Fault) -> Response<Body> {
    let request_id = arrival.id.to_string();
    let problem = Problem {
        class: class(fault.kind),
        message: &fault.public,
        param: fault.param.as_deref(),
        model,
        request_id: &request_id,
        retry_after_ms: fault.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
    };
    let wire::Rendered { status, body } = wire::render(wire, &problem);
    let mut response = json(wire, arrival, StatusCode::from_u16(status).unwrap_or_default(), body);
    if let Some(wait) = fault.retry_after {
        headers::set_retry(response.headers_mut(), wire, wait);
    }
    if fault.should_retry == Some(false) {
        response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
    }
    response
}

/// A JSON answer of our own.
pub(crate) fn json(wire: Wire, arrival: &Arrival, status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    headers::set_ids(response.headers_mut(), wire, arrival, None);
    response
}

/// What an upstream says of a response that it keeps.
pub(crate) fn passed(
    arrival: &Arrival,
    status: StatusCode,
    from: &HeaderMap,
    is_admin: bool,
    body: Body,
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    headers::pass(from, response.headers_mut(), is_admin);
    headers::set_ids(response.headers_mut(), Wire::Responses, arrival, Some(from));
    response
}

/// The closing frame of an error is the error: it leaves when it is recorded, or after a second.
pub(crate) async fn recorded(answer: Answer<Result<(), NotRecorded>>) {
    // Unwritten, the record stays in the recorder's memory, which tries again.
    let _ = timeout(ACK_WAIT, answer).await;
}

/// An admitted request failed: settles it and tells the client.
pub(crate) async fn fail(call: &Call, mut flight: Flight, fault: &Fault) -> Response<Body> {
    let response = rendered(call.wire, &call.arrival, Some(&call.asked), fault);
    let status = response.status().as_u16();
    let ending = Ending::Refused { status, error_type: fault.kind.as_str(), message: fault.to_string() };
    recorded(flight.end(&ending, &Measured::default())).await;
    response
}

/// Hands an upstream's own refusal on, cleared of what the caller must not learn.
pub(crate) async fn hand_on(
    core: &Core,
    call: &Call,
    mut flight: Flight,
    failure: &Failure,
    route: &Route,
) -> Response<Body> {
    let secret = core.ports.keyring.open(&route.key).unwrap_or_else(|_| Secret::new(String::new()));
    let tried = flight.flown().and_then(|flown| flown.rows.last()).map(|row| row.upstream_model.clone());
    let target = core.targets.of(&call.catalog, &route.endpoint, &*core.ports.keyring);
    let host = target.map(|parsed| parsed.0.host.clone()).unwrap_or_default();
    let hidden =
        Hidden { key: &secret, host: &host, upstream_model: tried.as_deref().unwrap_or_default(), asked: &call.asked };
    let response = match &failure.answer {
        _ if wire_of(route.endpoint.api_format.family()) != call.wire => converted_refusal(call, failure, &hidden),
        Some(refused) if failure.facts.native && !refused.cut => {
            let mut response = Response::new(Body::whole(sanitise(&refused.body, &hidden)));
            *response.status_mut() = refused.status;
            headers::pass(&refused.headers, response.headers_mut(), call.caller.is_admin());
            // The body is decoded, and of a length of its own.
            response.headers_mut().remove(header::CONTENT_ENCODING);
            response.headers_mut().insert(header::CONTENT_TYPE, JSON);
            headers::set_ids(response.headers_mut(), call.wire, &call.arrival, Some(&refused.headers));
            response
        }
        _ => reworded(call, failure, &hidden),
    };
    let ending = Ending::HandedOn {
        status: response.status().as_u16(),
        error_type: failure.facts.kind.clone().or_else(|| failure.facts.code.clone()),
        message: failure.message.clone(),
    };
    recorded(flight.end(&ending, &Measured::default())).await;
    response
}

/// Another wire's refusal, in the client's dialect.
fn converted_refusal(call: &Call, failure: &Failure, hidden: &Hidden<'_>) -> Response<Body> {
    let message = failure.facts.message.clone().unwrap_or_else(|| "the request was refused".to_owned());
    let message = sanitise(&Bytes::from(message), hidden);
    let request_id = call.id.to_string();
    let class = match failure.verdict {
        Verdict::UnknownModel => Class::UnknownModel,
        _ => wire::convert::class_of(failure.status.unwrap_or(200), &failure.facts),
    };
    let problem = Problem {
        class,
        message: &String::from_utf8_lossy(&message),
        // It names a field of the upstream's wire.
        param: None,
        model: Some(&call.asked),
        request_id: &request_id,
        retry_after_ms: failure.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
    };
    let wire::Rendered { status, body } = wire::render(call.wire, &problem);
    let mut response = json(call.wire, &call.arrival, StatusCode::from_u16(status).unwrap_or_default(), body);
    if let Some(wait) = failure.retry_after {
        headers::set_retry(response.headers_mut(), call.wire, wait);
    }
    if let Some(answer) = &failure.answer {
        headers::set_ids(response.headers_mut(), call.wire, &call.arrival, Some(&answer.headers));
    }
    response
}

/// A refusal whose body is not of the dialect, in the dialect's words; its status stays.
fn reworded(call: &Call, failure: &Failure, hidden: &Hidden<'_>) -> Response<Body> {
    let message = failure.facts.message.clone().unwrap_or_default();
    let message = sanitise(&Bytes::from(message), hidden);
    let message = String::from_utf8_lossy(&message);
    let status = failure.status.filter(|status| (400..500).contains(status));
    let too_long = failure.facts.code.as_deref() == Some("context_length_exceeded");
    let class = match (failure.verdict, status) {
        _ if too_long => Class::TooLong,
        (_, Some(413)) => Class::BodyTooLarge,
        (_, Some(404)) => Class::NotFound,
        (Verdict::CannotDo | Verdict::UnknownModel, _) => Class::Unsupported,
        _ => Class::BadRequest,
    };
    let message = if message.is_empty() { "the request was refused" } else { message.as_ref() };
    let request_id = call.id.to_string();
    let param = failure.facts.param.as_deref();
    let problem =
        Problem { class, message, param, model: Some(&call.asked), request_id: &request_id, retry_after_ms: None };
    let wire::Rendered { status: own, body } = wire::render(call.wire, &problem);
    let status = StatusCode::from_u16(status.unwrap_or(own)).unwrap_or_default();
    json(call.wire, &call.arrival, status, body)
}

/// Relays a committed answer.
pub(crate) fn answer(flight: Flight, call: Arc<Call>, mut commit: Commit) -> Response<Body> {
    let asked_usage = flight.flown().is_some_and(|flown| flown.changes.edits.contains(&wire::recode::ASK_USAGE));
    let is_stream = commit.shape == Shape::Stream;
    let converted = commit.recast.take();
    let warns = converted.as_ref().is_some_and(|recast| recast.loss == ConversionLoss::Warn);
    let dropped = flight.flown().filter(|_| warns).and_then(|flown| dropped(&flown.changes.losses));
    let is_converted = converted.is_some();
    let budget = flight.flown().map(|flown| flown.core.budget.clone());
    let framing = if is_stream && let Some((recast, budget)) = converted.zip(budget) {
        Framing::Converted(Box::new(Transcode::new(recast, call.as_array, budget)))
    } else if is_stream && call.wire == Wire::Chat && asked_usage && !call.wants_usage {
        Framing::WithoutUsage(Box::new(UsageFilter::new()))
    } else if is_stream && call.as_array {
        Framing::Array(Box::new(ArrayFramer::new()))
    } else {
        Framing::Verbatim
    };
    let length = if commit.complete {
        Some(commit.passed.iter().map(|piece| piece.len() as u64).sum())
    } else if is_stream || commit.decoded {
        None
    } else {
        content_length(&commit.headers)
    };
    let mut response = Response::new(());
    *response.status_mut() = commit.status;
    headers::pass(&commit.headers, response.headers_mut(), call.caller.is_admin());
    if commit.decoded {
        response.headers_mut().remove(header::CONTENT_ENCODING);
    }
    if is_converted {
        headers::clear_vendors(response.headers_mut());
        let kind = if is_stream { EVENTS } else { JSON };
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    if let Some(dropped) = dropped {
        response.headers_mut().insert("x-tollgate-dropped", dropped);
    }
    if is_stream && call.as_array {
        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    }
    headers::set_ids(response.headers_mut(), call.wire, &call.arrival, Some(&commit.headers));
    response.map(|()| Body::relayed(Relayed::new(flight, call, commit, framing, length)))
}

/// Longest `x-tollgate-dropped`.
const DROPPED_MAX: usize = 1024;

/// What conversion lost of the request, as a header: the pointers alone, as many as fit.
fn dropped(losses: &[String]) -> Option<HeaderValue> {
    let mut text = String::new();
    for loss in losses {
        let pointer = loss.split(": ").next().unwrap_or_default();
        if text.len() + pointer.len() + 2 > DROPPED_MAX {
            break;
        }
        if text.split(", ").any(|known| known == pointer) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(", ");
        }
        // Names in a pointer are the caller's, in whatever letters.
        text.extend(pointer.chars().map(|letter| if letter.is_ascii_graphic() { letter } else { '?' }));
    }
    if text.is_empty() { None } else { HeaderValue::try_from(text).ok() }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}
