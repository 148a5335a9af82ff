//! Who is asking: the kind of client program, its address and its session.

use domain::format::ApiFormat;
use http::{HeaderMap, HeaderName, header::USER_AGENT};
use ipnet::IpNet;
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use wire::{Wire, peek::Peek};

static X_APP: HeaderName = HeaderName::from_static("x-app");
/// Names of the caller's own id for a request, the more telling first.
static OWN_IDS: [HeaderName; 2] =
    [HeaderName::from_static("x-client-request-id"), HeaderName::from_static("x-request-id")];
/// Where Claude Code names its session.
static CLAUDE_SESSION: HeaderName = HeaderName::from_static("x-claude-code-session-id");
/// Where others do: Codex, in its earlier and its later way, and those that follow it.
static SESSIONS: [HeaderName; 3] = [
    HeaderName::from_static("session-id"),
    HeaderName::from_static("session_id"),
    HeaderName::from_static("thread-id"),
];

/// The inbound format: the wire, and on two of them the kind of client. A courtesy to clients, no security boundary.
pub(crate) fn format(wire: Wire, headers: &HeaderMap) -> ApiFormat {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_cli =
        |agents: [&str; 2]| text(&X_APP) == "cli" || agents.iter().any(|agent| text(&USER_AGENT).starts_with(agent));
    match wire {
        Wire::Anthropic if is_cli(["claude-cli/", "claude-code/"]) => ApiFormat::ClaudeCli,
        Wire::Anthropic => ApiFormat::Claude,
        Wire::Chat => ApiFormat::OpenAi,
        Wire::Responses => ApiFormat::OpenAiCli,
        Wire::Gemini if is_cli(["GeminiCLI", "gemini-cli"]) => ApiFormat::GeminiCli,
        Wire::Gemini => ApiFormat::Gemini,
    }
}

/// The client's address: the peer, or behind trusted proxies the right-most forwarded address that is none of them.
pub(crate) fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
    if !is_trusted(&peer) {
        return peer;
    }
    let lists = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = lists.flat_map(|list| list.split(',')).map(str::trim).collect();
    let mut client = peer;
    for hop in hops.into_iter().rev() {
        let Ok(ip) = hop.parse::<IpAddr>() else { break };
        client = ip.to_canonical();
        if !is_trusted(&client) {
            break;
        }
    }
    client
}

/// Bytes of a header that is recorded.
const RECORDED_MAX: usize = 256;

/// The caller's own id for the request.
pub(crate) fn own_request_id(headers: &HeaderMap) -> Option<String> {
    OWN_IDS.iter().find_map(|name| recorded(headers, name))
}

/// A header as it is recorded: text, of bounded length.
pub(crate) fn recorded(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?;
    // All of it is ASCII.
    Some(text.get(..RECORDED_MAX).unwrap_or(text).to_owned())
}

/// The caller's session in 128 bits: what its client names, else its unchanging prompt, else nothing.
///
/// Stored and compared only as a hash.
pub(crate) fn session(headers: &HeaderMap, peek: &Peek, body: &[u8]) -> Option<[u8; 16]> {
    let header = |name: &HeaderName| headers.get(name).map(http::HeaderValue::as_bytes);
    let named = header(&CLAUDE_SESSION)
        .or_else(|| peek.metadata_user_id.as_deref().map(user_session))
        .or_else(|| SESSIONS.iter().find_map(header))
        .or(peek.prompt_cache_key.as_deref().map(str::as_bytes))
        .or(peek.previous_response_id.as_deref().map(str::as_bytes));
    if let Some(name) = named {
        return Some(session_named(name));
    }
    if peek.system.is_none() && peek.tools_span.is_none() {
        return None;
    }
    let span =
        |range: &Option<std::ops::Range<usize>>| range.clone().and_then(|range| body.get(range)).unwrap_or_default();
    let prompt = Sha256::new().chain_update(b"prompt\0").chain_update(span(&peek.system)).chain_update(b"\0");
    Some(half(prompt.chain_update(span(&peek.tools_span))))
}

/// The session of this name.
pub(crate) fn session_named(name: &[u8]) -> [u8; 16] {
    half(Sha256::new().chain_update(b"session\0").chain_update(name))
}

/// The session within Claude Code's `metadata.user_id`: a JSON string's `session_id`, or what follows `_session_`.
fn user_session(user_id: &str) -> &[u8] {
    if let Some((_, session)) = user_id.rsplit_once("_session_") {
        return session.as_bytes();
    }
    if let Some((_, rest)) = user_id.split_once("\"session_id\"")
        && let Some(value) = rest.split('"').nth(1)
    {
        return value.as_bytes();
    }
    user_id.as_bytes()
}

fn half(hasher: Sha256) -> [u8; 16] {
    let digest = hasher.finalize();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    half
}

#[cfg(test)]
mod captured;
#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn client_programs_are_told_by_their_headers() {
        for (wire, pairs, want) in [
            (Wire::Anthropic, &[("user-agent", "claude-cli/2.1.197 (external, sdk-cli)")][..], ApiFormat::ClaudeCli),
            (Wire::Anthropic, &[("x-app", "cli")], ApiFormat::ClaudeCli),
            (Wire::Anthropic, &[("user-agent", "Anthropic/Python 2.12.0")], ApiFormat::Claude),
            (Wire::Gemini, &[("user-agent", "GeminiCLI-tui/0.61.0/g (linux; x64; terminal)")], ApiFormat::GeminiCli),
            (Wire::Gemini, &[("user-agent", "google-genai-sdk/2.34.0 gl-python/3.11.7")], ApiFormat::Gemini),
            (Wire::Responses, &[("user-agent", "codex_exec/0.169.0")], ApiFormat::OpenAiCli),
            (Wire::Chat, &[("x-app", "cli")], ApiFormat::OpenAi),
        ] {
            assert_eq!(format(wire, &headers(pairs)), want, "{pairs:?}");
        }
    }

    #[test]
    fn the_address_is_the_first_that_no_trusted_proxy_wrote() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        for (peer, forwarded, want) in [
            ("203.0.113.9", "1.2.3.4", "203.0.113.9"), // whoever connects directly may write what it likes
            ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
            ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
            ("10.0.0.1", "nonsense", "10.0.0.1"),
            ("::ffff:10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ] {
            let got = address(peer.parse().unwrap(), &headers(&[("x-forwarded-for", forwarded)]), &trusted);
            assert_eq!(got, want.parse::<IpAddr>().unwrap(), "{peer} {forwarded}");
        }
    }

    #[test]
    fn a_session_is_found_in_both_spellings_of_a_user_id() {
        for (user_id, want) in [
            ("{\"device_id\":\"d\",\"account_uuid\":\"\",\"session_id\":\"s-1\"}", "s-1"),
            ("user_abc_account_def_session_s-1", "s-1"),
            ("someone", "someone"),
        ] {
            assert_eq!(user_session(user_id), want.as_bytes(), "{user_id}");
        }
    }
}
