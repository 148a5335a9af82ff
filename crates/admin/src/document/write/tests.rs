use super::*;
use proptest::prelude::*;

/// A tree without its lines.
fn plain(value: &Value) -> Value {
    match value {
        Value::List(items) => list(items.iter().map(|item| plain(&item.value))),
        Value::Map(entries) => {
            let mut fields = Fields::default();
            for entry in entries {
                fields.put(entry.key.clone(), plain(&entry.value.value));
            }
            fields.into()
        }
        scalar => scalar.clone(),
    }
}

fn read(text: &str) -> Value {
    plain(&tree::parse(text, Syntax::Yaml).unwrap_or_else(|problem| panic!("{problem}\n{text}")).value)
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("~".to_owned()),
        Just("1e3".to_owned()),
        Just("- a: [b".to_owned()),
        Just("x # y".to_owned()),
        Just("\u{feff}".to_owned()),
        "[a-z]{1,40}",
        "\\PC{0,60}",
        any::<String>(),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|number| Value::Number(number.to_string())),
        any_text().prop_map(Value::Text),
    ];
    scalar.prop_recursive(5, 60, 6, |inner| {
        let entries = proptest::collection::btree_map(any_text(), inner.clone(), 0..6);
        prop_oneof![
            proptest::collection::vec(inner, 0..6).prop_map(list),
            entries.prop_map(|entries| {
                let mut fields = Fields::default();
                for (key, value) in entries {
                    fields.put(key, value);
                }
                fields.into()
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(value in any_value()) {
        let mut root = Fields::default();
        root.put("root", value);
        let text = yaml(&root);
        prop_assert_eq!(read(&text), Value::from(root), "{}", text);
    }
}

#[test]
fn what_fits_stands_on_one_line_and_the_rest_below() {
    let mut short = Fields::default();
    short.text("name", "main");
    short.text("api_key", "${X}");
    let mut long = Fields::default();
    long.text("name", "other key");
    long.texts("models", (0..30).map(|number| format!("model-{number}")));
    long.put("none", Value::Null);
    let mut root = Fields::default();
    root.list("keys", [short.into(), long.into()]);
    root.list("empty", []);
    let text = yaml(&root);
    let (first, rest) = text.split_once("      - model-0\n").unwrap();
    assert_eq!(first, "keys:\n  - {name: main, api_key: \"${X}\"}\n  - name: \"other key\"\n    models:\n");
    assert!(rest.ends_with("      - model-29\n    none: null\nempty: []\n"), "{rest}");
}
