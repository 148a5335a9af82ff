//! Reading typed fields from a tree: every problem is noted with its line and path, and reading goes on.

use super::{
    Patch, Place, Problem, Sources,
    tree::{Entry, Node, Value},
};
use std::fmt::Write as _;

/// Notes kept of one document; whoever has more fixes these first.
const PROBLEMS_MAX: usize = 100;

/// One step from the root to a value.
enum Step {
    Field(String),
    Item(usize),
}

/// The state of reading one document.
pub(super) struct Reader<'s> {
    pub(super) sources: &'s Sources<'s>,
    path: Vec<Step>,
    problems: Vec<Problem>,
}

impl<'s> Reader<'s> {
    pub(super) fn new(sources: &'s Sources<'s>) -> Self {
        Self { sources, path: Vec::new(), problems: Vec::new() }
    }

    /// Notes what is wrong with the value that is being read.
    pub(super) fn problem(&mut self, line: u32, message: impl Into<String>) {
        if self.problems.len() < PROBLEMS_MAX {
            let field = self.field();
            self.problems.push(Problem { line: Some(line), field, message: message.into() });
        }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Where the value that is being read stands.
    pub(super) fn place(&self, line: u32) -> Place {
        Place { line, field: self.field(), lines: Vec::new() }
    }

    fn field(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            // Writing to a string cannot fail.
            let _ = match step {
                Step::Field(name) if text.is_empty() => write!(text, "{name}"),
                Step::Field(name) => write!(text, ".{name}"),
                Step::Item(index) => write!(text, "[{index}]"),
            };
        }
        text
    }

    /// Reads `node` as the value of a field.
    fn within<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(Step::Field(name.to_owned()));
        let value = read(self);
        self.path.pop();
        value
    }

    /// The fields of a table; notes a problem if it is none.
    pub(super) fn fields<'n, 'r>(&'r mut self, node: &'n Node) -> Option<Fields<'n, 'r, 's>> {
        let Value::Map(entries) = &node.value else {
            self.problem(node.line, format!("expected a table of fields, found {}", node.value.kind()));
            return None;
        };
        Some(Fields { entries, line: node.line, known: Vec::new(), reader: self })
    }

    /// Every item of a list; notes a problem if it is none. Items with problems are left out.
    pub(super) fn items<T>(
        &mut self,
        node: &Node,
        mut read: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::List(items) = &node.value else {
            self.problem(node.line, format!("expected a list, found {}", node.value.kind()));
            return None;
        };
        let mut all = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            self.path.push(Step::Item(index));
            all.extend(read(self, item));
            self.path.pop();
        }
        Some(all)
    }

    /// Every entry of a table whose keys are data.
    pub(super) fn entries<T>(
        &mut self,
        node: &Node,
        mut read: impl FnMut(&mut Self, &Entry) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::Map(entries) = &node.value else {
            self.problem(node.line, format!("expected a table, found {}", node.value.kind()));
            return None;
        };
        let all = entries.iter().filter_map(|entry| self.within(&entry.key, |reader| read(reader, entry)));
        Some(all.collect())
    }

    /// Reads a single value; notes what is wrong with it.
    pub(super) fn value<T>(&mut self, node: &Node, read: impl FnOnce(&Node) -> Result<T, String>) -> Option<T> {
        read(node).map_err(|message| self.problem(node.line, message)).ok()
    }
}

/// A table that is being read; [`Fields::finish`] refuses what nobody asked for.
pub(super) struct Fields<'n, 'r, 's> {
    entries: &'n [Entry],
    line: u32,
    known: Vec<&'static str>,
    pub(super) reader: &'r mut Reader<'s>,
}

impl<'n, 's> Fields<'n, '_, 's> {
    fn find(&mut self, name: &'static str) -> Option<&'n Node> {
        self.known.push(name);
        self.entries.iter().find(|entry| entry.key == name).map(|entry| &entry.value)
    }

    /// Where the table itself stands, and its fields.
    pub(super) fn place(&self) -> Place {
        let lines = self.entries.iter().map(|entry| (entry.key.clone(), entry.value.line)).collect();
        Place { lines, ..self.reader.place(self.line) }
    }

    /// Notes a problem of one field, or of the table if the field is absent.
    pub(super) fn problem(&mut self, name: &str, message: impl Into<String>) {
        let line = self.entries.iter().find(|entry| entry.key == name).map_or(self.line, |entry| entry.value.line);
        self.reader.within(name, |reader| reader.problem(line, message));
    }

    /// A field that cannot be cleared: absent keeps, null is refused.
    pub(super) fn keep<T>(&mut self, name: &'static str, read: impl FnOnce(&Node) -> Result<T, String>) -> Option<T> {
        self.keep_with(name, |reader, node| reader.value(node, read))
    }

    /// The same, for a value that is a structure of its own.
    pub(super) fn keep_with<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Reader<'s>, &Node) -> Option<T>,
    ) -> Option<T> {
        let node = self.find(name)?;
        self.reader.within(name, |reader| {
            if node.value == Value::Null {
                reader.problem(node.line, "cannot be null; leave it out to keep or default it");
                return None;
            }
            read(reader, node)
        })
    }

    /// A field that null clears.
    pub(super) fn patch<T>(&mut self, name: &'static str, read: impl FnOnce(&Node) -> Result<T, String>) -> Patch<T> {
        self.patch_with(name, |reader, node| reader.value(node, read))
    }

    /// The same, for a value that is a structure of its own.
    pub(super) fn patch_with<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Reader<'s>, &Node) -> Option<T>,
    ) -> Patch<T> {
        let Some(node) = self.find(name) else { return Patch::Absent };
        if node.value == Value::Null {
            return Patch::Null;
        }
        self.reader.within(name, |reader| read(reader, node)).map_or(Patch::Absent, Patch::Set)
    }

    /// A field that must be there.
    pub(super) fn need<T>(&mut self, name: &'static str, read: impl FnOnce(&Node) -> Result<T, String>) -> Option<T> {
        if !self.entries.iter().any(|entry| entry.key == name) {
            self.known.push(name);
            self.problem(name, "is required");
            return None;
        }
        self.keep(name, read)
    }

    /// A list of structures; absent is empty.
    pub(super) fn list<T>(
        &mut self,
        name: &'static str,
        read: impl FnMut(&mut Reader<'s>, &Node) -> Option<T>,
    ) -> Vec<T> {
        self.keep_with(name, |reader, node| reader.items(node, read)).unwrap_or_default()
    }

    /// Where a field's value stands; for references that are resolved later.
    pub(super) fn place_of(&self, name: &str) -> Place {
        let line = self.entries.iter().find(|entry| entry.key == name).map_or(self.line, |entry| entry.value.line);
        let mut place = self.reader.place(line);
        if !place.field.is_empty() {
            place.field.push('.');
        }
        place.field.push_str(name);
        place
    }

    /// Notes every field that nobody asked for, with the name that was probably meant.
    pub(super) fn finish(self) {
        for entry in self.entries {
            if !self.known.contains(&entry.key.as_str()) {
                let hint =
                    nearest(&entry.key, &self.known).map_or_else(String::new, |name| format!("; did you mean {name}?"));
                self.reader.within(&entry.key, |reader| {
                    reader.problem(entry.line, format!("is not a known field{hint}"));
                });
            }
        }
    }
}

/// The known name that is most like `name`, if any is like it.
pub fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    /// Similarity from which a name is worth proposing, 0 to 1.
    const ALIKE: f64 = 0.7;
    let score = |known: &str| strsim::jaro_winkler(&name.to_lowercase(), &known.to_lowercase());
    let best = known.iter().map(|known| (score(known), *known)).max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 >= ALIKE).then_some(best.1)
}
