//! Responses that are kept at their issuer: fetched, cancelled and deleted there, for whom they were issued and for nobody
//! else. Nothing is billed, and nothing is learnt of the provider key.

use crate::{
    Core,
    attempt::{CONNECT, Hidden, gather, is_page, masked, request, sanitise},
    bindings,
    body::{Body, Passed, Source},
    directory::Caller,
    ingress::{Arrival, route::Stored},
    respond::{self, Refused},
    upstream,
};
use bytes::Bytes;
use domain::{
    bindings::Binding,
    catalog::{Catalog, Endpoint, ProviderKey},
    fault::{Fault, Kind},
    format::{ApiFormat, Family},
};
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_TYPE},
};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use wire::state::fingerprint;

/// How long it may take to look up who issued a response.
const LOOK_UP: Duration = Duration::from_secs(5);

/// Asks the issuer of a response for it, or to do something with it.
pub(crate) async fn serve(
    core: &Core,
    arrival: &Arrival,
    (headers, what, id): (&HeaderMap, Stored, &str),
    catalog: &Catalog,
    caller: &Caller,
    refused: &mut Refused,
) -> Result<Response<Body>, Fault> {
    if !caller.access().iter().all(|level| level.allows_format(ApiFormat::OpenAiCli)) {
        return Err(Fault::new(Kind::NotAllowed, "this key may not use this API format"));
    }
    core.lists.admit(caller.key.id, arrival.monotonic_us)?;
    let binding = issuer_of(core, id, arrival.unix_us).await?;
    if binding.is_some_and(|binding| binding.client != caller.key.id) {
        refused.reason = Some("bound_to_another");
    }
    let issuer = binding.filter(|binding| binding.client == caller.key.id).map(|binding| binding.issuer);
    let issuer = issuer.and_then(|key| usable(catalog, caller, catalog.provider_key(key)?, arrival.unix_us));
    let (endpoint, key) = issuer.ok_or_else(|| bindings::unknown(id))?;

    let unreached = |detail: String| Fault::new(Kind::Upstream, "the response could not be reached").detail(detail);
    let credential = core.ports.keyring.open(key).map_err(|error| unreached(error.to_string()))?;
    let parsed = core.targets.of(catalog, endpoint, &*core.ports.keyring);
    let parsed = parsed.map_err(|error| unreached(error.to_string()))?;
    let (target, base_path) = (&parsed.0, &parsed.1);
    let mut sent = request::passing(headers, |name| name == CONTENT_TYPE.as_str());
    sent.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    request::own(&mut sent, endpoint, &credential);
    let (method, after) = what.asked();
    let call = upstream::Call {
        target: target.clone(),
        method,
        path_and_query: path_and_query(endpoint, base_path, id, after, &arrival.query),
        headers: sent,
        body: Vec::new(),
        connect_timeout: CONNECT,
    };
    let silence = Duration::from_secs(u64::from(endpoint.timeout_s));
    let deadline = Instant::now() + silence.min(core.bounds.total_timeout);
    let late = |_| Fault::new(Kind::Timeout, "the response did not come in time");
    let answer = timeout_at(deadline, core.client.send(call)).await.map_err(late)?;
    let upstream::Answer { status, headers, body, .. } = answer.map_err(|error| unreached(error.to_string()))?;
    let mut source = Source::new(body, None, core.bounds.max_response_bytes);
    if status.is_success() {
        if is_page(&headers) {
            return Err(unreached("the answer is an HTML page".to_owned()));
        }
        let body = Body::passed(Passed::new(source, silence));
        return Ok(respond::passed(arrival, status, &headers, caller.is_admin(), body));
    }
    let mut body = Vec::new();
    timeout_at(deadline, gather(&mut source, &mut body)).await.map_err(late)?;
    let hidden = Hidden { key: &credential, host: &target.host, upstream_model: "", asked: "" };
    handed_on(arrival, status, &headers, &body.into(), &hidden)
}

/// Who issued a response: as memory has it, else as the database does, for as long as it lasts.
async fn issuer_of(core: &Core, id: &str, now_us: i64) -> Result<Option<Binding>, Fault> {
    let thing = fingerprint(id.as_bytes());
    let known = core.bindings.find(&thing, now_us);
    if known.is_some() {
        return Ok(known);
    }
    let untold = |detail: String| {
        let words = "the response cannot be looked up now; try again later";
        Fault::new(Kind::Unavailable, words).retry_after(LOOK_UP).detail(detail)
    };
    let found = timeout(LOOK_UP, core.ports.issuers.find(thing)).await.map_err(|late| untold(late.to_string()))?;
    let found = found.map_err(|error| untold(error.to_string()))?.filter(|binding| binding.expires_us > now_us);
    if let Some(binding) = found {
        core.bindings.bind(thing, binding, now_us);
    }
    Ok(found)
}

/// The issuer, if it may be asked for this caller.
fn usable<'c>(
    catalog: &'c Catalog,
    caller: &Caller,
    key: &'c ProviderKey,
    now_us: i64,
) -> Option<(&'c Endpoint, &'c ProviderKey)> {
    let endpoint = catalog.endpoint(key.endpoint_id)?;
    let provider = catalog.provider(endpoint.provider_id)?;
    let past = |at: Option<i64>| at.is_some_and(|at| at <= now_us);
    let runs = provider.is_active && endpoint.is_active && key.is_active;
    let allowed =
        caller.access().iter().all(|level| level.allows_provider(provider.id) && level.allows_endpoint(endpoint.id));
    let keeps = endpoint.api_format.family() == Family::Responses;
    (runs && allowed && keeps && !past(key.expires_at) && !past(provider.quota_expires_at)).then_some((endpoint, key))
}

/// Where a response is kept: below where it was asked for.
fn path_and_query(endpoint: &Endpoint, base_path: &str, id: &str, after: &str, query: &str) -> String {
    let custom = endpoint.custom_path.as_deref().filter(|path| !path.contains(['{', '?']));
    let home = custom.unwrap_or("/v1/responses");
    let path = request::joined(base_path, &format!("{home}/{}{after}", request::escaped(id)));
    if query.is_empty() { path } else { format!("{path}?{query}") }
}

/// What is wrong with the request is told as the upstream tells it; what is wrong with the provider key is ours to word.
fn handed_on(
    arrival: &Arrival,
    status: StatusCode,
    headers: &HeaderMap,
    body: &Bytes,
    hidden: &Hidden<'_>,
) -> Result<Response<Body>, Fault> {
    let facts = wire::read_error(body);
    // Some vendors repeat the key that they refuse.
    let detail = || masked(format!("status {status}: {}", facts.message.clone().unwrap_or_default()), hidden.key);
    match status.as_u16() {
        429 => {
            let wait = crate::attempt::limits::retry_after(headers).unwrap_or(Duration::from_secs(5));
            let words = "the upstream is rate limited; try again later";
            Err(Fault::new(Kind::RateLimited, words).retry_after(wait).detail(detail()))
        }
        401..=403 => Err(Fault::new(Kind::Upstream, "the response could not be reached").detail(detail())),
        400..500 if facts.native => {
            let body = Body::whole(sanitise(body, hidden));
            Ok(respond::passed(arrival, status, headers, false, body))
        }
        _ => Err(Fault::new(Kind::Upstream, "the response could not be reached").detail(detail())),
    }
}
