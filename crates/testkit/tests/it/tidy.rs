//! Rules about the whole tree that no compiler checks: who may depend on whom, what may stand in a file, where links lead.

mod documents;
mod edges;
mod text;

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

/// Folders that are made, not written.
const MADE: [&str; 8] = [".git", ".tools", "__pycache__", "corpora", "data", "node_modules", "out", "target"];

/// The tree's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A file of the tree, by its path from the root.
struct File {
    path: String,
    text: String,
}

/// Every written file below `folder` that `wanted` takes by its name and that is text, in the order of their paths.
fn files(folder: &str, wanted: impl Fn(&Path) -> bool) -> Vec<File> {
    let root = root();
    let mut found = Vec::new();
    let mut open = vec![root.join(folder)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let made = |path: &Path| path.file_name().and_then(OsStr::to_str).is_some_and(|name| MADE.contains(&name));
            open.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path())
                    .filter(|path| !path.is_symlink() && !made(path)),
            );
        } else if wanted(&path) {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let path = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
            found.push(File { path, text });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "nothing to check in {folder}");
    found
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension() == Some(OsStr::new(extension))
}

fn rust_files(folder: &str) -> Vec<File> {
    files(folder, |path| has_extension(path, "rs"))
}

/// Fails with every finding at once.
fn none(findings: &[String], rule: &str) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}
