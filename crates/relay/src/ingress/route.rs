//! Routes of the data plane: which wire a path speaks and what it asks for.

use domain::format::RequestType;
use http::Method;
use wire::Wire;

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// An answer by a model. On Gemini, whether the path asks for a stream.
    Generate {
        /// `None` where the body says.
        stream: Option<bool>,
    },
    /// A count of the prompt's tokens.
    CountTokens,
    /// What is passed on and metered.
    Metered(Metered),
    /// The models that the caller may use.
    ListModels,
    /// One of them.
    GetModel(String),
    /// A response that is kept at its issuer, by its id.
    Stored(Stored, String),
}

/// What is wanted of a response that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    Get,
    Delete,
    Cancel,
    InputItems,
}

impl Stored {
    /// How it is asked for: the method, and the path behind the id.
    pub(crate) const fn asked(self) -> (Method, &'static str) {
        match self {
            Self::Get => (Method::GET, ""),
            Self::Delete => (Method::DELETE, ""),
            Self::Cancel => (Method::POST, "/cancel"),
            Self::InputItems => (Method::GET, "/input_items"),
        }
    }
}

/// A route that does not generate: passed on, or, for embeddings, converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metered {
    /// Text completions, as they were before chat.
    Completions,
    Embeddings,
    ImageGenerations,
    ImageEdits,
    Speech,
    Transcriptions,
    /// Transcriptions in English, whatever is spoken.
    Translations,
    Moderations,
    Rerank,
    /// Gemini's embedding of one content …
    EmbedContent,
    /// … and of several.
    BatchEmbedContents,
}

impl Metered {
    /// The path below the version, on Gemini the action.
    pub(crate) const fn action(self) -> &'static str {
        match self {
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::ImageGenerations => "images/generations",
            Self::ImageEdits => "images/edits",
            Self::Speech => "audio/speech",
            Self::Transcriptions => "audio/transcriptions",
            Self::Translations => "audio/translations",
            Self::Moderations => "moderations",
            Self::Rerank => "rerank",
            Self::EmbedContent => "embedContent",
            Self::BatchEmbedContents => "batchEmbedContents",
        }
    }

    /// The route for embeddings on a wire; several at once have one of their own on Gemini.
    pub(crate) const fn of_embeddings(wire: Wire, batch: bool) -> Self {
        match wire {
            Wire::Gemini if batch => Self::BatchEmbedContents,
            Wire::Gemini => Self::EmbedContent,
            Wire::Anthropic | Wire::Chat | Wire::Responses => Self::Embeddings,
        }
    }

    /// What usage rows call it.
    pub(crate) const fn request_type(self) -> RequestType {
        match self {
            Self::Completions => RequestType::Completion,
            Self::Embeddings | Self::EmbedContent | Self::BatchEmbedContents => RequestType::Embedding,
            Self::ImageGenerations | Self::ImageEdits => RequestType::Image,
            Self::Speech | Self::Transcriptions | Self::Translations => RequestType::Audio,
            Self::Moderations => RequestType::Moderation,
            Self::Rerank => RequestType::Rerank,
        }
    }

    /// Whether its answers may come as events.
    pub(crate) const fn streams(self) -> bool {
        matches!(
            self,
            Self::Completions | Self::ImageGenerations | Self::ImageEdits | Self::Speech | Self::Transcriptions
        )
    }

    /// Whether a body may be a form, with files in it.
    pub(crate) const fn takes_forms(self) -> bool {
        matches!(self, Self::ImageEdits) || self.hears()
    }

    /// Whether its prompt is a recording, whose length in tokens does not show.
    pub(crate) const fn hears(self) -> bool {
        matches!(self, Self::Transcriptions | Self::Translations)
    }

    /// The model that the vendor takes where a body names none.
    pub(crate) const fn default_model(self) -> Option<&'static str> {
        match self {
            Self::ImageGenerations | Self::ImageEdits => Some("dall-e-2"),
            Self::Moderations => Some("omni-moderation-latest"),
            _ => None,
        }
    }
}

/// A recognised route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// The wire that errors and answers are written in.
    pub wire: Wire,
    /// What is asked for.
    pub action: Action,
    /// The model, where the path names it.
    pub model: Option<String>,
    /// Whether `?key=` is a credential here.
    pub key_in_query: bool,
}

/// Why a path is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// Nothing is there; errors are written in this wire.
    NotFound(Wire),
    /// Something is there under another method.
    WrongMethod(Wire),
}

/// Whether a path belongs to the data plane at all.
pub(crate) fn is_ours(path: &str) -> bool {
    path.starts_with("/v1/") || path.starts_with("/v1beta/") || path == "/v1" || path == "/v1beta"
}

/// Finds the route of a method and a path (no query).
pub(crate) fn find(method: &Method, path: &str) -> Result<Route, NoRoute> {
    let plain = |wire, action| Route { wire, action, model: None, key_in_query: false };
    let generate = || Action::Generate { stream: None };
    let (wire, route) = match path {
        "/v1/messages" => (Wire::Anthropic, plain(Wire::Anthropic, generate())),
        "/v1/messages/count_tokens" => (Wire::Anthropic, plain(Wire::Anthropic, Action::CountTokens)),
        "/v1/chat/completions" => (Wire::Chat, plain(Wire::Chat, generate())),
        "/v1/responses" => (Wire::Responses, plain(Wire::Responses, generate())),
        "/v1/responses/input_tokens" => (Wire::Responses, plain(Wire::Responses, Action::CountTokens)),
        "/v1/completions" => (Wire::Chat, plain(Wire::Chat, Action::Metered(Metered::Completions))),
        "/v1/embeddings" => (Wire::Chat, plain(Wire::Chat, Action::Metered(Metered::Embeddings))),
        "/v1/images/generations" => (Wire::Chat, plain(Wire::Chat, Action::Metered(Metered::ImageGenerations))),
        "/v1/images/edits" => (Wire::Chat, plain(Wire::Chat, Action::Metered(Metered::ImageEdits))),
        "/v1/audio/speech" => (Wire::Chat, plain(Wire::Chat, Action::Metered(Metered::Speech))),
        "/v1/audio/transcriptions" => (Wire::Chat, plain(Wire::Chat, Action::Metered(Metered::Transcriptions))),
        "/v1/audio/translations" => (Wire::Chat, plain(Wire::Chat, Action::Metered(Metered::Translations))),
        "/v1/moderations" => (Wire::Chat, plain(Wire::Chat, Action::Metered(Metered::Moderations))),
        "/v1/rerank" => (Wire::Chat, plain(Wire::Chat, Action::Metered(Metered::Rerank))),
        _ => match path.strip_prefix("/v1/responses/") {
            Some(rest) => return find_stored(method, rest),
            None => return find_models(method, path),
        },
    };
    if method == Method::POST { Ok(route) } else { Err(NoRoute::WrongMethod(wire)) }
}

/// Routes below `/responses`.
fn find_stored(method: &Method, rest: &str) -> Result<Route, NoRoute> {
    const ALL: [Stored; 4] = [Stored::Get, Stored::Delete, Stored::Cancel, Stored::InputItems];
    let wire = Wire::Responses;
    let (id, after) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut of_path = ALL.into_iter().filter(|stored| stored.asked().1 == after).peekable();
    if id.is_empty() || of_path.peek().is_none() {
        return Err(NoRoute::NotFound(wire));
    }
    let found = of_path.find(|stored| stored.asked().0 == *method).ok_or(NoRoute::WrongMethod(wire))?;
    let id = percent_decoded(id).ok_or(NoRoute::NotFound(wire))?;
    Ok(Route { wire, action: Action::Stored(found, id), model: None, key_in_query: false })
}

/// Routes below `/models`: lists, single models, and Gemini's `model:action`.
fn find_models(method: &Method, path: &str) -> Result<Route, NoRoute> {
    let (wire, rest) = match path.strip_prefix("/v1beta/models") {
        Some(rest) => (Wire::Gemini, rest),
        None => (Wire::Chat, path.strip_prefix("/v1/models").ok_or_else(|| NoRoute::NotFound(home_wire(path)))?),
    };
    let route = |wire, action, model| Ok(Route { wire, action, model, key_in_query: true });
    let reads = method == Method::GET || method == Method::HEAD;
    let Some(name) = rest.strip_prefix('/') else {
        return match rest {
            "" if reads => route(wire, Action::ListModels, None),
            "" => Err(NoRoute::WrongMethod(wire)),
            _ => Err(NoRoute::NotFound(wire)),
        };
    };
    if reads {
        return route(wire, Action::GetModel(percent_decoded(name).ok_or(NoRoute::NotFound(wire))?), None);
    }
    // Model names may hold colons and slashes, so the action follows the last colon.
    let Some((model, action)) = name.rsplit_once(':') else { return Err(NoRoute::NotFound(wire)) };
    let action = match action {
        "generateContent" => Action::Generate { stream: Some(false) },
        "streamGenerateContent" => Action::Generate { stream: Some(true) },
        "countTokens" => Action::CountTokens,
        "embedContent" => Action::Metered(Metered::EmbedContent),
        "batchEmbedContents" => Action::Metered(Metered::BatchEmbedContents),
        _ => return Err(NoRoute::NotFound(Wire::Gemini)),
    };
    if method != Method::POST {
        return Err(NoRoute::WrongMethod(Wire::Gemini));
    }
    let model = percent_decoded(model).ok_or(NoRoute::NotFound(Wire::Gemini))?;
    route(Wire::Gemini, action, Some(model))
}

/// The wire that errors of an unknown path are written in.
fn home_wire(path: &str) -> Wire {
    if path.starts_with("/v1beta") {
        Wire::Gemini
    } else if path.starts_with("/v1/messages") {
        Wire::Anthropic
    } else {
        Wire::Chat
    }
}

/// Resolves `%XX`; `None` where that is no UTF-8.
pub(crate) fn percent_decoded(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        if let Some(byte) = pair.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            out.push(byte);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods() {
        let post = Method::POST;
        let stream = Action::Generate { stream: Some(true) };
        let stored = |what, id: &str| Ok((Wire::Responses, Action::Stored(what, id.to_owned()), None));
        for (method, path, want) in [
            (&post, "/v1/messages", Ok((Wire::Anthropic, Action::Generate { stream: None }, None))),
            (&post, "/v1/responses/input_tokens", Ok((Wire::Responses, Action::CountTokens, None))),
            (&post, "/v1/completions", Ok((Wire::Chat, Action::Metered(Metered::Completions), None))),
            (&post, "/v1/embeddings", Ok((Wire::Chat, Action::Metered(Metered::Embeddings), None))),
            (&post, "/v1/audio/speech", Ok((Wire::Chat, Action::Metered(Metered::Speech), None))),
            (&post, "/v1/audio", Err(NoRoute::NotFound(Wire::Chat))),
            (&Method::GET, "/v1/images/edits", Err(NoRoute::WrongMethod(Wire::Chat))),
            (&Method::GET, "/v1/rerank", Err(NoRoute::WrongMethod(Wire::Chat))),
            (
                &post,
                "/v1beta/models/embedder:batchEmbedContents",
                Ok((Wire::Gemini, Action::Metered(Metered::BatchEmbedContents), Some("embedder"))),
            ),
            (&Method::GET, "/v1/messages", Err(NoRoute::WrongMethod(Wire::Anthropic))),
            (&post, "/v1/messages/other", Err(NoRoute::NotFound(Wire::Anthropic))),
            (&Method::GET, "/v1/models", Ok((Wire::Chat, Action::ListModels, None))),
            (&Method::GET, "/v1beta/models", Ok((Wire::Gemini, Action::ListModels, None))),
            (&Method::DELETE, "/v1/models", Err(NoRoute::WrongMethod(Wire::Chat))),
            (&Method::GET, "/v1/models/org%2Fname", Ok((Wire::Chat, Action::GetModel("org/name".to_owned()), None))),
            (&post, "/v1beta/models/g-1:streamGenerateContent", Ok((Wire::Gemini, stream.clone(), Some("g-1")))),
            (&post, "/v1/models/a/b:c:streamGenerateContent", Ok((Wire::Gemini, stream, Some("a/b:c")))),
            (&post, "/v1beta/models/g-1:teleport", Err(NoRoute::NotFound(Wire::Gemini))),
            (&post, "/v1beta/models/g-1", Err(NoRoute::NotFound(Wire::Gemini))),
            (&post, "/v1/modelsx", Err(NoRoute::NotFound(Wire::Chat))),
            (&post, "/v1/unknown", Err(NoRoute::NotFound(Wire::Chat))),
            (&Method::GET, "/v1/responses/r%201", stored(Stored::Get, "r 1")),
            (&Method::DELETE, "/v1/responses/r", stored(Stored::Delete, "r")),
            (&post, "/v1/responses/r/cancel", stored(Stored::Cancel, "r")),
            (&Method::GET, "/v1/responses/r/input_items", stored(Stored::InputItems, "r")),
            (&Method::GET, "/v1/responses/r/cancel", Err(NoRoute::WrongMethod(Wire::Responses))),
            (&post, "/v1/responses/r", Err(NoRoute::WrongMethod(Wire::Responses))),
            (&Method::GET, "/v1/responses/", Err(NoRoute::NotFound(Wire::Responses))),
            (&Method::GET, "/v1/responses/r/other", Err(NoRoute::NotFound(Wire::Responses))),
        ] {
            let got = find(method, path).map(|route| (route.wire, route.action, route.model));
            let want = want.map(|(wire, action, model): (_, _, Option<&str>)| (wire, action, model.map(str::to_owned)));
            assert_eq!(got, want, "{method} {path}");
        }
    }

    #[test]
    fn percent_signs_resolve_or_stay() {
        for (text, want) in [("a%20b", Some("a b")), ("100%", Some("100%")), ("%zz", Some("%zz")), ("%ff", None)] {
            assert_eq!(percent_decoded(text).as_deref(), want, "{text}");
        }
    }
}
