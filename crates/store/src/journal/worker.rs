//! The background thread: brings records to the disk, and tries again what could not be written.

use super::{RETRY_INTERVAL, SYNC_INTERVAL, Shared, SyncMode, lock, writer::Writer};
use std::{
    io,
    sync::{MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

/// Works until it is told to stop, then brings everything to the disk once more.
pub(super) fn run(shared: &Shared) {
    let mut writer = lock(&shared.writer);
    while !writer.stop {
        if writer.has_failed() {
            writer = pause(shared, writer, RETRY_INTERVAL);
            retry(shared, &mut writer);
            if writer.needs_sync() {
                writer = sync(shared, writer);
            }
        } else if writer.needs_sync() {
            if shared.sync == SyncMode::Interval {
                writer = pause(shared, writer, SYNC_INTERVAL);
            }
            writer = sync(shared, writer);
        } else {
            writer.asleep = true;
            let woken = shared.work.wait_while(writer, |writer| writer.asleep && !writer.stop);
            writer = woken.unwrap_or_else(PoisonError::into_inner);
            writer.asleep = false;
        }
    }
    retry(shared, &mut writer);
    writer = sync(shared, writer);
    let waiting = writer.waiting();
    if waiting > 0 {
        shared.lost.fetch_add(waiting as u64, Ordering::Relaxed);
        tracing::error!(waiting, "the journal was closed before it could write {waiting} settlements");
    }
}

/// Waits this long, or until it is time to stop.
fn pause<'a>(shared: &Shared, writer: MutexGuard<'a, Writer>, wait: Duration) -> MutexGuard<'a, Writer> {
    let woken = shared.work.wait_timeout_while(writer, wait, |writer| !writer.stop);
    woken.unwrap_or_else(PoisonError::into_inner).0
}

fn retry(shared: &Shared, writer: &mut Writer) {
    if !writer.has_failed() {
        return;
    }
    let (settlements, result) = writer.retry();
    shared.unshipped.fetch_add(settlements, Ordering::Relaxed);
    shared.observe(writer, result.as_ref().err());
}

/// One `fdatasync` for all that wait, outside the lock.
fn sync<'a>(shared: &'a Shared, mut writer: MutexGuard<'a, Writer>) -> MutexGuard<'a, Writer> {
    let job = writer.begin_sync();
    drop(writer);
    let result: io::Result<()> = job.run();
    let mut writer = lock(&shared.writer);
    writer.end_sync(job, &result);
    shared.observe(&writer, result.as_ref().err());
    writer
}
