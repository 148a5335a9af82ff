//! The answer of the Responses format: its shell, its items and their ids.

use crate::ir::{Json, Key, object};

/// What an answer is made with.
pub(crate) struct Shell<'a> {
    pub(crate) seed: &'a str,
    pub(crate) created: u64,
    pub(crate) echo: &'a [(Key, Json)],
}

/// The id of the item at `at`.
pub(crate) fn item_id(shell: &Shell<'_>, kind: &str, at: usize) -> String {
    let prefix = match kind {
        "message" => "msg",
        "reasoning" => "rs",
        "custom_tool_call" => "ctc",
        _ => "fc",
    };
    format!("{prefix}_{}_{at}", shell.seed)
}

/// Whether an id is one that a conversion gave to a thought, by the seeds of the relay: no vendor knows it.
pub(crate) fn is_own_thought(id: &[u8]) -> bool {
    const SEED: usize = 32;
    let rest = id.strip_prefix(b"rs_").and_then(|rest| rest.split_at_checked(SEED));
    rest.is_some_and(|(seed, number)| {
        let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let number = number.strip_prefix(b"_").filter(|digits| !digits.is_empty());
        seed.iter().all(hex) && number.is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
    })
}

pub(crate) fn message(shell: &Shell<'_>, at: usize, content: Vec<Json>) -> Json {
    object! {
        "type": "message",
        "id": item_id(shell, "message", at),
        "status": "completed",
        "role": "assistant",
        "content": content,
    }
}

pub(crate) fn give_id(shell: &Shell<'_>, at: usize, item: &mut Json) {
    let kind = item.get("type").str().unwrap_or_default().to_owned();
    item.put("id", item_id(shell, &kind, at));
    if kind != "reasoning" {
        item.put("status", "completed");
    }
}

/// The whole answer, with what clients require to be there.
pub(crate) fn whole(
    shell: &Shell<'_>,
    model: &str,
    (status, details): (&str, Json),
    output: Vec<Json>,
    usage: Json,
) -> Json {
    let mut body = object! {
        "id": format!("resp_{}", shell.seed),
        "object": "response",
        "created_at": shell.created,
        "status": status,
        "error": Json::Null,
        "incomplete_details": details,
        "model": model,
        "output": output,
        "usage": usage,
    };
    body.add(shell.echo);
    body.add(&[
        ("instructions".into(), Json::Null),
        ("metadata".into(), Json::empty()),
        ("parallel_tool_calls".into(), true.into()),
        ("temperature".into(), Json::Null),
        ("tool_choice".into(), "auto".into()),
        ("tools".into(), Vec::new().into()),
        ("top_p".into(), Json::Null),
    ]);
    body
}
