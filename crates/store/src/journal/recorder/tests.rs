use crate::{
    journal::{
        Journal, Shared, SyncMode,
        codec::RECORD_MAX,
        writer::{
            Writer,
            tests::{Fault, Memory},
        },
    },
    sample,
};
use domain::{
    ids::{NodeId, RequestId},
    ports::{Answer, NotRecorded, Recorder as _},
    records::Epoch,
};
use std::sync::Arc;

/// A journal on a disk in memory; its directory is not used.
fn journal(sync: SyncMode) -> (Arc<Journal>, Memory) {
    let disk = Memory::default();
    let writer = Writer::new(Box::new(disk.clone()), 1 << 20, sync).unwrap();
    let epoch = Epoch { node: NodeId::from(uuid::Uuid::from_u128(77)), number: 1 };
    let shared = Arc::new(Shared::new(epoch, std::path::PathBuf::new(), sync, writer));
    (Journal::start(shared, tempfile::tempfile().unwrap()).unwrap(), disk)
}

fn requests(numbers: &[u128]) -> Vec<RequestId> {
    numbers.iter().map(|number| sample::request(*number)).collect()
}

fn now(answer: Answer<Result<(), NotRecorded>>) -> Option<Result<(), NotRecorded>> {
    match answer {
        Answer::Now(answer) => answer,
        Answer::Later(_) => None,
    }
}

#[test]
fn interval_answers_at_once_and_the_disk_follows() {
    let (journal, disk) = journal(SyncMode::Interval);
    assert_eq!(now(journal.opened(sample::opened(1))), Some(Ok(())));
    journal.attempt(sample::attempt(1));
    journal.progress(sample::progress(1));
    assert_eq!(now(journal.settled(Box::new(sample::settled(1)))), Some(Ok(())));
    assert_eq!(disk.seen().0, requests(&[1, 1, 1, 1]));
    disk.wait_until_durable();
    assert_eq!(now(journal.opened(sample::opened(2))), Some(Ok(())));
    disk.wait_until_durable();
    assert_eq!(disk.durable(), requests(&[1, 1, 1, 1, 2]));
    assert_eq!(journal.stats().unshipped, 1);
}

#[test]
fn never_leaves_the_disk_to_the_system_until_the_journal_is_closed() {
    let (journal, disk) = journal(SyncMode::Never);
    assert_eq!(now(journal.settled(Box::new(sample::settled(1)))), Some(Ok(())));
    assert_eq!(disk.durable(), []);
    journal.close();
    assert_eq!(disk.durable(), requests(&[1]));
}

#[tokio::test]
async fn always_answers_when_the_disk_has_it() {
    let (journal, disk) = journal(SyncMode::Always);
    assert_eq!(journal.opened(sample::opened(1)).await, Ok(()));
    assert_eq!(journal.settled(Box::new(sample::settled(1))).await, Ok(()));
    assert_eq!(disk.durable(), requests(&[1, 1]));
    assert_eq!(disk.released(), [], "an admission that was acknowledged stands");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_refuses_an_admission_after_a_second_and_its_record_is_taken_back() {
    let (journal, disk) = journal(SyncMode::Always);
    disk.wait_until_durable();
    disk.fault(Fault::Hang);
    let mut ended = journal.settled(Box::new(sample::settled(1)));
    let began = tokio::time::Instant::now();
    let answer = journal.opened(sample::opened(2)).await;
    assert_eq!(answer, Err(NotRecorded("the disk is too slow".to_owned())));
    assert_eq!(began.elapsed().as_secs(), 1);
    assert!(poll_once(&mut ended).is_none(), "the settlement waits on");
    let mut left = journal.opened(sample::opened(3));
    assert!(poll_once(&mut left).is_none());
    drop(left);

    disk.fault(Fault::None);
    assert_eq!(ended.await, Ok(()));
    journal.close();
    assert_eq!(disk.released(), requests(&[2, 3]), "the one that was refused, and the one that nobody waited for");
}

/// What an answer says without being waited for.
fn poll_once(answer: &mut Answer<Result<(), NotRecorded>>) -> Option<Result<(), NotRecorded>> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match std::future::Future::poll(std::pin::Pin::new(answer), &mut cx) {
        std::task::Poll::Ready(answer) => Some(answer),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn while_nothing_can_be_written_admissions_are_refused_and_settlements_wait_in_memory() {
    let (journal, disk) = journal(SyncMode::Interval);
    disk.wait_until_durable();
    disk.fault(Fault::Write);
    let ended = journal.settled(Box::new(sample::settled(1)));
    assert!(matches!(now(journal.opened(sample::opened(2))), Some(Err(NotRecorded(_)))));
    let stats = journal.stats();
    assert_eq!((journal.is_writable(), stats.writable, stats.waiting, stats.unshipped), (false, false, 1, 0));
    assert!(stats.write_errors >= 1);

    disk.fault(Fault::None);
    assert_eq!(ended.await, Ok(()));
    disk.wait_until_durable();
    journal.close();
    let stats = journal.stats();
    assert_eq!((journal.is_writable(), stats.waiting, stats.unshipped, stats.lost), (true, 0, 1, 0));
    assert_eq!(disk.durable(), requests(&[1]));
}

#[test]
fn a_settlement_that_is_too_large_keeps_its_bill() {
    let (journal, disk) = journal(SyncMode::Interval);
    let mut settled = sample::settled(1);
    settled.usage.user_agent = Some("ü".repeat(RECORD_MAX));
    settled.trace.entries = vec![settled.trace.entries[0].clone(); 256];
    assert_eq!(now(journal.settled(Box::new(settled))), Some(Ok(())));
    assert_eq!((disk.seen().0, journal.stats().lost), (requests(&[1]), 0));
}
