use super::*;
use domain::schedule::adaptive::LimitKind;
use http::{HeaderName, HeaderValue};

/// All answers here are of this second.
const DATE: (&str, &str) = ("date", "Thu, 17 Sep 2026 09:00:00 GMT");

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let all = lines.iter().chain([&DATE]);
    all.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

#[test]
fn every_vendors_429_says_which_limit_and_until_when() {
    use LimitKind::{Concurrent, Quota, Rpm, Tpm, Unknown};
    /// Name, headers, body; and what they mean.
    type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str, LimitKind, Option<u64>);
    let cases: [Case; 17] = [
        (
            "Anthropic, requests",
            &[
                ("anthropic-ratelimit-requests-remaining", "0"),
                ("anthropic-ratelimit-requests-reset", "2026-09-17T09:00:42Z"),
                ("anthropic-ratelimit-tokens-remaining", "29873"),
            ],
            "",
            Rpm,
            Some(42_000),
        ),
        (
            "Anthropic, input tokens of several",
            &[
                ("anthropic-ratelimit-requests-remaining", "49"),
                ("anthropic-ratelimit-tokens-remaining", "10"),
                ("anthropic-ratelimit-tokens-reset", "2026-09-17T09:09:00Z"),
                ("anthropic-ratelimit-input-tokens-remaining", "0"),
                ("anthropic-ratelimit-input-tokens-reset", "2026-09-17T09:00:07Z"),
                ("anthropic-ratelimit-output-tokens-remaining", "0"),
                ("anthropic-ratelimit-output-tokens-reset", "2026-09-17T09:00:09Z"),
            ],
            "",
            Tpm,
            Some(9_000),
        ),
        (
            "Anthropic, Retry-After before the resets",
            &[
                ("retry-after", "12"),
                ("anthropic-ratelimit-requests-remaining", "0"),
                ("anthropic-ratelimit-requests-reset", "2026-09-17T09:00:42Z"),
            ],
            "",
            Rpm,
            Some(12_000),
        ),
        (
            "a subscription's five hours are used up",
            &[
                ("anthropic-ratelimit-unified-status", "rejected"),
                ("anthropic-ratelimit-unified-reset", "1789640130"),
                ("anthropic-ratelimit-unified-5h-status", "rejected"),
                ("anthropic-ratelimit-unified-5h-reset", "1789640130"),
                ("anthropic-ratelimit-unified-7d-status", "allowed"),
                ("anthropic-ratelimit-unified-7d-reset", "1790000000"),
            ],
            "",
            Quota,
            Some(4_530_000),
        ),
        (
            "a subscription that is allowed",
            &[("anthropic-ratelimit-unified-status", "allowed_warning")],
            "",
            Unknown,
            None,
        ),
        (
            "OpenAI, requests",
            &[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "1s")],
            "",
            Rpm,
            Some(1_000),
        ),
        (
            "OpenAI, tokens",
            &[
                ("x-ratelimit-remaining-requests", "59"),
                ("x-ratelimit-remaining-tokens", "0"),
                ("x-ratelimit-reset-tokens", "6m0s"),
            ],
            "",
            Tpm,
            Some(360_000),
        ),
        (
            "OpenAI, in words, with milliseconds",
            &[("retry-after-ms", "250"), ("retry-after", "1")],
            r#"{"error":{"message":"Rate limit reached for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, Used 29000","type":"tokens","code":"rate_limit_exceeded"}}"#,
            Tpm,
            Some(250),
        ),
        (
            "OpenAI, requests per day",
            &[],
            r#"{"error":{"message":"Rate limit reached for gpt-4o on requests per day (RPD): Limit 200, Used 200","type":"requests","code":"rate_limit_exceeded"}}"#,
            Quota,
            None,
        ),
        (
            "Gemini, requests per minute",
            &[],
            r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"You exceeded your current quota","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"26s"}]}}"#,
            Rpm,
            Some(26_000),
        ),
        (
            "Gemini, tokens per minute",
            &[],
            r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"q","details":[{"violations":[{"quotaId":"GenerateContentInputTokensPerModelPerMinute-FreeTier"}]}]}}"#,
            Tpm,
            None,
        ),
        (
            "Gemini, a day among minutes",
            &[],
            r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"q","details":[{"violations":[{"quotaId":"GenerateRequestsPerMinutePerProjectPerModel"},{"quotaId":"GenerateRequestsPerDayPerProjectPerModel"}]}]}}"#,
            Quota,
            None,
        ),
        (
            "a proxy that counts requests at a time",
            &[("retry-after", "2.5")],
            r#"{"error":{"message":"Too many concurrent requests","code":"concurrency_limit"}}"#,
            Concurrent,
            Some(2_500),
        ),
        ("a date", &[("retry-after", "Thu, 17 Sep 2026 09:01:30 GMT")], "", Unknown, Some(90_000)),
        ("a date in the past", &[("retry-after", "Thu, 17 Sep 2026 08:59:00 GMT")], "", Unknown, Some(0)),
        ("requests left and little said", &[("x-ratelimit-remaining-requests", "3")], "", Concurrent, None),
        ("nonsense", &[("retry-after", "inf"), ("x-ratelimit-remaining-requests", "many")], "<html>", Unknown, None),
    ];
    for (name, lines, body, kind, wait_ms) in cases {
        let hints = read(&headers(lines), &wire::read_error(body.as_bytes()));
        assert_eq!((hints.kind(3), hints.retry_after), (kind, wait_ms.map(Duration::from_millis)), "{name}: {hints:?}");
    }
}

#[test]
fn resets_come_in_many_forms() {
    let now = headers(&[]);
    for (text, ms) in [
        ("12ms", Some(12)),
        ("7.66s", Some(7_660)),
        ("1h30m0s", Some(5_400_000)),
        ("2d", Some(172_800_000)),
        ("6m", Some(360_000)),
        ("30", Some(30_000)),
        ("0.5", Some(500)),
        ("1789635605", Some(5_000)),
        ("2026-09-17T09:00:05.500Z", Some(5_500)),
        ("2026-09-17T11:00:05+02:00", Some(5_000)),
        ("", None),
        ("soon", None),
        ("5 apples", None),
        ("s", None),
        ("1e400s", None),
    ] {
        assert_eq!(until(text, &now), ms.map(Duration::from_millis), "{text:?}");
    }
    assert_eq!(until("2026-09-17T09:00:05Z", &HeaderMap::new()), None, "no clock to measure it by");
}
