//! JSON Schema, and the subset of `OpenAPI` that Gemini's `parameters` takes.

use crate::{
    ir::Json,
    loss::{Loss, start, step},
};

/// Types in capitals become JSON Schema's; `nullable` becomes a list of types.
pub(crate) fn to_json_schema(mut schema: Json) -> Json {
    lower(&mut schema);
    schema
}

/// A member under which names are the caller's, and the values are schemas.
fn holds_schemas_by_name(key: &str) -> bool {
    matches!(key, "properties" | "$defs" | "definitions" | "patternProperties")
}

/// A member that is a schema, or a list of them.
fn is_schema(key: &str) -> bool {
    matches!(key, "items" | "anyOf" | "oneOf" | "allOf" | "not" | "additionalProperties" | "prefixItems")
}

fn lower(schema: &mut Json) {
    match schema {
        Json::Array(items) => items.iter_mut().for_each(lower),
        Json::Object(members) => {
            for (name, value) in members {
                match value {
                    Json::String(word) if name == "type" => word.make_ascii_lowercase(),
                    Json::Array(words) if name == "type" => words.iter_mut().for_each(|word| {
                        if let Json::String(word) = word {
                            word.make_ascii_lowercase();
                        }
                    }),
                    Json::Object(properties) if holds_schemas_by_name(name) => {
                        for (_, schema) in properties {
                            lower(schema);
                        }
                    }
                    value if is_schema(name) => lower(value),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// JSON Schema in the subset of `OpenAPI`: references in place, `const` as `enum`, `oneOf` as `anyOf`, and without what
/// the subset lacks. What changes the meaning is reported where it stands, of a schema that stands at `at`.
pub(crate) fn to_openapi(schema: &Json, at: &str, loss: &mut Loss) -> Json {
    Subset { root: schema, root_at: at, loss, left: NODES_MAX, copies: COPIES_MAX }.node(schema, at, 0)
}

/// Schemas that references may unfold to.
const NODES_MAX: usize = 10_000;
/// Depth to which references unfold: a schema may refer to itself.
const REFERENCES_MAX: usize = 32;
/// Bytes that references may copy into their places, as [`weight`] counts them.
const COPIES_MAX: usize = 4 << 20;

struct Subset<'a> {
    root: &'a Json,
    root_at: &'a str,
    loss: &'a mut Loss,
    left: usize,
    copies: usize,
}

impl Subset<'_> {
    fn node(&mut self, schema: &Json, at: &str, depth: usize) -> Json {
        const LACKS: &str = "the target's schemas do not have it";
        self.left = self.left.saturating_sub(1);
        if self.left == 0 || self.copies == 0 || depth > REFERENCES_MAX {
            self.loss.add(at, LACKS);
            return crate::ir::object! { "type": "OBJECT" };
        }
        if let Some(reference) = schema.get("$ref").str() {
            let mut found = self.root;
            for key in reference.trim_start_matches("#/").split('/') {
                found = found.get(&key.replace("~1", "/").replace("~0", "~"));
            }
            self.copies = self.copies.saturating_sub(weight(found));
            let at = format!("{}{}", self.root_at, start(reference.trim_start_matches('#')));
            return self.node(found, &at, depth + 1);
        }
        let mut out = Json::empty();
        for (name, value) in schema.members() {
            match (name.as_str(), value) {
                ("$schema" | "additionalProperties" | "$defs" | "definitions" | "$id" | "$comment", _) => {}
                ("type", Json::String(word)) => out.put("type", word.to_ascii_uppercase()),
                ("type", Json::Array(words)) => types(words, &mut out),
                ("const", value) => out.put("enum", vec![value.clone()]),
                ("oneOf" | "anyOf", Json::Array(choices)) => {
                    let at = step(at, name);
                    let choices = choices.iter().enumerate();
                    let choices = choices.map(|(index, one)| self.node(one, &format!("{at}/{index}"), depth + 1));
                    out.put("anyOf", choices.collect::<Vec<_>>());
                }
                ("properties", Json::Object(properties)) => {
                    let at = step(at, "properties");
                    let properties = properties
                        .iter()
                        .map(|(name, schema)| (name.clone(), self.node(schema, &step(&at, name), depth + 1)));
                    out.put("properties", Json::Object(properties.collect()));
                }
                ("items", items @ Json::Object(_)) => {
                    let items = self.node(items, &step(at, "items"), depth + 1);
                    out.put("items", items);
                }
                (
                    "description" | "title" | "enum" | "format" | "nullable" | "required" | "minimum" | "maximum"
                    | "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties"
                    | "pattern" | "default" | "example" | "propertyOrdering",
                    value,
                ) => out.put(name, value.clone()),
                _ => self.loss.add(step(at, name), LACKS),
            }
        }
        out
    }
}

/// About how many bytes a copy takes.
fn weight(schema: &Json) -> usize {
    size_of::<Json>()
        + match schema {
            Json::String(text) | Json::Raw(text) => text.len(),
            Json::Array(items) => items.iter().map(weight).sum(),
            Json::Object(members) => members.iter().map(|(name, value)| name.as_str().len() + weight(value)).sum(),
            _ => 0,
        }
}

/// A list of types: null makes it nullable, several others are choices.
fn types(words: &[Json], out: &mut Json) {
    let words: Vec<&str> = words.iter().filter_map(Json::str).collect();
    if words.contains(&"null") {
        out.put("nullable", true);
    }
    let mut others = words.into_iter().filter(|word| *word != "null").map(str::to_ascii_uppercase);
    match (others.next(), others.next()) {
        (Some(only), None) => out.put("type", only),
        (Some(first), Some(second)) => {
            let all = [first, second].into_iter().chain(others);
            let choices: Vec<Json> = all.map(|word| crate::ir::object! { "type": word }).collect();
            out.put("anyOf", choices);
        }
        _ => {}
    }
}
