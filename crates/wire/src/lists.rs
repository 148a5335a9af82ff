//! Model lists, single models and token counts in the dialects of the vendors.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Wire;

/// Who is to read a list of models. The two `OpenAI` wires share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Anthropic.
    Anthropic,
    /// `OpenAI`.
    OpenAi,
    /// Gemini.
    Gemini,
}

/// A model, as a caller may know it.
#[derive(Clone, Copy, Debug)]
pub struct ListedModel<'a> {
    /// The name that callers ask for.
    pub name: &'a str,
    /// The name for people.
    pub display_name: &'a str,
    /// When it was added, in seconds since 1970.
    pub created_unix_s: i64,
    /// Most tokens of a prompt, if known.
    pub input_limit: Option<u64>,
    /// Most tokens of an answer, if known.
    pub output_limit: Option<u64>,
}

/// The part of a list that is asked for. `OpenAI` lists have no pages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Page<'a> {
    /// Most entries, 1 to [`PAGE_MAX`]; `None` for the vendor's default.
    pub limit: Option<usize>,
    /// The name that the page before ended with: Anthropic's `after_id`, Gemini's `pageToken`.
    pub after: Option<&'a str>,
}

/// Most entries of a page, at both vendors that have pages.
pub const PAGE_MAX: usize = 1000;
/// Anthropic's documented default.
const ANTHROPIC_PAGE: usize = 20;
/// Gemini's documented default.
const GEMINI_PAGE: usize = 50;

/// A list of models. A page after a name that is not in the list is empty.
pub fn model_list(dialect: Dialect, models: &[ListedModel<'_>], page: &Page<'_>) -> Vec<u8> {
    let (shown, more) = match dialect {
        Dialect::OpenAi => (models, false),
        Dialect::Anthropic => cut(models, page, ANTHROPIC_PAGE),
        Dialect::Gemini => cut(models, page, GEMINI_PAGE),
    };
    let data: Vec<Value> = shown.iter().map(|model| entry(dialect, model)).collect();
    let last = shown.last().map(|model| model.name);
    let list = match dialect {
        Dialect::OpenAi => json!({ "object": "list", "data": data }),
        Dialect::Anthropic => json!({
            "data": data,
            "has_more": more,
            "first_id": shown.first().map(|model| model.name),
            "last_id": last,
        }),
        Dialect::Gemini if more => json!({ "models": data, "nextPageToken": last }),
        Dialect::Gemini => json!({ "models": data }),
    };
    list.to_string().into_bytes()
}

/// One model.
pub fn model_one(dialect: Dialect, model: &ListedModel<'_>) -> Vec<u8> {
    entry(dialect, model).to_string().into_bytes()
}

/// The answer to a request that counts a prompt's tokens.
pub fn token_count(wire: Wire, tokens: u64) -> Vec<u8> {
    let answer = match wire {
        Wire::Anthropic | Wire::Chat => json!({ "input_tokens": tokens }),
        Wire::Responses => json!({ "object": "response.input_tokens", "input_tokens": tokens }),
        Wire::Gemini => json!({ "totalTokens": tokens }),
    };
    answer.to_string().into_bytes()
}

/// The models of a page, and whether there are more.
fn cut<'m, 'n>(models: &'m [ListedModel<'n>], page: &Page<'_>, default: usize) -> (&'m [ListedModel<'n>], bool) {
    let start = match page.after {
        None => 0,
        Some(name) => models.iter().position(|model| model.name == name).map_or(models.len(), |at| at + 1),
    };
    let rest = models.get(start..).unwrap_or_default();
    let limit = page.limit.unwrap_or(default).clamp(1, PAGE_MAX).min(rest.len());
    (&rest[..limit], limit < rest.len())
}

fn entry(dialect: Dialect, model: &ListedModel<'_>) -> Value {
    let limits = |mut entry: Value, input: &str, output: &str| {
        if let Some(limit) = model.input_limit {
            entry[input] = limit.into();
        }
        if let Some(limit) = model.output_limit {
            entry[output] = limit.into();
        }
        entry
    };
    match dialect {
        Dialect::OpenAi => json!({
            "id": model.name,
            "object": "model",
            "created": model.created_unix_s,
            "owned_by": "system",
        }),
        Dialect::Anthropic => {
            let created = Timestamp::from_second(model.created_unix_s).unwrap_or(Timestamp::UNIX_EPOCH);
            let entry = json!({
                "type": "model",
                "id": model.name,
                "display_name": model.display_name,
                "created_at": created.to_string(),
            });
            limits(entry, "max_input_tokens", "max_tokens")
        }
        Dialect::Gemini => {
            let entry = json!({
                "name": format!("models/{}", model.name),
                "displayName": model.display_name,
                "supportedGenerationMethods": ["generateContent", "countTokens"],
            });
            limits(entry, "inputTokenLimit", "outputTokenLimit")
        }
    }
}

#[cfg(test)]
mod tests;
