//! The request that goes upstream: its URL, its headers and the few edits of its body.

use crate::{
    admit::money::Maximum,
    call::{Call, Prompt},
    ingress::route::Metered,
};
use bytes::Bytes;
use domain::{
    bindings::Fingerprint,
    catalog::{Endpoint, HeaderMode},
    format::{ApiFormat, RequestType},
    ids::ProviderKeyId,
    secret::Secret,
};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST},
};
use std::fmt::Write;
use wire::{
    Peek, Wire,
    recode::{self, Issuer},
};

/// The version that Anthropic requests without one are sent as: its first stable one.
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// The version that a conversion writes; it refuses sampling fields, which keep their request at [`ANTHROPIC_VERSION`].
const ANTHROPIC_LATEST: HeaderValue = HeaderValue::from_static("2026-10-21");

/// What deployments of Azure OpenAI are asked in: the last stable version that is named by a date
/// (learn.microsoft.com, "Azure OpenAI REST API reference"). The `v1` API after it is a base URL like any other.
const AZURE_VERSION: &str = "api-version=2024-10-21";

/// What is sent: the client's own body, or its conversion.
pub(crate) struct Draft<'a> {
    pub wire: Wire,
    pub body: &'a Bytes,
    pub peek: &'a Peek,
    /// The route, if it is none for generating or counting.
    pub metered: Option<Metered>,
    pub converted: bool,
    /// It holds what was signed on another wire.
    pub sealed: bool,
    /// Who issued what it holds, of what is known; in order.
    pub bound: &'a [(Fingerprint, ProviderKeyId)],
    /// Who is asked.
    pub asked: ProviderKeyId,
}

impl Draft<'_> {
    fn issuer(&self, thing: Fingerprint) -> Issuer {
        match self.bound.binary_search_by_key(&thing, |(bound, _)| *bound) {
            Ok(at) if self.bound[at].1 == self.asked => Issuer::Asked,
            Ok(_) => Issuer::Another,
            Err(_) => Issuer::Unknown,
        }
    }
}

/// Path and query for a call to this endpoint.
pub(crate) fn path_and_query(
    call: &Call,
    draft: &Draft<'_>,
    query: &str,
    endpoint: &Endpoint,
    base_path: &str,
    model: &str,
) -> String {
    let Draft { wire, metered, .. } = *draft;
    let counts = call.request_type == RequestType::CountTokens;
    let action = match (metered, wire) {
        (Some(metered), _) => metered.action(),
        (None, Wire::Anthropic) if counts => "messages/count_tokens",
        (None, Wire::Anthropic) => "messages",
        (None, Wire::Chat) => "chat/completions",
        (None, Wire::Responses) if counts => "responses/input_tokens",
        (None, Wire::Responses) => "responses",
        (None, Wire::Gemini) if counts => "countTokens",
        (None, Wire::Gemini) if call.is_stream => "streamGenerateContent",
        (None, Wire::Gemini) => "generateContent",
    };
    // A path of one's own that names no action is that of generation.
    let generates = metered.is_none() && !counts;
    let custom = endpoint.custom_path.as_ref().filter(|path| generates || path.contains("{action}"));
    let azure = azure_deployment(endpoint).filter(|_| custom.is_none());
    let path = match (custom, azure) {
        (Some(custom), _) => custom.replace("{model}", &escaped(model)).replace("{action}", action),
        (None, Some(deployment)) => {
            format!("/openai/deployments/{}/{action}", escaped(&deployment.replace("{model}", model)))
        }
        (None, None) if wire == Wire::Gemini => format!("/v1beta/models/{}:{action}", escaped(model)),
        (None, None) => ["/v1/", action].concat(),
    };
    // The resource's own URL, or the one that Azure's console shows.
    let base_path = if azure.is_some() { base_path.strip_suffix("/openai").unwrap_or(base_path) } else { base_path };
    let mut url = joined(base_path, &path);
    let mut separator = if url.contains('?') { '&' } else { '?' };
    let as_sse = wire == Wire::Gemini && call.is_stream;
    let pairs = query.split('&').filter(|pair| !(pair.is_empty() || (as_sse && pair.starts_with("alt="))));
    let versioned = azure.is_some() && !query.split('&').any(|pair| pair.starts_with("api-version="));
    for pair in pairs.chain(as_sse.then_some("alt=sse")).chain(versioned.then_some(AZURE_VERSION)) {
        url.push(separator);
        url.push_str(pair);
        separator = '&';
    }
    url
}

/// The deployment of Azure OpenAI that an endpoint asks; its `{model}` is the model's name there.
fn azure_deployment(endpoint: &Endpoint) -> Option<&str> {
    endpoint.config.azure_deployment.as_deref().filter(|_| endpoint.api_format == ApiFormat::OpenAi)
}

/// Base path and path, a version segment between them never doubled.
pub(crate) fn joined(base: &str, path: &str) -> String {
    let is_version = |segment: &str| {
        segment.strip_prefix('v').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    let path = path.strip_prefix('/').unwrap_or(path);
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let last = base.rsplit('/').next().unwrap_or_default();
    let path = if is_version(last) && is_version(first) { rest } else { path };
    [base, "/", path].concat()
}

/// Escapes what may not stand in a path segment (RFC 3986: unreserved characters stay).
pub(crate) fn escaped(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Whether a client's header stays here.
fn stays(name: &str) -> bool {
    // Matched by length first: a list would be compared with every header, entry by entry.
    let exact = matches!(
        name,
        "connection"
            | "keep-alive"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "host"
            | "content-length"
            | "content-encoding"
            | "expect"
            | "accept-encoding"
            | "authorization"
            | "x-api-key"
            | "api-key"
            | "x-goog-api-key"
            | "cookie"
            | "set-cookie"
            | "x-real-ip"
            | "forwarded"
            | "via"
            | "cdn-loop"
            | "true-client-ip"
            | "x-client-ip"
            | "fastly-client-ip"
            | "openai-organization"
            | "openai-project"
            | "x-goog-user-project"
            | "x-require-capability"
            | "x-cluster-client-ip"
            | "x-envoy-external-address"
            | "http2-settings"
    );
    const PREFIXES: [&str; 5] = ["proxy-", "x-forwarded-", "cf-", "x-tollgate-", "x-amz-cf-"];
    exact || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a client's header is its own vendor's, and means nothing, or something else, to the one that is asked instead.
pub(crate) fn is_own(name: &str, from: Wire, to: Wire) -> bool {
    const CLIENTS: [&str; 6] = ["x-app", "originator", "session-id", "session_id", "thread-id", "x-server-timeout"];
    const VENDORS: [&str; 6] = ["anthropic-", "x-claude-code-", "x-goog-", "x-stainless-", "x-codex-", "chatgpt-"];
    let between_openai = [from, to].iter().all(|wire| matches!(wire, Wire::Chat | Wire::Responses));
    CLIENTS.contains(&name)
        || VENDORS.iter().any(|prefix| name.starts_with(prefix))
        || (name.starts_with("openai-") && !between_openai)
}

/// The headers that go upstream.
pub(crate) fn headers(
    call: &Call,
    prompt: &Prompt,
    draft: &Draft<'_>,
    endpoint: &Endpoint,
    credential: &Secret,
) -> HeaderMap {
    let mut out = passing(&prompt.headers, |name| draft.converted && is_own(name, call.wire, draft.wire));
    out.insert(ACCEPT_ENCODING, accepted(call, &prompt.headers, draft.converted));
    out.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    if draft.wire == Wire::Anthropic {
        let samples = || recode::has_any(draft.body, &["temperature", "top_p", "top_k"]);
        let latest = draft.converted && !samples();
        out.entry("anthropic-version").or_insert(if latest { ANTHROPIC_LATEST } else { ANTHROPIC_VERSION });
    }
    own(&mut out, endpoint, credential);
    out
}

/// The client's headers that go on, but those that also stay.
pub(crate) fn passing(headers: &HeaderMap, also_stays: impl Fn(&str) -> bool) -> HeaderMap {
    let named: Vec<&str> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(',').map(str::trim))
        .collect();
    let mut out = HeaderMap::with_capacity(headers.len() + 4);
    for (name, value) in headers {
        let stays = stays(name.as_str()) || also_stays(name.as_str());
        if !stays && !named.iter().any(|token| token.eq_ignore_ascii_case(name.as_str())) {
            out.append(name.clone(), value.clone());
        }
    }
    out
}

/// Adds the credential, and what the endpoint says of headers.
pub(crate) fn own(out: &mut HeaderMap, endpoint: &Endpoint, credential: &Secret) {
    let (name, text) = match endpoint.api_format {
        ApiFormat::Claude => (HeaderName::from_static("x-api-key"), credential.expose().to_owned()),
        ApiFormat::Gemini | ApiFormat::GeminiCli => {
            (HeaderName::from_static("x-goog-api-key"), credential.expose().to_owned())
        }
        // As a bearer, a deployment takes tokens of Microsoft's directory only.
        ApiFormat::OpenAi if azure_deployment(endpoint).is_some() => {
            (HeaderName::from_static("api-key"), credential.expose().to_owned())
        }
        ApiFormat::ClaudeCli | ApiFormat::OpenAi | ApiFormat::OpenAiCli => {
            (AUTHORIZATION, ["Bearer ", credential.expose()].concat())
        }
    };
    if let Ok(mut value) = HeaderValue::try_from(text) {
        value.set_sensitive(true);
        out.insert(name, value);
    }
    for (name, rule) in &endpoint.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(&rule.value)) else { continue };
        match rule.mode {
            HeaderMode::Default => drop(out.entry(name).or_insert(value)),
            HeaderMode::Override => drop(out.insert(name, value)),
            HeaderMode::Remove => drop(out.remove(name)),
        }
    }
    out.remove(HOST);
}

/// Streams and what is converted come uncoded, so that they can be read as they pass; other whole answers in what the client takes of what we know.
fn accepted(call: &Call, headers: &HeaderMap, converted: bool) -> HeaderValue {
    const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
    if call.is_stream || converted {
        return IDENTITY;
    }
    let lists = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let known: Vec<&str> = lists
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .filter(|item| {
            let (name, weight) = item.split_once(';').unwrap_or((item, ""));
            let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.trim_matches(['0', '.']).is_empty());
            ["gzip", "br", "zstd"].contains(&name.trim()) && !refused
        })
        .collect();
    if known.is_empty() { IDENTITY } else { HeaderValue::try_from(known.join(", ")).unwrap_or(IDENTITY) }
}

/// The body to send, as a rope over the draft's bytes, and the names of the edits.
pub(crate) fn body(
    call: &Call,
    maximum: &Maximum,
    draft: &Draft<'_>,
    endpoint: &Endpoint,
    model: &str,
) -> (Vec<Bytes>, Vec<&'static str>) {
    let Draft { wire, body, peek, .. } = *draft;
    let mut edits = Vec::new();
    if wire == Wire::Gemini {
        edits.extend(recode::set_model_echoes(peek, model));
    } else if peek.model.is_some() {
        edits.extend(recode::set_model(peek, model));
    } else if call.asked != model {
        edits.extend(recode::add_model(peek, model));
    }
    let streams_chat = wire == Wire::Chat && call.is_stream && call.generates();
    if streams_chat && endpoint.config.include_usage != Some(false) {
        edits.extend(recode::ask_usage(peek));
    }
    if wire == Wire::Anthropic && call.adds_ttl && peek.cache.any {
        edits.extend(recode::add_ttl(peek));
    }
    if let Some(maximum) = maximum.set {
        let own_field = endpoint.config.max_tokens_field.as_deref().unwrap_or("max_completion_tokens");
        let chat_field = if call.request_type == RequestType::Completion { "max_tokens" } else { own_field };
        edits.extend(recode::set_maximum(wire, peek, maximum, chat_field));
    }
    if draft.sealed || peek.written || draft.bound.iter().any(|(_, issuer)| *issuer != draft.asked) {
        let unsealed = recode::strip_sealed(body, |thing| draft.issuer(thing));
        if wire == Wire::Anthropic && unsealed.last_step {
            // Clearing old thoughts is refused with thinking off.
            let thinking = ["thinking", "context_management"].map(str::to_owned);
            edits.extend(recode::strip_params(body, &thinking));
        }
        edits.extend(unsealed.edits);
    }
    let strips = &endpoint.config.strip_params;
    if let Some(boundary) = peek.form.as_ref().filter(|_| !strips.is_empty()) {
        edits.extend(recode::strip_parts(boundary, body, strips));
    } else if maximum.must_hold && strips.iter().any(|name| recode::MAXIMA.contains(&name.as_str())) {
        let others: Vec<_> = strips.iter().filter(|name| !recode::MAXIMA.contains(&name.as_str())).cloned().collect();
        edits.extend(recode::strip_params(body, &others));
    } else if !strips.is_empty() {
        edits.extend(recode::strip_params(body, strips));
    }
    if edits.is_empty() {
        return (vec![body.clone()], Vec::new());
    }
    // What a body holds many of is named once.
    let mut names: Vec<_> = edits.iter().map(|edit| edit.name).collect();
    names.dedup();
    (wire::splice(body, edits), names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_never_doubled() {
        for (base, path, want) in [
            ("", "/v1/messages", "/v1/messages"),
            ("/v1", "/v1/messages", "/v1/messages"),
            ("/api/v1", "/v1/chat/completions", "/api/v1/chat/completions"),
            ("/v1beta", "/v1beta/models/g:x", "/v1beta/models/g:x"),
            ("/openai/v3", "/v1/chat/completions", "/openai/v3/chat/completions"),
            ("/vendor", "/v1/messages", "/vendor/v1/messages"),
            ("/v1", "/custom/path", "/v1/custom/path"),
        ] {
            assert_eq!(joined(base, path), want, "{base} {path}");
        }
    }

    #[test]
    fn model_names_are_one_path_segment() {
        assert_eq!(escaped("org/model:free v2"), "org%2Fmodel%3Afree%20v2");
        assert_eq!(escaped("gemini-2.5_pro~x"), "gemini-2.5_pro~x");
    }

    #[test]
    fn what_a_hop_says_stays_with_the_hop() {
        for (name, want) in [
            ("x-forwarded-for", true),
            ("proxy-authorization", true),
            ("cf-ray", true),
            ("cookie", true),
            ("x-tollgate-anything", true),
            ("openai-organization", true),
            ("anthropic-beta", false),
            ("x-stainless-lang", false),
            ("x-claude-code-session-id", false),
            ("user-agent", false),
        ] {
            assert_eq!(stays(name), want, "{name}");
        }
    }
}
