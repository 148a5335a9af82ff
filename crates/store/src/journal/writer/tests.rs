use super::*;
use crate::{
    journal::codec::{Next, Reader},
    sample,
};
use domain::ids::RequestId;
use proptest::prelude::*;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What the disk does with the next calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::journal) enum Fault {
    /// Works.
    None,
    /// Takes so many bytes of a write and no more.
    Short(usize),
    /// Refuses writes.
    Write,
    /// Takes a part of a write, fails, and cannot be cut either.
    Uncut(usize),
    /// Refuses to sync, and loses what was to be synced.
    Sync,
    /// Does not come back from a sync until the fault is another.
    Hang,
    /// Makes no file.
    Create,
}

#[derive(Default)]
struct State {
    fault: Option<Fault>,
    /// Each segment as the system shows it, and as it lies on the disk.
    segments: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes that the system counts as written back.
    clean: Vec<usize>,
}

/// A disk in memory that fails when it is told to.
#[derive(Clone, Default)]
pub(in crate::journal) struct Memory(Arc<(Mutex<State>, Condvar)>);

struct File(Memory, usize);

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::journal) fn fault(&self, fault: Fault) {
        self.state().fault = Some(fault);
        self.0.1.notify_all();
    }

    /// Blocks until everything that was written is on the disk.
    pub(in crate::journal) fn wait_until_durable(&self) {
        let behind = |state: &mut State| state.segments.iter().any(|(seen, durable)| seen != durable);
        drop(self.0.1.wait_while(self.state(), behind).unwrap());
    }

    /// The requests whose records can be read, in order, and whether every segment ends cleanly.
    fn read(&self, of: impl Fn(&(Vec<u8>, Vec<u8>)) -> &Vec<u8>) -> (Vec<RequestId>, bool) {
        let (mut requests, mut clean) = (Vec::new(), true);
        for segment in &self.state().segments {
            let bytes = of(segment);
            let mut reader = Reader::new(bytes.get(HEADER..).unwrap_or_default(), HEADER as u64);
            loop {
                match reader.next().unwrap() {
                    Next::Record(record) => requests.push(record.request_id()),
                    Next::Nothing | Next::Released(_) => {}
                    end => {
                        clean &= matches!(end, Next::End);
                        break;
                    }
                }
            }
        }
        (requests, clean)
    }

    /// Requests whose admission was taken back.
    pub(in crate::journal) fn released(&self) -> Vec<RequestId> {
        let mut requests = Vec::new();
        for (seen, _) in &self.state().segments {
            let mut reader = Reader::new(&seen[HEADER..], HEADER as u64);
            loop {
                match reader.next().unwrap() {
                    Next::Released(request) => requests.push(request),
                    Next::Record(_) | Next::Nothing => {}
                    _ => break,
                }
            }
        }
        requests
    }

    pub(in crate::journal) fn seen(&self) -> (Vec<RequestId>, bool) {
        self.read(|(seen, _)| seen)
    }

    pub(in crate::journal) fn durable(&self) -> Vec<RequestId> {
        self.read(|(_, durable)| durable).0
    }
}

impl Disk for Memory {
    fn create(&self, number: u32) -> io::Result<Arc<dyn Sink>> {
        let mut state = self.state();
        if state.fault == Some(Fault::Create) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let number = number as usize;
        state.segments.truncate(number);
        state.clean.truncate(number);
        state.segments.push((Vec::new(), Vec::new()));
        state.clean.push(0);
        Ok(Arc::new(File(self.clone(), number)))
    }

    fn header(&self, _: u32) -> [u8; HEADER] {
        [7; HEADER]
    }
}

impl Sink for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.0.state();
        let taken = match state.fault {
            Some(Fault::Write) => return Err(io::Error::other("no writing")),
            Some(Fault::Short(most) | Fault::Uncut(most)) => most.min(bytes.len()),
            _ => bytes.len(),
        };
        let offset = usize::try_from(offset).unwrap();
        let (seen, _) = &mut state.segments[self.1];
        seen.resize(seen.len().max(offset + taken), 0);
        seen[offset..offset + taken].copy_from_slice(&bytes[..taken]);
        state.clean[self.1] = state.clean[self.1].min(offset);
        Ok(taken)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.0.state();
        let rest = &state.segments[self.1].0[usize::try_from(offset).unwrap()..];
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        let mut state = self.0.state();
        if matches!(state.fault, Some(Fault::Uncut(_))) {
            return Err(io::Error::other("no cutting"));
        }
        state.segments[self.1].0.truncate(usize::try_from(length).unwrap());
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let hangs = |state: &mut State| state.fault == Some(Fault::Hang);
        let mut state = self.0.0.1.wait_while(self.0.state(), hangs).unwrap();
        let failed = state.fault == Some(Fault::Sync);
        let from = state.clean[self.1];
        let (seen, durable) = &mut state.segments[self.1];
        if !failed && from < seen.len() {
            durable.resize(seen.len(), 0);
            durable[from..].copy_from_slice(&seen[from..]);
        }
        // A page that could not be written counts as clean from then on.
        state.clean[self.1] = state.segments[self.1].0.len();
        drop(state);
        self.0.0.1.notify_all();
        if failed { Err(io::Error::other("no syncing")) } else { Ok(()) }
    }
}

fn writer(disk: &Memory, sync: SyncMode) -> Writer {
    Writer::new(Box::new(disk.clone()), 1 << 20, sync).unwrap()
}

fn opened(number: u128) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode(Entry::Opened(&sample::opened(number)), &mut bytes).unwrap();
    bytes
}

fn settled(number: u128) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode(Entry::Settled(&sample::settled(number)), &mut bytes).unwrap();
    bytes
}

fn sync(writer: &mut Writer) -> io::Result<()> {
    let job = writer.begin_sync();
    let result = job.run();
    writer.end_sync(job, &result);
    result
}

fn requests(numbers: &[u128]) -> Vec<RequestId> {
    numbers.iter().map(|number| sample::request(*number)).collect()
}

#[test]
fn a_failed_write_leaves_nothing_behind_and_a_settlement_waits_for_the_next() {
    for fault in [Fault::Short(0), Fault::Short(9), Fault::Write, Fault::Uncut(9)] {
        let disk = Memory::default();
        let mut writer = writer(&disk, SyncMode::Interval);
        assert!(matches!(writer.open(&opened(1)), Ok(Taken::Now)), "{fault:?}");

        disk.fault(fault);
        let Ok((Taken::Later(mut answer), Some(_))) = writer.settle(&settled(1)) else { panic!("{fault:?}") };
        assert!(writer.open(&opened(2)).is_err(), "{fault:?}: no new request");
        assert!(writer.note(&opened(3)).is_ok(), "{fault:?}: what nobody waits for is gone");
        let Ok((Taken::Later(_), None)) = writer.settle(&settled(4)) else { panic!("{fault:?}") };
        assert_eq!((writer.waiting(), writer.is_writable()), (2, false), "{fault:?}");
        assert!(writer.retry().1.is_err(), "{fault:?}");
        assert!(answer.try_recv().is_err(), "{fault:?}: still waiting");
        assert_eq!(disk.seen().0, requests(&[1]), "{fault:?}");

        disk.fault(Fault::None);
        assert!(matches!(writer.retry(), (2, Ok(()))), "{fault:?}");
        assert_eq!(answer.try_recv(), Ok(Ok(())), "{fault:?}");
        assert!(writer.is_writable() && matches!(writer.open(&opened(5)), Ok(Taken::Now)), "{fault:?}");
        assert_eq!(disk.seen(), (requests(&[1, 1, 4, 5]), true), "{fault:?}");
    }
}

#[test]
fn a_refused_admission_alone_is_found_out_by_a_record_that_says_nothing() {
    let disk = Memory::default();
    let mut writer = writer(&disk, SyncMode::Interval);
    disk.fault(Fault::Write);
    assert!(writer.open(&opened(1)).is_err());
    assert!(writer.retry().1.is_err() && !writer.is_writable());
    disk.fault(Fault::None);
    assert!(writer.retry().1.is_ok() && writer.is_writable());
    assert_eq!(disk.seen(), (vec![], true));
}

#[test]
fn always_answers_after_the_disk_and_a_failed_sync_is_done_again_with_its_bytes() {
    let disk = Memory::default();
    let mut writer = writer(&disk, SyncMode::Always);
    let Ok(Taken::Later(mut admitted)) = writer.open(&opened(1)) else { panic!() };
    let Ok((Taken::Later(mut ended), None)) = writer.settle(&settled(2)) else { panic!() };
    assert!(admitted.try_recv().is_err() && ended.try_recv().is_err());

    disk.fault(Fault::Sync);
    assert!(sync(&mut writer).is_err());
    assert!(matches!(admitted.try_recv(), Ok(Err(NotRecorded(_)))), "an admission is refused");
    assert!(ended.try_recv().is_err(), "a settlement waits on");
    assert!(writer.open(&opened(3)).is_err() && !writer.is_writable());
    let Ok((Taken::Later(mut later), None)) = writer.settle(&settled(4)) else { panic!() };
    assert!(!writer.is_writable(), "a write that works does not make up for it");

    disk.fault(Fault::None);
    assert!(sync(&mut writer).is_ok() && writer.is_writable());
    assert_eq!((ended.try_recv(), later.try_recv()), (Ok(Ok(())), Ok(Ok(()))));
    assert_eq!(disk.durable(), requests(&[1, 2, 4]));
}

#[test]
fn one_sync_answers_all_who_wait_and_covers_earlier_segments() {
    let disk = Memory::default();
    let size = (HEADER + settled(1).len()) as u64;
    let mut writer = Writer::new(Box::new(disk.clone()), size, SyncMode::Always).unwrap();
    let mut answers = Vec::new();
    for number in 1..=3 {
        let Ok((Taken::Later(answer), None)) = writer.settle(&settled(number)) else { panic!() };
        answers.push(answer);
    }
    assert_eq!(writer.take_completed(), [(0, size), (1, size)]);
    assert_eq!(disk.durable(), []);
    assert!(sync(&mut writer).is_ok());
    assert!(answers.iter_mut().all(|answer| answer.try_recv() == Ok(Ok(()))));
    assert_eq!(disk.durable(), requests(&[1, 2, 3]));
    assert!(!writer.needs_sync());
}

#[test]
fn a_segment_that_cannot_be_begun_keeps_the_record_waiting() {
    let disk = Memory::default();
    let size = (HEADER + settled(1).len()) as u64;
    let mut writer = Writer::new(Box::new(disk.clone()), size, SyncMode::Interval).unwrap();
    assert!(matches!(writer.settle(&settled(1)), Ok((Taken::Now, None))));
    disk.fault(Fault::Create);
    assert!(matches!(writer.settle(&settled(2)), Ok((Taken::Later(_), Some(_)))));
    assert_eq!(writer.end(), (0, size));
    disk.fault(Fault::None);
    assert!(matches!(writer.retry(), (1, Ok(()))));
    assert_eq!((writer.end(), disk.seen()), ((1, size), (requests(&[1, 2]), true)));
}

#[test]
fn memory_for_waiting_settlements_is_bounded() {
    let disk = Memory::default();
    let mut writer = writer(&disk, SyncMode::Interval);
    disk.fault(Fault::Write);
    let bytes = vec![0; WAITING_BYTES_MAX / 2];
    assert!(writer.settle(&bytes).is_ok() && writer.settle(&bytes).is_ok());
    assert!(writer.settle(&settled(1)).is_err());
    assert!(writer.release(&settled(1)).is_err());
}

proptest! {
    /// Whatever fails and when: each settlement is in the journal once and in order, each admission that was granted is
    /// there, none that was refused, and nothing torn.
    #[test]
    fn nothing_is_lost_doubled_or_torn(
        steps in proptest::collection::vec((0u8..4, prop_oneof![
            3 => Just(Fault::None),
            1 => (0usize..400).prop_map(Fault::Short),
            1 => Just(Fault::Write),
            1 => (0usize..400).prop_map(Fault::Uncut),
            1 => Just(Fault::Sync),
            1 => Just(Fault::Create),
        ]), 1..60),
        always in any::<bool>(),
    ) {
        let disk = Memory::default();
        let mode = if always { SyncMode::Always } else { SyncMode::Interval };
        let mut writer = Writer::new(Box::new(disk.clone()), 2_000, mode).unwrap();
        let (mut admitted, mut ended, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for (number, (action, fault)) in (1u128..).zip(steps) {
            disk.fault(fault);
            match action {
                0 => match writer.open(&opened(number)) {
                    Ok(_) => admitted.push(sample::request(number)),
                    Err(_) => prop_assert!(!writer.is_writable()),
                },
                1 => {
                    let (taken, _) = writer.settle(&settled(number)).unwrap();
                    ended.push(sample::request(number));
                    if let Taken::Later(answer) = taken {
                        waiting.push(answer);
                    }
                }
                2 => drop(writer.retry()),
                _ => drop(sync(&mut writer)),
            }
        }
        disk.fault(Fault::None);
        prop_assert!(writer.retry().1.is_ok());
        prop_assert!(sync(&mut writer).is_ok());
        prop_assert!(writer.is_writable());
        prop_assert!(waiting.iter_mut().all(|answer| answer.try_recv() == Ok(Ok(()))));
        let (seen, clean) = disk.seen();
        prop_assert!(clean);
        prop_assert_eq!(&disk.durable(), &seen);
        let (granted, settlements): (Vec<_>, Vec<_>) = seen.into_iter().partition(|id| admitted.contains(id));
        prop_assert_eq!(settlements, ended);
        prop_assert_eq!(granted, admitted);
    }
}
