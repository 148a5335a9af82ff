//! The verdict table: what an upstream's refusal means. The body decides first, then the status.

use domain::schedule::attempt::Verdict;
use wire::ErrorFacts;

/// Judges an answer that is no success, or an error inside one (`status` 200).
pub(crate) fn judge(status: u16, facts: &ErrorFacts) -> Verdict {
    by_body(status, facts).unwrap_or_else(|| by_status(status, facts))
}

/// What code, type or message say on their own; generic words such as `invalid_request_error` say nothing.
fn by_body(status: u16, facts: &ErrorFacts) -> Option<Verdict> {
    let words = [facts.code.as_deref(), facts.kind.as_deref(), facts.reason.as_deref()];
    let says = |list: &[&str]| words.iter().flatten().any(|word| list.contains(word));
    let message = facts.message.as_deref().unwrap_or_default().to_ascii_lowercase();
    let begins = |list: &[&str]| list.iter().any(|start| message.starts_with(start));
    let holds = |list: &[&str]| list.iter().any(|part| message.contains(part));

    let unusable = says(&[
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "billing_error",
        "account_deactivated",
        "invalid_api_key",
        "authentication_error",
        "API_KEY_INVALID",
        "CONSUMER_SUSPENDED",
        "BILLING_DISABLED",
        "UNAUTHENTICATED",
    ]) || begins(&[
        "your credit balance is too low",
        "this organization has been disabled",
        "your account is not active",
    ]);
    if unusable {
        return Some(Verdict::KeyUnusable);
    }
    let about_account = holds(&["organization", "organisation", "project", "permission", "region", "country"]);
    if says(&["permission_error", "PERMISSION_DENIED", "unsupported_country_region_territory"])
        || ((status == 401 || status == 403) && about_account)
    {
        return Some(Verdict::NotPermitted);
    }
    if unknown_model(facts, &message) {
        return Some(Verdict::UnknownModel);
    }
    let callers =
        says(&[
            "context_length_exceeded",
            "content_policy_violation",
            "content_filter",
            "invalid_value",
            "invalid_image",
            "invalid_prompt",
            "string_above_max_length",
            "request_too_large",
        ]) || begins(&["prompt is too long", "input is too long", "the input token count", "input token count"]);
    if callers {
        return Some(Verdict::CallersFault);
    }
    if says(&["unsupported_parameter", "unsupported_value", "unsupported_feature", "UNIMPLEMENTED"]) {
        return Some(Verdict::CannotDo);
    }
    let limited = words.iter().flatten().any(|word| word.starts_with("rate_limit") || *word == "RESOURCE_EXHAUSTED");
    if limited {
        return Some(Verdict::RateLimited);
    }
    if says(&["overloaded_error", "server_is_overloaded", "UNAVAILABLE"])
        || begins(&["overloaded", "the server is currently overloaded", "the model is overloaded"])
    {
        return Some(Verdict::Overloaded);
    }
    None
}

/// Whether the upstream says that it has no model of that name.
fn unknown_model(facts: &ErrorFacts, message: &str) -> bool {
    let code = facts.code.as_deref();
    if code == Some("model_not_found") {
        return true;
    }
    let not_found =
        facts.kind.as_deref() == Some("not_found_error") || [code, facts.kind.as_deref()].contains(&Some("NOT_FOUND"));
    not_found && (message.starts_with("model:") || (message.starts_with("models/") && message.contains("not found")))
}

fn by_status(status: u16, facts: &ErrorFacts) -> Verdict {
    match status {
        200..=299 | 400 | 403 if facts.html => Verdict::EndpointFault,
        300..=399 | 405 => Verdict::EndpointFault,
        404 if !facts.native => Verdict::EndpointFault,
        401 | 402 => Verdict::KeyUnusable,
        403 => Verdict::NotPermitted,
        429 => Verdict::RateLimited,
        503 | 529 => Verdict::Overloaded,
        400..=499 if ![408, 409, 425].contains(&status) => Verdict::CallersFault,
        _ => Verdict::Transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{
        CallersFault, CannotDo, EndpointFault, KeyUnusable, NotPermitted, Overloaded, RateLimited, Transient,
        UnknownModel,
    };

    #[test]
    fn the_whole_table() {
        for (status, body, want) in [
            // bodies that decide, whatever the status
            (
                429,
                r#"{"error":{"type":"insufficient_quota","code":"insufficient_quota","message":"You exceeded"}}"#,
                KeyUnusable,
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to"}}"#,
                KeyUnusable,
            ),
            (
                401,
                r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
                KeyUnusable,
            ),
            (
                400,
                r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"API key not valid","details":[{"reason":"API_KEY_INVALID"}]}}"#,
                KeyUnusable,
            ),
            (
                401,
                r#"{"error":{"message":"You must be a member of an organization","type":"invalid_request_error","code":null}}"#,
                NotPermitted,
            ),
            (403, r#"{"type":"error","error":{"type":"permission_error","message":"no"}}"#, NotPermitted),
            (
                400,
                r#"{"error":{"code":"context_length_exceeded","type":"invalid_request_error","message":"This model's maximum"}}"#,
                CallersFault,
            ),
            (
                500,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 8 maximum"}}"#,
                CallersFault,
            ),
            (
                400,
                r#"{"error":{"code":"unsupported_parameter","type":"invalid_request_error","message":"x"}}"#,
                CannotDo,
            ),
            (
                404,
                r#"{"error":{"code":"model_not_found","type":"invalid_request_error","message":"The model"}}"#,
                UnknownModel,
            ),
            (404, r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-9"}}"#, UnknownModel),
            (
                404,
                r#"{"error":{"code":404,"status":"NOT_FOUND","message":"models/g-9 is not found for API version"}}"#,
                UnknownModel,
            ),
            (429, r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"Quota"}}"#, RateLimited),
            (200, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, Overloaded),
            (503, r#"{"error":{"code":503,"status":"UNAVAILABLE","message":"The model is overloaded."}}"#, Overloaded),
            // generic words leave it to the status
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages: required"}}"#,
                CallersFault,
            ),
            (404, r#"{"type":"error","error":{"type":"not_found_error","message":"file not found"}}"#, CallersFault),
            (402, "", KeyUnusable),
            (401, "", KeyUnusable),
            (403, "", NotPermitted),
            (403, "<html><body>blocked</body></html>", EndpointFault),
            (400, "<!DOCTYPE html><html></html>", EndpointFault),
            (200, "<html></html>", EndpointFault),
            (404, "not here", EndpointFault),
            (405, "", EndpointFault),
            (301, "", EndpointFault),
            (413, "", CallersFault),
            (422, "", CallersFault),
            (418, "", CallersFault),
            (408, "", Transient),
            (409, "", Transient),
            (425, "", Transient),
            (500, "<html></html>", Transient),
            (502, "", Transient),
            (504, "", Transient),
            (529, "", Overloaded),
            (503, "", Overloaded),
            (429, "", RateLimited),
        ] {
            assert_eq!(judge(status, &wire::read_error(body.as_bytes())), want, "{status} {body}");
        }
    }
}
