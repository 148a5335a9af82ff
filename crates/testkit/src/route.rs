//! What a request asks for, and what it is answered when nothing was scripted.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::directive;
use crate::http::Request;
use crate::json::{Json, o};
use crate::media::{self, Fields, Media};
use crate::reply::Reply;
use crate::wires::{self, Ask, Echo, Form, Wire};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Generate,
    Count,
    Models,
    Model,
    Embed,
    /// A text completion.
    Complete,
    Media(Media),
    /// A response that is kept (Responses).
    Kept,
    /// The bare host, which clients ask whether somebody is there.
    Ping,
    Unknown,
}

/// Wire, kind, and what the path says of model and form.
pub(crate) struct Route<'a> {
    pub(crate) wire: Wire,
    pub(crate) kind: Kind,
    model: Option<&'a str>,
    form: Option<Form>,
}

impl<'a> Route<'a> {
    /// By the end of the path, so that any base path is as good; a POST to a path that nobody knows is chat.
    pub(crate) fn of(request: &'a Request) -> Self {
        let (path, query) = request.path_and_query();
        let path = path.trim_end_matches('/');
        let plain = |wire, kind| Self { wire, kind, model: None, form: None };
        if path.contains("/responses/") && !path.ends_with("/input_tokens") {
            return plain(Wire::Responses, Kind::Kept);
        }
        if request.method() != "POST" {
            let wire = match () {
                () if path.contains("/v1beta") => Wire::Gemini,
                () if request.header("anthropic-version").is_some() => Wire::Anthropic,
                () => Wire::Chat,
            };
            return match path.rsplit_once("/models") {
                _ if path.is_empty() => plain(wire, Kind::Ping),
                Some((_, "")) => plain(wire, Kind::Models),
                Some((_, name)) if name.starts_with('/') => {
                    Self { model: Some(&name[1..]), ..plain(wire, Kind::Model) }
                }
                _ => plain(wire, Kind::Unknown),
            };
        }
        if let Some((_, name)) = path.rsplit_once("/models/")
            && let Some((model, action)) = name.rsplit_once(':')
        {
            let kind = match action {
                "countTokens" => Kind::Count,
                "embedContent" | "batchEmbedContents" => Kind::Embed,
                _ => Kind::Generate,
            };
            let form = match action {
                "streamGenerateContent" if query.split('&').any(|pair| pair == "alt=sse") => Form::Events,
                "streamGenerateContent" => Form::Array,
                _ => Form::Whole,
            };
            return Self { wire: Wire::Gemini, kind, model: Some(model), form: Some(form) };
        }
        match path {
            _ if path.ends_with("/messages/count_tokens") => plain(Wire::Anthropic, Kind::Count),
            _ if path.ends_with("/responses/input_tokens") => plain(Wire::Responses, Kind::Count),
            _ if path.ends_with("/messages") => plain(Wire::Anthropic, Kind::Generate),
            _ if path.ends_with("/responses") => plain(Wire::Responses, Kind::Generate),
            _ if path.ends_with("/embeddings") => plain(Wire::Chat, Kind::Embed),
            _ if path.ends_with("/chat/completions") => plain(Wire::Chat, Kind::Generate),
            _ if path.ends_with("/v1/completions") => plain(Wire::Chat, Kind::Complete),
            _ => plain(Wire::Chat, Media::of(path).map_or(Kind::Generate, Kind::Media)),
        }
    }

    /// What the answer depends on.
    pub(crate) fn ask(&self, body: &[u8], serial: u64, clock: Clock) -> Ask {
        let mut hints: Hints = serde_json::from_slice(body).unwrap_or_default();
        if matches!(self.kind, Kind::Media(_)) {
            hints.model = Fields::of(body).text("model");
        }
        let options = hints.stream_options.unwrap_or_default();
        let form = if hints.stream == Some(true) { Form::Events } else { Form::Whole };
        Ask {
            wire: self.wire,
            model: self.model.map_or_else(|| hints.model.unwrap_or_default(), str::to_owned),
            form: self.form.unwrap_or(form),
            as_text: self.kind == Kind::Complete,
            include_usage: options.include_usage.unwrap_or_default(),
            padded: options.include_obfuscation.unwrap_or(true),
            echo: if self.wire == Wire::Responses { Echo::of(body) } else { Echo::default() },
            prompt_bytes: body.len(),
            serial,
            clock,
        }
    }
}

/// The few fields that decide the form of an answer.
#[derive(Debug, Default, Deserialize)]
struct Hints {
    model: Option<String>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

#[derive(Debug, Default, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
    include_obfuscation: Option<bool>,
}

/// What is answered by itself; `burst` makes a burst of that many events of every stream.
pub(crate) fn unscripted(route: &Route<'_>, request: &Request, ask: &Ask, burst: Option<usize>) -> Reply {
    let (wire, body) = (ask.wire, &request.body);
    let json =
        |status, body: &Json| Reply::raw(status, &[("content-type", "application/json")], wires::dressed(wire, body));
    match route.kind {
        Kind::Generate => match burst.filter(|_| ask.form != Form::Whole) {
            Some(events) => directive::burst(events),
            None if !directive::is_likely(body) => directive::friendly(&ask.model),
            None => directive::reply(wire, &serde_json::from_slice(body).unwrap_or_default(), &ask.model),
        },
        Kind::Complete => {
            // Directives stand in the prompt as they do in a user's words.
            let prompt = Fields::of(body).text("prompt").unwrap_or_default();
            let said = json!({ "messages": [{ "role": "user", "content": prompt }] });
            directive::reply(wire, &said, &ask.model)
        }
        Kind::Media(media) => media::reply(media, body, ask),
        Kind::Count => {
            let tokens = u64::try_from(ask.prompt_bytes.div_ceil(4)).unwrap_or_default();
            json(200, &wires::count(wire, tokens))
        }
        Kind::Models => json(200, &wires::models(wire)),
        Kind::Model => json(200, &wires::model(wire, &ask.model)),
        Kind::Embed => {
            if let Some(error) = directive::is_likely(body).then(|| directive::error_in(body)).flatten() {
                return error;
            }
            let body: Value = serde_json::from_slice(body).unwrap_or_default();
            let embeddings = match wire {
                Wire::Gemini => wires::gemini_embeddings(&body),
                _ => wires::embeddings(&body, &ask.model),
            };
            json(200, &embeddings)
        }
        Kind::Kept => {
            let (path, _) = request.path_and_query();
            let of = path.rsplit_once("/responses/").map_or("", |(_, of)| of.trim_end_matches('/'));
            wires::kept(request.method(), of, ask)
                .map_or_else(|| json(404, &no_such_path(wire, request)), |(status, body)| json(status, &body))
        }
        Kind::Ping => Reply::raw(200, &[("content-type", "text/plain")], "scripted upstream\n"),
        Kind::Unknown => json(404, &no_such_path(wire, request)),
    }
}

fn no_such_path(wire: Wire, request: &Request) -> Json {
    match wire {
        Wire::Anthropic => o! { "type": "error", "error": o! { "type": "not_found_error", "message": "Not Found" } },
        Wire::Gemini => o! { "error": o! { "code": 404_u16, "message": "Not Found", "status": "NOT_FOUND" } },
        Wire::Chat | Wire::Responses => o! { "error": o! {
            "message": format!("Invalid URL ({} {})", request.method(), request.path_and_query().0),
            "type": "invalid_request_error", "param": Json::null(), "code": Json::null(),
        }},
    }
}
