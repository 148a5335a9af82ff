use super::*;
use proptest::prelude::*;

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn number(digits: &str) -> Value {
    Value::Number(digits.to_owned())
}

/// The value of a top-level field.
fn field(source: &str, syntax: Syntax, name: &str) -> Node {
    let Value::Map(entries) = parse(source, syntax).unwrap().value else { panic!("not a table") };
    entries.into_iter().find(|entry| entry.key == name).unwrap().value
}

#[test]
fn the_syntax_is_told_by_extension_or_by_the_first_line() {
    for (path, source, want) in [
        ("a.json", "x", Syntax::Json),
        ("a.toml", "x", Syntax::Toml),
        ("a.yml", "{}", Syntax::Yaml),
        ("a", "# note\n{\"users\": []}", Syntax::Json),
        ("a", "[[users]]\n", Syntax::Toml),
        ("a", "settings.timezone = \"UTC\"", Syntax::Toml),
        ("a", "users:\n  - {username: a=b}", Syntax::Yaml),
        ("a", "", Syntax::Yaml),
    ] {
        assert_eq!(Syntax::of(Path::new(path), source), want, "{path}: {source}");
    }
}

#[test]
fn plain_yaml_scalars_follow_the_core_schema() {
    for (source, want) in [
        ("a: ", Value::Null),
        ("a: ~", Value::Null),
        ("a: null", Value::Null),
        ("a: True", Value::Bool(true)),
        ("a: no", text("no")),
        ("a: 0.30", number("0.30")),
        ("a: -1.5e-3", number("-1.5e-3")),
        ("a: .5", number(".5")),
        ("a: 1.2.3", text("1.2.3")),
        ("a: 2025-09-29", text("2025-09-29")),
        ("a: \"3\"", text("3")),
        ("a: !!str 3", text("3")),
        ("a: .", text(".")),
        ("a: 1e", text("1e")),
    ] {
        assert_eq!(field(source, Syntax::Yaml, "a").value, want, "{source}");
    }
}

#[test]
fn numbers_keep_their_digits_in_every_syntax() {
    let digits = "0.1000000000000000055511151231257827";
    for (source, syntax) in [
        (format!("a: {digits}"), Syntax::Yaml),
        (format!("{{\"a\": {digits}}}"), Syntax::Json),
        (format!("a = {digits}"), Syntax::Toml),
    ] {
        assert_eq!(field(&source, syntax, "a").value, number(digits), "{syntax:?}");
    }
    assert_eq!(field("a = 0x10", Syntax::Toml, "a").value, number("16"));
}

#[test]
fn values_know_their_lines_in_every_syntax() {
    for (source, syntax) in [
        ("x: 1\n\nb:\n  - 1\n  - 2\n", Syntax::Yaml),
        ("{\n\"x\": 1,\n\n\"b\": [1,\n2]}", Syntax::Json),
        ("x = 1\n\n\nb = [1,\n2]", Syntax::Toml),
    ] {
        let Value::List(items) = field(source, syntax, "b").value else { panic!("not a list") };
        assert_eq!(items[1].line, 5, "{syntax:?}");
    }
}

#[test]
fn a_doubled_field_is_refused_with_its_line() {
    for (source, syntax) in [
        ("a: 1\nb: 2\na: 3", Syntax::Yaml),
        ("{\"a\": 1,\n\"b\": 2,\n\"\\u0061\": 3}", Syntax::Json),
        ("a = 1\nb = 2\na = 3", Syntax::Toml),
    ] {
        assert_eq!(parse(source, syntax).unwrap_err().line, Some(3), "{syntax:?}");
    }
}

#[test]
fn broken_text_is_refused_with_its_line() {
    for (source, syntax) in
        [("a: 1\nb: [1", Syntax::Yaml), ("{\"a\": 1,\n}", Syntax::Json), ("a = 1\nb = ", Syntax::Toml)]
    {
        assert!(parse(source, syntax).unwrap_err().line.is_some_and(|line| line >= 2), "{syntax:?}");
    }
}

#[test]
fn an_alias_repeats_its_anchor_and_counts_as_often_as_it_is_used() {
    let Value::List(items) = field("a: [&x {k: 1}, *x]", Syntax::Yaml, "a").value else { panic!("not a list") };
    assert_eq!(items[0].value, items[1].value);

    let level = |level: u32| {
        let below = format!("*a{}", level - 1);
        format!("a{level}: &a{level} [{}]", vec![below; 5].join(", "))
    };
    let lines: Vec<_> = std::iter::once("a0: &a0 [1, 2, 3]".to_owned()).chain((1..12).map(level)).collect();
    let bomb = lines.join("\n");
    assert_eq!(parse(&bomb, Syntax::Yaml).unwrap_err().message, "the document is too large");
}

#[test]
fn deep_nesting_is_refused_in_every_syntax() {
    let open = "[".repeat(3_000);
    for (source, syntax) in [
        (open.clone(), Syntax::Yaml),
        (format!("{open}{}", "]".repeat(3_000)), Syntax::Json),
        (format!("a = {open}{}", "]".repeat(3_000)), Syntax::Toml),
    ] {
        assert!(parse(&source, syntax).is_err(), "{syntax:?}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(source in ".{0,200}") {
        for syntax in [Syntax::Yaml, Syntax::Json, Syntax::Toml] {
            let _ = parse(&source, syntax);
        }
    }

    #[test]
    fn yaml_like_text_does_not_panic(source in "[-a:&*\\[\\]{},|> \n\"'#!?%0]{0,80}") {
        let _ = parse(&source, Syntax::Yaml);
    }
}
