//! Requests that real client programs sent to a recording server, without their bodies: each is told for what it is.

use super::{format, session};
use crate::{
    ingress::{
        credentials::{Presented, presented},
        route::{self, Action, NoRoute},
    },
    lists,
};
use domain::format::ApiFormat;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Deserialize;
use wire::{Peek, Wire};

#[derive(Deserialize)]
struct Captured {
    client: String,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
}

impl Captured {
    fn headers(&self) -> HeaderMap {
        let name = |text: &str| HeaderName::from_bytes(text.as_bytes()).unwrap();
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
        self.headers.iter().map(|(header, text)| (name(header), value(text))).collect()
    }
}

/// The format of each client program's requests.
const CLIENTS: [(&str, ApiFormat); 6] = [
    ("claude-code", ApiFormat::ClaudeCli),
    ("anthropic-python", ApiFormat::Claude),
    ("codex-cli", ApiFormat::OpenAiCli),
    ("openai-python", ApiFormat::OpenAi),
    ("gemini-cli", ApiFormat::GeminiCli),
    ("google-genai-python", ApiFormat::Gemini),
];

#[test]
fn every_captured_request_is_recognised_as_the_client_that_it_came_from() {
    let captured: Vec<Captured> = serde_json::from_str(include_str!("../../../corpus/clients.json")).unwrap();
    for (client, _) in CLIENTS {
        assert!(captured.iter().any(|request| request.client == client), "nothing of {client}");
    }
    for request in captured {
        let shown = format!("{}: {} {}", request.client, request.method, request.path);
        let headers = request.headers();
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        if path == "/" {
            assert!(request.method == "HEAD" && !route::is_ours(path), "{shown} asks whether somebody is there");
            continue;
        }
        let presented = presented(&headers, None);
        assert!(matches!(presented, Presented::Key { .. }) && !query.contains("key="), "{shown} has one key");
        let method: Method = request.method.parse().unwrap();
        let wire = match route::find(&method, path) {
            Ok(found) if found.action == Action::ListModels => lists::wire(found.wire, &headers, &presented),
            Ok(found) => found.wire,
            Err(NoRoute::NotFound(wire) | NoRoute::WrongMethod(wire)) => wire,
        };
        let want = CLIENTS.iter().find(|(client, _)| *client == request.client).unwrap().1;
        assert_eq!(format(wire, &headers), want, "{shown}");

        let named = session(&headers, &Peek::default(), b"").is_some();
        let generates = path == "/v1/messages" || path == "/v1/responses";
        let names = generates && ["claude-code", "codex-cli"].contains(&request.client.as_str());
        assert_eq!(named, names, "{shown}: the agents name their sessions in headers");
        let google = matches!(presented, Presented::Key { google_only: true, .. });
        assert_eq!(google, wire == Wire::Gemini, "{shown}: the kind of key is the wire's");
    }
}
