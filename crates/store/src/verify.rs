//! Re-derives every bill from its row, every counter from the rows, and every audit chain from its links.
//!
//! Everything is read in one transaction, so a running node does not disturb it: rows and the counters that they moved
//! became visible together. Records are read in pages; what is kept is a few sums for each user, period, key, provider
//! and model.

mod bills;
mod counters;

use crate::{
    db::{Db, DbError, Row, Tx},
    repo::audit,
};
use counters::Sums;
use std::fmt::{self, Display};
use uuid::Uuid;

/// A value that does not follow from what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The table.
    pub table: &'static str,
    /// The row: its id, the request's, or the node's whose audit chain it is.
    pub id: Uuid,
    /// The column, or the sum of two.
    pub column: &'static str,
    /// What is there; money in nano-dollars.
    pub stored: String,
    /// What should be.
    pub derived: String,
}

impl Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, id, column, stored, derived } = self;
        write!(f, "{table} {}: {column} is {stored} and should be {derived}", id.hyphenated())
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Usage rows whose bills were derived.
    pub requests: u64,
    /// The first differences.
    pub shown: Vec<Difference>,
    /// How many there are in all.
    pub differences: u64,
}

/// Checks a database; at most `most` differences are kept.
pub async fn run(db: &Db, most: usize) -> Result<Report, DbError> {
    let mut tx = db.read().await?;
    let report = check(&mut tx, most).await?;
    tx.commit().await?;
    Ok(report)
}

async fn check(tx: &mut Tx, most: usize) -> Result<Report, DbError> {
    let mut findings = Findings { most, report: Report::default() };
    let mut sums = Sums::default();
    let mut after = Uuid::nil();
    loop {
        let rows = tx.rows(bills::PAGE, vec![after.into()]).await?;
        let mut lines = Vec::with_capacity(rows.len());
        for row in &rows {
            lines.push(bills::check(row, &mut findings)?);
        }
        findings.report.requests += lines.len() as u64;
        let end = lines.last().map_or(Uuid::max(), |line| line.request);
        // Both are in the order of requests: a page's attempts are those up to its last request.
        let attempts = tx.rows(counters::ATTEMPTS, vec![after.into(), end.into()]).await?;
        sums.add(&lines, &attempts, &mut findings)?;
        if lines.is_empty() {
            break;
        }
        after = end;
    }
    sums.compare(tx, &mut findings).await?;
    chains(tx, &mut findings).await?;
    Ok(findings.report)
}

async fn chains(tx: &mut Tx, findings: &mut Findings) -> Result<(), DbError> {
    const NODES: &str = "SELECT DISTINCT node_id FROM audit_logs ORDER BY node_id";
    for row in tx.rows(NODES, vec![]).await? {
        let node: Uuid = row.id("node_id")?;
        if let Some(seq) = audit::broken_any_owner(tx, node.into()).await? {
            let derived = "what follows from the row before it";
            findings.add("audit_logs", node, "hash", format!("another at row {seq}"), derived);
        }
    }
    Ok(())
}

/// Collects differences.
struct Findings {
    most: usize,
    report: Report,
}

impl Findings {
    fn add(
        &mut self,
        table: &'static str,
        id: Uuid,
        column: &'static str,
        stored: impl Display,
        derived: impl Display,
    ) {
        self.report.differences += 1;
        if self.report.shown.len() < self.most {
            let (stored, derived) = (stored.to_string(), derived.to_string());
            self.report.shown.push(Difference { table, id, column, stored, derived });
        }
    }

    /// Compares a column with what was derived.
    fn compare(
        &mut self,
        table: &'static str,
        id: Uuid,
        row: &Row,
        column: &'static str,
        derived: i64,
    ) -> Result<(), DbError> {
        let stored = row.int(column)?;
        if stored != derived {
            self.add(table, id, column, stored, derived);
        }
        Ok(())
    }

    /// The same for a column that may be null.
    fn compare_opt(
        &mut self,
        table: &'static str,
        id: Uuid,
        row: &Row,
        column: &'static str,
        derived: Option<i64>,
    ) -> Result<(), DbError> {
        let stored = row.opt_int(column)?;
        if stored != derived {
            let shown = |value: Option<i64>| value.map_or_else(|| "null".to_owned(), |value| value.to_string());
            self.add(table, id, column, shown(stored), shown(derived));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
