use super::*;
use crate::{
    journal::codec::{self, Entry},
    mint, sample,
};
use std::collections::BTreeMap;

const FIRST: SegmentId = SegmentId { epoch: 1, number: 0 };
const SECOND: SegmentId = SegmentId { epoch: 1, number: 1 };
const LATER: SegmentId = SegmentId { epoch: 2, number: 0 };

fn owner() -> NodeId {
    NodeId::from(uuid::Uuid::from_u128(77))
}

fn segment_of(id: SegmentId, entries: &[Entry<'_>]) -> Vec<u8> {
    let (mut bytes, mut buffer) = (segment::header(owner(), id).to_vec(), Vec::new());
    for entry in entries {
        codec::encode(*entry, &mut buffer).unwrap();
        bytes.extend_from_slice(&buffer);
    }
    bytes
}

/// A directory with these files, and what it holds as bytes, to see that nothing changes it.
struct Dir(tempfile::TempDir);

impl Dir {
    fn new(segments: &[(SegmentId, &[u8])]) -> Self {
        let dir = Self(tempfile::tempdir().unwrap());
        for (id, bytes) in segments {
            fs::write(dir.0.path().join(id.file_name()), bytes).unwrap();
        }
        dir
    }

    fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    fn inspect(&self, marks: Option<&[Position]>) -> Inspection {
        let before = self.contents();
        let inspection = run(self.0.path(), marks).unwrap();
        assert_eq!(self.contents(), before, "it only looks");
        inspection
    }
}

#[test]
fn records_are_counted_by_kind_and_requests_followed_over_segments() {
    let (one, two, three) = (sample::opened(1), sample::opened(2), sample::opened(3));
    let (attempt, progress) = (sample::attempt(1), sample::progress(1));
    let settled = [sample::settled(2), sample::settled(4)];
    let first = segment_of(FIRST, &[Entry::Opened(&one), Entry::Opened(&two), Entry::Opened(&three)]);
    let second = segment_of(
        SECOND,
        &[Entry::Attempt(&attempt), Entry::Settled(&settled[0]), Entry::Nothing, Entry::Settled(&settled[1])],
    );
    let later = segment_of(LATER, &[Entry::Progress(&progress), Entry::Released(sample::request(3))]);
    let dir = Dir::new(&[(FIRST, &first), (SECOND, &second), (LATER, &later)]);
    assert_eq!(node(dir.0.path()).unwrap(), Some(owner()));

    // The database has the first of the two settlements.
    let between = segment_of(SECOND, &[Entry::Attempt(&attempt), Entry::Settled(&settled[0])]).len() as u64;
    let inspection = dir.inspect(Some(&[Position { segment: SECOND, offset: between }]));
    let counts: Vec<_> = inspection.segments.iter().map(|segment| (segment.id, segment.records)).collect();
    let wanted = [
        (FIRST, Counts { opened: 3, ..Counts::default() }),
        (SECOND, Counts { attempts: 1, settled: 2, nothing: 1, ..Counts::default() }),
        (LATER, Counts { progress: 1, released: 1, ..Counts::default() }),
    ];
    assert_eq!(counts, wanted);
    let unshipped: Vec<_> = inspection.segments.iter().map(|segment| segment.unshipped).collect();
    assert_eq!(unshipped, [Some(0), Some(1), Some(0)]);
    let open: Vec<_> = inspection.open.iter().map(|open| (open.request, open.segment)).collect();
    assert_eq!((open, inspection.is_damaged()), (vec![(sample::request(1), FIRST)], false));
    assert_eq!(inspection.to_string(), "3 segments, 9 records, 1 requests open, 1 settled not shipped, 0 damaged");

    let unknown = dir.inspect(None);
    assert!(unknown.segments.iter().all(|segment| segment.unshipped.is_none()));
    assert!(unknown.to_string().contains("what is shipped is not known"), "{unknown}");
}

#[test]
fn damage_is_found_where_it_is_and_left_there() {
    let (opened, settled) = (sample::opened(1), sample::settled(1));
    let good = segment_of(FIRST, &[Entry::Opened(&opened), Entry::Settled(&settled)]);
    let whole = segment_of(FIRST, &[Entry::Opened(&opened)]).len();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let newer = |at: usize, sum: std::ops::Range<usize>, to: usize| {
        let mut bytes = good.clone();
        bytes[at] = 9;
        let crc = crc32fast::hash(if sum.start == 38 { &bytes[..38] } else { &bytes[sum.end..to] });
        bytes[sum].copy_from_slice(&crc.to_le_bytes());
        bytes
    };
    let theirs = segment::header(mint(), LATER).to_vec();
    let torn = |bytes: usize| Damage::Torn { offset: whole as u64, bytes: (bytes - whole) as u64 };
    for (name, id, bytes, wanted) in [
        ("a tail that is torn", FIRST, good[..good.len() - 1].to_vec(), torn(good.len() - 1)),
        ("a flipped bit", FIRST, flipped(whole + 9), torn(good.len())),
        ("a flipped bit in the header", FIRST, flipped(12), Damage::Header),
        ("no header", FIRST, Vec::new(), Damage::Header),
        ("another segment's name", SECOND, good.clone(), Damage::Header),
        ("another node's", LATER, theirs, Damage::OtherNode),
        ("a newer format", FIRST, newer(8, 38..42, 38), Damage::Newer("segment format 9".to_owned())),
        (
            "a newer record",
            FIRST,
            newer(HEADER + 9, HEADER + 4..HEADER + 8, whole),
            Damage::Newer(format!("record kind 1, version 9, at byte {HEADER}")),
        ),
    ] {
        let oldest = segment_of(SegmentId { epoch: 0, number: 0 }, &[]);
        let dir = Dir::new(&[(SegmentId { epoch: 0, number: 0 }, &oldest), (id, &bytes)]);
        let inspection = dir.inspect(None);
        assert_eq!(inspection.segments[1].damage.as_ref(), Some(&wanted), "{name}");
        assert!(inspection.is_damaged() && inspection.to_string().ends_with("1 damaged"), "{name}: {inspection}");
    }
}
