//! The journal: a node's append-only record of admissions, attempts and settlements.
//!
//! A record is written on the caller's thread with one system call under a short lock; a background thread brings it to
//! the disk and tries again what could not be written. Shipping reads the segments behind it and moves the records to
//! the database. One process at a time writes a journal directory.
//!
//! Architecture invariant: what is acknowledged here is shipped exactly once, whatever ends the process.

mod codec;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod inspect;
mod recorder;
mod refusals;
mod replay;
mod segment;
mod worker;
mod writer;

pub(crate) use codec::{Brief, Next, Reader};
pub(crate) use refusals::{RefusalCount, Refusals};
pub use replay::{Interrupted, Replayed, Torn};
pub(crate) use segment::open_segment;
pub use segment::{Position, SegmentId};

use crate::{
    data_dir::{DataDirError, private_dir},
    db::DbError,
};
use domain::{ids::NodeId, records::Epoch};
use std::{
    collections::BTreeMap,
    fmt, fs, hint, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use writer::{Directory, Writer};

/// A segment that would grow beyond this is followed by another.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// How long written records wait for the disk in [`SyncMode::Interval`].
pub const SYNC_INTERVAL: Duration = Duration::from_millis(20);
/// How often a failed write is tried again.
pub const RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// An admission that is not acknowledged by then is refused.
pub const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(1);
/// Settlements kept in memory while the journal does not write.
pub const WAITING_BYTES_MAX: usize = 64 << 20;

/// When a record counts as acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// On the disk; those that wait at the same time share one `fdatasync`.
    Always,
    /// Written, and on the disk within [`SYNC_INTERVAL`].
    #[default]
    Interval,
    /// Written; the system decides when it gets to the disk.
    Never,
}

impl FromStr for SyncMode {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "always" => Ok(Self::Always),
            "interval" => Ok(Self::Interval),
            "never" => Ok(Self::Never),
            _ => Err("expected one of always, interval, never"),
        }
    }
}

/// Where and how a journal is written.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// Its directory.
    pub dir: PathBuf,
    /// Whose it is.
    pub node: NodeId,
    /// When a record is acknowledged.
    pub sync: SyncMode,
    /// Bound of a segment.
    pub segment_bytes: u64,
    /// The last epoch that the database knows of this node; the new one is later, even if the directory was emptied.
    pub after_epoch: u64,
}

impl JournalOptions {
    /// The usual bounds.
    pub fn new(dir: PathBuf, node: NodeId, sync: SyncMode) -> Self {
        Self { dir, node, sync, segment_bytes: SEGMENT_BYTES, after_epoch: 0 }
    }
}

/// Why a journal does not open.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has it.
    #[error("{0} is in use by another process; a data directory serves one gateway at a time")]
    InUse(PathBuf),
    /// A newer binary wrote it.
    #[error("{path} was written by a newer version ({what}); start that version, or a later one")]
    Newer {
        /// The segment.
        path: PathBuf,
        /// What is not known here.
        what: String,
    },
    /// Another node's.
    #[error("{0} belongs to another node; one data directory is one node's")]
    OtherNode(PathBuf),
    /// The directory cannot be made.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A file fails.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
    /// The marks cannot be read.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A journal that was opened, and what earlier epochs left.
#[derive(Debug)]
pub struct Opening {
    /// For writing.
    pub journal: Arc<Journal>,
    /// Admitted and never settled: hand them to [`crate::settle::recover`].
    pub interrupted: Vec<Interrupted>,
    /// What was read.
    pub replayed: Replayed,
}

/// Figures for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Segment files.
    pub segments: u64,
    /// Their size.
    pub bytes: u64,
    /// Settlements that are not in the database yet.
    pub unshipped: u64,
    /// Settlements that wait in memory for the journal to write again.
    pub waiting: u64,
    /// Failed writes and syncs since the start.
    pub write_errors: u64,
    /// Settlements that neither the journal nor memory had room for.
    pub lost: u64,
    /// Refusals that are counted and not shipped yet.
    pub live_refusals: u64,
    /// Requests of earlier epochs that were found open at the start.
    pub interrupted: u64,
    /// Whether records are taken.
    pub writable: bool,
}

pub(crate) struct Shared {
    pub(crate) epoch: Epoch,
    dir: PathBuf,
    sync: SyncMode,
    writer: Mutex<Writer>,
    /// Wakes the worker.
    work: Condvar,
    writable: AtomicBool,
    write_errors: AtomicU64,
    lost: AtomicU64,
    /// Settlements in the journal, those of earlier epochs included, less those that were shipped.
    unshipped: AtomicU64,
    interrupted: AtomicU64,
    pub(crate) refusals: Refusals,
    /// Complete segments and their sizes; those of this epoch are taken over from the writer when they are asked for.
    closed: Mutex<BTreeMap<SegmentId, u64>>,
    /// Ends of the settlements that were found at the start; shipping takes them to count what lies behind its marks.
    found: Mutex<Vec<Position>>,
    /// Where requests of earlier epochs were opened that no settlement of theirs follows.
    found_open: Mutex<Vec<(domain::ids::RequestId, SegmentId)>>,
}

/// The journal of this process's epoch.
pub struct Journal {
    shared: Arc<Shared>,
    worker: Mutex<Option<JoinHandle<()>>>,
    /// Locked as long as it is open.
    _lock: fs::File,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Journal({:?})", self.shared.epoch)
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { path, source }
}

/// A panic under one of these locks leaves plain data behind, which is still right.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tries this often before a thread sleeps, with so many pauses of the processor in between: some microseconds.
const TRIES: usize = 40;
const PAUSES: usize = 8;

/// A lock that is held for one write into the page cache. Waiting that long costs less than falling asleep and being woken.
fn lock_soon<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    for _ in 0..TRIES {
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(left)) => return left.into_inner(),
            Err(TryLockError::WouldBlock) => (0..PAUSES).for_each(|_| hint::spin_loop()),
        }
    }
    lock(mutex)
}

impl Journal {
    /// Locks the directory, reads what earlier epochs left, cuts torn tails, and begins a new epoch.
    pub fn open(options: JournalOptions) -> Result<Opening, JournalError> {
        private_dir(&options.dir)?;
        let lock_path = options.dir.join("lock");
        let lock_file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(io_error(&lock_path))?;
        match lock_file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(JournalError::InUse(options.dir)),
            Err(fs::TryLockError::Error(error)) => return Err(io_error(&lock_path)(error)),
        }

        let replay = replay::run(&options.dir, options.node)?;
        let epoch = Epoch { node: options.node, number: replay.last_epoch.max(options.after_epoch) + 1 };
        let directory = Directory::open(&options.dir, epoch).map_err(io_error(&options.dir))?;
        let writer =
            Writer::new(Box::new(directory), options.segment_bytes, options.sync).map_err(io_error(&options.dir))?;
        let shared = Arc::new(Shared {
            unshipped: AtomicU64::new(replay.settled.len() as u64),
            interrupted: AtomicU64::new(replay.interrupted.len() as u64),
            closed: Mutex::new(replay.segments),
            found: Mutex::new(replay.settled),
            found_open: Mutex::new(replay.open),
            ..Shared::new(epoch, options.dir, options.sync, writer)
        });
        let journal = Self::start(shared, lock_file).map_err(io_error(&lock_path))?;
        Ok(Opening { journal, interrupted: replay.interrupted, replayed: replay.report })
    }

    fn start(shared: Arc<Shared>, lock: fs::File) -> io::Result<Arc<Self>> {
        let theirs = shared.clone();
        let worker = std::thread::Builder::new().name("journal".to_owned()).spawn(move || worker::run(&theirs))?;
        Ok(Arc::new(Self { shared, worker: Mutex::new(Some(worker)), _lock: lock }))
    }

    /// This process's epoch.
    pub fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    /// The end of what is written.
    pub fn end(&self) -> Position {
        self.shared.extent().end
    }

    /// Figures for metrics.
    pub fn stats(&self) -> Stats {
        let shared = &*self.shared;
        let waiting = lock(&shared.writer).waiting();
        let Extent { closed, end } = shared.extent();
        Stats {
            segments: closed.len() as u64 + 1,
            bytes: closed.values().sum::<u64>() + end.offset,
            unshipped: shared.unshipped.load(Ordering::Relaxed),
            waiting: waiting as u64,
            write_errors: shared.write_errors.load(Ordering::Relaxed),
            lost: shared.lost.load(Ordering::Relaxed),
            live_refusals: shared.refusals.len() as u64,
            interrupted: shared.interrupted.load(Ordering::Relaxed),
            writable: shared.writable.load(Ordering::Relaxed),
        }
    }

    /// Brings everything to the disk and ends the background thread; blocks for one `fdatasync`.
    pub fn close(&self) {
        lock(&self.shared.writer).stop = true;
        self.shared.work.notify_all();
        if let Some(worker) = lock(&self.worker).take() {
            // A panic there has been reported by the panic hook.
            let _ = worker.join();
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

/// What there is to read.
pub(crate) struct Extent {
    /// Complete segments, oldest first, and their sizes.
    pub(crate) closed: BTreeMap<SegmentId, u64>,
    /// Behind the last whole record.
    pub(crate) end: Position,
}

/// What shipping needs.
impl Shared {
    /// Of a journal in which nothing was found.
    fn new(epoch: Epoch, dir: PathBuf, sync: SyncMode, writer: Writer) -> Self {
        Self {
            epoch,
            dir,
            sync,
            writer: Mutex::new(writer),
            work: Condvar::new(),
            writable: AtomicBool::new(true),
            write_errors: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            unshipped: AtomicU64::new(0),
            interrupted: AtomicU64::new(0),
            refusals: Refusals::default(),
            closed: Mutex::default(),
            found: Mutex::default(),
            found_open: Mutex::default(),
        }
    }

    pub(crate) fn extent(&self) -> Extent {
        let mut writer = lock(&self.writer);
        let (number, offset) = writer.end();
        let completed = writer.take_completed();
        let mut closed = lock(&self.closed);
        closed.extend(completed.into_iter().map(|(number, size)| (self.segment(number), size)));
        Extent { closed: closed.clone(), end: Position { segment: self.segment(number), offset } }
    }

    fn segment(&self, number: u32) -> SegmentId {
        SegmentId { epoch: self.epoch.number, number }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Deletes a complete segment.
    pub(crate) fn delete(&self, id: SegmentId) -> io::Result<()> {
        match fs::remove_file(self.dir.join(id.file_name())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        lock(&self.closed).remove(&id);
        Ok(())
    }

    pub(crate) fn take_found(&self) -> Vec<Position> {
        std::mem::take(&mut lock(&self.found))
    }

    pub(crate) fn take_found_open(&self) -> Vec<(domain::ids::RequestId, SegmentId)> {
        std::mem::take(&mut lock(&self.found_open))
    }

    /// Counts settlements that are in the database now.
    pub(crate) fn shipped(&self, settlements: u64) {
        self.unshipped.fetch_sub(settlements, Ordering::Relaxed);
    }

    /// Publishes whether the journal writes, and says so once when that changes.
    fn observe(&self, writer: &Writer, failure: Option<&io::Error>) {
        if failure.is_some() {
            self.write_errors.fetch_add(1, Ordering::Relaxed);
        }
        let writable = writer.is_writable();
        if self.writable.swap(writable, Ordering::Relaxed) == writable {
            return;
        }
        if writable {
            tracing::info!("the journal writes again; new requests are taken");
        } else {
            let error = failure.map(ToString::to_string).unwrap_or_default();
            tracing::error!(error, "the journal cannot write; new requests are refused until it can");
        }
    }
}
