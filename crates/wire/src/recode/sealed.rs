//! Takes signatures and thoughts out of a request that stays on its wire: envelopes, which were signed on another, and what
//! another account has issued. So goes what a conversion wrote for its clients and the vendor of their wire would refuse:
//! sources without Anthropic's mark, and thoughts by an id that `OpenAI` never gave.

use std::ops::Range;

use crate::{
    convert::SEALED_MARK,
    json::{Reader, Text, Token},
    openai_responses::is_own_thought,
    splice::Edit,
    state::{Fingerprint, named},
};

/// The name of these edits.
pub const STRIP_SEALED: &str = "strip_sealed";
/// What Gemini takes in the place of a signature (seen in Gemini CLI's requests).
const NO_SIGNATURE: &[u8] = br#""skip_thought_signature_validator""#;
/// Depth of a message, and of a block in it: the root, its list, the message, its list, the block.
const MESSAGE: usize = 3;
const BLOCK: usize = 5;
/// Depth of a source of a block's text: the block, its list, the source.
const SOURCE: usize = BLOCK + 2;
/// Depth of an input item of the Responses API: the root, its list, the item.
const ITEM: usize = MESSAGE;

/// Who issued what a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// Who is to be asked.
    Asked,
    /// Somebody else.
    Another,
    /// Nobody is known to have.
    Unknown,
}

/// What is taken out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unsealed {
    /// Blocks that go whole, and messages that would be left with none, with the commas that separate them; on Gemini's wire, signatures that are replaced.
    pub edits: Vec<Edit>,
    /// The last answer of the history called tools and has lost its thoughts: Anthropic refuses it while thinking is on.
    pub last_step: bool,
}

/// A container that is open.
#[derive(Debug, Default)]
struct Open {
    array: bool,
    start: usize,
    /// Of an object: its member under way.
    key: Vec<u8>,
    /// Of an object: it holds an envelope, or what another has issued.
    goes: bool,
    /// Of a source: it lacks its vendor's mark, and nothing rests on it.
    unmarked: bool,
    /// Of an item: its id is that of what another has issued, or of no vendor; which counts if it is a thought.
    foreign: bool,
    thought: bool,
    /// It stands for the whole conversation before it, which nobody can do without.
    compacted: bool,
    /// Of an array: the end of its last element that stays, and what goes behind that.
    kept_end: Option<usize>,
    run: Option<Range<usize>>,
    /// Of a message.
    answers: bool,
    calls: bool,
    lost: bool,
    /// Nothing of its content stays: vendors refuse a message that says nothing.
    empty: bool,
}

/// Finds what has to go: envelopes, what another has issued, and what a conversion wrote, unless it was asked for it: it may
/// be a gateway, too. Nothing if the body is not valid JSON.
pub fn strip_sealed(body: &[u8], issuer: impl Fn(Fingerprint) -> Issuer) -> Unsealed {
    let mut found = Unsealed::default();
    let mut reader = Reader::new(body);
    let mut open: Vec<Open> = Vec::new();
    while let Ok(Some(token)) = reader.next() {
        match token {
            Token::Open { array } => open.push(Open { array, start: reader.start(), ..Open::default() }),
            Token::Close => {
                let Some(closed) = open.pop() else { break };
                close(&mut open, closed, reader.end(), &mut found);
            }
            Token::Key(key) => {
                if let Some(object) = open.last_mut() {
                    object.key = key.key().map(std::borrow::Cow::into_owned).unwrap_or_default();
                }
            }
            Token::Text(text) => {
                text_value(&mut open, &text, reader.start()..reader.end(), &issuer, &mut found);
                element(&mut open, reader.start()..reader.end(), false, &mut found);
            }
            Token::Number(_) | Token::Bool(_) | Token::Null => {
                element(&mut open, reader.start()..reader.end(), false, &mut found);
            }
        }
    }
    found
}

fn text_value(
    open: &mut [Open],
    text: &Text<'_>,
    at: Range<usize>,
    issuer: &impl Fn(Fingerprint) -> Issuer,
    found: &mut Unsealed,
) {
    let goes = |text: &Text<'_>| text.word().starts_with(SEALED_MARK) || issuer(named(text.raw)) == Issuer::Another;
    let depth = open.len();
    let in_list = depth >= 2 && open[depth - 2].array;
    let unmarked = depth == SOURCE && in_list && text.len() == 0 && open[BLOCK - 1].key == b"citations";
    let Some(object) = open.last_mut().filter(|object| !object.array) else { return };
    match object.key.as_slice() {
        b"thoughtSignature" | b"thought_signature" if goes(text) => {
            found.edits.push(Edit { at, with: NO_SIGNATURE.to_vec(), name: STRIP_SEALED });
        }
        b"signature" | b"data" | b"encrypted_content" if in_list && goes(text) => object.goes = true,
        b"encrypted_index" if unmarked => object.unmarked = true,
        b"id" if in_list && depth == ITEM => {
            let written = is_own_thought(&text.word());
            object.foreign |= goes(text) || (written && issuer(named(text.raw)) != Issuer::Asked);
        }
        b"type" if depth == ITEM => {
            let word = text.word();
            object.thought = *word == *b"reasoning";
            object.compacted = *word == *b"compaction";
        }
        b"role" if depth == MESSAGE => object.answers = *text.word() == *b"assistant",
        b"type" if depth == BLOCK && *text.word() == *b"tool_use" => open[MESSAGE - 1].calls = true,
        _ => {}
    }
}

fn close(open: &mut [Open], mut closed: Open, end: usize, found: &mut Unsealed) {
    closed.goes = (closed.goes && !closed.compacted) || (closed.foreign && closed.thought);
    let depth = open.len();
    if closed.array
        && let Some(run) = closed.run.take()
    {
        match open.last_mut().filter(|_| depth == MESSAGE && closed.kept_end.is_none()) {
            Some(message) if message.key == b"content" => message.empty = true,
            _ => found.edits.push(cut(run)),
        }
    }
    if closed.answers {
        found.last_step = closed.lost && closed.calls;
    }
    if closed.goes
        && let Some(message) = open.get_mut(MESSAGE - 1)
    {
        message.lost = true;
    }
    element(open, closed.start..end, closed.goes || closed.empty || closed.unmarked, found);
}

/// A value ended; in an array, it is an element.
fn element(open: &mut [Open], at: Range<usize>, goes: bool, found: &mut Unsealed) {
    let Some(array) = open.last_mut().filter(|parent| parent.array) else { return };
    match (goes, array.run.take()) {
        (true, None) => array.run = Some(array.kept_end.unwrap_or(at.start)..at.end),
        (true, Some(earlier)) => array.run = Some(earlier.start..at.end),
        (false, gone) => {
            if let Some(gone) = gone {
                // With an element before it, its comma goes; at the front, the one behind it.
                let end = if array.kept_end.is_some() { gone.end } else { at.start };
                found.edits.push(cut(gone.start..end));
            }
            array.kept_end = Some(at.end);
        }
    }
}

fn cut(at: Range<usize>) -> Edit {
    Edit { at, with: Vec::new(), name: STRIP_SEALED }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Wire, convert::seal_envelope, splice};
    use bytes::Bytes;
    use proptest::{collection::vec, prelude::*};
    use serde_json::{Value, json};

    fn another(is: bool) -> Issuer {
        if is { Issuer::Another } else { Issuer::Unknown }
    }

    fn stripped(body: &Value) -> (Value, bool) {
        let body = Bytes::from(body.to_string());
        let Unsealed { edits, last_step } = strip_sealed(&body, |_| Issuer::Unknown);
        (serde_json::from_slice(&splice(&body, edits).concat()).unwrap(), last_step)
    }

    #[test]
    fn blocks_that_hold_an_envelope_go_whole_and_all_others_stay() {
        let sealed = seal_envelope(Wire::Gemini, "0011223344556677", "sig", false);
        let thought = json!({ "type": "thinking", "thinking": "hm", "signature": sealed });
        let own = json!({ "type": "thinking", "thinking": "hm", "signature": "EqQBCkYI" });
        let redacted = json!({ "type": "redacted_thinking", "data": sealed });
        let item = json!({ "type": "reasoning", "summary": [], "encrypted_content": sealed });
        let (text, call) =
            (json!({ "type": "text", "text": sealed }), json!({ "type": "tool_use", "id": "c", "input": {} }));
        let said = |blocks: &[&Value]| json!({ "messages": [{ "role": "assistant", "content": blocks }, { "role": "user", "content": "x" }] });
        for (body, want, last_step) in [
            (said(&[&thought, &text]), said(&[&text]), false),
            (said(&[&thought, &redacted, &call]), said(&[&call]), true),
            (said(&[&text, &thought, &call]), said(&[&text, &call]), true),
            (said(&[&text, &thought]), said(&[&text]), false),
            (said(&[&own, &call]), said(&[&own, &call]), false),
            (said(&[&thought]), json!({ "messages": [{ "role": "user", "content": "x" }] }), false),
            (said(&[&thought, &redacted]), json!({ "messages": [{ "role": "user", "content": "x" }] }), false),
            (json!({ "input": [item, "x", item] }), json!({ "input": ["x"] }), false),
        ] {
            assert_eq!(stripped(&body), (want, last_step), "{body}");
        }
    }

    #[test]
    fn what_another_has_issued_goes_whole_and_what_stays_keeps_its_bytes() {
        // Written as no serialiser would write it.
        for (body, gone, want, last_step) in [
            (
                r#"{ "messages":[{"role":"assistant","content":[ {"type":"thinking","signature":"A\/"} , {"type":"tool_use"},{"type":"thinking","signature":"B"}]}]}"#,
                "A/",
                r#"{ "messages":[{"role":"assistant","content":[ {"type":"tool_use"},{"type":"thinking","signature":"B"}]}]}"#,
                true,
            ),
            (
                r#"{"input":[{"id":"rs_1","type":"reasoning","summary":[]},{"type":"message","id":"msg_1"}, 7]}"#,
                "rs_1",
                r#"{"input":[{"type":"message","id":"msg_1"}, 7]}"#,
                false,
            ),
            (
                r#"{"input":[{"type":"message","id":"msg_1"},{"type":"reasoning","encrypted_content":"gA","id":"rs_1"}]}"#,
                "gA",
                r#"{"input":[{"type":"message","id":"msg_1"}]}"#,
                false,
            ),
            (
                r#"{"input":[{"id":"rs_\u0031","type":"re\u0061soning","summary":[]},7]}"#,
                "rs_1",
                r#"{"input":[7]}"#,
                false,
            ),
            (
                r#"{"messages":[{"role":"assist\u0061nt","content":[{"signature":"A"},{"type":"tool\u005fuse"}]}]}"#,
                "A",
                r#"{"messages":[{"role":"assist\u0061nt","content":[{"type":"tool\u005fuse"}]}]}"#,
                true,
            ),
            (
                r#"{"input":[{"encrypted_content":"gA","type":"compaction"}]}"#,
                "gA",
                r#"{"input":[{"encrypted_content":"gA","type":"compaction"}]}"#,
                false,
            ),
            // A source goes alone; the thoughts before it, and the step, are as they were.
            (
                r#"{"messages":[{"role":"assistant","content":[{"type":"thinking","signature":"B"},{"citations":[ {"encrypted_index":"","url":"u"} , {"url":"v","encrypted_index":"E"}],"type":"text"},{"type":"tool_use"}]}]}"#,
                "A",
                r#"{"messages":[{"role":"assistant","content":[{"type":"thinking","signature":"B"},{"citations":[ {"url":"v","encrypted_index":"E"}],"type":"text"},{"type":"tool_use"}]}]}"#,
                false,
            ),
            // A list of none is what the vendor itself sends.
            (
                r#"{"messages":[{"role":"assistant","content":[{"citations":[{"encrypted\u005findex":""},{"encrypted_index":""}],"type":"text","text":"so"}]}]}"#,
                "A",
                r#"{"messages":[{"role":"assistant","content":[{"citations":[],"type":"text","text":"so"}]}]}"#,
                false,
            ),
            // What a tool gave back, and what it was called with, is nobody's source.
            (
                r#"{"messages":[{"content":[{"type":"tool_use","input":{"a":[{"encrypted_index":""}]}},{"content":[{"citations":[{"encrypted_index":""}]}]}]}]}"#,
                "A",
                r#"{"messages":[{"content":[{"type":"tool_use","input":{"a":[{"encrypted_index":""}]}},{"content":[{"citations":[{"encrypted_index":""}]}]}]}]}"#,
                false,
            ),
            // A thought that a conversion wrote, and one that it did not; a message by such an id is whole.
            (
                r#"{"input":[{"id":"rs_0123456789abcdef0123456789abcdef_0","type":"reasoning","summary":[]},{"type":"reasoning","id":"rs_0123456789abcdef0123456789abcdef"}]}"#,
                "A",
                r#"{"input":[{"type":"reasoning","id":"rs_0123456789abcdef0123456789abcdef"}]}"#,
                false,
            ),
            (
                r#"{"input":[{"id":"rs_0123456789abcdef0123456789abcdef_0","type":"message","content":"x"}]}"#,
                "A",
                r#"{"input":[{"id":"rs_0123456789abcdef0123456789abcdef_0","type":"message","content":"x"}]}"#,
                false,
            ),
            // Only a thought goes by its id.
            (
                r#"{"input":[{"type":"message","id":"msg_1"}]}"#,
                "msg_1",
                r#"{"input":[{"type":"message","id":"msg_1"}]}"#,
                false,
            ),
            (
                r#"{"contents":[{"parts":[{"thoughtSignature" : "C", "text":"a"}]}]}"#,
                "C",
                r#"{"contents":[{"parts":[{"thoughtSignature" : "skip_thought_signature_validator", "text":"a"}]}]}"#,
                false,
            ),
        ] {
            let bytes = Bytes::from_static(body.as_bytes());
            let Unsealed { edits, last_step: lost } =
                strip_sealed(&bytes, |thing| another(thing == named(gone.as_bytes())));
            let left = String::from_utf8(splice(&bytes, edits).concat()).unwrap();
            assert_eq!((left.as_str(), lost), (want, last_step), "{body}");
        }
    }

    proptest! {
        #[test]
        fn stripping_takes_foreign_blocks_out_and_leaves_every_other_byte(
            blocks in vec((0_u8..3, any::<bool>(), 0_usize..3), 0..12),
        ) {
            let text = |(at, (kind, foreign, pad)): (usize, &(u8, bool, usize))| {
                let (word, pad) = (if *foreign { "far" } else { "near" }, " ".repeat(*pad));
                match kind {
                    0 => format!("{pad}{{\"type\":\"thinking\",{pad}\"signature\":\"{word}{at}\"}}"),
                    1 => format!("{{\"data\":{pad}\"{word}{at}\",\"type\":\"redacted_thinking\"}}{pad}"),
                    _ => format!("{{\"type\":\"text\",\"text\":\"far{at}\"}}{pad}"),
                }
            };
            let all: Vec<String> = blocks.iter().enumerate().map(text).collect();
            let stays = |(_, (kind, foreign, _)): &(usize, &(u8, bool, usize))| *kind == 2 || !foreign;
            let kept: Vec<&str> =
                blocks.iter().enumerate().filter(stays).map(|(at, _)| all[at].trim()).collect();
            let body = Bytes::from(format!("{{\"messages\":[{{\"role\":\"assistant\",\"content\":[{}]}}]}}", all.join(",")));
            let far: Vec<_> = (0..blocks.len()).map(|at| named(format!("far{at}").as_bytes())).collect();
            let left = splice(&body, strip_sealed(&body, |thing| another(far.contains(&thing))).edits).concat();
            let left = String::from_utf8(left).unwrap();
            prop_assert!(kept.iter().all(|block| left.contains(block)), "{left}");
            // A message that would be left with nothing goes, too.
            let nothing = kept.is_empty() && !blocks.is_empty();
            let said = format!("{{\"role\":\"assistant\",\"content\":[{}]}}", kept.join(","));
            let want = format!("{{\"messages\":[{}]}}", if nothing { "" } else { &said });
            let (left, want): (Value, Value) =
                (serde_json::from_str(&left).unwrap(), serde_json::from_str(&want).unwrap());
            prop_assert_eq!(left, want);
        }
    }

    proptest! {
        #[test]
        fn a_source_without_a_mark_goes_and_every_other_byte_stays(
            // Of each text, its sources: whether they are marked, and how they are spaced.
            texts in vec(vec((any::<bool>(), 0_usize..3), 0..6), 1..6),
        ) {
            let source = |(at, (marked, pad)): (usize, &(bool, usize))| {
                let (mark, pad) = (if *marked { "E" } else { "" }, " ".repeat(*pad));
                format!("{pad}{{\"url\":\"https://{at}.example\",{pad}\"encrypted_index\":{pad}\"{mark}\"}}{pad}")
            };
            let written = |kept: fn(&(bool, usize)) -> bool| {
                let one = |sources: &Vec<(bool, usize)>| {
                    let list: Vec<_> =
                        sources.iter().enumerate().filter(|(_, one)| kept(one)).map(source).collect();
                    format!("{{\"type\":\"text\",\"citations\":[{}],\"text\":\"so\"}}", list.join(","))
                };
                let blocks: Vec<_> = texts.iter().map(one).collect();
                format!("{{\"messages\":[{{\"role\":\"assistant\",\"content\":[{}]}}]}}", blocks.join(","))
            };
            let body = Bytes::from(written(|_| true));
            let Unsealed { edits, last_step } = strip_sealed(&body, |_| Issuer::Unknown);
            let some = texts.iter().flatten().any(|(marked, _)| !marked);
            prop_assert_eq!((!edits.is_empty(), last_step), (some, false));
            let left = String::from_utf8(splice(&body, edits).concat()).unwrap();
            for source in texts.iter().flat_map(|sources| sources.iter().enumerate()).filter(|(_, one)| one.0).map(source) {
                prop_assert!(left.contains(source.trim()), "{}", left);
            }
            let (left, want): (Value, Value) =
                (serde_json::from_str(&left).unwrap(), serde_json::from_str(&written(|one| one.0)).unwrap());
            prop_assert_eq!(left, want);
        }
    }

    #[test]
    fn a_thought_that_a_conversion_wrote_goes_back_to_whoever_issued_it() {
        let id = "rs_0123456789abcdef0123456789abcdef_0";
        let body = json!({ "input": [{ "type": "reasoning", "id": id, "summary": [] }] }).to_string();
        for (whose, edits) in [(Issuer::Asked, 0), (Issuer::Another, 1), (Issuer::Unknown, 1)] {
            let issuer = |thing| if thing == named(id.as_bytes()) { whose } else { Issuer::Unknown };
            assert_eq!(strip_sealed(body.as_bytes(), issuer).edits.len(), edits, "{whose:?}");
        }
    }

    #[test]
    fn a_part_that_gemini_must_see_signed_keeps_a_word_for_its_signature() {
        let sealed = seal_envelope(Wire::Anthropic, "0011223344556677", "sig", false);
        let body = |signature: &str| {
            json!({ "contents": [{ "role": "model", "parts": [
                { "functionCall": { "name": "f", "args": {} }, "thoughtSignature": signature },
            ] }] })
        };
        assert_eq!(stripped(&body(&sealed)), (body("skip_thought_signature_validator"), false));
        assert_eq!(stripped(&body("own")), (body("own"), false));
    }
}
