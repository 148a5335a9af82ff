//! Records as bytes: length, checksum, kind, version, postcard.
//!
//! Postcard names neither fields nor variants: a change of a record's shape needs a new version here.

use domain::{
    ids::RequestId,
    records::{Account, AttemptEnded, CandidateRow, Opened, Progress, Record, Settled, Trace, UsageRow},
};
use serde::de::DeserializeOwned;
use std::io::{self, Read};

/// Length (of what follows the checksum) and checksum (of the same), little-endian.
const PREFIX: usize = 8;
/// Kind and version.
const HEAD: usize = 2;
/// The largest record, prefix not counted. Texts of a record are bounded where they are made, far below this.
pub(crate) const RECORD_MAX: usize = 1 << 20;
pub(super) const VERSION: u8 = 3;
/// The version before: a settlement did not say what its answer issued.
pub(super) const BEFORE: u8 = 2;

const NOTHING: u8 = 0;
const OPENED: u8 = 1;
const ATTEMPT: u8 = 2;
const PROGRESS: u8 = 3;
const SETTLED: u8 = 4;
const RELEASED: u8 = 5;

/// A record to be written.
#[derive(Clone, Copy)]
pub(crate) enum Entry<'a> {
    /// Says only that the journal writes again.
    Nothing,
    Opened(&'a Opened),
    Attempt(&'a AttemptEnded),
    Progress(&'a Progress),
    Settled(&'a Settled),
    /// The admission came to nothing: nobody owes a settlement.
    Released(RequestId),
}

/// Puts a whole record into `buffer`, which is emptied first.
pub(crate) fn encode(entry: Entry<'_>, buffer: &mut Vec<u8>) -> Result<(), TooLarge> {
    buffer.clear();
    let kind = match entry {
        Entry::Nothing => NOTHING,
        Entry::Opened(_) => OPENED,
        Entry::Attempt(_) => ATTEMPT,
        Entry::Progress(_) => PROGRESS,
        Entry::Settled(_) => SETTLED,
        Entry::Released(_) => RELEASED,
    };
    buffer.extend_from_slice(&[0; PREFIX]);
    buffer.extend_from_slice(&[kind, VERSION]);
    let written = match entry {
        Entry::Nothing => Ok(()),
        Entry::Opened(record) => postcard::to_io(record, &mut *buffer).map(|_| ()),
        Entry::Attempt(record) => postcard::to_io(record, &mut *buffer).map(|_| ()),
        Entry::Progress(record) => postcard::to_io(record, &mut *buffer).map(|_| ()),
        Entry::Settled(record) => postcard::to_io(record, &mut *buffer).map(|_| ()),
        Entry::Released(request) => postcard::to_io(&request, &mut *buffer).map(|_| ()),
    };
    let length = buffer.len() - PREFIX;
    if written.is_err() || length > RECORD_MAX {
        return Err(TooLarge);
    }
    let sum = crc32fast::hash(&buffer[PREFIX..]);
    buffer[..4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    buffer[4..PREFIX].copy_from_slice(&sum.to_le_bytes());
    Ok(())
}

/// A record above [`RECORD_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record is larger than {RECORD_MAX} bytes")]
pub(crate) struct TooLarge;

/// What a reader finds.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub(crate) enum Next<T = Record> {
    Record(T),
    Released(RequestId),
    /// A record that says nothing.
    Nothing,
    /// The source ends behind a whole record.
    End,
    /// What follows is no whole, undamaged record.
    Torn,
    /// An undamaged record that this version does not know.
    Unknown {
        kind: u8,
        version: u8,
    },
}

/// What shipping needs of a record: reading all of every record would take twice the time.
#[derive(Debug)]
pub(crate) enum Brief {
    Opened(RequestId),
    Settled(Box<Settled>),
    /// An attempt or progress.
    Passing,
}

/// Reads records from a segment, behind its header.
pub(crate) struct Reader<R> {
    source: R,
    buffer: Vec<u8>,
    at: usize,
    offset: u64,
}

impl<R: Read> Reader<R> {
    /// `offset` is where the source stands in its file.
    pub(crate) fn new(source: R, offset: u64) -> Self {
        Self { source, buffer: Vec::with_capacity(64 << 10), at: 0, offset }
    }

    /// The end of the last whole record.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record; after anything but a record, the same again.
    pub(crate) fn next(&mut self) -> io::Result<Next> {
        self.next_as(decode)
    }

    /// The next record, as far as shipping needs it; after anything but a record, the same again.
    pub(crate) fn next_brief(&mut self) -> io::Result<Next<Brief>> {
        self.next_as(decode_brief)
    }

    fn next_as<T>(&mut self, decode: fn(u8, u8, &[u8]) -> Option<Next<T>>) -> io::Result<Next<T>> {
        let there = self.fill(PREFIX)?;
        if there == 0 {
            return Ok(Next::End);
        }
        let Some(prefix) = self.buffer[self.at..].first_chunk::<PREFIX>() else { return Ok(Next::Torn) };
        let [a, b, c, d, sum @ ..] = *prefix;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if !(HEAD..=RECORD_MAX).contains(&length) || self.fill(PREFIX + length)? < PREFIX + length {
            return Ok(Next::Torn);
        }
        let body = &self.buffer[self.at + PREFIX..self.at + PREFIX + length];
        if crc32fast::hash(body).to_le_bytes() != sum {
            return Ok(Next::Torn);
        }
        let (kind, version) = (body[0], body[1]);
        let Some(next) = decode(kind, version, &body[HEAD..]) else { return Ok(Next::Unknown { kind, version }) };
        self.at += PREFIX + length;
        self.offset += (PREFIX + length) as u64;
        Ok(next)
    }

    /// Tries to have `wanted` bytes in the buffer; how many there are, at most that.
    fn fill(&mut self, wanted: usize) -> io::Result<usize> {
        if self.buffer.len() - self.at < wanted {
            self.buffer.drain(..self.at);
            self.at = 0;
            while self.buffer.len() < wanted {
                let chunk = (64 << 10).max(wanted - self.buffer.len());
                if self.source.by_ref().take(chunk as u64).read_to_end(&mut self.buffer)? == 0 {
                    break;
                }
            }
        }
        Ok((self.buffer.len() - self.at).min(wanted))
    }
}

/// A settlement of version [`BEFORE`]: postcard writes a struct as its fields, one after the other.
type SettledBefore = (UsageRow, Vec<CandidateRow>, Trace, Option<Account>);

fn of<T: DeserializeOwned>(payload: &[u8]) -> Option<T> {
    let (record, rest) = postcard::take_from_bytes(payload).ok()?;
    rest.is_empty().then_some(record)
}

fn decode(kind: u8, version: u8, payload: &[u8]) -> Option<Next> {
    Some(Next::Record(match (kind, version) {
        (NOTHING, BEFORE | VERSION) => return Some(Next::Nothing),
        (OPENED, BEFORE | VERSION) => Record::Opened(of(payload)?),
        (ATTEMPT, BEFORE | VERSION) => Record::Attempt(of(payload)?),
        (PROGRESS, BEFORE | VERSION) => Record::Progress(of(payload)?),
        (SETTLED, _) => Record::Settled(settled(version, payload)?),
        (RELEASED, BEFORE | VERSION) => return Some(Next::Released(of(payload)?)),
        _ => return None,
    }))
}

fn decode_brief(kind: u8, version: u8, payload: &[u8]) -> Option<Next<Brief>> {
    Some(Next::Record(match (kind, version) {
        (NOTHING, BEFORE | VERSION) => return Some(Next::Nothing),
        // The id comes first.
        (OPENED, BEFORE | VERSION) => Brief::Opened(postcard::take_from_bytes(payload).ok()?.0),
        (ATTEMPT | PROGRESS, BEFORE | VERSION) => Brief::Passing,
        (SETTLED, _) => Brief::Settled(settled(version, payload)?),
        (RELEASED, BEFORE | VERSION) => return Some(Next::Released(of(payload)?)),
        _ => return None,
    }))
}

fn settled(version: u8, payload: &[u8]) -> Option<Box<Settled>> {
    match version {
        BEFORE => {
            let (usage, candidates, trace, account) = of::<SettledBefore>(payload)?;
            Some(Box::new(Settled { usage, candidates, trace, account, issued: Vec::new() }))
        }
        VERSION => of(payload),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
