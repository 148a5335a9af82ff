//! The life of a request, from top to bottom.

use crate::{
    Core, admit,
    attempt::{self, Outcome},
    body::Body,
    call::Call,
    counting,
    directory::{self, Rejected},
    flight::Flight,
    ingress::{
        Arrival, body, client,
        credentials::{self, Presented},
        route::{self, Action, NoRoute},
    },
    lists, respond,
    respond::Refused,
    stored,
};
use bytes::Bytes;
use domain::{
    fault::{Fault, Kind},
    format::RequestType,
    records::Opened,
    schedule,
};
use http::{Request, Response, header::EXPECT, request::Parts};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::time::timeout;
use uuid::Uuid;
use wire::Wire;

/// How long an admission waits for the journal.
const ADMISSION_WAIT: Duration = Duration::from_secs(1);
/// When to come back after the journal did not write.
const JOURNAL_RETRY: Duration = Duration::from_secs(1);

/// Serves one request. Dropped before it is ready, its client has left.
pub(crate) async fn serve<B>(core: &Arc<Core>, request: Request<B>, peer: SocketAddr) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let (parts, mut body) = request.into_parts();
    // Who waits for a word before the body has not sent it.
    // Over HTTP/2 a body that is not wanted ends with its stream, and the connection stays.
    let sends = parts.version < http::Version::HTTP_2 && !parts.headers.contains_key(EXPECT);
    let (query, query_key) = credentials::take_key(parts.uri.query().unwrap_or_default());
    let arrival = Arrival {
        id: Uuid::now_v7().into(),
        unix_us: core.ports.clock.unix_us(),
        monotonic_us: core.ports.clock.monotonic_us(),
        client_ip: client::address(peer.ip(), &parts.headers, &core.bounds.trusted_proxies),
        client_request_id: client::own_request_id(&parts.headers),
        path: parts.uri.path().to_owned(),
        query,
    };
    let mut refused = Refused::new(Wire::Chat);
    match live(core, &arrival, parts, &mut body, query_key.as_deref(), &mut refused).await {
        Ok(response) => response,
        Err(fault) => {
            if sends && !body.is_end_stream() {
                body::discard(&mut body).await;
            }
            respond::refuse(core, &arrival, &refused, &fault)
        }
    }
}

/// One request, step by step. An error refuses it: nothing was sent, nothing is owed.
async fn live<B>(
    core: &Arc<Core>,
    arrival: &Arrival,
    parts: Parts,
    body: B,
    query_key: Option<&str>,
    refused: &mut Refused,
) -> Result<Response<Body>, Fault>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut route = route::find(&parts.method, &arrival.path).map_err(|none| no_route(none, refused))?;
    let query_key = query_key.filter(|_| route.key_in_query);
    let presented = credentials::presented(&parts.headers, query_key);
    if matches!(route.action, Action::ListModels | Action::GetModel(_)) {
        route.wire = lists::wire(route.wire, &parts.headers, &presented);
    }
    refused.wire = route.wire;

    let catalog = core.ports.directory.catalog();
    let caller = match presented {
        Presented::Key { secret, .. } => directory::authenticate(&catalog, &secret, arrival.client_ip, arrival.unix_us),
        Presented::Nothing => Err(Rejected { reason: "no_key", key: None, hash_prefix: None }),
        Presented::Conflicting => Err(Rejected { reason: "two_keys", key: None, hash_prefix: None }),
    };
    let caller = caller.map_err(|rejected| {
        refused.rejected(rejected);
        refused.bare_wait = core.doorman.failed(arrival.client_ip, arrival.monotonic_us);
        directory::bad_key()
    })?;
    refused.key = Some(caller.key.clone());

    match &route.action {
        Action::ListModels => return lists::list(core, arrival, route.wire, &catalog, &caller),
        Action::GetModel(name) => return lists::one(core, arrival, route.wire, &catalog, &caller, name),
        Action::Stored(what, id) => {
            return stored::serve(core, arrival, (&parts.headers, *what, id), &catalog, &caller, refused).await;
        }
        Action::Generate { .. } | Action::CountTokens | Action::Metered(_) => {}
    }

    let limits = body::Limits { max_bytes: core.bounds.max_request_bytes, deadline: core.bounds.body_read_timeout };
    let (bytes, share) = body::read(body, &parts.headers, &limits, &core.budget).await?;
    let (call, mut prompt) =
        admit::policy::understand(core, arrival, &route, catalog, caller, (parts.headers, bytes, share), refused)?;
    let call = Arc::new(call);
    let counts = call.request_type == RequestType::CountTokens;

    admit::rate::token(core, &call.caller).await.map_err(|(fault, window)| {
        refused.window = Some(window);
        fault
    })?;
    let slot = if counts { None } else { Some(admit::rate::slot(core, &call.caller).await?) };
    if !core.ports.recorder.is_writable() {
        return Err(journal_away("the journal does not write"));
    }

    if call.request_type.is_convertible() {
        // Each is about as long as the request.
        let facts = call.facts(&prompt.conversions, arrival.unix_us);
        let conversions = prompt.conversions.wanted(&call.catalog, &facts);
        let bytes = prompt.body.len().saturating_mul(conversions);
        core.budget.add(&mut prompt.share, bytes).await?;
    }
    let eligible = schedule::eligible(&call.catalog, &call.facts(&prompt.conversions, arrival.unix_us));
    if eligible.candidates.is_empty() && !counts {
        return Err(attempt::nobody(&eligible.skipped, &prompt.conversions, call.pin, arrival.unix_us));
    }
    let (hold, bounds) = admit::money::hold(core, &call, &mut prompt, &eligible)?;
    if !counts {
        let opened = core.ports.recorder.opened(opened(&call, &hold));
        match timeout(ADMISSION_WAIT, opened).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => return Err(journal_away(&why.to_string())),
            Err(_) => return Err(journal_away("the journal did not acknowledge in time")),
        }
    }
    let mut flight = Flight::new(core, &call, hold, bounds, slot);

    let outcome = attempt::run(core, &call, &prompt, eligible, &mut flight).await;
    let mut response = match outcome {
        Outcome::Answer(commit) => respond::answer(flight, call, *commit),
        other if counts => Box::pin(counting::answer(core, &call, flight, other)).await,
        Outcome::HandOn(failure, route) => Box::pin(respond::hand_on(core, &call, flight, &failure, &route)).await,
        Outcome::Fault(fault) => Box::pin(respond::fail(&call, flight, &fault)).await,
    };
    if let Some(maximum) = prompt.maximum.set {
        response.headers_mut().insert("x-tollgate-max-tokens", maximum.into());
    }
    Ok(response)
}

fn no_route(none: NoRoute, refused: &mut Refused) -> Fault {
    let (wire, kind, words) = match none {
        NoRoute::NotFound(wire) => (wire, Kind::NotFound, "there is no such route"),
        NoRoute::WrongMethod(wire) => (wire, Kind::MethodNotAllowed, "this route has another method"),
    };
    refused.wire = wire;
    Fault::new(kind, words)
}

fn journal_away(why: &str) -> Fault {
    Fault::new(Kind::Unavailable, "the gateway cannot take requests right now; try again later")
        .retry_after(JOURNAL_RETRY)
        .detail(why.to_owned())
}

fn opened(call: &Call, hold: &domain::ledger::Hold) -> Opened {
    Opened {
        request_id: call.id,
        created_at: call.arrival.unix_us,
        account: hold.account(),
        hold: hold.amount(),
        user_id: call.caller.key.user_id,
        api_key_id: call.caller.key.id,
        model: call.asked.clone(),
        global_model_id: call.model.id,
        api_format: call.format,
        request_type: call.request_type,
        is_stream: call.is_stream,
        price_version_id: call.model.price_version,
    }
}
