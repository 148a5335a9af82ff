//! Headers of answers: what passes from upstream, and ours.

use crate::ingress::Arrival;
use domain::limit::rate::Admitted;
use http::{HeaderMap, HeaderName, HeaderValue, header::RETRY_AFTER};
use std::time::Duration;
use wire::Wire;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Whether every client gets this header of an upstream's answer.
fn passes(name: &str) -> bool {
    matches!(
        name,
        "content-type"
            | "content-encoding"
            | "content-disposition"
            | "retry-after"
            | "retry-after-ms"
            | "x-should-retry"
            | "openai-model"
            | "openai-processing-ms"
            | "openai-version"
            | "x-codex-turn-state"
    )
}

/// Whether a header tells of the account's own limits, which are an admin's to see.
fn is_account_limit(name: &str) -> bool {
    name.starts_with("anthropic-ratelimit-")
        || name.starts_with("x-ratelimit-")
        || name.starts_with("x-codex-primary-")
        || (name.starts_with("x-codex-") && name.contains("limit"))
}

/// Copies what passes.
pub(super) fn pass(from: &HeaderMap, to: &mut HeaderMap, is_admin: bool) {
    for (name, value) in from {
        if passes(name.as_str()) || (is_admin && is_account_limit(name.as_str())) {
            to.append(name.clone(), value.clone());
        }
    }
}

/// Takes out what tells of the upstream's own dialect: a converted answer speaks another.
pub(super) fn clear_vendors(headers: &mut HeaderMap) {
    const DIALECT: [&str; 6] = [
        "content-encoding",
        "content-disposition",
        "openai-model",
        "openai-processing-ms",
        "openai-version",
        "x-codex-turn-state",
    ];
    for name in DIALECT {
        headers.remove(name);
    }
}

/// Sets our ids, and the upstream's under another name.
pub(super) fn set_ids(headers: &mut HeaderMap, wire: Wire, arrival: &Arrival, upstream: Option<&HeaderMap>) {
    if let Ok(id) = HeaderValue::try_from(arrival.id.to_string()) {
        if wire == Wire::Anthropic {
            headers.insert(REQUEST_ID, id.clone());
        }
        headers.insert(X_REQUEST_ID, id);
    }
    if let Some(Ok(own)) = arrival.client_request_id.as_deref().map(HeaderValue::from_str) {
        headers.insert(HeaderName::from_static("x-client-request-id"), own);
    }
    let theirs = upstream.and_then(|upstream| upstream.get(&REQUEST_ID).or_else(|| upstream.get(&X_REQUEST_ID)));
    if let Some(value) = theirs {
        headers.insert(HeaderName::from_static("x-upstream-request-id"), value.clone());
    }
}

/// Says when to come back: in whole seconds, rounded up, and to `OpenAI`'s clients in milliseconds too.
pub(super) fn set_retry(headers: &mut HeaderMap, wire: Wire, wait: Duration) {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    if matches!(wire, Wire::Chat | Wire::Responses) {
        headers.insert("retry-after-ms", HeaderValue::from(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)));
    }
}

/// The client key's own rate window, under the names that clients of the vendor read.
pub(super) fn set_window(headers: &mut HeaderMap, wire: Wire, window: &Admitted) {
    let [limit, remaining] = if wire == Wire::Anthropic {
        ["anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining"]
    } else {
        ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests"]
    };
    headers.insert(limit, HeaderValue::from(window.limit));
    headers.insert(remaining, HeaderValue::from(window.remaining));
    if wire != Wire::Anthropic
        && let Ok(reset) = HeaderValue::try_from(format!("{}s", window.reset.as_secs()))
    {
        headers.insert("x-ratelimit-reset-requests", reset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_headers_pass_and_account_limits_only_to_admins() {
        let from: HeaderMap = [
            ("content-type", "application/json"),
            ("anthropic-organization-id", "org"),
            ("set-cookie", "a=b"),
            ("server", "cloud"),
            ("anthropic-ratelimit-requests-remaining", "9"),
            ("x-codex-primary-used-percent", "3"),
        ]
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
        for (is_admin, want) in [
            (false, &["content-type"][..]),
            (true, &["content-type", "anthropic-ratelimit-requests-remaining", "x-codex-primary-used-percent"]),
        ] {
            let mut to = HeaderMap::new();
            pass(&from, &mut to, is_admin);
            let mut names: Vec<_> = to.keys().map(HeaderName::as_str).collect();
            names.sort_unstable();
            let mut want = want.to_vec();
            want.sort_unstable();
            assert_eq!(names, want, "admin: {is_admin}");
        }
    }

    #[test]
    fn a_wait_is_never_told_shorter_than_it_is() {
        for (ms, want) in [(1, "1"), (1_000, "1"), (1_001, "2"), (0, "1")] {
            let mut headers = HeaderMap::new();
            set_retry(&mut headers, Wire::Anthropic, Duration::from_millis(ms));
            assert_eq!(headers[RETRY_AFTER], want, "{ms}");
        }
    }
}
