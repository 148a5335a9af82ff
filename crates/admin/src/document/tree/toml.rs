//! TOML from its own tree, which keeps spans and the text of numbers.

use super::{Budget, Entry, Lines, Node, Value};
use crate::document::Problem;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let lines = Lines::of(text);
    let table = DeTable::parse(text).map_err(|error| {
        Problem::at_line(lines.at(error.span().map_or(0, |span| span.start)), error.message().to_owned())
    })?;
    let entries = Tree { lines, budget: Budget::new() }.entries(table.get_ref(), 0)?;
    Ok(Node { line: 1, value: Value::Map(entries) })
}

struct Tree {
    lines: Lines,
    budget: Budget,
}

impl Tree {
    /// A table's fields in the order of the text. The recursion ends at the bound on depth.
    fn entries(&mut self, table: &DeTable<'_>, depth: usize) -> Result<Vec<Entry>, Problem> {
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table {
            let start = key.span().start;
            let line = self.lines.at(start);
            let value = self.node(value, line, depth + 1)?;
            entries.push((start, Entry { key: key.get_ref().to_string(), line, value }));
        }
        entries.sort_by_key(|(start, _)| *start);
        Ok(entries.into_iter().map(|(_, entry)| entry).collect())
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>, key_line: u32, depth: usize) -> Result<Node, Problem> {
        // A table that only its keys imply has no text of its own.
        let line = self.lines.at(value.span().start).max(key_line);
        self.budget.take(1, depth, line)?;
        let value = match value.get_ref() {
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Integer(number) if number.radix() == 10 => Value::Number(number.as_str().to_owned()),
            DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(value) => Value::Number(value.to_string()),
                Err(_) => return Err(Problem::at_line(line, "the number is out of range".to_owned())),
            },
            DeValue::Float(number) => Value::Number(number.as_str().to_owned()),
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Datetime(time) => Value::Text(time.to_string()),
            DeValue::Array(items) => {
                Value::List(items.iter().map(|item| self.node(item, line, depth + 1)).collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => Value::Map(self.entries(table, depth)?),
        };
        Ok(Node { line, value })
    }
}
