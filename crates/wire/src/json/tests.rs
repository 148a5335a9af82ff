use proptest::prelude::*;

use super::{
    MAX_DEPTH, ReadError, Reader, Token,
    text::{Text, plain_run, unescape},
};

fn read(body: &[u8]) -> Result<usize, ReadError> {
    let mut reader = Reader::new(body);
    let mut tokens = 0;
    while reader.next()?.is_some() {
        tokens += 1;
    }
    Ok(tokens)
}

fn first_text(body: &str) -> Text<'_> {
    match Reader::new(body.as_bytes()).next() {
        Ok(Some(Token::Text(text))) => text,
        other => panic!("no text: {other:?}"),
    }
}

#[test]
fn the_grammar_is_the_standards() {
    for (body, good) in [
        ("{}", true),
        (" [ ] \n", true),
        (r#"{"a":1,"b":[true,false,null,-0.5e+3,""]}"#, true),
        ("0", true),
        (r#""\ud800""#, true),
        ("", false),
        ("{", false),
        ("[1,]", false),
        (r#"{"a":1,}"#, false),
        (r#"{"a" 1}"#, false),
        (r#"{"a":}"#, false),
        (r"{1:2}", false),
        (r#"{"a":1 "b":2}"#, false),
        ("[1}", false),
        ("01", false),
        ("1.", false),
        (".5", false),
        ("1e", false),
        ("+1", false),
        ("-", false),
        ("nul", false),
        ("nullx", false),
        (r#""\x""#, false),
        (r#""\u12g4""#, false),
        ("\"a\nb\"", false),
        (r#""a"#, false),
        (r#""a\"#, false),
        ("{} {}", false),
        ("\u{feff}{}", false),
    ] {
        assert_eq!(read(body.as_bytes()).is_ok(), good, "{body}");
        assert_eq!(serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok(), good, "the oracle: {body}");
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth| [vec![b'['; depth], vec![b']'; depth]].concat();
    assert!(read(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(read(&nested(MAX_DEPTH + 1)), Err(ReadError::TooDeep));
}

#[test]
fn broken_escapes_are_replaced_or_left_out() {
    for (raw, text) in [
        (r"a\ud800b", "a\u{fffd}b"),
        (r"\ud83d\ude00!", "😀!"),
        (r"\ud83d\u0041", "\u{fffd}A"),
        (r"cut\u00", "cut"),
        (r"cut\", "cut"),
    ] {
        assert_eq!(unescape(raw.as_bytes()), text, "{raw}");
    }
}

proptest! {
    #[test]
    fn a_plain_run_ends_at_the_first_special_byte(bytes in prop::collection::vec(any::<u8>(), 0..120), plain in 0..100_usize) {
        let bytes = [vec![b'a'; plain], bytes].concat();
        let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
        prop_assert_eq!(plain_run(&bytes), bytes.iter().position(special).unwrap_or(bytes.len()));
    }

    #[test]
    fn text_is_measured_and_unescaped(text in "(\\PC|[\"\\\\\n\t\u{1}]){0,40}", ascii in any::<bool>()) {
        let mut body = serde_json::to_string(&text).unwrap();
        if ascii {
            // Every character outside ASCII as one or two escapes.
            let escape = |char: char| -> Vec<String> {
                let units = char.encode_utf16(&mut [0; 2]).to_vec();
                units.iter().map(|unit| format!("\\u{unit:04x}")).collect()
            };
            let kept = |char: char| vec![char.to_string()];
            let parts: Vec<String> =
                body.chars().flat_map(|char| if char.is_ascii() { kept(char) } else { escape(char) }).collect();
            body = parts.concat();
        }
        let got = first_text(&body);
        prop_assert_eq!(unescape(got.raw), text.clone());
        prop_assert_eq!(got.len(), text.len());
        prop_assert_eq!(got.wide(), text.bytes().filter(|byte| !byte.is_ascii()).count());
    }

    #[test]
    fn a_bounded_text_is_a_beginning(text in "\\PC{0,40}", most in 0..40_usize) {
        let body = serde_json::to_string(&text).unwrap();
        let got = first_text(&body).bounded(most);
        prop_assert!(text.starts_with(&got) && got.len() <= most);
        prop_assert!(got.len() + 4 > most.min(text.len()));
    }
}
