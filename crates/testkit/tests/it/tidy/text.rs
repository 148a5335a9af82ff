//! What may stand in a file.

use std::path::Path;

use super::{File, files, has_extension, none, rust_files};

/// The longest source file. One that is longer has a second idea in it.
const LINES_MAX: usize = 500;

/// Files that may be longer, with the reason.
const LONG: [(&str, &str); 0] = [];

/// Words of unfinished or forgotten work, in two halves so that this table does not find itself.
const UNFINISHED: [(&str, &str); 6] =
    [("todo", "!("), ("unimplemented", "!("), ("FIX", "ME"), ("dbg", "!("), ("#[ig", "nore"), ("TO", "DO:")];

/// Starts of paths that exist on one machine only, halved likewise.
const MACHINE_PATHS: [(&str, &str); 4] = [("/ro", "ot/"), ("/ho", "me/"), ("/Us", "ers/"), ("/wo", "rk/")];

fn written(folder: &str) -> Vec<File> {
    const PROSE: [&str; 3] = ["Cargo.lock", "LICENSE", "package-lock.json"];
    files(folder, |path| path.file_name().is_some_and(|name| !PROSE.iter().any(|prose| name == *prose)))
}

fn find(text: &File, halves: &[(&str, &str)]) -> Vec<String> {
    let words: Vec<String> = halves.iter().map(|(left, right)| format!("{left}{right}")).collect();
    let found = |line: &str| words.iter().find(|word| line.contains(word.as_str())).cloned();
    let lines = (1..).zip(text.text.lines());
    lines.filter_map(|(number, line)| found(line).map(|word| format!("{}:{number}: {word}", text.path))).collect()
}

#[test]
fn files_are_short() {
    let waived = |path: &str| LONG.iter().any(|(long, _)| *long == path);
    let mut findings = Vec::new();
    for file in rust_files("crates").into_iter().chain(rust_files("bench")) {
        let lines = file.text.lines().count();
        if (lines > LINES_MAX) != waived(&file.path) {
            findings.push(format!("{}: {lines} lines", file.path));
        }
    }
    none(&findings, &format!("more than {LINES_MAX} lines, or a waiver that is not needed"));
}

#[test]
fn nothing_is_unfinished() {
    let source = |file: &File| !has_extension(Path::new(&file.path), "md");
    let findings: Vec<String> =
        written("").iter().filter(|file| source(file)).flat_map(|file| find(file, &UNFINISHED)).collect();
    none(&findings, "unfinished or forgotten");
}

#[test]
fn no_path_of_one_machine() {
    let ours = |file: &File| !file.path.contains("/corpus/");
    let findings: Vec<String> =
        written("").iter().filter(|file| ours(file)).flat_map(|file| find(file, &MACHINE_PATHS)).collect();
    none(&findings, "paths that exist on one machine only");
}

#[test]
fn every_silenced_lint_has_a_reason() {
    let mut findings = Vec::new();
    for file in rust_files("crates").into_iter().chain(rust_files("bench")) {
        for opening in ["#[allow(", "#![allow(", "#[expect(", "#![expect("] {
            for (at, _) in file.text.match_indices(opening) {
                let attribute = file.text[at..].split(")]").next().unwrap_or_default();
                // Attributes inside a text, as above, are quoted.
                let quoted = file.text[..at].ends_with('"');
                if !quoted && !attribute.contains("reason = ") {
                    let line = file.text[..at].lines().count();
                    findings.push(format!("{}:{line}: {attribute})]", file.path));
                }
            }
        }
    }
    none(&findings, "lints silenced without a reason");
}

#[test]
fn every_crate_says_what_it_is() {
    let roots = |folder| files(folder, |path| path.ends_with("src/lib.rs") || path.ends_with("src/main.rs"));
    let silent = roots("crates").into_iter().chain(roots("bench")).filter(|file| !file.text.starts_with("//!"));
    let findings: Vec<String> = silent.map(|file| file.path).collect();
    none(&findings, "without a module comment");
}

#[test]
fn lock_files_name_no_download_address() {
    let locks = files("e2e", |path| path.ends_with("package-lock.json"));
    assert!(locks.iter().all(|lock| lock.text.contains("\"integrity\"")), "a lock file pins what it names");
    let findings: Vec<String> =
        locks.into_iter().filter(|lock| lock.text.contains("\"resolved\"")).map(|lock| lock.path).collect();
    none(&findings, "made without `npm install --omit-lockfile-registry-resolved`");
}

#[test]
fn scripts_stop_at_their_first_failure() {
    let scripts = files("", |path| !has_extension(path, "md") && !has_extension(path, "rs"));
    let findings: Vec<String> = scripts
        .into_iter()
        .filter(|file| file.text.starts_with("#!/usr/bin/env bash"))
        .filter(|file| !file.text.contains("set -euo pipefail") && !file.text.contains("/lib.sh\""))
        .map(|file| file.path)
        .collect();
    none(&findings, "scripts that go on after a failure");
}
