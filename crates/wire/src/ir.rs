//! What the four wires have in common: requests, whole answers and stream events.
//!
//! A decoder takes out of its document what it understands; all that is left stays with the node it came from, as
//! [`Extra`]. An encoder of the same wire puts it back, any other reports it as lost: nothing disappears in silence.

mod event;
mod extra;
mod key;
mod name;
mod read;
mod request;
mod response;
mod value;

pub(crate) use event::{Delta, Event, Opening, Serial};
pub(crate) use extra::{Extra, Place, lose_usage, rest};
pub(crate) use key::Key;
pub(crate) use name::Name;
#[cfg(test)]
pub(crate) use name::steps;
pub(crate) use request::{
    CallNames, Choice, Format, Function, Param, Request, Role, Think, Tool, Turn, call_names, params_of,
};
pub(crate) use response::{Finish, Response};
pub(crate) use value::{Json, Members, object};

use crate::{Wire, loss::Loss};

/// A piece of content.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) kind: Kind,
    pub(crate) extra: Extra,
    /// The item of the Responses wire that begins with this part, where one item holds several parts; of a call that
    /// is to be written on that wire, where its tool is. Of a thought on the Chat wire, the member that says it again.
    pub(crate) item: Option<Box<Extra>>,
    /// What an answer's text rests on, where it goes to another wire.
    pub(crate) citations: Vec<Citation>,
    /// How likely its tokens were, where it goes to another wire.
    pub(crate) probs: Vec<TokenProb>,
    /// Where a thought's signature stands, if that is another part.
    pub(crate) signed_at: Option<Box<str>>,
}

/// How likely a token of a text was.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TokenProb {
    pub(crate) token: String,
    /// The natural logarithm.
    pub(crate) logprob: f64,
    /// The likeliest tokens at its place.
    pub(crate) top: Vec<(String, f64)>,
}

impl TokenProb {
    /// Bytes that it takes.
    pub(crate) fn held(&self) -> usize {
        let top = self.top.iter().map(|(token, _)| token.len() + size_of::<(String, f64)>());
        self.token.len() + top.sum::<usize>() + size_of::<Self>()
    }
}

/// A page that a text rests on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Citation {
    pub(crate) url: String,
    pub(crate) title: Option<String>,
    /// The characters of the text that rest on it, from the first to the one behind the last; all, if that is not said.
    pub(crate) range: Option<(u64, u64)>,
}

impl Citation {
    /// Bytes that it takes.
    pub(crate) fn held(&self) -> usize {
        self.url.len() + self.title.as_ref().map_or(0, String::len) + size_of::<Self>()
    }
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
        let extra = Extra::new(wire, at, rest);
        Self { kind, extra, item: None, citations: Vec::new(), probs: Vec::new(), signed_at: None }
    }

    /// Where it stands.
    pub(crate) fn place(&self) -> Place {
        Place::new(self.extra.wire, self.extra.at.clone())
    }

    /// Reports that the resolution of what it shows is not carried.
    pub(crate) fn lose_detail(&self, reason: &'static str, loss: &mut Loss) {
        let member = if self.extra.wire == Wire::Chat { "image_url/detail" } else { "detail" };
        loss.add(format!("{}/{member}", self.extra.at), reason);
    }

    /// Reports that the name of its file is not carried.
    pub(crate) fn lose_name(&self, reason: &'static str, loss: &mut Loss) {
        let member = match self.extra.wire {
            Wire::Anthropic => "title",
            Wire::Chat => "file/filename",
            Wire::Responses => "filename",
            Wire::Gemini => "inlineData/displayName",
        };
        loss.add(format!("{}/{member}", self.extra.at), reason);
    }

    /// Where its signature stands.
    pub(crate) fn signature_at(&self) -> String {
        let place =
            self.signed_at.as_ref().map_or_else(|| self.place(), |at| Place::new(self.extra.wire, at.to_string()));
        place.signature(matches!(self.kind, Kind::Thinking { redacted: true, .. }))
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
