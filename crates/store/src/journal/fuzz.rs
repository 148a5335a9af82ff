//! What must hold of any journal at all: `fuzz/` attacks this, and tests replay what it found. Built for tests and
//! fuzzing only.
#![allow(clippy::missing_panics_doc, reason = "a law that does not hold is what is looked for")]

use super::{
    JournalError,
    codec::{BEFORE, Entry, Next, Reader, VERSION, encode},
    replay,
    segment::{self, HEADER, SegmentId},
};
use domain::{ids::NodeId, records::Record};
use std::{fs, io};
use uuid::Uuid;

/// The bytes of a segment behind its header. A first byte below 128 means that they are payloads instead (kind, length
/// in two bytes, payload), which get the lengths and checksums that chance never finds.
///
/// Reading ends, in order and in bounds; what was read and is written again is read as the same.
pub fn journal(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let bytes = if choice < 128 { framed(bytes) } else { bytes.to_vec() };
    let good = read(&bytes);
    let Ok(replayed) = replayed(&bytes) else { unreachable!("the temporary folder cannot be written") };
    match replayed {
        Ok(length) => assert_eq!(length, HEADER as u64 + good, "replay keeps what is whole"),
        Err(error) => assert!(matches!(error, JournalError::Newer { .. }), "{error}"),
    }
}

/// Reads a segment's records one by one: where the last whole one ends.
fn read(bytes: &[u8]) -> u64 {
    let mut reader = Reader::new(bytes, 0);
    loop {
        let before = reader.offset();
        let Ok(next) = reader.next() else { unreachable!("memory is always readable") };
        let end = matches!(next, Next::End | Next::Torn | Next::Unknown { .. });
        assert_eq!(end, reader.offset() == before, "only a record moves the reader on");
        assert!(reader.offset() <= bytes.len() as u64);
        assert!(!matches!(next, Next::End) || reader.offset() == bytes.len() as u64, "an end before the end");
        if end {
            return before;
        }
        if let Next::Record(record) = &next {
            assert!(read_again(record).is_some_and(|again| again == *record), "{record:?} is written as another");
        }
    }
}

/// Replays a folder that holds this one segment, twice: how long it is then.
fn replayed(bytes: &[u8]) -> io::Result<Result<u64, JournalError>> {
    let folder = std::env::temp_dir().join(format!("tollgate-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let (node, id) = (NodeId::from(Uuid::from_u128(77)), SegmentId { epoch: 1, number: 0 });
    let path = folder.join(id.file_name());
    fs::write(&path, [&segment::header(node, id)[..], bytes].concat())?;
    let first = replay::run(&folder, node);
    let again = replay::run(&folder, node);
    if let (Ok(first), Ok(again)) = (&first, &again) {
        assert!(again.report.torn.is_empty(), "a tail is cut once");
        assert_eq!((&first.settled, &first.interrupted), (&again.settled, &again.interrupted));
    }
    let length = fs::metadata(&path)?.len();
    fs::remove_dir_all(&folder)?;
    Ok(again.map(|_| length))
}

fn read_again(record: &Record) -> Option<Record> {
    let mut buffer = Vec::new();
    let entry = match record {
        Record::Opened(opened) => Entry::Opened(opened),
        Record::Attempt(attempt) => Entry::Attempt(attempt),
        Record::Progress(progress) => Entry::Progress(progress),
        Record::Settled(settled) => Entry::Settled(settled),
    };
    encode(entry, &mut buffer).ok()?;
    match Reader::new(buffer.as_slice(), 0).next() {
        Ok(Next::Record(record)) => Some(record),
        _ => None,
    }
}

fn framed(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some((&[kind, low, high], rest)) = bytes.split_first_chunk() {
        let (payload, rest) = rest.split_at(usize::from(u16::from_le_bytes([low, high])).min(rest.len()));
        // A kind above 7 is one of the version before.
        let version = if kind / 8 % 2 == 0 { VERSION } else { BEFORE };
        let body = [&[kind % 8, version], payload].concat();
        out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        out.extend_from_slice(&body);
        bytes = rest;
    }
    out
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Seeds of which nothing is read would test nothing.
    #[test]
    fn the_seeds_are_records_of_this_version_and_of_the_one_before() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/journal");
        for name in ["opened", "attempt", "progress", "settled", "settled-before", "released", "nothing"] {
            let seed = fs::read(folder.join(name)).unwrap();
            let bytes = super::framed(&seed[1..]);
            assert_eq!(super::read(&bytes), bytes.len() as u64, "{name}");
        }
    }

    #[test]
    fn a_journal_is_read_in_order_and_in_bounds() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
        for kind in ["seeds", "found"] {
            let Ok(entries) = fs::read_dir(folder.join(kind).join("journal")) else { continue };
            for entry in entries {
                super::journal(&fs::read(entry.unwrap().path()).unwrap());
            }
        }
    }
}
