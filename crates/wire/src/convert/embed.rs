//! Embeddings: `/v1/embeddings`, and Gemini's `:embedContent` and `:batchEmbedContents`.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Number;

use super::{Answered, Refused, parse};
use crate::{
    Usage, Wire,
    ir::{Extra, Json, object},
    loss::Loss,
};

/// A converted request for embeddings.
#[derive(Clone, Debug)]
pub struct Embed {
    /// The body.
    pub bytes: Vec<u8>,
    /// Gemini's method: `batchEmbedContents` instead of `embedContent`.
    pub batch: bool,
    /// How the client wants its answer.
    pub wanted: Wanted,
    /// What was not carried.
    pub loss: Loss,
}

/// The form of an answer with embeddings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `OpenAI`: vectors in base64, four bytes of little endian to a number.
    pub base64: bool,
    /// Gemini: the client asked for several.
    pub batch: bool,
}

/// One text, and what Gemini lets each have of its own.
struct Text {
    text: String,
    dimensions: Option<Json>,
}

/// Converts a request for embeddings between `OpenAI`'s wires and Gemini.
///
/// # Errors
/// [`Refused`]: the body is not what its format says, holds tokens instead of text, or one side has no embeddings.
pub fn embed_request(from: Wire, to: Wire, body: &[u8], model: Option<&str>) -> Result<Embed, Refused> {
    if from == Wire::Anthropic || to == Wire::Anthropic {
        return Err(Refused::unsupported("", "this format has no embeddings"));
    }
    let (mut body, mut loss) = (parse(body)?, Loss::default());
    if from != Wire::Gemini && to != Wire::Gemini {
        // One route of one vendor.
        body.put_some("model", model);
        return Ok(Embed { bytes: body.to_bytes(), batch: false, wanted: Wanted::default(), loss });
    }
    let own = body.take_str("model").unwrap_or_default();
    let model = model.unwrap_or_else(|| own.strip_prefix("models/").unwrap_or(&own)).to_owned();
    let (texts, wanted) = if from == Wire::Gemini {
        texts_of_gemini(body, to, &mut loss)?
    } else {
        texts_of_openai(body, to, &mut loss)?
    };
    if to == Wire::Gemini {
        let batch = texts.len() != 1;
        if texts.is_empty() {
            return Err(Refused::invalid("/input", "there is no text"));
        }
        let requests = texts.into_iter().map(|one| {
            let content = object! { "parts": vec![object! { "text": one.text }] };
            let mut request = object! { "model": format!("models/{model}"), "content": content };
            request.put_some("outputDimensionality", one.dimensions);
            request
        });
        let mut requests: Vec<Json> = requests.collect();
        let body = match requests.pop() {
            Some(only) if !batch => only,
            last => {
                requests.extend(last);
                object! { "requests": requests }
            }
        };
        return Ok(Embed { bytes: body.to_bytes(), batch, wanted, loss });
    }
    let dimensions = texts.first().and_then(|one| one.dimensions.clone());
    if texts.iter().any(|one| one.dimensions != dimensions) {
        return Err(Refused::unsupported("/requests", "the target gives all vectors the same dimensions"));
    }
    let input: Vec<Json> = texts.into_iter().map(|one| one.text.into()).collect();
    let mut there = object! { "model": model, "input": input, "encoding_format": "float" };
    there.put_some("dimensions", dimensions);
    Ok(Embed { bytes: there.to_bytes(), batch: false, wanted, loss })
}

fn texts_of_openai(mut body: Json, to: Wire, loss: &mut Loss) -> Result<(Vec<Text>, Wanted), Refused> {
    let dimensions = body.take("dimensions");
    let base64 = body.take_str("encoding_format").is_some_and(|form| form == "base64");
    let input = match body.take("input") {
        Some(Json::Array(items)) => items,
        Some(text @ Json::String(_)) => vec![text],
        _ => return Err(Refused::invalid("/input", "neither a string nor a list")),
    };
    let text = |(at, item): (usize, Json)| {
        let text =
            item.string().ok_or_else(|| Refused::unsupported(format!("/input/{at}"), "the target takes text"))?;
        Ok(Text { text, dimensions: dimensions.clone() })
    };
    let texts = input.into_iter().enumerate().map(text).collect::<Result<_, Refused>>()?;
    Extra::new(Wire::Chat, "", body).open(to, loss);
    Ok((texts, Wanted { base64, batch: false }))
}

fn texts_of_gemini(mut body: Json, to: Wire, loss: &mut Loss) -> Result<(Vec<Text>, Wanted), Refused> {
    crate::gemini::camel(&mut body);
    let requests = body.take_array("requests");
    let batch = requests.is_some();
    let list = requests.unwrap_or_else(|| vec![std::mem::take(&mut body)]);
    let mut texts = Vec::with_capacity(list.len());
    for (at, mut one) in list.into_iter().enumerate() {
        let at = if batch { format!("/requests/{at}") } else { String::new() };
        one.take("model");
        let parts = one.take_array("content.parts").unwrap_or_default();
        let text = |mut part: Json| part.take_str("text");
        let found: Option<Vec<String>> = parts.into_iter().map(text).collect();
        let found = found.ok_or_else(|| Refused::unsupported(format!("{at}/content"), "the target takes text"))?;
        let text = found.join("\n");
        one.take("content.role");
        texts.push(Text { text, dimensions: one.take("outputDimensionality") });
        Extra::new(Wire::Gemini, &at, one).open(to, loss);
    }
    Extra::new(Wire::Gemini, "", body).open(to, loss);
    Ok((texts, Wanted { base64: false, batch }))
}

/// Converts an answer with embeddings. Older models of Gemini report no usage: then [`Usage::reported`] is false.
///
/// # Errors
/// [`Refused`]: the body is not what its format says.
pub fn embedded(from: Wire, to: Wire, body: &[u8], model: &str, wanted: Wanted) -> Result<Answered, Refused> {
    let (mut body, mut loss) = (parse(body)?, Loss::default());
    let at = if from == Wire::Gemini { "usageMetadata.promptTokenCount" } else { "usage.prompt_tokens" };
    let input = body.at(at).u64().unwrap_or_default();
    let usage = Usage { input, reported: input > 0, ..Usage::default() };
    if from != Wire::Gemini && to != Wire::Gemini {
        body.put("model", model);
        return Ok(Answered { bytes: body.to_bytes(), usage, loss });
    }
    let vectors = if from == Wire::Gemini {
        body.take("usageMetadata");
        let one = body.take("embedding").map(|one| vec![one]);
        let list = one.or_else(|| body.take_array("embeddings"));
        let list = list.ok_or_else(|| Refused::invalid("/embeddings", "missing"))?;
        let vectors: Option<Vec<Json>> = list.into_iter().map(|mut one| one.take("values")).collect();
        vectors.ok_or_else(|| Refused::invalid("/embeddings", "one without values"))?
    } else {
        body.take("usage");
        body.take("model");
        body.take("object");
        let list = body.take_array("data").ok_or_else(|| Refused::invalid("/data", "not a list"))?;
        let vectors: Option<Vec<Json>> = list.into_iter().map(|mut one| one.take("embedding")).collect();
        vectors.ok_or_else(|| Refused::invalid("/data", "one without an embedding"))?
    };
    Extra::new(from, "", body).open(to, &mut loss);
    let vectors = vectors.into_iter().map(|vector| in_form(vector, to != Wire::Gemini && wanted.base64));
    let vectors: Vec<Json> =
        vectors.collect::<Option<_>>().ok_or_else(|| Refused::invalid("", "a vector of no numbers"))?;
    let there = if to == Wire::Gemini {
        let mut list: Vec<Json> = vectors.into_iter().map(|values| object! { "values": values }).collect();
        if wanted.batch {
            object! { "embeddings": list }
        } else {
            object! { "embedding": list.pop() }
        }
    } else {
        let one = |(at, vector): (u64, Json)| object! { "object": "embedding", "index": at, "embedding": vector };
        object! {
            "object": "list",
            "data": (0u64..).zip(vectors).map(one).collect::<Vec<_>>(),
            "model": model,
            "usage": object! { "prompt_tokens": usage.input, "total_tokens": usage.input },
        }
    };
    Ok(Answered { bytes: there.to_bytes(), usage, loss })
}

/// A vector as base64, or as a list of numbers, from whichever it is.
fn in_form(vector: Json, base64: bool) -> Option<Json> {
    match vector {
        Json::Array(numbers) if base64 => {
            #[expect(clippy::cast_possible_truncation, reason = "the form holds numbers of four bytes")]
            let bytes = numbers.iter().map(|number| number.f64().map(|number| (number as f32).to_le_bytes()));
            Some(STANDARD.encode(bytes.collect::<Option<Vec<_>>>()?.concat()).into())
        }
        Json::String(text) if !base64 => {
            let bytes = STANDARD.decode(text).ok()?;
            let (numbers, []) = bytes.as_chunks::<4>() else { return None };
            let number = |bytes: &[u8; 4]| Number::from_f64(f64::from(f32::from_le_bytes(*bytes))).map(Json::Number);
            numbers.iter().map(number).collect::<Option<Vec<_>>>().map(Json::from)
        }
        vector => Some(vector),
    }
}
