//! Many rows with few statements, and with few parameters where rows share most of their values.

use super::{DbError, Tx, Value};
use sqlx::AssertSqlSafe;
use std::{collections::HashMap, hash::Hash};

/// Below what both engines take in one statement (32,766 and 65,535).
const PARAMETERS_MAX: usize = 30_000;
/// Rows that one statement inserts: enough that the hand-over to the database's thread does not count.
const ROWS_MAX: usize = 250;
/// Fewer rows that share values are inserted like any others: a statement of their own would cost more.
const ALIKE_MIN: usize = 8;

/// Where rows go, and what many of them have in common.
pub(crate) struct Target {
    pub(crate) table: &'static str,
    /// Columns in which rows are often the same.
    pub(crate) shared: &'static [&'static str],
    /// Columns in which they differ.
    pub(crate) own: &'static [&'static str],
    /// What to do about rows that are there.
    pub(crate) conflict: &'static str,
}

/// A row of a [`Target`].
pub(crate) trait Insert {
    /// Equal for rows whose shared columns are equal.
    type Alike<'r>: Hash + Eq
    where
        Self: 'r;

    fn alike(&self) -> Self::Alike<'_>;

    /// Adds the values of the shared columns, in their order.
    fn shared(&self, values: &mut Vec<Value>) -> Result<(), DbError>;

    /// Adds the values of the other columns, in their order.
    fn own(&self, values: &mut Vec<Value>);
}

/// A statement and its parameters.
pub(crate) struct Statement {
    sql: String,
    values: Vec<Value>,
}

impl Tx {
    /// Runs statements; how many rows they touched.
    pub(crate) async fn run_all(&mut self, statements: Vec<Statement>) -> Result<u64, DbError> {
        let mut touched = 0;
        for Statement { sql, values } in statements {
            touched += self.run(AssertSqlSafe(sql), values).await?;
        }
        Ok(touched)
    }

    /// Statements that insert these rows.
    ///
    /// What rows share is given once for all of them: handing a value to the database costs more than storing it.
    pub(crate) fn insertions<R: Insert>(&self, target: &Target, rows: &[R]) -> Result<Vec<Statement>, DbError> {
        let mut statements = Vec::new();
        let mut others = Vec::new();
        for group in groups(rows) {
            if group.len() >= ALIKE_MIN {
                self.insert_group(target, &group, &mut statements)?;
            } else {
                others.extend(group);
            }
        }
        let columns = target.shared.len() + target.own.len();
        let mut values = Vec::with_capacity(others.len() * columns);
        for row in others {
            row.shared(&mut values)?;
            row.own(&mut values);
        }
        let head = format!("INSERT INTO {} ({}, {})", target.table, target.shared.join(", "), target.own.join(", "));
        self.insert_rows(&head, columns, values, target.conflict, &mut statements);
        Ok(statements)
    }

    /// Rows that are alike.
    fn insert_group<R: Insert>(
        &self,
        target: &Target,
        mut rows: &[&R],
        statements: &mut Vec<Statement>,
    ) -> Result<(), DbError> {
        while let Some(first) = rows.first() {
            let count = chunk(rows.len(), target.own.len());
            let (these, rest) = rows.split_at(count);
            rows = rest;
            let mut values = Vec::with_capacity(target.shared.len() + count * target.own.len());
            first.shared(&mut values)?;
            for row in these {
                row.own(&mut values);
            }
            statements.push(Statement { sql: self.insertion_alike(target, count), values });
        }
        Ok(())
    }

    fn insertion_alike(&self, target: &Target, rows: usize) -> String {
        let (shared, own) = (target.shared.len(), target.own.len());
        let mut sql =
            format!("INSERT INTO {} ({}, {}) SELECT ", target.table, target.shared.join(", "), target.own.join(", "));
        self.list(&mut sql, 1, shared);
        for column in 1..=own {
            sql.push_str(", column");
            sql.push_str(&column.to_string());
        }
        sql.push_str(" FROM (");
        self.rows_of(&mut sql, shared + 1, rows, own);
        // Without a condition SQLite takes ON CONFLICT for a join's.
        sql.push_str(") AS own WHERE TRUE ");
        sql.push_str(target.conflict);
        sql
    }

    /// Inserts rows, a value per column that `head` names, row after row; how many were new.
    pub(crate) async fn insert_many(
        &mut self,
        head: &str,
        columns: usize,
        values: Vec<Value>,
        tail: &str,
    ) -> Result<u64, DbError> {
        let mut statements = Vec::new();
        self.insert_rows(head, columns, values, tail, &mut statements);
        self.run_all(statements).await
    }

    fn insert_rows(
        &self,
        head: &str,
        columns: usize,
        mut values: Vec<Value>,
        tail: &str,
        statements: &mut Vec<Statement>,
    ) {
        while values.len() >= columns.max(1) {
            let rows = chunk(values.len() / columns, columns);
            let rest = values.split_off(rows * columns);
            let mut sql = format!("{head} ");
            self.rows_of(&mut sql, 1, rows, columns);
            sql.push(' ');
            sql.push_str(tail);
            statements.push(Statement { sql, values });
            values = rest;
        }
    }

    /// `VALUES` with parameters from number `from` on.
    fn rows_of(&self, sql: &mut String, from: usize, rows: usize, columns: usize) {
        sql.reserve(rows * (4 + columns * 8));
        for row in 0..rows {
            sql.push_str(if row == 0 { "VALUES (" } else { ", (" });
            self.list(sql, from + row * columns, columns);
            sql.push(')');
        }
    }
}

/// How many of some rows the next statement takes: the most, or a power of two.
///
/// So few texts occur, and each stays prepared: parsing a text with thousands of parameters costs more than running it.
fn chunk(rows: usize, columns: usize) -> usize {
    let most = (PARAMETERS_MAX / columns.max(1)).clamp(1, ROWS_MAX);
    if rows >= most { most } else { 1 << rows.max(1).ilog2() }
}

/// Rows that are alike, together.
fn groups<R: Insert>(rows: &[R]) -> Vec<Vec<&R>> {
    let mut places = HashMap::new();
    let mut groups: Vec<Vec<&R>> = Vec::new();
    let mut last = None;
    for row in rows {
        let alike = row.alike();
        // Most rows are like the one before, which costs less to see than to look up.
        let place = match &last {
            Some((known, place)) if *known == alike => *place,
            _ => {
                let place = *places.entry(row.alike()).or_insert(groups.len());
                last = Some((alike, place));
                place
            }
        };
        match groups.get_mut(place) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups
}
