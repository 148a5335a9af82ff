use super::*;
use crate::{
    journal::codec::{self, Entry},
    mint, sample,
};
use std::path::PathBuf;

const FIRST: SegmentId = SegmentId { epoch: 1, number: 0 };

fn node() -> NodeId {
    NodeId::from(uuid::Uuid::from_u128(77))
}

fn segment(id: SegmentId, entries: &[Entry<'_>]) -> Vec<u8> {
    let (mut bytes, mut buffer) = (segment::header(node(), id).to_vec(), Vec::new());
    for entry in entries {
        codec::encode(*entry, &mut buffer).unwrap();
        bytes.extend_from_slice(&buffer);
    }
    bytes
}

/// A directory with these segments in it.
fn directory(segments: &[(SegmentId, &[u8])]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    for (id, bytes) in segments {
        fs::write(dir.path().join(id.file_name()), bytes).unwrap();
    }
    let path = dir.path().to_owned();
    (dir, path)
}

fn replayed(segments: &[(SegmentId, &[u8])]) -> Replay {
    let (_dir, path) = directory(segments);
    run(&path, node()).unwrap()
}

#[test]
fn a_request_is_open_until_it_is_settled_or_released_in_whatever_segment() {
    let (one, two, three) = (sample::opened(1), sample::opened(2), sample::opened(3));
    let (attempt, progress, settled) = (sample::attempt(1), sample::progress(1), sample::settled(2));
    let first = segment(FIRST, &[Entry::Opened(&one), Entry::Opened(&two), Entry::Opened(&three)]);
    let later = SegmentId { epoch: 2, number: 0 };
    let second = segment(
        later,
        &[
            Entry::Attempt(&attempt),
            Entry::Settled(&settled),
            Entry::Progress(&progress),
            Entry::Released(sample::request(3)),
        ],
    );
    let replay = replayed(&[(FIRST, &first), (later, &second)]);
    let interrupted = Interrupted { opened: one, attempts: vec![attempt.candidate], progress: Some(progress) };
    assert_eq!(replay.interrupted, [interrupted]);
    assert_eq!(replay.open, [(sample::request(1), FIRST)]);
    assert_eq!((replay.last_epoch, replay.settled.len(), replay.report.records), (2, 1, 7));
    assert_eq!(replay.segments.into_values().collect::<Vec<_>>(), [first.len() as u64, second.len() as u64]);
}

#[test]
fn a_file_cut_anywhere_keeps_its_whole_records_and_the_rest_beside_it() {
    let (opened, settled) = (sample::opened(1), sample::settled(1));
    let bytes = segment(FIRST, &[Entry::Opened(&opened), Entry::Settled(&settled)]);
    let first_end = segment(FIRST, &[Entry::Opened(&opened)]).len();
    for length in 0..=bytes.len() {
        let (clean, open, done) = match length {
            _ if length < HEADER => (0, 0, 0),
            _ if length < first_end => (HEADER, 0, 0),
            _ if length < bytes.len() => (first_end, 1, 0),
            _ => (bytes.len(), 0, 1),
        };
        let (_dir, path) = directory(&[(FIRST, &bytes[..length])]);
        let replay = run(&path, node()).unwrap();
        assert_eq!((replay.interrupted.len(), replay.settled.len()), (open, done), "{length} bytes");
        let file = path.join(FIRST.file_name());
        assert_eq!(fs::read(&file).unwrap(), &bytes[..clean], "{length} bytes");
        if clean < length {
            assert_eq!(fs::read(file.with_extension("torn")).unwrap(), &bytes[clean..length]);
            assert_eq!(replay.report.torn, [Torn { path: file, bytes: (length - clean) as u64 }]);
        } else {
            assert_eq!(replay.report.torn, []);
        }
        assert_eq!(run(&path, node()).unwrap().report.torn, [], "cut once");
    }
}

#[test]
fn a_header_with_a_flipped_bit_is_not_believed() {
    let opened = sample::opened(1);
    let bytes = segment(FIRST, &[Entry::Opened(&opened)]);
    for bit in 0..HEADER * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let replay = replayed(&[(FIRST, &flipped)]);
        assert_eq!((replay.interrupted.len(), replay.report.torn.len()), (0, 1), "bit {bit}");
    }
}

#[test]
fn what_another_node_or_a_newer_version_wrote_is_refused_and_left_as_it_is() {
    let ours = segment(FIRST, &[]);
    let mut newer = ours.clone();
    newer[8] = 2;
    let sum = crc32fast::hash(&newer[..38]);
    newer[38..HEADER].copy_from_slice(&sum.to_le_bytes());
    let theirs = segment::header(mint(), FIRST).to_vec();
    for (bytes, says) in [(newer, "newer version (segment format 2)"), (theirs, "belongs to another node")] {
        let (_dir, path) = directory(&[(FIRST, &bytes)]);
        let Err(error) = run(&path, node()) else { panic!("{says}") };
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(fs::read(path.join(FIRST.file_name())).unwrap(), bytes);
    }
}
