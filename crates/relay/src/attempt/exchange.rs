//! One exchange with an upstream: from sending to an answer that may be committed, or to a verdict.

use super::{
    inspect,
    refusal::{self, Refused},
    request::{self, Draft},
    until,
};
use crate::{
    Core,
    body::Source,
    call::{Call, Prompt},
    coding::{Coding, Decoder},
    convert::{self, Purpose, Recast},
    upstream::{self, SendError, Timing},
};
use bytes::Bytes;
use domain::{
    catalog::Route,
    schedule::{
        adaptive::Hints,
        attempt::{Deadline, Verdict},
    },
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::{pin::Pin, time::Duration};
use tokio::time::Instant;
use wire::{Class, ErrorFacts, Seen, StreamTap, Usage, WholeTap, Wire};

/// Dialling, proxy and TLS together.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);
/// A stream's first event, where thinking does not explain a longer silence.
const FIRST_EVENT: Duration = Duration::from_mins(2);
/// A whole answer that is decoded beside its relay.
const DECODED_MAX: u64 = 64 * 1024 * 1024;

/// How an answer is read as it passes.
pub(crate) enum Tap {
    /// Server-sent events.
    Stream(Box<StreamTap>),
    /// A JSON document, decoded beside if it is coded.
    Whole(Box<WholeTap>, Option<Box<Decoder>>),
    /// Bytes without meaning for us.
    Opaque,
}

/// What kind of answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Stream,
    Whole,
    Opaque,
}

impl Tap {
    /// What was seen so far.
    pub(crate) fn seen(&self) -> Option<&Seen> {
        match self {
            Self::Stream(tap) => Some(tap.seen()),
            Self::Whole(tap, _) => Some(tap.seen()),
            Self::Opaque => None,
        }
    }

    /// Feeds a piece of a whole body; false if it cannot be decoded.
    pub(crate) fn feed_whole(&mut self, piece: &[u8]) -> bool {
        let Self::Whole(tap, decoder) = self else { return true };
        let Some(decoder) = decoder else {
            tap.feed(piece);
            return true;
        };
        let mut plain = Vec::new();
        let decoded = decoder.push(piece, &mut plain);
        tap.feed(&plain);
        decoded.is_ok()
    }

    /// The end of a whole body; false if it is not complete.
    pub(crate) fn finish_whole(&mut self) -> bool {
        let Self::Whole(tap, decoder) = self else { return true };
        let mut plain = Vec::new();
        let decoded = decoder.as_mut().is_none_or(|decoder| decoder.finish(&mut plain).is_ok());
        tap.feed(&plain);
        tap.finish();
        decoded && tap.complete()
    }
}

/// An answer that is committed: from here on nothing is retried.
pub(crate) struct Commit {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub shape: Shape,
    pub tap: Tap,
    /// Bytes that were read and tapped.
    pub passed: Vec<Bytes>,
    /// A whole body that is here to its end.
    pub complete: bool,
    /// The upstream coded it, and it is decoded here.
    pub decoded: bool,
    /// The closing frame, if it came that early; it waits for the journal.
    pub closing: Option<Bytes>,
    /// Bytes that were read and not yet tapped.
    pub rest: Bytes,
    pub source: Source,
    pub timing: Timing,
    /// When the request was sent.
    pub sent: Instant,
    /// From sending to the first piece of the answer.
    pub first_byte_ms: u32,
    /// The endpoint's `timeout`: of a stream the longest silence in what follows, otherwise the whole attempt.
    pub timeout: Duration,
    /// What the upstream speaks.
    pub wire: Wire,
    /// How it is converted: a stream on its way, a whole answer has been.
    pub recast: Option<Box<Recast>>,
    /// What a whole answer's conversion lost.
    pub losses: Vec<String>,
}

/// What an attempt's request differs in from the client's own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes {
    /// Names of the edits made in the body.
    pub edits: Vec<&'static str>,
    /// What its conversion lost.
    pub losses: Vec<String>,
}

/// A failed exchange.
pub(crate) struct Failure {
    pub verdict: Verdict,
    pub deadline: Option<Deadline>,
    pub retry_after: Option<Duration>,
    /// What it says of the limit that was hit.
    pub hints: Hints,
    pub facts: ErrorFacts,
    pub answer: Option<Refused>,
    pub status: Option<u16>,
    /// What a failed answer reported all the same.
    pub usage: Usage,
    pub timing: Option<Timing>,
    pub message: String,
}

impl Failure {
    pub(super) fn new(verdict: Verdict, message: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            verdict,
            deadline: None,
            retry_after: None,
            hints: Hints::default(),
            facts: ErrorFacts::default(),
            answer: None,
            status: None,
            usage: Usage::default(),
            timing: None,
            message: message.into(),
        })
    }

    /// Nobody waits for the exchange any more.
    pub(crate) fn abandoned() -> Box<Self> {
        Self::new(Verdict::Transient, "abandoned at shutdown")
    }

    /// Whether it took too long: for a deadline of ours, or by the upstream's own account, if its body says nothing else.
    pub(super) fn timed_out(&self) -> bool {
        let status = self.status.unwrap_or(200);
        let says = || status == 504 || wire::convert::class_of(status, &self.facts) == Class::Timeout;
        self.deadline.is_some() || (self.verdict == Verdict::Transient && says())
    }

    pub(super) fn late(deadline: Deadline) -> Box<Self> {
        let mut failure = Self::new(Verdict::Transient, format!("the {deadline} deadline passed"));
        failure.deadline = Some(deadline);
        failure
    }
}

/// An exchange that is ready to be sent.
pub(crate) struct Exchange {
    client: upstream::Client,
    call: upstream::Call,
    wire: Wire,
    wants_stream: bool,
    generates: bool,
    first_event: Duration,
    timeout: Duration,
    total: Instant,
    max_bytes: u64,
    /// What the upstream was told that the client takes.
    accepted: HeaderValue,
    recast: Option<Box<Recast>>,
    pub changes: Changes,
}

pub(super) type Result<T> = std::result::Result<T, Box<Failure>>;

impl Exchange {
    /// Builds the request for one candidate under one upstream name.
    pub(crate) fn prepare(
        core: &Core,
        call: &Call,
        prompt: &Prompt,
        route: &Route,
        model: &str,
        total: Instant,
    ) -> Result<Self> {
        let endpoint = &route.endpoint;
        let parsed = core.targets.of(&call.catalog, endpoint, &*core.ports.keyring);
        let parsed = parsed.map_err(|error| Failure::new(Verdict::NotDialled, error.to_string()))?;
        let (target, base_path) = (&parsed.0, &parsed.1);
        let credential = core.ports.keyring.open(&route.key);
        let credential = credential.map_err(|error| Failure::new(Verdict::KeyUnusable, error.to_string()))?;
        let conversed = prompt.conversions.concerns(route).then(|| prompt.conversions.of(route));
        let ready = match conversed.as_deref() {
            None => None,
            Some(Ok(ready)) => Some(ready),
            // It would have been out from the start.
            Some(Err(refused)) => return Err(Failure::new(Verdict::CannotDo, refused.to_string())),
        };
        let asked = route.key.id;
        let draft = match ready {
            Some(ready) => {
                let metered = match ready.purpose {
                    Purpose::Embedding(route, _) => Some(route),
                    Purpose::Generation | Purpose::Count => None,
                };
                let (wire, body, peek) = (ready.wire, &ready.body, &ready.peek);
                Draft { wire, body, peek, metered, converted: true, sealed: false, bound: &[], asked }
            }
            None => Draft {
                wire: call.wire,
                body: &prompt.body,
                peek: &prompt.peek,
                metered: call.metered,
                converted: false,
                sealed: prompt.conversions.is_sealed(),
                bound: &prompt.sealed,
                asked,
            },
        };
        let (body, edits) = request::body(call, &prompt.maximum, &draft, endpoint, model);
        let headers = request::headers(call, prompt, &draft, endpoint, &credential);
        let query = if draft.converted { "" } else { prompt.query.as_str() };
        let recast = ready.map(|ready| {
            Box::new(Recast {
                from: ready.wire,
                to: call.wire,
                memory: ready.memory.clone(),
                asked: call.asked.clone(),
                seed: call.id.uuid().simple().to_string(),
                request_id: call.id.to_string(),
                created: u64::try_from(call.arrival.unix_us / 1_000_000).unwrap_or(0),
                issuer: prompt.conversions.issuer(route.key.id),
                loss: prompt.conversions.policy(endpoint),
                credential: credential.clone(),
                host: target.host.clone(),
                upstream_model: model.to_owned(),
                purpose: ready.purpose,
            })
        });
        let losses = ready.map(|ready| ready.losses.clone()).unwrap_or_default();
        let accepted = headers.get(header::ACCEPT_ENCODING).cloned();
        let timeout = Duration::from_secs(u64::from(endpoint.timeout_s));
        let thinks = call.thinking || call.model.config.extended_thinking == Some(true);
        let first_event = match endpoint.config.first_event_timeout_s {
            Some(seconds) => Duration::from_secs(u64::from(seconds)),
            None if thinks => timeout,
            None => FIRST_EVENT,
        };
        Ok(Self {
            client: core.client.clone(),
            call: upstream::Call {
                target: target.clone(),
                method: Method::POST,
                path_and_query: request::path_and_query(call, &draft, query, endpoint, base_path, model),
                headers,
                body,
                connect_timeout: CONNECT,
            },
            wire: draft.wire,
            wants_stream: call.is_stream,
            generates: call.generates(),
            first_event,
            timeout,
            total,
            max_bytes: core.bounds.max_response_bytes,
            accepted: accepted.unwrap_or(HeaderValue::from_static("identity")),
            recast,
            changes: Changes { edits, losses },
        })
    }

    /// Sends it and reads until the answer is committed or judged.
    pub(crate) async fn run(self) -> Result<Box<Commit>> {
        let Self { client, call, wire, wants_stream, generates, first_event, timeout, total, .. } = self;
        let Self { max_bytes, accepted, recast, .. } = self;
        let sent = Instant::now();
        let (own, name) =
            if wants_stream { (sent + first_event, Deadline::FirstEvent) } else { (sent + timeout, Deadline::Whole) };
        let within = Within { sent, own, name, total };

        let answer = match within.of(client.send(call)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(unsent(&error)),
            Err(deadline) => return Err(Failure::late(deadline)),
        };
        let mut commit = match begin(answer, (wire, wants_stream, generates), timeout, max_bytes, &accepted, within)? {
            Begun::Accepted(commit) => commit,
            Begun::Refused(judged) => return Err(judged.await),
        };
        commit.recast = recast;
        let inspected = match commit.shape {
            Shape::Stream if commit.recast.as_ref().is_some_and(|recast| recast.purpose != Purpose::Generation) => {
                Err(Failure::new(Verdict::EndpointFault, "the answer is a stream that nobody asked for"))
            }
            Shape::Stream => inspect::stream(&mut commit, sent, first_event, timeout, total).await,
            Shape::Whole => inspect::whole(&mut commit, sent, sent + timeout, total).await,
            Shape::Opaque if generates || commit.recast.is_some() => {
                Err(Failure::new(Verdict::EndpointFault, "the answer is neither JSON nor events"))
            }
            Shape::Opaque => inspect::opaque(&mut commit, sent, sent + timeout, total).await,
        };
        match inspected.and_then(|()| recast_whole(&mut commit)) {
            Ok(()) => Ok(commit),
            Err(mut failure) => {
                failure.status = Some(commit.status.as_u16());
                failure.usage = commit.tap.seen().map(|seen| seen.usage).unwrap_or_default();
                failure.timing = Some(commit.timing);
                Err(failure)
            }
        }
    }
}

/// The deadlines of an attempt until its answer is judged.
#[derive(Clone, Copy)]
pub(super) struct Within {
    sent: Instant,
    /// The attempt's own, by its name.
    own: Instant,
    name: Deadline,
    total: Instant,
}

impl Within {
    /// Runs a future until the earlier of both, which an error names.
    pub(super) async fn of<F: Future>(self, future: F) -> std::result::Result<F::Output, Deadline> {
        let output = until(future, self.own, self.total).await;
        output.map_err(|total_first| if total_first { Deadline::Total } else { self.name })
    }
}

/// What an answer's head says.
enum Begun {
    /// Its body decides.
    Accepted(Box<Commit>),
    /// Its body tells why. On the heap, like all that only failures need: the room of an exchange is every request's.
    Refused(Pin<Box<dyn Future<Output = Box<Failure>> + Send>>),
}

/// Judges an answer by its head, and sets up how its body is read.
fn begin(
    answer: upstream::Answer,
    (wire, wants_stream, generates): (Wire, bool, bool),
    timeout: Duration,
    max_bytes: u64,
    accepted: &HeaderValue,
    within: Within,
) -> Result<Begun> {
    let upstream::Answer { status, headers, body, timing } = answer;
    let coding =
        headers.get(header::CONTENT_ENCODING).map_or(Ok(None), |value| Coding::parse(value.to_str().unwrap_or("?")));
    if !status.is_success() {
        let source = Source::new(body, None, max_bytes);
        let judged = async move {
            let mut failure = refusal::read(status, headers, source, coding, within).await;
            failure.timing = Some(timing);
            failure
        };
        return Ok(Begun::Refused(Box::pin(judged)));
    }
    let fails = |verdict, message| {
        let mut failure = Failure::new(verdict, message);
        (failure.status, failure.timing) = (Some(status.as_u16()), Some(timing));
        failure
    };
    let coding = coding.map_err(|()| fails(Verdict::EndpointFault, "the answer has an unknown content-encoding"))?;
    let shape = shape_of(&headers, wants_stream, generates)
        .ok_or_else(|| fails(Verdict::EndpointFault, "the answer is an HTML page"))?;
    let broken_coding = |_| fails(Verdict::Transient, "the answer's coding cannot be set up");
    // A coded stream is decoded for good, as is what the client did not ask for; else a coded whole body passes as it
    // is, and is decoded beside.
    let passes = shape != Shape::Stream && coding.is_none_or(|coding| coding.is_among(accepted));
    let (for_good, beside) = if passes { (None, coding) } else { (coding, None) };
    let tap = match shape {
        Shape::Stream => Tap::Stream(Box::new(StreamTap::new(wire))),
        Shape::Whole => {
            let decoder = beside.map(|coding| Decoder::new(coding, DECODED_MAX)).transpose().map_err(broken_coding)?;
            Tap::Whole(Box::new(WholeTap::new(wire)), decoder.map(Box::new))
        }
        Shape::Opaque => Tap::Opaque,
    };
    let source_coding = for_good.map(|coding| Decoder::new(coding, max_bytes)).transpose().map_err(broken_coding)?;
    let source = Source::new(body, source_coding, max_bytes);
    Ok(Begun::Accepted(Box::new(Commit {
        status,
        headers,
        shape,
        tap,
        passed: Vec::new(),
        complete: false,
        decoded: for_good.is_some(),
        closing: None,
        rest: Bytes::new(),
        source,
        timing,
        sent: within.sent,
        first_byte_ms: 0,
        timeout,
        wire,
        recast: None,
        losses: Vec::new(),
    })))
}

/// Converts a whole answer, which is here to its end.
fn recast_whole(commit: &mut Commit) -> Result<()> {
    let Some(recast) = commit.recast.as_ref().filter(|_| commit.shape == Shape::Whole) else { return Ok(()) };
    let body = commit.passed.concat();
    let answered = recast.whole(&body).map_err(|refused| {
        let malformed = commit.tap.seen().is_some_and(|seen| seen.malformed_call);
        let verdict = if malformed { Verdict::MalformedCall } else { Verdict::Transient };
        Failure::new(verdict, format!("the answer cannot be converted: {refused}"))
    })?;
    commit.losses = convert::answer_losses(&answered.loss);
    commit.passed = vec![answered.bytes.into()];
    Ok(())
}

/// Tells streams, JSON and other bytes apart; `None` is a page for people. What is not said is what was asked for, and of a
/// generated answer so is what servers say that do not know what they send.
fn shape_of(headers: &HeaderMap, wants_stream: bool, generates: bool) -> Option<Shape> {
    let asked = if wants_stream { Shape::Stream } else { Shape::Whole };
    let Some(kind) = kind_of(headers) else { return Some(asked) };
    let says_nothing = || ["text/plain", "application/octet-stream"].iter().any(|name| kind.eq_ignore_ascii_case(name));
    if generates && says_nothing() {
        return Some(asked);
    }
    let ends_with_json = kind.len() >= 4 && kind.as_bytes()[kind.len() - 4..].eq_ignore_ascii_case(b"json");
    match () {
        () if kind.eq_ignore_ascii_case("text/event-stream") => Some(Shape::Stream),
        () if is_page(headers) => None,
        () if ends_with_json => Some(Shape::Whole),
        () => Some(Shape::Opaque),
    }
}

/// Whether an answer is a page for people.
pub(crate) fn is_page(headers: &HeaderMap) -> bool {
    let is = |name: &str| kind_of(headers).is_some_and(|kind| kind.eq_ignore_ascii_case(name));
    is("text/html") || is("application/xhtml+xml")
}

/// An answer's content type without its parameters.
fn kind_of(headers: &HeaderMap) -> Option<&str> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(kind.split(';').next().unwrap_or_default().trim()).filter(|kind| !kind.is_empty())
}

/// The verdict on a request that got no answer.
fn unsent(error: &SendError) -> Box<Failure> {
    let verdict = match error {
        SendError::Egress { .. } | SendError::NoHttp2 => Verdict::NotDialled,
        SendError::Proxy(error) if error.is_final() => Verdict::NotDialled,
        _ => Verdict::Transient,
    };
    let mut failure = Failure::new(verdict, error.to_string());
    failure.deadline = matches!(error, SendError::ConnectTimeout).then_some(Deadline::Connect);
    failure
}

/// What all exchanges of a process are sent through.
pub(crate) type Sending = Pin<Box<dyn Future<Output = Result<Box<Commit>>> + Send>>;
