//! A request's candidates: a row for each that was tried, and one compact list of the others.

use crate::db::{DbError, Insert, Row, Target, Tx, Value};
use domain::{
    ids::{ClientKeyId, EndpointId, ProviderId, ProviderKeyId, RequestId, UserId},
    money::NanoUsd,
    records::{AttemptOutcome, CandidateRow, Settled, Trace, TraceEntry, UsageRow},
};
use serde::{Deserialize, Serialize};

const COLUMNS: &str = "request_id, candidate_index, retry_index, user_id, api_key_id, provider_id, endpoint_id, key_id, \
                       status, skip_reason, is_cached, status_code, error_type, error_message, latency_ms, queue_ms, \
                       connect_ms, first_byte_ms, stream_ms, concurrent_requests, actual_cost_usd, extra_data, \
                       started_at, finished_at";

/// `extra_data`.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Extra {
    upstream_model: String,
}

/// Where tried candidates go.
const TRIED: Target = Target {
    table: "request_candidates",
    shared: &[
        "candidate_index",
        "retry_index",
        "user_id",
        "api_key_id",
        "provider_id",
        "endpoint_id",
        "key_id",
        "status",
        "skip_reason",
        "is_cached",
        "status_code",
        "error_type",
        "error_message",
        "queue_ms",
        "connect_ms",
        "actual_cost_usd",
        "extra_data",
    ],
    own: &[
        "request_id",
        "latency_ms",
        "first_byte_ms",
        "stream_ms",
        "concurrent_requests",
        "started_at",
        "finished_at",
    ],
    conflict: "ON CONFLICT (request_id, candidate_index, retry_index) DO NOTHING",
};

/// Where lists of the others go.
const TRACES: Target = Target {
    table: "request_traces",
    shared: &["entries", "more"],
    own: &["request_id"],
    conflict: "ON CONFLICT (request_id) DO NOTHING",
};

/// A candidate and the request that tried it.
struct Tried<'r>(&'r UsageRow, &'r CandidateRow);

/// What attempts of one caller at one provider key have in common.
type Alike<'r> = (
    (Option<UserId>, ClientKeyId, ProviderId, EndpointId, ProviderKeyId, &'r str),
    (u32, u32, AttemptOutcome, bool, Option<u16>, u32, Option<u32>, NanoUsd),
    [Option<&'r str>; 3],
);

impl Insert for Tried<'_> {
    type Alike<'r>
        = Alike<'r>
    where
        Self: 'r;

    fn alike(&self) -> Alike<'_> {
        let Self(usage, row) = self;
        (
            (usage.user_id, usage.api_key_id, row.provider_id, row.endpoint_id, row.key_id, &row.upstream_model),
            (
                row.candidate_index,
                row.retry_index,
                row.outcome,
                row.is_cached,
                row.status_code,
                row.queue_ms,
                row.connect_ms,
                row.actual_cost_usd,
            ),
            [&row.skip_reason, &row.error_type, &row.error_message].map(|text| text.as_deref()),
        )
    }

    fn shared(&self, values: &mut Vec<Value>) -> Result<(), DbError> {
        let Self(usage, row) = self;
        values.extend([
            row.candidate_index.into(),
            row.retry_index.into(),
            usage.user_id.map(UserId::uuid).into(),
            usage.api_key_id.uuid().into(),
            row.provider_id.uuid().into(),
            row.endpoint_id.uuid().into(),
            row.key_id.uuid().into(),
            row.outcome.as_str().into(),
            Value::opt_outside(row.skip_reason.as_ref()),
            row.is_cached.into(),
            row.status_code.into(),
            Value::opt_outside(row.error_type.as_ref()),
            Value::opt_outside(row.error_message.as_ref()),
            row.queue_ms.into(),
            row.connect_ms.into(),
            row.actual_cost_usd.into(),
            Value::json(&Extra { upstream_model: row.upstream_model.clone() })?,
        ]);
        Ok(())
    }

    fn own(&self, values: &mut Vec<Value>) {
        let Self(usage, row) = self;
        values.extend([
            usage.request_id.uuid().into(),
            row.latency_ms.into(),
            row.first_byte_ms.into(),
            row.stream_ms.into(),
            row.concurrent_requests.into(),
            row.started_at.into(),
            row.finished_at.into(),
        ]);
    }
}

impl Insert for &Settled {
    type Alike<'r>
        = &'r Trace
    where
        Self: 'r;

    fn alike(&self) -> &Trace {
        &self.trace
    }

    fn shared(&self, values: &mut Vec<Value>) -> Result<(), DbError> {
        values.extend([pack(&self.trace.entries)?, self.trace.more.into()]);
        Ok(())
    }

    fn own(&self, values: &mut Vec<Value>) {
        values.push(self.usage.request_id.uuid().into());
    }
}

fn read(row: &Row) -> Result<CandidateRow, DbError> {
    let outcome = match row.text("status")?.as_str() {
        "success" => AttemptOutcome::Success,
        "failed" => AttemptOutcome::Failed,
        "cancelled" => AttemptOutcome::Cancelled,
        _ => {
            let why = "expected one of success, failed, cancelled".to_owned();
            return Err(DbError::Unreadable { column: "status".to_owned(), why });
        }
    };
    Ok(CandidateRow {
        candidate_index: row.number("candidate_index")?,
        retry_index: row.number("retry_index")?,
        provider_id: row.id("provider_id")?,
        endpoint_id: row.id("endpoint_id")?,
        key_id: row.id("key_id")?,
        outcome,
        skip_reason: row.opt_text("skip_reason")?,
        is_cached: row.flag("is_cached")?,
        status_code: row.opt_number("status_code")?,
        error_type: row.opt_text("error_type")?,
        error_message: row.opt_text("error_message")?,
        latency_ms: row.number("latency_ms")?,
        queue_ms: row.number("queue_ms")?,
        connect_ms: row.opt_number("connect_ms")?,
        first_byte_ms: row.opt_number("first_byte_ms")?,
        stream_ms: row.opt_number("stream_ms")?,
        concurrent_requests: row.number("concurrent_requests")?,
        actual_cost_usd: row.usd("actual_cost_usd")?,
        upstream_model: row.json::<Extra>("extra_data")?.upstream_model,
        started_at: row.int("started_at")?,
        finished_at: row.int("finished_at")?,
    })
}

/// Adds the candidates and traces of requests; rows that are there already stay as they are.
pub(crate) async fn insert(tx: &mut Tx, requests: &[&Settled]) -> Result<(), DbError> {
    let tried: Vec<_> =
        requests.iter().flat_map(|settled| settled.candidates.iter().map(|row| Tried(&settled.usage, row))).collect();
    let mut statements = tx.insertions(&TRIED, &tried)?;
    let traced: Vec<_> = requests.iter().filter(|settled| settled.trace != Trace::default()).copied().collect();
    statements.extend(tx.insertions(&TRACES, &traced)?);
    tx.run_all(statements).await?;
    Ok(())
}

/// Takes a request's candidates and trace out.
pub(crate) async fn remove(tx: &mut Tx, request: RequestId) -> Result<(), DbError> {
    tx.run("DELETE FROM request_candidates WHERE request_id = $1", vec![request.uuid().into()]).await?;
    tx.run("DELETE FROM request_traces WHERE request_id = $1", vec![request.uuid().into()]).await?;
    Ok(())
}

/// The candidates that a request tried, in order.
pub async fn tried_any_owner(tx: &mut Tx, request: RequestId) -> Result<Vec<CandidateRow>, DbError> {
    let sql =
        format!("SELECT {COLUMNS} FROM request_candidates WHERE request_id = $1 ORDER BY candidate_index, retry_index");
    tx.rows(sqlx::AssertSqlSafe(sql), vec![request.uuid().into()]).await?.iter().map(read).collect()
}

/// The candidates that a request did not try.
pub async fn trace_any_owner(tx: &mut Tx, request: RequestId) -> Result<Trace, DbError> {
    const TRACE: &str = "SELECT entries, more FROM request_traces WHERE request_id = $1";
    let Some(row) = tx.row(TRACE, vec![request.uuid().into()]).await? else { return Ok(Trace::default()) };
    Ok(Trace { entries: unpack(&row.bytes("entries")?)?, more: row.number("more")? })
}

/// The form of a stored list; its first byte.
const FORM: u8 = 1;

fn pack(entries: &[TraceEntry]) -> Result<Value, DbError> {
    let packed = postcard::to_extend(entries, vec![FORM]).map_err(|error| DbError::Unstorable(error.to_string()))?;
    Ok(Value::Bytes(Some(packed)))
}

fn unpack(bytes: &[u8]) -> Result<Vec<TraceEntry>, DbError> {
    let unreadable = |why: String| DbError::Unreadable { column: "entries".to_owned(), why };
    match bytes.split_first() {
        Some((&FORM, packed)) => postcard::from_bytes(packed).map_err(|error| unreadable(error.to_string())),
        _ => Err(unreadable("an unknown form of list".to_owned())),
    }
}
