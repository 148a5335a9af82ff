//! The state behind the journal's lock: where the next record goes, and what could not be written yet.

use super::{
    SyncMode, WAITING_BYTES_MAX,
    codec::{self, Entry},
    segment::{HEADER, SegmentId, header},
};
use domain::{ports::NotRecorded, records::Epoch};
use std::{
    collections::VecDeque,
    fs, io, mem,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::oneshot;

/// Tells a caller what became of its record.
pub(super) type Ack = oneshot::Sender<Result<(), NotRecorded>>;

/// One segment file as the writer sees it.
pub(super) trait Sink: Send + Sync {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    fn cut(&self, length: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
}

/// Makes segments.
pub(super) trait Disk: Send + Sync {
    /// An empty segment.
    fn create(&self, number: u32) -> io::Result<Arc<dyn Sink>>;
    /// The first bytes of a segment.
    fn header(&self, number: u32) -> [u8; HEADER];
}

/// A directory of real files.
pub(super) struct Directory {
    path: PathBuf,
    handle: fs::File,
    epoch: Epoch,
}

impl Directory {
    pub(super) fn open(path: &Path, epoch: Epoch) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), handle: fs::File::open(path)?, epoch })
    }

    fn id(&self, number: u32) -> SegmentId {
        SegmentId { epoch: self.epoch.number, number }
    }
}

impl Disk for Directory {
    fn create(&self, number: u32) -> io::Result<Arc<dyn Sink>> {
        let path = self.path.join(self.id(number).file_name());
        // A former try of ours may have left it behind: it is empty or its header is being written again.
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        // Once per segment: the name must be on the disk before records are acknowledged.
        self.handle.sync_all()?;
        Ok(Arc::new(file))
    }

    fn header(&self, number: u32) -> [u8; HEADER] {
        header(self.epoch.node, self.id(number))
    }
}

impl Sink for fs::File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(self, bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, bytes, offset)
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A record in memory.
struct Waiting {
    bytes: Vec<u8>,
    is_settlement: bool,
    ack: Option<Ack>,
}

/// A part of a segment that is written and may not be on the disk.
struct Unsynced {
    sink: Arc<dyn Sink>,
    from: u64,
    to: u64,
}

/// Everything under the lock.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Writer {
    disk: Box<dyn Disk>,
    sync: SyncMode,
    segment_bytes: u64,
    sink: Arc<dyn Sink>,
    number: u32,
    offset: u64,
    /// How far the segment is on the disk.
    synced: u64,
    /// Bytes of a failed write may lie behind `offset`.
    torn: bool,
    /// The last write failed.
    write_failed: bool,
    /// The last sync failed.
    sync_failed: bool,
    /// Of earlier segments.
    unsynced: Vec<Unsynced>,
    /// Segments that were completed, and their sizes, for the list that shipping goes by.
    completed: Vec<(u32, u64)>,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Written, not yet on the disk; only admissions fail when the disk does.
    unanswered: Vec<(Ack, bool)>,
    /// The worker sleeps until it is woken.
    pub(super) asleep: bool,
    pub(super) stop: bool,
}

/// What the worker brings to the disk outside the lock.
pub(super) struct SyncJob {
    number: u32,
    earlier: Vec<Unsynced>,
    current: Unsynced,
    again: bool,
    unanswered: Vec<(Ack, bool)>,
}

impl SyncJob {
    pub(super) fn run(&self) -> io::Result<()> {
        for part in self.earlier.iter().chain([&self.current]) {
            if self.again {
                rewrite(part)?;
            }
            part.sink.sync()?;
        }
        Ok(())
    }
}

/// What became of a record.
pub(super) enum Taken {
    /// Acknowledged.
    Now,
    /// It will be, through this.
    Later(oneshot::Receiver<Result<(), NotRecorded>>),
}

impl Writer {
    pub(super) fn new(disk: Box<dyn Disk>, segment_bytes: u64, sync: SyncMode) -> io::Result<Self> {
        let sink = begin(&*disk, 0)?;
        Ok(Self {
            disk,
            sync,
            segment_bytes,
            sink,
            number: 0,
            offset: HEADER as u64,
            synced: 0,
            torn: false,
            write_failed: false,
            sync_failed: false,
            unsynced: Vec::new(),
            completed: Vec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            unanswered: Vec::new(),
            asleep: false,
            stop: false,
        })
    }

    /// Segment and offset behind the last whole record.
    pub(super) fn end(&self) -> (u32, u64) {
        (self.number, self.offset)
    }

    /// Segments that were completed since the last call, and their sizes.
    pub(super) fn take_completed(&mut self) -> Vec<(u32, u64)> {
        mem::take(&mut self.completed)
    }

    /// Settlements that wait in memory.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.iter().filter(|waiting| waiting.is_settlement).count()
    }

    /// Whether new requests can be recorded.
    pub(super) fn is_writable(&self) -> bool {
        !self.write_failed && !self.sync_failed && self.waiting.is_empty()
    }

    /// Whether something is to be tried again.
    pub(super) fn has_failed(&self) -> bool {
        !self.is_writable()
    }

    /// Whether the worker has something to do.
    pub(super) fn has_work(&self) -> bool {
        self.has_failed() || self.needs_sync()
    }

    /// Writes an admission, or says at once that it cannot.
    pub(super) fn open(&mut self, bytes: &[u8]) -> io::Result<Taken> {
        if !self.is_writable() {
            return Err(io::Error::other("earlier records are still waiting"));
        }
        self.append(bytes)?;
        Ok(self.written(true))
    }

    /// Writes what nobody waits for; on an error it is gone.
    pub(super) fn note(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.write_failed || !self.waiting.is_empty() {
            return Ok(());
        }
        self.append(bytes)
    }

    /// Writes a settlement, or keeps it; `Err` when memory has no room left either.
    pub(super) fn settle(&mut self, bytes: &[u8]) -> Result<(Taken, Option<io::Error>), NotRecorded> {
        let mut failure = None;
        if self.waiting.is_empty() {
            match self.append(bytes) {
                Ok(()) => return Ok((self.written(false), None)),
                Err(error) => failure = Some(error),
            }
        }
        let (ack, receiver) = oneshot::channel();
        self.keep(bytes, Some(ack))?;
        Ok((Taken::Later(receiver), failure))
    }

    /// Writes that an admission came to nothing, or keeps it.
    pub(super) fn release(&mut self, bytes: &[u8]) -> Result<(), NotRecorded> {
        if self.waiting.is_empty() && self.append(bytes).is_ok() {
            return Ok(());
        }
        self.keep(bytes, None)
    }

    fn keep(&mut self, bytes: &[u8], ack: Option<Ack>) -> Result<(), NotRecorded> {
        if self.waiting_bytes + bytes.len() > WAITING_BYTES_MAX {
            return Err(NotRecorded("too many settlements are waiting".to_owned()));
        }
        self.waiting_bytes += bytes.len();
        self.waiting.push_back(Waiting { bytes: bytes.to_vec(), is_settlement: ack.is_some(), ack });
        Ok(())
    }

    /// Tries again what could not be written; how many settlements were.
    pub(super) fn retry(&mut self) -> (u64, io::Result<()>) {
        let mut written = 0;
        while let Some(first) = self.waiting.pop_front() {
            if let Err(error) = self.append(&first.bytes) {
                self.waiting.push_front(first);
                return (written, Err(error));
            }
            written += u64::from(first.is_settlement);
            self.waiting_bytes -= first.bytes.len();
            let Some(ack) = first.ack else { continue };
            if self.sync == SyncMode::Always {
                self.unanswered.push((ack, false));
            } else {
                // The caller may have given up.
                let _ = ack.send(Ok(()));
            }
        }
        if self.write_failed {
            let mut nothing = Vec::new();
            if codec::encode(Entry::Nothing, &mut nothing).is_ok()
                && let Err(error) = self.append(&nothing)
            {
                return (written, Err(error));
            }
        }
        (written, Ok(()))
    }

    /// Whether something is not on the disk that should get there.
    pub(super) fn needs_sync(&self) -> bool {
        let behind = self.synced < self.offset || !self.unsynced.is_empty() || !self.unanswered.is_empty();
        self.sync != SyncMode::Never && behind
    }

    /// Takes what is to be synced.
    pub(super) fn begin_sync(&mut self) -> SyncJob {
        SyncJob {
            number: self.number,
            earlier: mem::take(&mut self.unsynced),
            current: Unsynced { sink: self.sink.clone(), from: self.synced, to: self.offset },
            again: self.sync_failed,
            unanswered: mem::take(&mut self.unanswered),
        }
    }

    /// Answers those who waited. After a failure admissions are refused, settlements wait on.
    pub(super) fn end_sync(&mut self, job: SyncJob, result: &io::Result<()>) {
        self.sync_failed = result.is_err();
        match result {
            Ok(()) => {
                if self.number == job.number {
                    self.synced = job.current.to;
                }
                for (ack, _) in job.unanswered {
                    let _ = ack.send(Ok(()));
                }
            }
            Err(error) => {
                self.unsynced.splice(..0, job.earlier);
                for (ack, is_admission) in job.unanswered {
                    if is_admission {
                        let _ = ack.send(Err(NotRecorded(error.to_string())));
                    } else {
                        self.unanswered.push((ack, false));
                    }
                }
            }
        }
    }

    fn written(&mut self, is_admission: bool) -> Taken {
        if self.sync != SyncMode::Always {
            return Taken::Now;
        }
        let (ack, receiver) = oneshot::channel();
        self.unanswered.push((ack, is_admission));
        Taken::Later(receiver)
    }

    /// One write; on an error nothing of it stays behind `offset`, now or before the next write.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let result = self.try_append(bytes);
        self.write_failed = result.is_err();
        result
    }

    fn try_append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.torn {
            self.sink.cut(self.offset)?;
            self.torn = false;
        }
        if self.offset > HEADER as u64 && self.offset + bytes.len() as u64 > self.segment_bytes {
            self.turn_over()?;
        }
        match write_whole(&*self.sink, bytes, self.offset) {
            Ok(()) => {
                self.offset += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.torn = self.sink.cut(self.offset).is_err();
                Err(error)
            }
        }
    }

    /// Completes the segment and begins the next.
    fn turn_over(&mut self) -> io::Result<()> {
        let next = begin(&*self.disk, self.number + 1)?;
        let sink = mem::replace(&mut self.sink, next);
        if self.sync != SyncMode::Never && self.synced < self.offset {
            self.unsynced.push(Unsynced { sink, from: self.synced, to: self.offset });
        }
        self.completed.push((self.number, self.offset));
        self.number += 1;
        self.offset = HEADER as u64;
        self.synced = 0;
        Ok(())
    }
}

/// Writes a part once more with the bytes that it has.
///
/// After a failed sync the system counts pages as clean, and another sync would report success without writing them.
fn rewrite(part: &Unsynced) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut at = part.from;
    while at < part.to {
        let room = buffer.len().min(usize::try_from(part.to - at).unwrap_or(usize::MAX));
        let count = part.sink.read_at(&mut buffer[..room], at)?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        write_whole(&*part.sink, &buffer[..count], at)?;
        at += count as u64;
    }
    Ok(())
}

/// A segment with its header.
fn begin(disk: &dyn Disk, number: u32) -> io::Result<Arc<dyn Sink>> {
    let sink = disk.create(number)?;
    write_whole(&*sink, &disk.header(number), 0)?;
    Ok(sink)
}

fn write_whole(sink: &dyn Sink, bytes: &[u8], offset: u64) -> io::Result<()> {
    loop {
        match sink.write_at(bytes, offset) {
            Ok(count) if count == bytes.len() => return Ok(()),
            // A file takes less than it was given when the disk is full.
            Ok(_) => return Err(io::Error::from(io::ErrorKind::StorageFull)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
