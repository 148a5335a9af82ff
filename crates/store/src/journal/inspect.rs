//! Looking at a journal without touching it: no lock, no cut, beside a node that writes it.

use super::{
    codec::{Next, Reader},
    segment::{self, HEADER, Position, SegmentId},
};
use domain::{
    ids::{NodeId, RequestId},
    money::NanoUsd,
    records::{Opened, Record},
};
use std::{
    collections::HashMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// A record at the very end may be in the making: it is looked at again, so many times and so long apart.
const LOOKS: u32 = 5;
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a journal holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Oldest first.
    pub segments: Vec<Segment>,
    /// Requests without an ending, in the order of their arrival: under way, or cut off with their process.
    pub open: Vec<Open>,
}

/// One segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Which.
    pub id: SegmentId,
    /// Its size.
    pub bytes: u64,
    /// Whole records.
    pub records: Counts,
    /// Settlements that are not in the database; `None` if that is not known.
    pub unshipped: Option<u64>,
    /// What is wrong with it.
    pub damage: Option<Damage>,
}

/// Records by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Admissions.
    pub opened: u64,
    /// Ended attempts.
    pub attempts: u64,
    /// Answers under way.
    pub progress: u64,
    /// Endings.
    pub settled: u64,
    /// Admissions that came to nothing.
    pub released: u64,
    /// Signs of life after a failed write.
    pub nothing: u64,
}

/// Why a segment cannot be read to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Its first bytes are no header, or another segment's.
    #[error("damaged: its first bytes are not its header")]
    Header,
    /// Another node's.
    #[error("damaged: it belongs to another node")]
    OtherNode,
    /// A newer version's.
    #[error("written by a newer version ({0})")]
    Newer(String),
    /// No whole record.
    #[error("damaged at byte {offset}: the {bytes} bytes from there on begin with no whole record")]
    Torn {
        /// The end of the last whole record.
        offset: u64,
        /// How many bytes follow it.
        bytes: u64,
    },
}

/// A request without an ending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Which.
    pub request: RequestId,
    /// The model asked.
    pub model: String,
    /// What is held for it.
    pub hold: NanoUsd,
    /// Where it was opened.
    pub segment: SegmentId,
}

impl Inspection {
    /// Whether some segment cannot be read to its end.
    pub fn is_damaged(&self) -> bool {
        self.segments.iter().any(|segment| segment.damage.is_some())
    }
}

impl Counts {
    const fn total(self) -> u64 {
        self.opened + self.attempts + self.progress + self.settled + self.released + self.nothing
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { opened, attempts, progress, settled, released, nothing } = self.records;
        write!(
            f,
            "{}: {} bytes, {opened} opened, {attempts} attempts, {progress} progress, {settled} settled, \
             {released} released, {nothing} empty",
            self.id.file_name(),
            self.bytes
        )?;
        match self.unshipped {
            Some(0) => write!(f, "; shipped")?,
            Some(unshipped) => write!(f, "; {unshipped} settled not shipped")?,
            None => {}
        }
        self.damage.as_ref().map_or(Ok(()), |damage| write!(f, "; {damage}"))
    }
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, model, hold, segment } = self;
        write!(f, "{request}, {model}, {hold} held, in {}", segment.file_name())
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records: u64 = self.segments.iter().map(|segment| segment.records.total()).sum();
        let damaged = self.segments.iter().filter(|segment| segment.damage.is_some()).count();
        write!(f, "{} segments, {records} records, {} requests open", self.segments.len(), self.open.len())?;
        let unshipped: Option<u64> = self.segments.iter().map(|segment| segment.unshipped).sum();
        match unshipped {
            Some(unshipped) => write!(f, ", {unshipped} settled not shipped")?,
            None => write!(f, ", what is shipped is not known")?,
        }
        write!(f, ", {damaged} damaged")
    }
}

/// Whose journal a directory holds: the node of its first readable segment.
pub fn node(dir: &Path) -> io::Result<Option<NodeId>> {
    for (_, path) in segment::list(dir)? {
        if let Some(mut file) = open(&path)?
            && let Some(head) = segment::read_head(&mut file)?
        {
            return Ok(Some(head.node));
        }
    }
    Ok(None)
}

/// Reads a journal; `marks` say how far each epoch is shipped, if that is known.
pub fn run(dir: &Path, marks: Option<&[Position]>) -> io::Result<Inspection> {
    let owner = node(dir)?;
    let mut inspection = Inspection::default();
    let mut open = HashMap::new();
    let listed = segment::list(dir)?;
    let last = listed.last().map(|(id, _)| *id);
    for (id, path) in listed {
        let mut look = Look { id, path, owner, marks, is_last: Some(id) == last };
        if let Some(segment) = look.read(&mut open)? {
            inspection.segments.push(segment);
        }
    }
    inspection.open = open.into_values().collect();
    inspection.open.sort_by_key(|open| open.request);
    Ok(inspection)
}

/// A file that may be deleted meanwhile: what is shipped goes.
fn open(path: &Path) -> io::Result<Option<fs::File>> {
    match fs::File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// One segment on its way through.
struct Look<'a> {
    id: SegmentId,
    path: PathBuf,
    owner: Option<NodeId>,
    marks: Option<&'a [Position]>,
    is_last: bool,
}

impl Look<'_> {
    fn read(&mut self, requests: &mut HashMap<RequestId, Open>) -> io::Result<Option<Segment>> {
        let mut found = Segment {
            id: self.id,
            bytes: 0,
            records: Counts::default(),
            unshipped: self.marks.map(|_| 0),
            damage: None,
        };
        let mut offset = HEADER as u64;
        let mut looks = 0;
        loop {
            let Some(mut file) = open(&self.path)? else { return Ok(None) };
            found.damage = self.header(&mut file)?;
            if found.damage.is_none() {
                io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
                let mut reader = Reader::new(&file, offset);
                found.damage = self.records(&mut reader, &mut found, requests)?;
                // It has got on: what stands there now is another record.
                looks = if reader.offset() > offset { 0 } else { looks };
                offset = reader.offset();
            }
            found.bytes = file.metadata()?.len();
            let again = self.is_last && matches!(found.damage, Some(Damage::Header | Damage::Torn { .. }));
            if !again || looks == LOOKS {
                break;
            }
            looks += 1;
            thread::sleep(LOOK_AGAIN);
        }
        if let Some(Damage::Torn { bytes, .. }) = &mut found.damage {
            *bytes = found.bytes.saturating_sub(offset);
        }
        Ok(Some(found))
    }

    fn header(&self, file: &mut fs::File) -> io::Result<Option<Damage>> {
        Ok(match segment::read_head(file)? {
            None => Some(Damage::Header),
            Some(head) if !head.is_known() => Some(Damage::Newer(format!("segment format {}", head.format))),
            Some(head) if head.id != self.id => Some(Damage::Header),
            Some(head) if Some(head.node) != self.owner => Some(Damage::OtherNode),
            Some(_) => None,
        })
    }

    /// Reads on to the end, or to what is wrong.
    fn records(
        &self,
        reader: &mut Reader<&fs::File>,
        found: &mut Segment,
        requests: &mut HashMap<RequestId, Open>,
    ) -> io::Result<Option<Damage>> {
        let counts = &mut found.records;
        loop {
            match reader.next()? {
                Next::End => return Ok(None),
                Next::Torn => return Ok(Some(Damage::Torn { offset: reader.offset(), bytes: 0 })),
                Next::Unknown { kind, version } => {
                    let what = format!("record kind {kind}, version {version}, at byte {}", reader.offset());
                    return Ok(Some(Damage::Newer(what)));
                }
                Next::Nothing => counts.nothing += 1,
                Next::Released(request) => {
                    counts.released += 1;
                    requests.remove(&request);
                }
                Next::Record(Record::Attempt(_)) => counts.attempts += 1,
                Next::Record(Record::Progress(_)) => counts.progress += 1,
                Next::Record(Record::Opened(opened)) => {
                    counts.opened += 1;
                    let Opened { request_id: request, model, hold, .. } = opened;
                    requests.insert(request, Open { request, model, hold, segment: self.id });
                }
                Next::Record(Record::Settled(settled)) => {
                    counts.settled += 1;
                    requests.remove(&settled.usage.request_id);
                    let end = Position { segment: self.id, offset: reader.offset() };
                    if let (Some(unshipped), Some(marks)) = (&mut found.unshipped, self.marks) {
                        let shipped = marks.iter().any(|mark| mark.segment.epoch == self.id.epoch && *mark >= end);
                        *unshipped += u64::from(!shipped);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
