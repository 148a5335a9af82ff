//! Pages of other origins that may call the API for clients.
//!
//! Keys are sent as headers and never as cookies, so credentials are not allowed and a page has what its user typed in.

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
        ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
    },
};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST");
const EVERYTHING: HeaderValue = HeaderValue::from_static("*");
/// Seconds for which a browser may remember an answer.
const MAX_AGE_S: HeaderValue = HeaderValue::from_static("600");

/// The origins that may call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cors(Vec<HeaderValue>);

/// What a request is to CORS.
#[derive(Debug)]
pub(crate) enum Visit {
    /// Nothing.
    Plain,
    /// A call by a page of this origin.
    Call(HeaderValue),
    /// A browser's question whether a page may call, and its answer.
    Preflight(Response<()>),
}

impl Cors {
    pub(crate) fn new(origins: Vec<HeaderValue>) -> Self {
        Self(origins)
    }

    /// What a request is, by its headers.
    pub(crate) fn visit<B>(&self, request: &Request<B>) -> Visit {
        let headers = request.headers();
        let Some(origin) = headers.get(ORIGIN).filter(|_| !self.0.is_empty()) else { return Visit::Plain };
        if !self.0.iter().any(|allowed| allowed == origin || allowed == EVERYTHING) {
            return Visit::Plain;
        }
        if request.method() != Method::OPTIONS || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return Visit::Call(origin.clone());
        }
        let mut answer = Response::new(());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        let given = answer.headers_mut();
        given.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        given.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_S);
        if let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            given.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        allow(given, origin.clone());
        Visit::Preflight(answer)
    }
}

impl Visit {
    /// Adds to an answer what its page needs to read it.
    pub(crate) fn dress(self, headers: &mut HeaderMap) {
        if let Self::Call(origin) = self {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EVERYTHING);
            allow(headers, origin);
        }
    }
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(VARY, HeaderValue::from_static("origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(origins: &[&'static str], method: &Method, headers: &[(&str, &str)]) -> Visit {
        let mut request = Request::builder().method(method).uri("/v1/messages");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let cors = Cors::new(origins.iter().map(|origin| HeaderValue::from_static(origin)).collect());
        cors.visit(&request.body(()).unwrap())
    }

    #[test]
    fn which_pages_may_call() {
        const PAGE: (&str, &str) = ("origin", "https://a.example");
        const ASKS: (&str, &str) = ("access-control-request-method", "POST");
        const WITH: (&str, &str) = ("access-control-request-headers", "authorization, content-type");
        let (post, options) = (&Method::POST, &Method::OPTIONS);
        for (name, origins, method, headers, want) in [
            ("no origins are set", &[][..], post, &[PAGE][..], "plain"),
            ("not even a preflight is answered then", &[], options, &[PAGE, ASKS], "plain"),
            ("a page that is listed", &["https://a.example"], post, &[PAGE], "call"),
            ("a page that is not", &["https://b.example"], post, &[PAGE], "plain"),
            ("a page like a listed one", &["https://a.example.org"], post, &[PAGE], "plain"),
            ("every page", &["*"], post, &[PAGE], "call"),
            ("no page at all", &["*"], post, &[], "plain"),
            ("a preflight", &["https://a.example"], options, &[PAGE, ASKS, WITH], "preflight"),
            ("options without a question", &["https://a.example"], options, &[PAGE], "call"),
        ] {
            let got = match visit(origins, method, headers) {
                Visit::Plain => "plain",
                Visit::Call(_) => "call",
                Visit::Preflight(_) => "preflight",
            };
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn a_preflight_allows_what_was_asked_for_and_no_credentials() {
        let headers = [
            ("origin", "https://a.example"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "x-api-key"),
        ];
        let Visit::Preflight(answer) = visit(&["*"], &Method::OPTIONS, &headers) else { panic!("not a preflight") };
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        for (name, want) in [
            ("access-control-allow-origin", Some("https://a.example")),
            ("access-control-allow-headers", Some("x-api-key")),
            ("access-control-allow-methods", Some("GET, HEAD, POST")),
            ("access-control-allow-credentials", None),
            ("vary", Some("origin")),
        ] {
            assert_eq!(answer.headers().get(name).map(|value| value.to_str().unwrap()), want, "{name}");
        }
    }
}
