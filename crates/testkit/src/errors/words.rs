//! The words of each vendor for each kind of error.

use super::{ErrorShape, Limit, Said};
use crate::json::{Json, o};

/// Tokens that a prompt which does not fit is said to have, and the limit it is measured against.
const TOO_MANY: (u64, u64) = (250_001, 200_000);

impl Said {
    fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, code: None, param: None, message: message.into(), details: Vec::new() }
    }

    fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    fn param(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    fn details(self, details: Vec<Json>) -> Self {
        Self { details, ..self }
    }
}

pub(super) fn anthropic(shape: &ErrorShape, model: &str) -> Said {
    let (many, most) = TOO_MANY;
    let bad = |message: String| Said::new(400, "invalid_request_error", message);
    match shape {
        ErrorShape::BadKey => Said::new(401, "authentication_error", "invalid x-api-key"),
        ErrorShape::AccountDisabled => bad("This organization has been disabled.".to_owned()),
        ErrorShape::CreditExhausted => bad(
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase \
             credits."
                .to_owned(),
        ),
        ErrorShape::PaymentRequired => {
            Said::new(402, "billing_error", "There is a problem with your billing or payment information.")
        }
        ErrorShape::PermissionDenied => {
            Said::new(403, "permission_error", "Your API key does not have permission to use the specified resource.")
        }
        ErrorShape::UnknownModel => Said::new(404, "not_found_error", format!("model: {model}")),
        ErrorShape::ContextTooLong => bad(format!("prompt is too long: {many} tokens > {most} maximum")),
        ErrorShape::InvalidRequest { field, message } => bad(format!("{field}: {message}")),
        ErrorShape::UnsupportedParameter(name) => bad(format!("{name}: Extra inputs are not permitted")),
        ErrorShape::ContentPolicy => bad("Output blocked by content filtering policy".to_owned()),
        ErrorShape::TooLarge => Said::new(413, "request_too_large", "Request exceeds the maximum size"),
        ErrorShape::RateLimited { limit, .. } => Said::new(
            429,
            "rate_limit_error",
            match limit {
                Limit::Requests => "This request would exceed your organization's rate limit of 50 requests per minute.",
                Limit::Tokens => "This request would exceed your organization's rate limit of 40,000 input tokens per minute.",
                Limit::Daily => "This request would exceed your organization's rate limit of 1,000,000 tokens per day.",
                Limit::Concurrent => "Number of concurrent connections has exceeded your rate limit.",
                Limit::Bare => "Error",
            },
        ),
        ErrorShape::Overloaded => Said::new(529, "overloaded_error", "Overloaded"),
        ErrorShape::Timeout => Said::new(504, "timeout_error", "Request timed out"),
        _ => Said::new(500, "api_error", "Internal server error"),
    }
}

pub(super) fn openai(shape: &ErrorShape, model: &str) -> Said {
    const BAD: &str = "invalid_request_error";
    let (many, most) = TOO_MANY;
    match shape {
        ErrorShape::BadKey => Said::new(
            401,
            BAD,
            "Incorrect API key provided: sk-te***t-key. You can find your API key at https://platform.openai.com/account/api-keys.",
        )
        .code("invalid_api_key"),
        ErrorShape::AccountDisabled => Said::new(
            401,
            BAD,
            "The OpenAI account associated with this API key has been deactivated. Please check your email for more information.",
        )
        .code("account_deactivated"),
        ErrorShape::CreditExhausted | ErrorShape::PaymentRequired => Said::new(
            429,
            "insufficient_quota",
            "You exceeded your current quota, please check your plan and billing details.",
        )
        .code("insufficient_quota"),
        ErrorShape::PermissionDenied => {
            Said::new(403, BAD, format!("Project `proj_testkit` does not have access to model `{model}`")).code("model_not_found")
        }
        ErrorShape::UnknownModel => {
            Said::new(404, BAD, format!("The model `{model}` does not exist or you do not have access to it."))
                .code("model_not_found")
        }
        ErrorShape::ContextTooLong => Said::new(
            400,
            BAD,
            format!(
                "This model's maximum context length is {most} tokens. However, your messages resulted in {many} tokens. Please \
                 reduce the length of the messages."
            ),
        )
        .code("context_length_exceeded")
        .param("messages"),
        ErrorShape::InvalidRequest { field, message } => {
            Said::new(400, BAD, format!("Invalid '{field}': {message}")).param(field).code("invalid_value")
        }
        ErrorShape::UnsupportedParameter(name) => {
            Said::new(400, BAD, format!("Unsupported parameter: '{name}' is not supported with this model."))
                .param(name)
                .code("unsupported_parameter")
        }
        ErrorShape::ContentPolicy => {
            Said::new(400, BAD, "The response was filtered due to the prompt triggering a content management policy.")
                .code("content_filter")
        }
        ErrorShape::TooLarge => Said::new(413, BAD, "Request body is too large"),
        ErrorShape::RateLimited { limit, retry_after_s } => {
            let wait = retry_after_s.map(|seconds| format!(" Please try again in {seconds}s.")).unwrap_or_default();
            let (kind, words) = match limit {
                Limit::Requests => ("requests", "on requests per min (RPM): Limit 500, Used 500, Requested 1."),
                Limit::Tokens => ("tokens", "on tokens per min (TPM): Limit 30000, Used 30000, Requested 100."),
                Limit::Daily => ("requests", "on requests per day (RPD): Limit 10000, Used 10000, Requested 1."),
                Limit::Concurrent => ("requests", "on concurrent requests: Limit 8, Used 8, Requested 1."),
                Limit::Bare => return Said::new(429, "requests", "Too Many Requests"),
            };
            Said::new(429, kind, format!("Rate limit reached for {model} in organization org-testkit {words}{wait}"))
                .code("rate_limit_exceeded")
        }
        ErrorShape::Overloaded => {
            Said::new(503, "server_error", "The server is currently overloaded with other requests. Please try again later.")
        }
        ErrorShape::Timeout => Said::new(504, "server_error", "The request timed out."),
        _ => Said::new(500, "server_error", "The server had an error while processing your request. Sorry about that!"),
    }
}

pub(super) fn gemini(shape: &ErrorShape, model: &str) -> Said {
    const BAD: &str = "INVALID_ARGUMENT";
    let (many, most) = TOO_MANY;
    match shape {
        ErrorShape::BadKey => Said::new(400, BAD, "API key not valid. Please pass a valid API key.").details(vec![
            o! {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com",
                "metadata": o! { "service": "generativelanguage.googleapis.com" },
            },
            o! {
                "@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US",
                "message": "API key not valid. Please pass a valid API key.",
            },
        ]),
        ErrorShape::AccountDisabled => Said::new(
            403,
            "PERMISSION_DENIED",
            "Permission denied: Consumer 'api_key:testkit' has been suspended.",
        )
        .details(vec![o! {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "CONSUMER_SUSPENDED", "domain": "googleapis.com",
        }]),
        ErrorShape::CreditExhausted | ErrorShape::PaymentRequired => Said::new(
            429,
            "RESOURCE_EXHAUSTED",
            "You exceeded your current quota, please check your plan and billing details.",
        ),
        ErrorShape::PermissionDenied => Said::new(403, "PERMISSION_DENIED", "The caller does not have permission"),
        ErrorShape::UnknownModel => Said::new(
            404,
            "NOT_FOUND",
            format!(
                "models/{model} is not found for API version v1beta, or is not supported for generateContent. Call ListModels to \
                 see the list of available models and their supported methods."
            ),
        ),
        ErrorShape::ContextTooLong => Said::new(
            400,
            BAD,
            format!("The input token count ({many}) exceeds the maximum number of tokens allowed ({most})."),
        ),
        ErrorShape::InvalidRequest { field, message } => {
            Said::new(400, BAD, format!("Invalid value at '{field}': {message}")).details(vec![o! {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": vec![o! { "field": field, "description": message }],
            }])
        }
        ErrorShape::UnsupportedParameter(name) => Said::new(400, BAD, format!("{name} is not supported for this model.")),
        ErrorShape::ContentPolicy => Said::new(400, BAD, "The prompt was blocked by the safety filters."),
        ErrorShape::TooLarge => {
            Said::new(413, BAD, "Request payload size exceeds the limit: 20971520 bytes.")
        }
        ErrorShape::RateLimited { limit, retry_after_s } => limited(*limit, *retry_after_s, model),
        ErrorShape::Overloaded => {
            Said::new(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")
        }
        ErrorShape::Timeout => Said::new(
            504,
            "DEADLINE_EXCEEDED",
            "The request timed out. Please try again.",
        ),
        _ => Said::new(500, "INTERNAL", "An internal error has occurred. Please retry or report."),
    }
}

fn limited(limit: Limit, retry_after_s: Option<u64>, model: &str) -> Said {
    let quota = match limit {
        Limit::Requests => Some(("generate_content_requests", "GenerateRequestsPerMinutePerProjectPerModel", "60")),
        Limit::Tokens => {
            Some(("generate_content_input_token_count", "GenerateContentInputTokensPerModelPerMinute", "250000"))
        }
        Limit::Daily => Some(("generate_content_requests", "GenerateRequestsPerDayPerProjectPerModel", "1500")),
        Limit::Concurrent => Some(("generate_content_concurrent", "GenerateConcurrentRequestsPerProjectPerModel", "8")),
        Limit::Bare => None,
    };
    let mut details = Vec::new();
    if let Some((metric, id, value)) = quota {
        details.push(o! {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": vec![o! {
                "quotaMetric": format!("generativelanguage.googleapis.com/{metric}"), "quotaId": id,
                "quotaDimensions": o! { "model": model, "location": "global" }, "quotaValue": value,
            }],
        });
    }
    if let Some(seconds) = retry_after_s {
        let wait = format!("{seconds}s");
        details.push(o! { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": wait });
    }
    let message = match limit {
        Limit::Bare => "Resource has been exhausted (e.g. check quota).",
        _ => "You exceeded your current quota, please check your plan and billing details.",
    };
    Said::new(429, "RESOURCE_EXHAUSTED", message).details(details)
}
