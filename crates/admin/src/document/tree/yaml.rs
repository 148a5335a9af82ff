//! YAML from the events of a parser: plain scalars by the core schema, everything quoted is text.

use super::{Budget, Entry, Node, Value, unique};
use crate::document::Problem;
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use std::collections::HashMap;

/// A collection that is still open.
enum Open {
    List { line: u32, anchor: usize, items: Vec<Node> },
    Map { line: u32, anchor: usize, entries: Vec<Entry>, key: Option<(String, u32)> },
}

struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<usize, (Node, usize)>,
    budget: Budget,
}

pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let mut builder = Builder { open: Vec::new(), root: None, anchors: HashMap::new(), budget: Budget::new() };
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| Problem::at_line(line_number(error.marker().line()), error.info().to_owned()))?;
        builder.take(event, span)?;
    }
    Ok(builder.root.unwrap_or(Node { line: 1, value: Value::Null }))
}

fn line_number(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let line = line_number(span.start.line());
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                return Err(Problem::at_line(line, "a file holds one document".to_owned()));
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.budget.take(1, self.open.len(), line)?;
                let value = scalar(&text, style, tag.as_deref());
                self.finish(Node { line, value }, anchor)?;
            }
            Event::SequenceStart(anchor, _) => {
                self.budget.take(1, self.open.len(), line)?;
                self.open.push(Open::List { line, anchor, items: Vec::new() });
            }
            Event::MappingStart(anchor, _) => {
                self.budget.take(1, self.open.len(), line)?;
                self.open.push(Open::Map { line, anchor, entries: Vec::new(), key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let (node, anchor) = match self.open.pop() {
                    Some(Open::List { line, anchor, items }) => (Node { line, value: Value::List(items) }, anchor),
                    Some(Open::Map { line, anchor, entries, .. }) => {
                        (Node { line, value: Value::Map(unique(entries)?) }, anchor)
                    }
                    None => return Ok(()),
                };
                self.finish(node, anchor)?;
            }
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor) else {
                    return Err(Problem::at_line(line, "refers to an anchor that is not closed yet".to_owned()));
                };
                self.budget.repeat(*size, self.open.len() + depth(node), line)?;
                let node = node.clone();
                self.finish(node, 0)?;
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        Ok(())
    }

    /// Puts a finished value where it belongs.
    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        if anchor != 0 {
            let size = size(&node);
            // An anchored copy costs memory as well.
            self.budget.take(size, self.open.len(), node.line)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                Some((key, line)) => entries.push(Entry { key, line, value: node }),
                None => *key = Some((key_text(&node)?, node.line)),
            },
        }
        Ok(())
    }
}

fn key_text(node: &Node) -> Result<String, Problem> {
    match &node.value {
        Value::Text(text) | Value::Number(text) => Ok(text.clone()),
        Value::Bool(value) => Ok(value.to_string()),
        other => Err(Problem::at_line(node.line, format!("a field's name is text, not {}", other.kind()))),
    }
}

fn children(node: &Node) -> Box<dyn Iterator<Item = &Node> + '_> {
    match &node.value {
        Value::List(items) => Box::new(items.iter()),
        Value::Map(entries) => Box::new(entries.iter().map(|entry| &entry.value)),
        _ => Box::new(std::iter::empty()),
    }
}

/// Nodes of a tree; its depth is bounded already.
fn size(node: &Node) -> usize {
    children(node).map(size).sum::<usize>() + 1
}

fn depth(node: &Node) -> usize {
    children(node).map(depth).max().map_or(0, |below| below + 1)
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let tagged_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
    if style != ScalarStyle::Plain || tagged_text {
        return Value::Text(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        text if is_number(text) => Value::Number(text.to_owned()),
        text => Value::Text(text.to_owned()),
    }
}

/// The core schema's decimal integers and floats: `[-+]? (\.\d+ | \d+(\.\d*)?) ([eE][-+]?\d+)?`.
fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let some_digit = !whole.is_empty() || !fraction.is_empty();
    some_digit
        && digits(whole)
        && digits(fraction)
        && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}
