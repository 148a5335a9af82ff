//! What one transaction ships: records read from the journal, and their way into the tables.

use super::{ShipError, alerts::Alert, tally::Tally};
use crate::{
    db::{DbError, Tx, Value},
    journal::{Brief, Next, Position, Reader, RefusalCount, SegmentId, Shared, open_segment},
    repo::{audit, bindings, candidates, usage},
};
use domain::{
    ids::{IdMap, NodeId, RequestId},
    ledger::Shipped,
    records::Settled,
};
use std::{
    collections::{BTreeMap, HashSet},
    io::Read as _,
    ops::Bound,
};
use uuid::Uuid;

/// Bounds of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) settlements: usize,
    /// Bytes of journal that are read for it.
    pub(super) bytes: u64,
}

/// What happened to a request, in the journal's order.
pub(super) enum Change {
    Opened(RequestId, SegmentId),
    Closed(RequestId),
}

/// A stretch of the journal.
pub(super) struct Batch {
    /// The last settlement of each request.
    #[expect(
        clippy::vec_box,
        reason = "they come boxed; a list of hundreds is moved about, and given back to the system, as a whole"
    )]
    pub(super) settled: Vec<Box<Settled>>,
    /// Settlements read, replaced ones included.
    pub(super) count: u64,
    pub(super) changes: Vec<Change>,
    /// Where it ends, and the end in each epoch before.
    pub(super) end: Position,
    pub(super) marks: BTreeMap<u64, Position>,
    /// It ends before the journal does.
    pub(super) more: bool,
}

/// Reads on from a place.
pub(super) fn read(shared: &Shared, from: Position, bounds: Bounds) -> Result<Batch, ShipError> {
    let extent = shared.extent();
    let mut batch =
        Batch { settled: Vec::new(), count: 0, changes: Vec::new(), end: from, marks: BTreeMap::new(), more: true };
    let mut places = IdMap::default();
    let mut left = bounds.bytes;
    loop {
        let segment = batch.end.segment;
        let size = if segment == extent.end.segment {
            extent.end.offset
        } else {
            extent.closed.get(&segment).copied().unwrap_or(0)
        };
        if !read_segment(shared, size, bounds, &mut left, &mut batch, &mut places)? {
            return Ok(batch);
        }
        let later = extent.closed.range((Bound::Excluded(segment), Bound::Unbounded)).next().map(|(id, _)| *id);
        let Some(next) = later.or((segment < extent.end.segment).then_some(extent.end.segment)) else {
            batch.more = false;
            return Ok(batch);
        };
        batch.end = Position { segment: next, offset: 0 };
    }
}

/// Reads one segment to its end; false if the batch is full before.
fn read_segment(
    shared: &Shared,
    size: u64,
    bounds: Bounds,
    left: &mut u64,
    batch: &mut Batch,
    places: &mut IdMap<RequestId, usize>,
) -> Result<bool, ShipError> {
    let Position { segment, offset } = batch.end;
    if offset >= size {
        return Ok(true);
    }
    let path = || shared.dir().join(segment.file_name());
    let failed = |source| ShipError::Io { path: path(), source };
    let (file, start) = open_segment(shared.dir(), segment, offset).map_err(failed)?;
    let mut reader = Reader::new(file.take(size.saturating_sub(start)), start);
    loop {
        batch.end.offset = reader.offset();
        if batch.settled.len() >= bounds.settlements || reader.offset().saturating_sub(offset) >= *left {
            return Ok(false);
        }
        match reader.next_brief().map_err(failed)? {
            Next::End => break,
            Next::Nothing | Next::Record(Brief::Passing) => {}
            Next::Record(Brief::Opened(request)) => batch.changes.push(Change::Opened(request, segment)),
            Next::Released(request) => batch.changes.push(Change::Closed(request)),
            Next::Record(Brief::Settled(settled)) => {
                let request = settled.usage.request_id;
                batch.count += 1;
                batch.changes.push(Change::Closed(request));
                if let Some(place) = places.get(&request) {
                    batch.settled[*place] = settled;
                } else {
                    places.insert(request, batch.settled.len());
                    batch.settled.push(settled);
                }
                let end = Position { segment, offset: reader.offset() };
                batch.marks.insert(segment.epoch, end);
            }
            Next::Torn | Next::Unknown { .. } => {
                return Err(ShipError::Damaged { path: path(), offset: reader.offset() });
            }
        }
    }
    *left = left.saturating_sub(reader.offset().saturating_sub(offset));
    Ok(true)
}

/// The requests of a batch that have rows already: an earlier settlement, which this one replaces.
pub(super) async fn settled_before(tx: &mut Tx, batch: &Batch) -> Result<HashSet<RequestId>, DbError> {
    let requests: Vec<_> = batch.settled.iter().map(|settled| settled.usage.request_id).collect();
    usage::known(tx, &requests).await
}

/// Puts a batch into the tables; what `replaced` names is taken out first.
///
/// What was spent by it and what that reached; `None` if other requests have rows, too: the transaction is then to be undone. Asking for them in
/// every batch would cost more than doing a batch again in the rare case.
pub(super) async fn write(
    tx: &mut Tx,
    node: NodeId,
    batch: &Batch,
    refusals: &[(Uuid, RefusalCount)],
    replaced: &HashSet<RequestId>,
) -> Result<Option<(Shipped, Vec<Alert>)>, DbError> {
    let mut tally = Tally::default();
    for settled in batch.settled.iter().filter(|settled| replaced.contains(&settled.usage.request_id)) {
        take_out(tx, settled, &mut tally).await?;
    }
    let all: Vec<&Settled> = batch.settled.iter().map(Box::as_ref).collect();
    if !usage::insert(tx, &all).await? {
        return Ok(None);
    }
    candidates::insert(tx, &all).await?;
    bindings::insert(tx, &all).await?;
    for settled in &all {
        tally.add(settled);
    }
    let spent = tally.write(tx).await?;
    let events: Vec<_> = refusals.iter().map(|(id, count)| event(*id, count)).collect();
    if !events.is_empty() {
        audit::append(tx, node, &events).await?;
    }
    for mark in batch.marks.values() {
        write_mark(tx, node, *mark).await?;
    }
    Ok(Some(spent))
}

/// Takes the rows of an earlier settlement out, and its figures out of the sums.
async fn take_out(tx: &mut Tx, settled: &Settled, tally: &mut Tally) -> Result<(), DbError> {
    let request = settled.usage.request_id;
    let Some(before) = usage::find_any_owner(tx, request).await? else { return Ok(()) };
    let candidates = candidates::tried_any_owner(tx, request).await?;
    let account = usage::account_any_owner(tx, request).await?;
    tally.take_out(&Settled {
        usage: before,
        candidates,
        trace: domain::records::Trace::default(),
        account,
        issued: Vec::new(),
    });
    usage::remove(tx, request).await?;
    candidates::remove(tx, request).await
}

async fn write_mark(tx: &mut Tx, node: NodeId, mark: Position) -> Result<(), DbError> {
    const MARK: &str = "INSERT INTO journal_marks (node_id, epoch, segment, shipped_offset, updated_at) \
                        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (node_id, epoch) DO UPDATE SET \
                        segment = excluded.segment, shipped_offset = excluded.shipped_offset, \
                        updated_at = excluded.updated_at";
    let values = vec![
        node.uuid().into(),
        Value::count(mark.segment.epoch),
        mark.segment.number.into(),
        Value::count(mark.offset),
        tx.now_us().into(),
    ];
    tx.run(MARK, values).await?;
    Ok(())
}

/// A counter of refusals as an audit row.
fn event(id: Uuid, refusals: &RefusalCount) -> audit::Event {
    let RefusalCount { reason, count, .. } = refusals;
    let event_type = match reason.as_str() {
        "rate_limited" => "request_rate_limited",
        "out_of_money" => "request_quota_exceeded",
        _ => "request_failed",
    };
    let noun = if *count == 1 { "request" } else { "requests" };
    let prefix = refusals.key_hash_prefix.map(|[a, b, c, d]| format!("{a:02x}{b:02x}{c:02x}{d:02x}"));
    let last = refusals.last.as_ref();
    audit::Event {
        id,
        event_type,
        description: format!("{count} {noun} refused before admission: {reason}"),
        user_id: None,
        api_key_id: refusals.api_key_id,
        ip_address: last.map(|last| last.ip),
        user_agent: None,
        request_id: None,
        metadata: serde_json::json!({
            "reason": reason,
            "count": count,
            "minute_us": refusals.minute_us,
            "key_hash_prefix": prefix,
            "path": last.map(|last| &last.path),
            "model": last.and_then(|last| last.model.as_ref()),
        }),
        status_code: None,
        error_message: None,
    }
}
