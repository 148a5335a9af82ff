//! Why a request failed, for its three readers: the client, the scheduler and the operator.

use std::{borrow::Cow, time::Duration};

/// What went wrong, in the gateway's words; the client sees its own vendor's words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No credential, or one that counts for nothing.
    BadKey,
    /// Known, but not allowed here.
    NotAllowed,
    /// No global model of that name.
    UnknownModel,
    /// No such route or object.
    NotFound,
    /// The route exists with another method.
    MethodNotAllowed,
    /// The request cannot be understood.
    BadRequest,
    /// The request asks for what is not offered.
    Unsupported,
    /// More bytes than are taken.
    BodyTooLarge,
    /// The request's body came too slowly.
    RequestTimeout,
    /// Too many requests, now or at a time.
    RateLimited,
    /// The account cannot pay.
    OutOfMoney,
    /// Nobody serves this for this caller, and that will not change by waiting.
    NoCandidate,
    /// Everything that could serve is out for now, or the gateway cannot record.
    Unavailable,
    /// Every upstream said it is overloaded.
    Overloaded,
    /// Every upstream took too long.
    Timeout,
    /// The upstreams failed.
    Upstream,
    /// A defect of the gateway.
    Internal,
}

/// Who caused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The request itself.
    Caller,
    /// A rule or limit of the gateway.
    Policy,
    /// An upstream.
    Upstream,
    /// The gateway.
    Gateway,
}

impl Kind {
    /// Who causes a fault of this kind.
    pub const fn origin(self) -> Origin {
        match self {
            Self::BadKey
            | Self::UnknownModel
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::BadRequest
            | Self::Unsupported
            | Self::BodyTooLarge
            | Self::RequestTimeout => Origin::Caller,
            Self::NotAllowed | Self::RateLimited | Self::OutOfMoney | Self::NoCandidate => Origin::Policy,
            Self::Overloaded | Self::Timeout | Self::Upstream => Origin::Upstream,
            Self::Unavailable | Self::Internal => Origin::Gateway,
        }
    }

    /// A stable word for records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadKey => "bad_key",
            Self::NotAllowed => "not_allowed",
            Self::UnknownModel => "unknown_model",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BadRequest => "bad_request",
            Self::Unsupported => "unsupported",
            Self::BodyTooLarge => "body_too_large",
            Self::RequestTimeout => "request_timeout",
            Self::RateLimited => "rate_limited",
            Self::OutOfMoney => "out_of_money",
            Self::NoCandidate => "no_candidate",
            Self::Unavailable => "unavailable",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Upstream => "upstream",
            Self::Internal => "internal",
        }
    }
}

/// A refused or failed request: `public` goes to the client, `detail` only to the record and the log.
#[derive(Debug, thiserror::Error)]
#[error("{}: {public}{}", .kind.as_str(), .detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default())]
pub struct Fault {
    /// What went wrong.
    pub kind: Kind,
    /// A sentence for the client; names no provider and no secret.
    pub public: Cow<'static, str>,
    /// The field of the request that is at fault.
    pub param: Option<Cow<'static, str>>,
    /// When to come back.
    pub retry_after: Option<Duration>,
    /// Whether coming back can help; `Some(false)` becomes `x-should-retry: false`.
    pub should_retry: Option<bool>,
    /// The precise reason, for operators.
    pub detail: Option<Cow<'static, str>>,
}

impl Fault {
    /// A fault with its public sentence.
    pub fn new(kind: Kind, public: impl Into<Cow<'static, str>>) -> Self {
        let should_retry = matches!(kind, Kind::OutOfMoney | Kind::NoCandidate).then_some(false);
        Self { kind, public: public.into(), param: None, retry_after: None, should_retry, detail: None }
    }

    /// Names the field at fault.
    #[must_use]
    pub fn param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Says when to come back.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Adds the reason for operators.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}
