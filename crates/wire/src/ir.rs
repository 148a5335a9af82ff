//! What the four wires have in common: requests, whole answers and stream events.
//!
//! A decoder takes out of its document what it understands; all that is left stays with the node it came from, as
//! [`Extra`]. An encoder of the same wire puts it back, any other reports it as lost: nothing disappears in silence.

mod event;
mod request;
mod response;
mod value;

pub(crate) use event::{Delta, Event, Opening, Serial};
pub(crate) use request::{Choice, Format, Function, Param, Request, Role, Think, Tool, Turn, call_names, params_of};
pub(crate) use response::{Finish, Response};
pub(crate) use value::{Json, object};

use crate::{
    Wire,
    loss::{Loss, step},
};

/// The members of a node that only its own wire knows, and where the node stood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Extra {
    pub(crate) wire: Wire,
    /// The node's JSON pointer.
    pub(crate) at: String,
    pub(crate) rest: Json,
}

/// Members that name or number a thing, or say again what the node says: nothing is lost without them.
const SILENT: [&str; 11] = [
    "id",
    "status",
    "object",
    "index",
    "namespace",
    "response",
    "type",
    "thoughtSignature",
    "caller",
    "stream",
    "role",
];

impl Extra {
    pub(crate) fn new(wire: Wire, at: &str, rest: Json) -> Self {
        Self { wire, at: at.to_owned(), rest }
    }

    /// The start of a node on `wire`: what only it knows, or nothing, and then the rest is reported.
    pub(crate) fn open(&self, wire: Wire, loss: &mut Loss) -> Json {
        if wire == self.wire {
            return self.rest.clone();
        }
        report(&self.rest, &self.at, loss);
        Json::empty()
    }

    /// Reports that the node itself, or one member of it, is not carried.
    pub(crate) fn lose(&self, member: &str, reason: &'static str, loss: &mut Loss) {
        loss.add(if member.is_empty() { self.at.clone() } else { step(&self.at, member) }, reason);
    }
}

/// Names what is in `value`, below the node it was left in.
fn report(value: &Json, at: &str, loss: &mut Loss) {
    for (name, value) in value.members() {
        let at = step(at, name);
        match value {
            value if value.is_void() || SILENT.contains(&name.as_str()) => {}
            // What was taken out of `reasoning` or `generationConfig` is not lost: the rest of it is.
            Json::Object(_) if at.matches('/').count() < 4 && !name.contains("schema") => report(value, &at, loss),
            _ => loss.add(at, "only the source format has it"),
        }
    }
}

/// A piece of content.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) kind: Kind,
    pub(crate) extra: Extra,
    /// The item of the Responses wire that begins with this part, where one item holds several parts.
    pub(crate) item: Option<Box<Extra>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Text(String),
    Refusal(String),
    Media {
        what: Media,
        source: Source,
        /// A file's name or title.
        name: Option<String>,
        /// An image's resolution (`OpenAI`).
        detail: Option<String>,
    },
    Call {
        id: Option<String>,
        name: String,
        /// JSON text, or what the model wrote in its place; a custom tool's input as it is.
        arguments: String,
        custom: bool,
    },
    Result {
        id: Option<String>,
        name: Option<String>,
        content: Vec<Part>,
        /// The content stands as one string.
        plain: bool,
        error: Option<bool>,
        custom: bool,
    },
    Thinking {
        texts: Vec<String>,
        signature: Option<String>,
        /// Nothing of it may be shown; the signature is all there is.
        redacted: bool,
    },
    /// A block that only its own wire knows, whole.
    Foreign(Json),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Image,
    Document,
    Audio,
    Video,
}

impl Media {
    pub(crate) fn of_mime(mime: &str) -> Self {
        match mime.split('/').next() {
            Some("image") => Self::Image,
            Some("audio") => Self::Audio,
            Some("video") => Self::Video,
            _ => Self::Document,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    Base64 { mime: String, data: String },
    Url { url: String, mime: Option<String> },
    File(String),
    Text(String),
}

impl Source {
    /// A data URL's content, or the URL.
    pub(crate) fn of_url(url: String) -> Self {
        let split = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
        match split {
            Some((mime, data)) => Self::Base64 { mime: mime.to_owned(), data: data.to_owned() },
            None => Self::Url { url, mime: None },
        }
    }

    /// The URL that carries it; `None` for a file of one vendor, or text.
    pub(crate) fn to_url(&self) -> Option<String> {
        match self {
            Self::Base64 { mime, data } => Some(format!("data:{mime};base64,{data}")),
            Self::Url { url, .. } => Some(url.clone()),
            Self::File(_) | Self::Text(_) => None,
        }
    }
}

impl Part {
    pub(crate) fn new(kind: Kind, wire: Wire, at: &str, rest: Json) -> Self {
        Self { kind, extra: Extra::new(wire, at, rest), item: None }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) | Kind::Refusal(text) => Some(text),
            _ => None,
        }
    }
}

/// The texts of parts, joined as paragraphs; others are reported.
pub(crate) fn join_text(parts: &[Part], between: &str, loss: &mut Loss) -> String {
    let mut texts = Vec::new();
    for part in parts {
        match part.text() {
            Some(text) => texts.push(text),
            None => part.extra.lose("", "only text has a place here", loss),
        }
    }
    texts.join(between)
}

/// A tool's arguments as an object: the JSON they are, or what was written instead, under a name that says so.
pub(crate) fn arguments_object(arguments: &str) -> Json {
    match arguments.trim() {
        "" => Json::empty(),
        text => Json::object_text(text).unwrap_or_else(|| object! { "_raw": arguments }),
    }
}
