//! The months of the record tables: on PostgreSQL each has a partition of its own, which retention can drop as a whole.
//!
//! Records are keyed by ids that begin with their time, so a month's border is an id. A row whose month has no partition
//! lies in the table's default one; when the month gets its own, what is there moves over. SQLite keeps each table whole.

use crate::{
    clock::SystemClock,
    db::{Db, DbError, Lock, Tx, within},
};
use jiff::{Timestamp, ToSpan as _, Zoned, tz::TimeZone};
use std::{collections::HashSet, time::Duration};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What is split.
const TABLES: [&str; 3] = ["usage", "request_candidates", "request_traces"];
/// The present month and those after it that have their partitions: the first row of a month finds it there.
const MONTHS: i32 = 2;
/// How often it is looked whether one is missing.
const LOOK_EVERY: Duration = Duration::from_hours(1);
/// How long that may take.
const LOOK_WITHIN: Duration = Duration::from_mins(1);

/// Makes the partitions of this month and the next as time goes by, until it is told to stop.
pub async fn run(db: Db, cancel: CancellationToken) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            made = within(LOOK_WITHIN, prepare(&db, SystemClock::now_us())) => if let Err(error) = made {
                // The next look comes long before the month ends; until then rows go to the default partition.
                tracing::warn!(error = %error, "the record tables' partitions cannot be looked after");
            }
        }
    }
}

/// Makes the partitions of the month of `now_us` and of the next that are not there; `now_us` is in Unix microseconds.
async fn prepare(db: &Db, now_us: i64) -> Result<(), DbError> {
    if let Db::Sqlite { .. } = db {
        return Ok(());
    }
    let mut tx = db.begin().await?;
    tx.serialize(Lock::Migration).await?;
    make(&mut tx, now_us).await?;
    tx.commit().await
}

/// The same in a transaction that has the lock.
pub(crate) async fn make(tx: &mut Tx, now_us: i64) -> Result<(), DbError> {
    const PARTITIONS: &str = "SELECT CAST(relname AS TEXT) AS name FROM pg_class \
                              WHERE relispartition AND relkind = 'r' AND pg_table_is_visible(oid)";
    if let Tx::Sqlite(..) = tx {
        return Ok(());
    }
    let rows = tx.rows(PARTITIONS, vec![]).await?;
    let known = rows.iter().map(|row| row.text("name")).collect::<Result<HashSet<_>, _>>()?;
    for months in 0..MONTHS {
        let month = Month::of(now_us, months)?;
        for table in TABLES {
            let name = format!("{table}_{}", month.name);
            if !known.contains(&name) {
                tx.script(month.script(table, &name)).await?;
            }
        }
    }
    Ok(())
}

/// A month of UTC.
struct Month {
    /// `2026_11`
    name: String,
    /// The least id of its records, and of those after it.
    first: Uuid,
    end: Uuid,
}

impl Month {
    /// The month so many after that of an instant.
    fn of(unix_us: i64, months: i32) -> Result<Self, DbError> {
        let out_of_range = |error: jiff::Error| DbError::Unstorable(error.to_string());
        let instant = Timestamp::from_microsecond(unix_us).map_err(out_of_range)?;
        let this = instant.to_zoned(TimeZone::UTC).first_of_month().and_then(|day| day.start_of_day());
        let begin = this.and_then(|begin| begin.checked_add(months.months())).map_err(out_of_range)?;
        let end = begin.checked_add(1.month()).map_err(out_of_range)?;
        let name = format!("{:04}_{:02}", begin.year(), begin.month());
        Ok(Self { name, first: least_id(&begin), end: least_id(&end) })
    }

    fn script(&self, table: &str, name: &str) -> String {
        let Self { first, end, .. } = self;
        format!(
            "CREATE TABLE {name} (LIKE {table} INCLUDING ALL);
             WITH moved AS (
                 DELETE FROM {table}_default WHERE request_id >= '{first}' AND request_id < '{end}' RETURNING *
             ) INSERT INTO {name} SELECT * FROM moved;
             ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{first}') TO ('{end}');"
        )
    }
}

/// No version 7 id of an earlier millisecond is as great, and none of a later one is as small.
fn least_id(instant: &Zoned) -> Uuid {
    let millis = u128::try_from(instant.timestamp().as_millisecond()).unwrap_or(0);
    Uuid::from_u128(millis << 80)
}

#[cfg(test)]
mod tests;
