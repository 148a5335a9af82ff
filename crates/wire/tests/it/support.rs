//! The corpus, and ways to cut it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use wire::{Frame, Seen, StreamTap, WholeTap, Wire};

pub(crate) const WIRES: [(&str, Wire); 4] =
    [("anthropic", Wire::Anthropic), ("chat", Wire::Chat), ("responses", Wire::Responses), ("gemini", Wire::Gemini)];

/// A file of the corpus.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) wire: Wire,
    pub(crate) bytes: Vec<u8>,
}

/// Every file called `file`.
pub(crate) fn cases(file: &str) -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut cases = Vec::new();
    for (folder, wire) in WIRES {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path().join(file)).collect();
        paths.sort();
        for path in paths.into_iter().filter(|path| path.exists()) {
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            cases.push(Case { name, wire, bytes: fs::read(&path).unwrap() });
        }
    }
    assert!(!cases.is_empty(), "no {file} in the corpus");
    cases
}

/// `bytes` cut at these positions, taken modulo its length.
pub(crate) fn cut_at<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut from = 0;
    ends.into_iter().map(|end| &bytes[std::mem::replace(&mut from, end)..end]).collect()
}

/// Every frame of a stream that comes in these pieces.
pub(crate) fn tap_stream(wire: Wire, pieces: &[&[u8]]) -> (Vec<Frame>, Seen) {
    let mut tap = StreamTap::new(wire);
    let mut frames = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let (read, frame) = tap.next(rest);
            assert!(read > 0, "a tap that reads nothing never ends");
            frames.extend(frame);
            rest = &rest[read..];
        }
    }
    frames.extend(tap.finish());
    (frames, tap.seen().clone())
}

pub(crate) fn tap_whole(wire: Wire, pieces: &[&[u8]]) -> (Seen, bool) {
    let mut tap = WholeTap::new(wire);
    for piece in pieces {
        tap.feed(piece);
    }
    tap.finish();
    (tap.seen().clone(), tap.complete())
}
