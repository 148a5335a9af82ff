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

/// A directory in memory, where there is one: each cut waits for the disk, and these tests make thousands.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A directory with these segments in it.
fn directory(segments: &[(SegmentId, &[u8])]) -> (tempfile::TempDir, PathBuf) {
    let dir = folder();
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

/// What a directory tells: open requests, settlements, how many records; and how large its one segment is afterwards.
type Told = (Vec<Interrupted>, Vec<Position>, u64, u64);

fn told(path: &Path) -> Told {
    let replay = run(path, node()).unwrap();
    let size = fs::metadata(path.join(FIRST.file_name())).unwrap().len();
    (replay.interrupted, replay.settled, replay.report.records, size)
}

/// A segment with records of every kind and of more than one request, what its first so many records tell, and where
/// each of them ends.
fn every_kind() -> (Vec<u8>, Vec<Told>, Vec<usize>) {
    let (one, two, three) = (sample::opened(1), sample::opened(2), sample::opened(3));
    let (attempt, progress, settled) = (sample::attempt(1), sample::progress(2), sample::settled(1));
    let entries = [
        Entry::Opened(&one),
        Entry::Opened(&two),
        Entry::Attempt(&attempt),
        Entry::Progress(&progress),
        Entry::Nothing,
        Entry::Opened(&three),
        Entry::Settled(&settled),
        Entry::Released(sample::request(3)),
    ];
    let (mut told_by, mut ends) = (Vec::new(), Vec::new());
    for count in 0..=entries.len() {
        let bytes = segment(FIRST, &entries[..count]);
        ends.push(bytes.len());
        let (_dir, path) = directory(&[(FIRST, &bytes)]);
        told_by.push(told(&path));
    }
    (segment(FIRST, &entries), told_by, ends)
}

/// Replays a damaged segment whose bytes are good up to `good`: it tells what its whole records there tell, no less and
/// no more.
fn tells_a_clean_prefix(path: &Path, bytes: &[u8], good: usize, every: &[Told], ends: &[usize], name: &str) {
    let file = path.join(FIRST.file_name());
    fs::write(&file, bytes).unwrap();
    let whole = ends.iter().filter(|end| **end <= good).count();
    let (interrupted, settled, records, size) = told(path);
    let Some(last) = whole.checked_sub(1) else {
        assert_eq!((interrupted.len(), settled.len(), records, size), (0, 0, 0, 0), "{name}");
        return;
    };
    assert_eq!((interrupted, settled, records, size), every[last], "{name}");
}

#[test]
fn a_segment_cut_at_any_byte_tells_a_clean_prefix() {
    let (bytes, every, ends) = every_kind();
    let dir = folder();
    for length in 0..=bytes.len() {
        tells_a_clean_prefix(dir.path(), &bytes[..length], length, &every, &ends, &format!("{length} bytes"));
    }
}

#[test]
fn a_segment_with_any_bit_flipped_tells_a_clean_prefix() {
    let (mut bytes, every, ends) = every_kind();
    let dir = folder();
    for bit in 0..bytes.len() * 8 {
        let (byte, mask) = (bit / 8, 1 << (bit % 8));
        bytes[byte] ^= mask;
        // A flipped bit spoils the record that it lies in, or the header and with it everything.
        let good = if byte < HEADER { 0 } else { byte };
        tells_a_clean_prefix(dir.path(), &bytes, good, &every, &ends, &format!("bit {bit}"));
        bytes[byte] ^= mask;
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
