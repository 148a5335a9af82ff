use super::*;
use crate::sample;
use domain::records::TraceEntry;

/// One record of each kind, as the journal writes them one after the other, and where each ends.
fn journal() -> (Vec<u8>, Vec<usize>) {
    let (opened, attempt, progress) = (sample::opened(1), sample::attempt(1), sample::progress(1));
    let settled = sample::settled(1);
    let (mut bytes, mut ends, mut buffer) = (Vec::new(), Vec::new(), Vec::new());
    for entry in [
        Entry::Opened(&opened),
        Entry::Attempt(&attempt),
        Entry::Progress(&progress),
        Entry::Nothing,
        Entry::Settled(&settled),
        Entry::Released(sample::request(2)),
    ] {
        encode(entry, &mut buffer).unwrap();
        bytes.extend_from_slice(&buffer);
        ends.push(bytes.len());
    }
    (bytes, ends)
}

/// What a journal says, as text, and the offset at which it stops making sense.
fn read(source: impl Read) -> (Vec<String>, u64, String) {
    let mut reader = Reader::new(source, 0);
    let mut records = Vec::new();
    loop {
        match reader.next().unwrap() {
            next @ (Next::Record(_) | Next::Released(_) | Next::Nothing) => records.push(format!("{next:?}")),
            end => return (records, reader.offset(), format!("{end:?}")),
        }
    }
}

#[test]
fn every_kind_of_record_comes_back_as_it_was_written() {
    let (bytes, ends) = journal();
    let (records, offset, end) = read(bytes.as_slice());
    let expected = [
        format!("{:?}", Next::Record(Record::Opened(sample::opened(1)))),
        format!("{:?}", Next::Record(Record::Attempt(sample::attempt(1)))),
        format!("{:?}", Next::Record(Record::Progress(sample::progress(1)))),
        "Nothing".to_owned(),
        format!("{:?}", Next::Record(Record::Settled(Box::new(sample::settled(1))))),
        format!("{:?}", Next::<Record>::Released(sample::request(2))),
    ];
    assert_eq!((records.as_slice(), offset, end.as_str()), (expected.as_slice(), ends[5] as u64, "End"));
}

#[test]
fn what_ships_is_read_from_the_same_records() {
    let (bytes, ends) = journal();
    let mut reader = Reader::new(bytes.as_slice(), 0);
    let mut found = Vec::new();
    for end in &ends {
        found.push(format!("{:?}", reader.next_brief().unwrap()));
        assert_eq!(reader.offset(), *end as u64);
    }
    let expected = [
        format!("{:?}", Next::Record(Brief::Opened(sample::opened(1).request_id))),
        "Record(Passing)".to_owned(),
        "Record(Passing)".to_owned(),
        "Nothing".to_owned(),
        format!("{:?}", Next::Record(Brief::Settled(Box::new(sample::settled(1))))),
        format!("{:?}", Next::<Record>::Released(sample::request(2))),
    ];
    assert_eq!(found, expected);
    assert!(matches!(reader.next_brief().unwrap(), Next::End));
}

#[test]
fn every_truncation_leaves_the_whole_records_before_it() {
    let (bytes, ends) = journal();
    let (all, ..) = read(bytes.as_slice());
    for length in 0..=bytes.len() {
        let whole = ends.iter().filter(|end| **end <= length).count();
        let clean = whole.checked_sub(1).map_or(0, |last| ends[last]);
        let (records, offset, end) = read(&bytes[..length]);
        assert_eq!((records.as_slice(), offset), (&all[..whole], clean as u64), "{length} bytes");
        assert_eq!(end, if clean == length { "End" } else { "Torn" }, "{length} bytes");
    }
}

#[test]
fn every_flipped_bit_leaves_the_records_before_it_and_invents_none() {
    let (bytes, ends) = journal();
    let (all, ..) = read(bytes.as_slice());
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let whole = ends.iter().filter(|end| **end <= bit / 8).count();
        let (records, _, end) = read(flipped.as_slice());
        assert_eq!((records.as_slice(), end.as_str()), (&all[..whole], "Torn"), "bit {bit}");
    }
}

/// Gives one byte at a time.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.by_ref().take(1).read(buffer)
    }
}

#[test]
fn a_source_may_give_its_bytes_in_any_pieces() {
    let (bytes, _) = journal();
    assert_eq!(read(Drip(&bytes)), read(bytes.as_slice()));
}

#[test]
fn a_record_that_is_whole_and_unknown_is_told_from_a_torn_one() {
    let mut buffer = Vec::new();
    encode(Entry::Nothing, &mut buffer).unwrap();
    buffer[PREFIX + 1] = VERSION + 1;
    let sum = crc32fast::hash(&buffer[PREFIX..]);
    buffer[4..PREFIX].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(read(buffer.as_slice()).2, "Unknown { kind: 0, version: 4 }");
}

#[test]
fn settlements_of_the_version_before_are_read() {
    let Settled { usage, candidates, trace, account, .. } = sample::settled(1);
    let mut buffer = [[0; PREFIX].as_slice(), &[SETTLED, BEFORE]].concat();
    buffer.extend(postcard::to_allocvec(&(&usage, &candidates, &trace, &account)).unwrap());
    let (length, sum) = (u32::try_from(buffer.len() - PREFIX).unwrap(), crc32fast::hash(&buffer[PREFIX..]));
    buffer[..4].copy_from_slice(&length.to_le_bytes());
    buffer[4..PREFIX].copy_from_slice(&sum.to_le_bytes());

    let want = Settled { usage, candidates, trace, account, issued: Vec::new() };
    let want = format!("{:?}", Next::Record(Record::Settled(Box::new(want))));
    assert_eq!(read(buffer.as_slice()), (vec![want], buffer.len() as u64, "End".to_owned()));
}

#[test]
fn a_record_has_a_largest_size() {
    let mut settled = sample::settled(1);
    let entry = TraceEntry { key_id: sample::provider_key(), code: "x".repeat(RECORD_MAX), number: 0 };
    settled.trace.entries.push(entry);
    assert_eq!(encode(Entry::Settled(&settled), &mut Vec::new()), Err(TooLarge));
}
