//! Pictures, sound, verdicts and rankings: what OpenAI, and rerankers, answer on the routes beside generation.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use serde_json::Value;

use crate::directive;
use crate::ids;
use crate::json::{Json, o};
use crate::reply::Reply;
use crate::wires::{self, Ask};

/// A PNG of one dot.
const PICTURE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
/// Output tokens of a small picture of low quality (platform.openai.com, image generation guide).
const PICTURE_TOKENS: u64 = 272;
/// Most pictures of one answer.
const PICTURES_MAX: u64 = 10;
/// What every recording says, unless its prompt tells.
const HEARD: &str = "Hello from the recording.";
/// How long every recording is.
const SECONDS: u64 = 3;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Picture { edit: bool },
    Speech,
    Transcript,
    Verdict,
    Ranking,
}

impl Media {
    /// By the end of the path.
    pub(crate) fn of(path: &str) -> Option<Self> {
        Some(match () {
            () if path.ends_with("/images/generations") => Self::Picture { edit: false },
            () if path.ends_with("/images/edits") => Self::Picture { edit: true },
            () if path.ends_with("/audio/speech") => Self::Speech,
            () if path.ends_with("/audio/transcriptions") || path.ends_with("/audio/translations") => Self::Transcript,
            () if path.ends_with("/moderations") => Self::Verdict,
            () if path.ends_with("/rerank") => Self::Ranking,
            () => return None,
        })
    }
}

/// The fields of a body, be it JSON or a form.
pub(crate) enum Fields<'a> {
    Json(Value),
    Form(&'a [u8]),
}

impl<'a> Fields<'a> {
    pub(crate) fn of(body: &'a [u8]) -> Self {
        serde_json::from_slice(body).map_or(Self::Form(body), Self::Json)
    }

    /// A field as text; of a list, its first entry.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        match self {
            Self::Json(body) => match &body[name] {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                Value::Array(list) => list.first()?.as_str().map(str::to_owned),
                other => Some(other.to_string()),
            },
            Self::Form(body) => {
                let at = memmem::find(body, format!("name=\"{name}\"\r\n\r\n").as_bytes())?;
                let value = &body[at + name.len() + 11..];
                let end = memmem::find(value, b"\r\n--")?;
                Some(String::from_utf8_lossy(&value[..end]).into_owned())
            }
        }
    }

    fn is_true(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }
}

/// What is answered by itself, or the error that the body asks for.
pub(crate) fn reply(media: Media, body: &[u8], ask: &Ask) -> Reply {
    if let Some(error) = directive::error_in(body) {
        return error;
    }
    let fields = Fields::of(body);
    match media {
        Media::Picture { edit } => picture(edit, &fields, ask),
        Media::Speech => speech(&fields, ask),
        Media::Transcript => transcript(&fields, ask),
        Media::Verdict => json(ask, &verdict(&fields, ask)),
        Media::Ranking => json(ask, &ranking(&fields, ask)),
    }
}

fn json(ask: &Ask, body: &Json) -> Reply {
    Reply::raw(200, &[("content-type", "application/json")], wires::dressed(ask.wire, body))
}

/// A stream of these events, each named as its type.
fn events(list: &[(&str, Json)]) -> Reply {
    let event = |(name, data): &(&str, Json)| format!("event: {name}\ndata: {}\n\n", data.as_str());
    let all: String = list.iter().map(event).collect();
    Reply::raw(200, &[("content-type", "text/event-stream; charset=utf-8")], all).chunked()
}

fn tokens(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(4)).unwrap_or(u64::MAX)
}

fn picture(edit: bool, fields: &Fields<'_>, ask: &Ask) -> Reply {
    let count = fields.number("n").unwrap_or(1).clamp(1, PICTURES_MAX);
    let (input, output) = (tokens(ask.prompt_bytes), PICTURE_TOKENS * count);
    let usage = o! {
        "input_tokens": input,
        "input_tokens_details": o! { "text_tokens": input, "image_tokens": 0_u64 },
        "output_tokens": output,
        "total_tokens": input + output,
    };
    let created = ask.clock.now_unix_s();
    let look = [
        ("background", Json::from("opaque")),
        ("output_format", Json::from("png")),
        ("quality", Json::from("low")),
        ("size", Json::from("1024x1024")),
    ];
    if !fields.is_true("stream") {
        let pictures = (0..count).map(|_| o! { "b64_json": PICTURE }).collect::<Vec<_>>();
        return json(ask, &o! { "created": created, "data": pictures }.with(&look).with(&[("usage", usage)]));
    }
    let (partial, completed) = if edit {
        ("image_edit.partial_image", "image_edit.completed")
    } else {
        ("image_generation.partial_image", "image_generation.completed")
    };
    let event = |kind| o! { "type": kind, "b64_json": PICTURE, "created_at": created }.with(&look);
    let partials = fields.number("partial_images").unwrap_or_default().min(3);
    let mut list: Vec<_> =
        (0..partials).map(|index| (partial, event(partial).with(&[("partial_image_index", index.into())]))).collect();
    list.push((completed, event(completed).with(&[("usage", usage)])));
    events(&list)
}

/// Sound that holds the words which were to be spoken, so that who asked can tell.
fn speech(fields: &Fields<'_>, ask: &Ask) -> Reply {
    let words = fields.text("input").unwrap_or_default();
    let sound = [b"ID3\x04\0\0\0\0\0\0\xff\xfb", words.as_bytes()].concat();
    if fields.text("stream_format").as_deref() != Some("sse") {
        return Reply::raw(200, &[("content-type", "audio/mpeg")], sound).chunked();
    }
    let (delta, done) = ("speech.audio.delta", "speech.audio.done");
    let (input, output) = (tokens(ask.prompt_bytes), tokens(sound.len()));
    let usage = o! { "input_tokens": input, "output_tokens": output, "total_tokens": input + output };
    events(&[
        (delta, o! { "type": delta, "audio": STANDARD.encode(&sound) }),
        (done, o! { "type": done, "usage": usage }),
    ])
}

fn transcript(fields: &Fields<'_>, ask: &Ask) -> Reply {
    let prompt = fields.text("prompt").unwrap_or_default();
    let text = directive::saying(&prompt).unwrap_or(HEARD);
    let (input, output) = (tokens(ask.prompt_bytes), tokens(text.len()));
    let usage = o! {
        "type": "tokens",
        "input_tokens": input,
        "input_token_details": o! { "text_tokens": 0_u64, "audio_tokens": input },
        "output_tokens": output,
        "total_tokens": input + output,
    };
    if fields.is_true("stream") {
        let (delta, done) = ("transcript.text.delta", "transcript.text.done");
        let pieces = crate::reply::pieces_of(text);
        let mut list: Vec<_> = pieces.iter().map(|piece| (delta, o! { "type": delta, "delta": piece })).collect();
        list.push((done, o! { "type": done, "text": text, "usage": usage }));
        return events(&list);
    }
    match fields.text("response_format").as_deref() {
        Some("text") => plain(format!("{text}\n")),
        Some("srt") => plain(format!("1\n00:00:00,000 --> 00:00:0{SECONDS},000\n{text}\n\n")),
        Some("vtt") => plain(format!("WEBVTT\n\n00:00:00.000 --> 00:00:0{SECONDS}.000\n{text}\n\n")),
        Some("verbose_json") => json(
            ask,
            &o! {
                "task": "transcribe",
                "language": "english",
                "duration": SECONDS,
                "text": text,
                "segments": Vec::<Json>::new(),
                "usage": o! { "type": "duration", "seconds": SECONDS },
            },
        ),
        _ => json(ask, &o! { "text": text, "usage": usage }),
    }
}

fn plain(text: String) -> Reply {
    Reply::raw(200, &[("content-type", "text/plain; charset=utf-8")], text)
}

/// Nothing is ever flagged.
fn verdict(fields: &Fields<'_>, ask: &Ask) -> Json {
    const CATEGORIES: [&str; 13] = [
        "harassment",
        "harassment/threatening",
        "hate",
        "hate/threatening",
        "illicit",
        "illicit/violent",
        "self-harm",
        "self-harm/instructions",
        "self-harm/intent",
        "sexual",
        "sexual/minors",
        "violence",
        "violence/graphic",
    ];
    let each = |value: Json| Json::object(&CATEGORIES.map(|name| (name, value.clone())));
    let inputs = match fields {
        Fields::Json(body) => body["input"].as_array().map_or(1, Vec::len),
        Fields::Form(_) => 1,
    };
    let result = o! {
        "flagged": false,
        "categories": each(false.into()),
        "category_scores": each(Json::raw("0.001".to_owned())),
        "category_applied_input_types": each(vec![Json::from("text")].into()),
    };
    o! { "id": ids::id("modr-", ask.serial, 29), "model": &ask.model, "results": vec![result; inputs] }
}

/// Documents in the order in which they came, each half as good as the one before.
fn ranking(fields: &Fields<'_>, ask: &Ask) -> Json {
    let documents = match fields {
        Fields::Json(body) => body["documents"].as_array().map_or(0, Vec::len),
        Fields::Form(_) => 0,
    };
    let most = fields.number("top_n").and_then(|most| usize::try_from(most).ok()).unwrap_or(documents);
    let score = |index: usize| Json::raw((0.5_f64 / f64::from(1_u32 << index.min(20))).to_string());
    let one = |index| o! { "index": index, "relevance_score": score(index) };
    let results: Vec<Json> = (0..documents.min(most)).map(one).collect();
    o! { "model": &ask.model, "results": results, "usage": o! { "total_tokens": tokens(ask.prompt_bytes) } }
}
