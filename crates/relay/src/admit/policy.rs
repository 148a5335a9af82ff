//! What a request asks for, and whether this caller may ask for it.

use crate::{
    Core,
    admit::money::Maximum,
    bindings,
    call::{Call, Prompt, affinity, features},
    convert::Conversions,
    directory::Caller,
    ingress::{
        Arrival,
        body::Share,
        client,
        route::{Action, Metered, Route},
    },
    respond::Refused,
};
use bytes::Bytes;
use domain::{
    catalog::{Catalog, Resolved},
    fault::{Fault, Kind},
    format::{ApiFormat, Capability, RequestType},
    policy::{check_access, required_capabilities},
};
use http::{
    HeaderMap, HeaderName,
    header::{CONTENT_TYPE, USER_AGENT},
};
use std::{collections::BTreeMap, sync::Arc};
use wire::{Peek, Wire, estimate, form::is_form};

/// A context that is large at vendors which charge more beyond it, where the model names no limit of its own.
const CONTEXT_DEFAULT: u64 = 200_000;
/// Characters of a model name that are recorded with a refusal.
const NAME_MAX: usize = 100;

/// Where a client asks for capabilities.
static REQUIRE: HeaderName = HeaderName::from_static("x-require-capability");

/// Reads the body for what routing must know.
pub(crate) fn peek(route: &Route, headers: &HeaderMap, body: &[u8]) -> Result<Peek, Fault> {
    let kind = match route.action {
        Action::CountTokens => wire::Kind::CountTokens,
        Action::Metered(_) => wire::Kind::Metered,
        _ => wire::Kind::Generate,
    };
    let metered = match route.action {
        Action::Metered(metered) => Some(metered),
        _ => None,
    };
    let form = match metered {
        Some(metered) if metered.takes_forms() => form_type(headers)?,
        _ => None,
    };
    let read = match form {
        Some(content_type) => wire::peek_form(content_type, body),
        None => wire::peek(route.wire, kind, body),
    };
    let mut peek = read.map_err(|error| {
        let fault = Fault::new(Kind::BadRequest, error.to_string());
        match error.field() {
            Some(field) => fault.param(field),
            None => fault,
        }
    })?;
    peek.uncountable |= metered.is_some_and(Metered::hears);
    Ok(peek)
}

/// The content type of a form; none of any other body.
fn form_type(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let mut all = headers.get_all(CONTENT_TYPE).iter();
    let first = all.next().and_then(|value| value.to_str().ok()).filter(|value| is_form(value));
    if first.is_some() && all.next().is_some() {
        // The upstream might go by the other one.
        return Err(Fault::new(Kind::BadRequest, "the body has two content types").param("content-type"));
    }
    Ok(first)
}

/// Finds the model, checks what the caller may do, and gathers the facts that the rest of the request's life goes by.
pub(crate) fn understand(
    core: &Core,
    arrival: &Arrival,
    route: &Route,
    catalog: Arc<Catalog>,
    caller: Caller,
    (headers, body, share): (HeaderMap, Bytes, Share),
    refused: &mut Refused,
) -> Result<(Call, Prompt), Fault> {
    let peek = peek(route, &headers, &body)?;
    if peek.background {
        return Err(Fault::new(Kind::Unsupported, "background responses are not supported").param("background"));
    }
    let metered = match route.action {
        Action::Metered(metered) => Some(metered),
        _ => None,
    };
    let format = match (metered, route.wire) {
        (Some(_), Wire::Gemini) => ApiFormat::Gemini, // whoever asks
        _ => client::format(route.wire, &headers),
    };
    let named = route.model.as_deref().or(peek.model.as_ref().map(|model| model.value.as_str()));
    let asked = named.or(metered.and_then(Metered::default_model));
    let asked = asked.ok_or_else(|| Fault::new(Kind::BadRequest, "the field `model` is missing").param("model"))?;
    let asks_events = peek.as_events && metered == Some(Metered::Speech);
    let asks_stream = peek.stream.as_ref().is_some_and(|stream| stream.value) || asks_events;
    if asks_stream && metered.is_some_and(|metered| !metered.streams()) {
        return Err(Fault::new(Kind::Unsupported, "this route is not streamed").param("stream"));
    }
    let end = asked.char_indices().nth(NAME_MAX).map_or(asked.len(), |(at, _)| at);
    refused.model = Some(asked[..end].to_owned());
    let access = caller.access();
    let Resolved { asked, model } = catalog
        .resolve(asked, &access)
        .ok_or_else(|| Fault::new(Kind::UnknownModel, "the model does not exist").param("model"))?;
    check_access(&access, format, &model)?;
    drop(access);

    let bound = bindings::look_up(&core.bindings, &caller.key, &peek, &body, arrival.unix_us, refused)?;
    let counts = route.action == Action::CountTokens;
    let is_stream = match route.action {
        Action::Generate { stream: Some(stream) } => stream,
        Action::Generate { stream: None } | Action::Metered(_) => asks_stream,
        _ => false,
    };
    let estimate = match metered {
        Some(Metered::Speech) => estimate::spoken_tokens(peek.prompt_chars),
        _ => estimate::prompt_tokens(&peek, catalog.settings.image_token_estimate),
    };
    let detected = detected(&peek, estimate, model.config.context_limit);
    let required =
        required_capabilities(&model, caller.user.as_deref(), &caller.key, &asked_capabilities(&headers), &detected);
    let prefers_long = model.supported_capabilities.contains(&Capability::Context1m) && asks_long(&headers);
    let requires_hour = |required: &BTreeMap<_, _>| required.get(&Capability::Cache1h) == Some(&true);
    let standing = || required_capabilities(&model, caller.user.as_deref(), &caller.key, &BTreeMap::new(), &[]);
    let adds_ttl = peek.cache.any && requires_hour(&required) && requires_hour(&standing());
    let one_hour = peek.cache.one_hour || adds_ttl;
    let session = client::session(&headers, &peek, &body);
    let call = Call {
        id: arrival.id,
        arrival: arrival.clone(),
        wire: route.wire,
        format,
        request_type: match (metered, format) {
            (Some(metered), _) => metered.request_type(),
            (None, _) if counts => RequestType::CountTokens,
            (None, ApiFormat::OpenAiCli) => RequestType::Responses,
            (None, _) => RequestType::Chat,
        },
        metered,
        is_stream,
        as_array: route.wire == Wire::Gemini && is_stream && !asks_sse(&arrival.query),
        asked,
        wants_usage: peek.include_usage.as_ref().is_some_and(|asked| asked.value),
        thinking: peek.thinking.asked,
        user_agent: client::recorded(&headers, &USER_AGENT),
        session,
        affinity: affinity(caller.key.id, session, format, model.id),
        prompt_estimate: estimate,
        cache_ttl_minutes: if one_hour { 60 } else { 5 },
        adds_ttl,
        features: features(&peek, is_stream, metered),
        required,
        preferred: if prefers_long { vec![Capability::Context1m] } else { Vec::new() },
        pin: bound.pin,
        unknown_ids: bound.unknown,
        unstored: peek.unstored,
        model,
        catalog,
        caller,
    };
    let loss = call.catalog.settings.conversion_loss;
    let prompt = Prompt {
        conversions: Conversions::new(
            (call.wire, call.request_type),
            &body,
            &call.asked,
            is_stream,
            &call.model,
            loss,
            &headers,
        ),
        headers,
        query: arrival.query.clone(),
        body,
        peek,
        maximum: Maximum::default(),
        sealed: bound.sealed,
        share,
    };
    Ok((call, prompt))
}

/// What the body shows that it needs.
fn detected(peek: &Peek, prompt_tokens: u64, context_limit: Option<u64>) -> Vec<Capability> {
    let long = prompt_tokens > context_limit.unwrap_or(CONTEXT_DEFAULT);
    [(Capability::Cache1h, peek.cache.one_hour), (Capability::Context1m, long)]
        .into_iter()
        .filter_map(|(capability, needed)| needed.then_some(capability))
        .collect()
}

/// `x-require-capability: a,-b`; a name that no vendor's capability has counts nowhere.
fn asked_capabilities(headers: &HeaderMap) -> BTreeMap<Capability, bool> {
    let lists = headers.get_all(&REQUIRE).iter().filter_map(|value| value.to_str().ok());
    let words = lists.flat_map(|list| list.split(',')).map(str::trim);
    words
        .filter_map(|word| {
            let name = word.strip_prefix('-').unwrap_or(word);
            Some((name.parse().ok()?, name.len() == word.len()))
        })
        .collect()
}

fn asks_sse(query: &str) -> bool {
    query.split('&').any(|pair| pair == "alt=sse")
}

/// Whether the client knows of a long context, and has asked for it.
fn asks_long(headers: &HeaderMap) -> bool {
    let betas = headers.get("anthropic-beta").and_then(|value| value.to_str().ok());
    betas.is_some_and(|betas| betas.contains("context-1m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_asked_for_and_ruled_out_by_header() {
        let mut headers = HeaderMap::new();
        headers.append("x-require-capability", "cache_1h, -context_1m".parse().unwrap());
        headers.append("x-require-capability", "telepathy".parse().unwrap());
        let want = [(Capability::Cache1h, true), (Capability::Context1m, false)].into();
        assert_eq!(asked_capabilities(&headers), want);
    }

    #[test]
    fn a_long_prompt_needs_a_long_context() {
        let peek = Peek::default();
        for (tokens, limit, want) in [
            (200_000, None, &[][..]),
            (200_001, None, &[Capability::Context1m]),
            (9_000, Some(8_000), &[Capability::Context1m]),
            (300_000, Some(400_000), &[]),
        ] {
            assert_eq!(detected(&peek, tokens, limit), want, "{tokens} {limit:?}");
        }
    }
}
