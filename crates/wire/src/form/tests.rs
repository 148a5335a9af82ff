use super::*;
use crate::{recode, splice};
use bytes::Bytes;
use proptest::prelude::*;

const KIND: &str = "multipart/form-data; boundary=XX";

/// A part's headers beside its name, and its value.
type Written<'a> = (&'a str, &'a [u8]);

fn written(boundary: &str, parts: &[Written<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for (head, value) in parts {
        body.extend_from_slice(format!("--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    [&body[..], format!("--{boundary}--\r\n").as_bytes()].concat()
}

fn read(parts: &[Written<'_>]) -> Peek {
    peek_form(KIND, &written("XX", parts)).unwrap()
}

#[test]
fn an_edit_of_an_image_is_understood() {
    let parts: [Written<'_>; 7] = [
        ("name=\"image[]\"; filename=\"a.png\"\r\nContent-Type: image/png", b"\x89PNG\r\n\x1a\n\0--XX\r\r\n-"),
        ("name=\"image[]\"; filename=\"b.webp\"\r\ncontent-type:image/webp", b""),
        ("name=\"mask\"; filename=mask.bin", b"\0"),
        ("name=model", b"gpt-image-1"),
        ("name=\"prompt\"", "ein Bär".as_bytes()),
        ("name=\"n\"", b"3"),
        ("name=\"stream\"", b"true"),
    ];
    let body = written("XX", &parts);
    let peek = peek_form(KIND, &body).unwrap();
    let model = peek.model.unwrap();
    assert_eq!((model.value.as_str(), &body[model.span]), ("gpt-image-1", &b"gpt-image-1"[..]));
    assert_eq!((peek.images, peek.choices, peek.stream.map(|stream| stream.value)), (3, 3, Some(true)));
    assert_eq!((peek.messages, peek.text_bytes, peek.wide_bytes), (1, 8, 2));
    assert!(!peek.uncountable);
}

#[test]
fn text_is_text_even_if_it_is_said_to_be_a_picture() {
    let png = "\r\nContent-Type: image/png";
    for (name, images, bytes) in [
        ("name=prompt", 0, 4),
        ("name=prompt; filename=a.png", 0, 4),
        ("name=style", 0, 4),
        ("name=other; filename=a.png", 1, 0),
        ("name=image; filename=a.png", 1, 0),
        // By its URL, or in base64.
        ("name=image", 1, 4),
    ] {
        let peek = read(&[("name=model", b"m"), (&format!("{name}{png}"), b"text")]);
        assert_eq!((peek.images, peek.text_bytes, peek.uncountable), (images, bytes, false), "{name}");
    }
}

#[test]
fn what_is_in_a_recording_does_not_show() {
    let peek =
        read(&[("name=\"file\"; filename=\"a.mp3\"\r\nContent-Type: audio/mpeg", b"ID3"), ("name=\"model\"", b"w")]);
    assert!(peek.uncountable && peek.images == 0 && peek.choices == 1 && peek.stream.is_none());
}

#[test]
fn a_form_that_could_be_read_in_two_ways_is_refused() {
    let part = "--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n";
    let good = format!("{part}--XX--\r\n");
    assert!(peek_form(KIND, good.as_bytes()).is_ok());
    assert!(peek_form(KIND, format!("\r\n{part}--XX--").as_bytes()).is_ok());
    let disposition = |head: &str| good.replace("Content-Disposition: form-data; name=\"a\"", head);
    for (body, reason) in [
        (String::new(), "begin"),
        (format!("preamble\r\n{good}"), "begin"),
        (format!("\n{good}"), "begin"),
        ("--XX--\r\n".to_owned(), "no parts"),
        (part.to_owned(), "closing"),
        (format!("{part}--XX"), "goes on"),
        (format!("{part}--XXX\r\n"), "goes on"),
        (format!("{part}--XX \r\n"), "goes on"),
        (format!("{part}--XX\n"), "goes on"),
        (format!("{good}--XX\r\n"), "follows its closing"),
        (format!("{good}epilogue"), "follows its closing"),
        (good.replace("1\r\n--XX--", "1\n--XX--"), "CR and LF"),
        (good.replace("1\r\n--XX--", "1\r--XX--"), "CR and LF"),
        (good.replace("1\r\n--XX--", "--XX--"), "CR and LF"),
        (good.replace("\r\n\r\n1", "\n\n1"), "do not end"),
        (
            disposition(&format!("Content-Disposition: form-data; name=\"a\"\r\nx: {}", "y".repeat(HEAD_MAX))),
            "do not end",
        ),
        (disposition("Content-Type: text/plain"), "no name"),
        (disposition("Content-Disposition: form-data"), "no name"),
        (disposition("Content-Disposition: form-data; filename=\"a\""), "no name"),
        (disposition("Content-Disposition: attachment; name=\"a\""), "form data"),
        (disposition("Content-Disposition: form-data; name=\"a\"; name=\"model\""), "two names"),
        (disposition("Content-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=b"), "two names"),
        (disposition("Content-Disposition: form-data; name=\"mod\\el\""), "escaped"),
        (disposition("Content-Disposition: form-data; filename=\"\\\"; name=\"a\""), "escaped"),
        (disposition("Content-Disposition: form-data; name*=utf-8''model"), "encoded"),
        (disposition("Content-Disposition: form-data; name=\"a"), "cannot be read"),
        (disposition("Content-Disposition: form-data; name=\"a\"x"), "cannot be read"),
        (disposition("Content-Disposition: form-data; name"), "cannot be read"),
        (disposition("Content-Disposition: form-data; name=\"a\"\r\n x: y"), "proper name"),
        (disposition("Content-Disposition: form-data; name=\"a\"\r\n--XX: 1"), "within headers"),
        (disposition("Content-Disposition: form-data; name=\"a\"\nx: y"), "line break"),
        (disposition("Content-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64"), "is encoded"),
        (disposition("Content-Disposition : form-data; name=\"a\""), "proper name"),
        (disposition("nothing"), "colon"),
    ] {
        let error = peek_form(KIND, body.as_bytes()).expect_err(&body).to_string();
        assert!(
            error.starts_with("the body is not valid multipart/form-data") && error.contains(reason),
            "{error}: {body:?}"
        );
    }
}

#[test]
fn a_boundary_is_taken_from_the_content_type() {
    let long = "b".repeat(71);
    for (kind, want) in [
        ("multipart/form-data; boundary=a-b_c", Some("a-b_c")),
        ("Multipart/Form-Data ;charset=utf-8; Boundary=\"a b:c\"", Some("a b:c")),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=\"\"", None),
        ("multipart/form-data; boundary=\"a \"", None),
        ("multipart/form-data; boundary=a b", None),
        ("multipart/form-data; boundary=a; boundary=b", None),
        ("multipart/form-data; boundary*0=a", None),
        ("multipart/form-data; boundary=a; boundary*0=b", None),
        ("multipart/form-data; boundary=\"a\\\"b\"", None),
        (&format!("multipart/form-data; boundary={long}"), None),
        (&format!("multipart/form-data; boundary={}", &long[1..]), Some(&long[1..])),
    ] {
        assert!(is_form(kind));
        let body = written(want.unwrap_or("a"), &[("name=x", b"1")]);
        let got = peek_form(kind, &body).ok().and_then(|peek| peek.form);
        assert_eq!(got.as_deref(), want, "{kind}");
    }
    assert!(!is_form("application/json") && !is_form("multipart/form-data-x; boundary=a") && !is_form(""));
}

#[test]
fn a_field_that_is_read_is_given_once_and_of_its_type() {
    let duplicate = PeekError::DuplicateKey;
    let wrong = |field, expected| PeekError::WrongType { field, expected };
    for (parts, want) in [
        (&[("name=model", &b"a"[..]), ("name=\"model\"", b"b")][..], duplicate("model")),
        (&[("name=stream", b"true"), ("name=stream", b"true")], duplicate("stream")),
        (&[("name=n", b"1"), ("name=n", b"1")], duplicate("n")),
        (&[("name=model; filename=x", b"a")], wrong("model", MODEL_TYPE)),
        (&[("name=model", b"")], wrong("model", MODEL_TYPE)),
        (&[("name=model", b"\xff")], wrong("model", MODEL_TYPE)),
        (&[("name=stream", b"yes")], wrong("stream", "`true` or `false`")),
        (&[("name=n", b"-1")], wrong("n", "a non-negative integer")),
        (&[("name=n", b"99999999999999999999")], wrong("n", "a non-negative integer")),
    ] {
        assert_eq!(peek_form(KIND, &written("XX", parts)), Err(want), "{parts:?}");
    }
    // Whatever else is repeated is the upstream's to judge.
    read(&[("name=user", b"a"), ("name=user", b"b")]);
}

#[test]
fn a_form_has_so_many_parts_and_no_more() {
    let parts = vec![("name=x", &b"1"[..]); PARTS_MAX];
    assert_eq!(read(&parts).text_bytes, PARTS_MAX as u64);
    let error = peek_form(KIND, &written("XX", &[&parts[..], &[("name=x", b"1")]].concat())).unwrap_err();
    assert!(error.to_string().contains("too many parts"), "{error}");
}

#[test]
fn parts_are_taken_out_whole() {
    let parts: [Written<'_>; 4] = [("name=user", b"a"), ("name=model", b"m"), ("name=user", b"b"), ("name=x", b"1")];
    let body = Bytes::from(written("XX", &parts));
    let names = ["user".to_owned(), "model".to_owned(), "absent".to_owned()];
    let stripped = splice(&body, recode::strip_parts("XX", &body, &names)).concat();
    assert_eq!(stripped, written("XX", &[parts[1], parts[3]]), "a model stays");
}

/// A value that holds no boundary line; pieces of one are what it likes best.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop_oneof![
        Just(b"\r\n--X".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"--".to_vec()),
        Just(b"x--XX".to_vec()),
        prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(pieces, 0..6).prop_map(|pieces| pieces.concat()).prop_filter("a boundary line", |value| {
        let line = [b"\r\n\r\n", &value[..], b"\r\n"].concat();
        !line.windows(5).any(|five| matches!(five, [b'\r' | b'\n', b'-', b'-', b'X', b'X']))
    })
}

proptest! {
    #[test]
    fn any_content_is_kept_around_the_new_name(
        values in prop::collection::vec(("[a-z]{1,8}", any::<bool>(), value()), 0..6),
        at in any::<prop::sample::Index>(),
        model in prop::option::of("[a-z0-9./:-]{1,20}"),
        name in "[a-zA-Z0-9./:\" -]{1,20}",
    ) {
        let heads: Vec<String> = values
            .iter()
            .map(|(name, is_file, _)| if *is_file { format!("name=\"x{name}\"; filename=\"f\"") } else { format!("name=x{name}") })
            .collect();
        let mut parts: Vec<Written<'_>> =
            heads.iter().zip(&values).map(|(head, (.., value))| (head.as_str(), value.as_slice())).collect();
        prop_assume!(model.is_some() || !parts.is_empty());
        let place = at.index(parts.len() + 1);
        let named = |parts: &[Written<'_>], place: usize, name: &str| {
            let mut parts = parts.to_vec();
            parts.insert(place, ("name=\"model\"", name.as_bytes()));
            written("XX", &parts)
        };
        let (body, want) = match &model {
            Some(model) => (named(&parts, place, model), named(&parts, place, &name)),
            None => (written("XX", &parts), named(&parts, 0, &name)),
        };
        let body = Bytes::from(body);
        let peek = peek_form(KIND, &body).unwrap();
        prop_assert_eq!(peek.model.as_ref().map(|model| model.value.as_str()), model.as_deref());
        let edit = if model.is_some() { recode::set_model(&peek, &name) } else { recode::add_model(&peek, &name) };
        if model.as_ref() != Some(&name) {
            prop_assert_eq!(splice(&body, edit.into_iter().collect()).concat(), want);
        }
        parts.clear();
    }

    #[test]
    fn damage_is_survived(cut in any::<prop::sample::Index>(), with in any::<u8>(), at in any::<prop::sample::Index>()) {
        let mut body = written("XX", &[("name=model", b"m"), ("name=\"file\"; filename=\"a\"", b"\r\n--X"), ("name=n", b"1")]);
        let index = at.index(body.len());
        body[index] = with;
        crate::fuzz::form(&[KIND.as_bytes(), b"\n", &body].concat());
        body.truncate(cut.index(body.len() - 4));
        prop_assert!(peek_form(KIND, &body).is_err(), "a form without its end was read");
    }
}
