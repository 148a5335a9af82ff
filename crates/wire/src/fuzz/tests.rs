//! The corpus and everything that fuzzing ever found, replayed.

use std::{
    fs,
    path::{Path, PathBuf},
};

type Law = fn(&[u8]);

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Every file of this name in the corpus, with the choice byte of its wire.
fn corpus(file: &str) -> Vec<(u8, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let wires = (0..).zip(["anthropic", "chat", "responses", "gemini"]);
    let cases = wires.flat_map(|(wire, folder)| files(&root.join(folder)).into_iter().map(move |path| (wire, path)));
    let read: Vec<_> = cases.filter_map(|(wire, path)| Some((wire, fs::read(path.join(file)).ok()?))).collect();
    assert!(!read.is_empty(), "no {file} in the corpus");
    read
}

fn after(choices: &[u8], bytes: &[u8]) -> Vec<u8> {
    [choices, bytes].concat()
}

#[test]
fn what_fuzzing_found_stays_mended() {
    let laws: [(&str, Law); 8] = [
        ("peek", super::peek),
        ("splice", super::splice),
        ("sse", super::sse),
        ("form", super::form),
        ("tap", super::tap),
        ("convert_request", super::convert_request),
        ("convert_response", super::convert_response),
        ("convert_stream", super::convert_stream),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    for (target, law) in laws {
        for path in ["found", "seeds"].iter().flat_map(|kind| files(&folder.join(kind).join(target))) {
            law(&fs::read(path).unwrap());
        }
    }
}

#[test]
fn the_laws_hold_on_recorded_requests() {
    for (wire, body) in corpus("request.json") {
        super::peek(&after(&[wire], &body));
        super::splice(&after(&[wire, 40], &body));
        for to in 0..4 {
            for quirks in [0, 0xff] {
                super::convert_request(&after(&[wire, to, quirks], &body));
            }
        }
    }
}

#[test]
fn the_laws_hold_on_recorded_answers() {
    for (wire, body) in corpus("response.json") {
        super::tap(&after(&[wire, 6], &body));
        for to in 0..4 {
            super::convert_response(&after(&[wire, to], &body));
        }
    }
    for (wire, stream) in corpus("stream.sse") {
        super::sse(&after(&[6], &stream));
        super::tap(&after(&[wire, 6], &stream));
        for to in 0..4 {
            super::convert_stream(&after(&[wire, to, 6], &stream));
        }
    }
}
