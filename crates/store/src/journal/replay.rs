//! Reading what earlier epochs left: open requests, unshipped settlements, torn tails.

use super::{
    JournalError,
    codec::{Next, Reader},
    io_error,
    segment::{self, HEADER, Header, Position, SegmentId},
};
use domain::{
    ids::{NodeId, RequestId},
    records::{CandidateRow, Opened, Progress, Record},
};
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

/// A request that was admitted by an earlier epoch and never settled.
#[derive(Debug, Clone, PartialEq)]
pub struct Interrupted {
    /// How it was admitted.
    pub opened: Opened,
    /// The attempts that had ended.
    pub attempts: Vec<CandidateRow>,
    /// How far its answer had come, if anything was relayed.
    pub progress: Option<Progress>,
}

/// A file's tail that was cut off; a copy stays beside it as `.torn`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The segment.
    pub path: PathBuf,
    /// Bytes that were cut.
    pub bytes: u64,
}

/// What a journal held when it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Whole records.
    pub records: u64,
    /// Cut tails.
    pub torn: Vec<Torn>,
}

pub(super) struct Replay {
    pub(super) last_epoch: u64,
    pub(super) segments: BTreeMap<SegmentId, u64>,
    pub(super) settled: Vec<Position>,
    pub(super) interrupted: Vec<Interrupted>,
    /// Where they were opened.
    pub(super) open: Vec<(RequestId, SegmentId)>,
    pub(super) report: Replayed,
}

/// Reads all segments of a directory and cuts what is torn.
pub(super) fn run(dir: &Path, node: NodeId) -> Result<Replay, JournalError> {
    let mut replay = Replay {
        last_epoch: 0,
        segments: BTreeMap::new(),
        settled: Vec::new(),
        interrupted: Vec::new(),
        open: Vec::new(),
        report: Replayed::default(),
    };
    let mut open: HashMap<RequestId, (SegmentId, Interrupted)> = HashMap::new();
    for (id, path) in segment::list(dir).map_err(io_error(dir))? {
        replay.last_epoch = replay.last_epoch.max(id.epoch);
        let good = read(&path, id, node, &mut open, &mut replay)?;
        replay.segments.insert(id, good);
    }
    let mut left: Vec<_> = open.into_values().collect();
    left.sort_by_key(|(_, request)| request.opened.request_id);
    for (segment, request) in left {
        replay.open.push((request.opened.request_id, segment));
        replay.interrupted.push(request);
    }
    Ok(replay)
}

/// Reads one segment; the size of its good part.
fn read(
    path: &Path,
    id: SegmentId,
    node: NodeId,
    open: &mut HashMap<RequestId, (SegmentId, Interrupted)>,
    replay: &mut Replay,
) -> Result<u64, JournalError> {
    let mut file = fs::File::open(path).map_err(io_error(path))?;
    if matches!(segment::read_header(&mut file, path, node)?, Header::Torn) {
        cut(path, 0, &mut replay.report)?;
        return Ok(0);
    }
    let mut reader = Reader::new(file, HEADER as u64);
    loop {
        match reader.next().map_err(io_error(path))? {
            Next::End => return Ok(reader.offset()),
            Next::Torn => {
                cut(path, reader.offset(), &mut replay.report)?;
                return Ok(reader.offset());
            }
            Next::Unknown { kind, version } => {
                let what = format!("record kind {kind}, version {version}, at byte {}", reader.offset());
                return Err(JournalError::Newer { path: path.to_owned(), what });
            }
            Next::Nothing => replay.report.records += 1,
            Next::Released(request) => {
                replay.report.records += 1;
                open.remove(&request);
            }
            Next::Record(record) => {
                replay.report.records += 1;
                match record {
                    Record::Opened(opened) => {
                        let request = Interrupted { opened, attempts: Vec::new(), progress: None };
                        open.insert(request.opened.request_id, (id, request));
                    }
                    Record::Attempt(attempt) => {
                        if let Some((_, request)) = open.get_mut(&attempt.request_id) {
                            request.attempts.push(attempt.candidate);
                        }
                    }
                    Record::Progress(progress) => {
                        if let Some((_, request)) = open.get_mut(&progress.request_id) {
                            request.progress = Some(progress);
                        }
                    }
                    Record::Settled(settled) => {
                        open.remove(&settled.usage.request_id);
                        replay.settled.push(Position { segment: id, offset: reader.offset() });
                    }
                }
            }
        }
    }
}

/// Cuts a file after its good part and keeps what is cut in a file of its own.
fn cut(path: &Path, good: u64, report: &mut Replayed) -> Result<(), JournalError> {
    use std::io::{Read as _, Seek as _};
    let fail = || io_error(path);
    let mut file = fs::OpenOptions::new().read(true).write(true).open(path).map_err(fail())?;
    file.seek(std::io::SeekFrom::Start(good)).map_err(fail())?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).map_err(fail())?;
    if tail.is_empty() {
        return Ok(());
    }
    fs::write(path.with_extension("torn"), &tail).map_err(fail())?;
    file.set_len(good).and_then(|()| file.sync_all()).map_err(fail())?;
    tracing::warn!(journal.segment = %path.display(), bytes = tail.len(), "cut a torn tail off a journal segment");
    report.torn.push(Torn { path: path.to_owned(), bytes: tail.len() as u64 });
    Ok(())
}

#[cfg(test)]
mod tests;
