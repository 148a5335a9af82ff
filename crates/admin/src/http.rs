//! Health, readiness, metrics and the status page.
//!
//! Figures are for those who run the gateway: the admin listener, and loopback connections that no proxy forwarded.
//! Everybody else learns that there is a Tollgate, its version, and one word about its health.

mod page;
mod viewer;

use axum::{
    Router,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY},
        header::{X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{encoding::text, registry::Registry};
use std::{fmt::Write as _, sync::Arc, time::Duration};
use viewer::Viewer;

/// Whether requests can be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// All is well.
    Ready,
    /// Requests are served, but these things are not as they should be.
    Degraded(Vec<String>),
    /// Requests are refused, for these reasons.
    Unready(Vec<String>),
}

impl Readiness {
    /// The word for everybody.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded(_) => "degraded",
            Self::Unready(_) => "unready",
        }
    }

    /// What is not as it should be.
    pub fn reasons(&self) -> &[String] {
        match self {
            Self::Ready => &[],
            Self::Degraded(reasons) | Self::Unready(reasons) => reasons,
        }
    }
}

/// What the journal holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalFigures {
    /// Segment files.
    pub segments: u64,
    /// Their size.
    pub bytes: u64,
    /// Settlements that are not in the database yet.
    pub unshipped: u64,
}

/// What the status page shows; nothing here is a secret, but not everybody may see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Addresses that are listened on.
    pub listen: Vec<String>,
    /// Since the process began.
    pub uptime: Duration,
    /// The catalog's revision.
    pub revision: u64,
    /// Names that callers may ask for.
    pub global_models: u64,
    /// Upstreams.
    pub providers: u64,
    /// Their credentials.
    pub provider_keys: u64,
    /// People.
    pub users: u64,
    /// Keys that the gateway issued.
    pub client_keys: u64,
    /// Admitted and not ended.
    pub open_requests: u64,
    /// Ended since the process began.
    pub requests: u64,
    /// The journal.
    pub journal: JournalFigures,
}

/// How the process does; asked at each request, so it answers from memory.
pub trait Status: Send + Sync + 'static {
    /// Whether requests can be served.
    fn readiness(&self) -> Readiness;
    /// What there is to show.
    fn figures(&self) -> Figures;
}

/// Who can reach a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Anybody; details only over loopback.
    Everybody,
    /// Operators: it is a listener of their own.
    Operators,
}

/// What the routes answer from.
#[derive(Clone)]
pub struct AdminState {
    /// The product's version.
    pub version: &'static str,
    /// Who can reach the listener.
    pub audience: Audience,
    /// How the process does.
    pub status: Arc<dyn Status>,
    /// What `/metrics` shows.
    pub registry: Arc<Registry>,
}

/// The routes `/`, `/healthz`, `/readyz` and `/metrics`.
///
/// The peer's address comes as the extension [`axum::extract::ConnectInfo`]; without it the caller is a stranger.
pub fn router(state: AdminState) -> Router {
    Router::new()
        .route("/", get(status_page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn(secured))
        .with_state(state)
}

/// Headers that each answer here has: no scripts, nothing from elsewhere, nowhere in a frame, in no cache.
async fn secured(request: Request, next: Next) -> Response {
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                          frame-ancestors 'none'";
    const FIXED: [(HeaderName, &str); 6] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (CACHE_CONTROL, "no-store"),
    ];
    let mut response = next.run(request).await;
    for (name, value) in FIXED {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

fn plain(status: StatusCode, body: String) -> Response {
    (status, [(CONTENT_TYPE, TEXT)], body).into_response()
}

async fn healthz(State(state): State<AdminState>, request: Request) -> Response {
    let mut body = "ok\n".to_owned();
    if Viewer::of(&request, state.audience) == Viewer::Operator {
        let _ = writeln!(body, "version: {}", state.version);
        let _ = writeln!(body, "uptime: {}", page::duration(state.status.figures().uptime));
    }
    plain(StatusCode::OK, body)
}

/// Degraded is ready: a database that is away stops no request, and taking the node out would.
async fn readyz(State(state): State<AdminState>, request: Request) -> Response {
    let readiness = state.status.readiness();
    let mut body = format!("{}\n", readiness.word());
    if Viewer::of(&request, state.audience) == Viewer::Operator {
        for reason in readiness.reasons() {
            let _ = writeln!(body, "{reason}");
        }
    }
    let status = match readiness {
        Readiness::Ready | Readiness::Degraded(_) => StatusCode::OK,
        Readiness::Unready(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    plain(status, body)
}

async fn metrics(State(state): State<AdminState>, request: Request) -> Response {
    if Viewer::of(&request, state.audience) == Viewer::Stranger {
        return plain(StatusCode::NOT_FOUND, "not found\n".to_owned());
    }
    let mut body = String::new();
    match text::encode(&mut body, &state.registry) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], body).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written\n".to_owned())
        }
    }
}

async fn status_page(State(state): State<AdminState>, request: Request) -> Response {
    let known = match Viewer::of(&request, state.audience) {
        Viewer::Operator => Some((state.status.readiness(), state.status.figures())),
        Viewer::Stranger => None,
    };
    let vary = [(VARY, HeaderValue::from_static("accept"))];
    if wants_html(request.headers()) {
        (vary, [(CONTENT_TYPE, HTML)], page::html(state.version, known.as_ref())).into_response()
    } else {
        (vary, [(CONTENT_TYPE, TEXT)], page::text(state.version, known.as_ref())).into_response()
    }
}

/// Browsers name `text/html`; client programs ask for JSON or anything.
fn wants_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = accepted.flat_map(|list| list.split(','));
    ranges.any(|range| range.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/html")))
}
