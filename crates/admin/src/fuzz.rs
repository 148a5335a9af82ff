//! What must hold of any document at all: `fuzz/` attacks this, and tests replay what it found. Built for tests and
//! fuzzing only.
#![allow(clippy::missing_panics_doc, reason = "a law that does not hold is what is looked for")]

use crate::document::{Document, Sources, Syntax};
use std::path::PathBuf;

/// A document for `apply`, behind a byte for its syntax: it is read, or every problem has words and a line that is
/// there.
pub fn document(data: &[u8]) {
    let Some((&choice, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    // Paths are an operator's own; the files of this machine are no part of the input.
    if text.contains("file:") {
        return;
    }
    let syntax = [Syntax::Yaml, Syntax::Json, Syntax::Toml][usize::from(choice % 3)];
    let sources = Sources { env: &|name| (name == "SET").then(|| "value".to_owned()), folder: PathBuf::new() };
    match Document::parse(text, syntax, &sources) {
        Ok(document) => assert!(document.base_urls().all(|(url, at)| !url.is_empty() && at.line > 0)),
        Err(problems) => {
            assert!(!problems.0.is_empty(), "refused without a problem");
            // Carriage returns end lines, too, and a parser may point behind the last one.
            let lines = text.matches(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() + 2;
            for problem in &problems.0 {
                assert!(!problem.message.is_empty());
                let line = problem.line.unwrap_or(1);
                assert!((1..=lines).contains(&(line as usize)), "{problem}: the text has {lines} lines");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[test]
    fn documents_are_read_or_refused_with_words() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
        for kind in ["seeds", "found"] {
            let Ok(entries) = fs::read_dir(folder.join(kind).join("document")) else { continue };
            for entry in entries {
                super::document(&fs::read(entry.unwrap().path()).unwrap());
            }
        }
    }
}
