//! Parameters and columns in the few types that both engines share: how every statement of this crate is run.

use super::{DbError, Tx};
use domain::{
    money::{Factor, NanoUsd},
    secret::Sealed,
};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{
    Arguments as _, Database, Decode, Encode, IntoArguments, Postgres, Row as _, SqlSafeStr, Sqlite, Type,
    postgres::PgRow, query::Query, sqlite::SqliteRow,
};
use std::{
    fmt::{Display, Write as _},
    str::FromStr,
};
use uuid::Uuid;

/// One parameter of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Value {
    Uuid(Option<Uuid>),
    Int(Option<i64>),
    Bool(Option<bool>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl Value {
    /// A typed struct as JSON text.
    pub(crate) fn json<T: Serialize>(value: &T) -> Result<Self, DbError> {
        let text = serde_json::to_string(value).map_err(|error| DbError::Unstorable(error.to_string()))?;
        Ok(Self::Text(Some(text)))
    }

    /// The same, null for `None`.
    pub(crate) fn opt_json<T: Serialize>(value: Option<&T>) -> Result<Self, DbError> {
        value.map_or(Ok(Self::Text(None)), Self::json)
    }

    /// A text that came from outside: PostgreSQL stores no NUL.
    pub(crate) fn outside(text: &str) -> Self {
        Self::Text(Some(if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.to_owned() }))
    }

    /// The same, null for `None`.
    pub(crate) fn opt_outside(text: Option<&String>) -> Self {
        text.map_or(Self::Text(None), |text| Self::outside(text))
    }

    /// A counter; what `i64` cannot hold is stored as its maximum.
    pub(crate) fn count(value: u64) -> Self {
        Self::Int(Some(i64::try_from(value).unwrap_or(i64::MAX)))
    }
}

macro_rules! values {
    ($($from:ty => |$value:ident| $variant:ident $some:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                Self::$variant(Some($some))
            }
        }
        impl From<Option<$from>> for Value {
            fn from(value: Option<$from>) -> Self {
                Self::$variant(value.map(|$value| $some))
            }
        }
    )*};
}
values! {
    Uuid => |value| Uuid value;
    i64 => |value| Int value;
    i32 => |value| Int i64::from(value);
    u32 => |value| Int i64::from(value);
    u16 => |value| Int i64::from(value);
    NanoUsd => |value| Int value.0;
    Factor => |value| Int i64::from(value.millionths());
    bool => |value| Bool value;
    &str => |value| Text value.to_owned();
    &String => |value| Text value.clone();
    String => |value| Text value;
    &[u8] => |value| Bytes value.to_vec();
    &Sealed => |value| Bytes value.0.clone();
}

/// A statement with its parameters, in their order.
fn bound<DB: Database>(
    sql: impl SqlSafeStr,
    values: Vec<Value>,
) -> Result<Query<'static, DB, DB::Arguments>, sqlx::Error>
where
    Option<Uuid>: Encode<'static, DB> + Type<DB>,
    Option<i64>: Encode<'static, DB> + Type<DB>,
    Option<bool>: Encode<'static, DB> + Type<DB>,
    Option<String>: Encode<'static, DB> + Type<DB>,
    Option<Vec<u8>>: Encode<'static, DB> + Type<DB>,
    DB::Arguments: IntoArguments<DB>,
{
    let mut arguments = DB::Arguments::default();
    // Thousands come together: without their number the list would be copied with every doubling.
    arguments.reserve(values.len(), values.len() * size_of::<i64>());
    for value in values {
        let added = match value {
            Value::Uuid(value) => arguments.add(value),
            Value::Int(value) => arguments.add(value),
            Value::Bool(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value),
            Value::Bytes(value) => arguments.add(value),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(sqlx::query_with(sql, arguments))
}

impl Tx {
    /// Runs a statement; how many rows it touched.
    pub(crate) async fn run(&mut self, sql: impl SqlSafeStr, values: Vec<Value>) -> Result<u64, DbError> {
        Ok(on_tx!(self, |conn| bound(sql, values)?.execute(conn).await.map(|done| done.rows_affected()))?)
    }

    /// `count` parameters from number `from` on, for a statement that has no others before `from` in its text.
    pub(crate) fn placeholders(&self, from: usize, count: usize) -> String {
        let mut list = String::with_capacity(count * 8);
        self.list(&mut list, from, count);
        list
    }

    /// SQLite finds a parameter by its number in time linear in their count, one without a number at once.
    pub(super) fn list(&self, sql: &mut String, from: usize, count: usize) {
        for number in from..from + count {
            if number > from {
                sql.push_str(", ");
            }
            match self {
                Self::Sqlite(..) => sql.push('?'),
                Self::Postgres(..) => drop(write!(sql, "${number}")),
            }
        }
    }

    /// The rows of a statement whose text varies with its number of parameters: it is not kept prepared.
    pub(crate) async fn rows_once(&mut self, sql: impl SqlSafeStr, values: Vec<Value>) -> Result<Vec<Row>, DbError> {
        let rows = on_tx!(self, |conn| {
            let rows = bound(sql, values)?.persistent(false).fetch_all(conn).await?;
            rows.into_iter().map(Row::from).collect()
        });
        Ok(rows)
    }

    /// All rows.
    pub(crate) async fn rows(&mut self, sql: impl SqlSafeStr, values: Vec<Value>) -> Result<Vec<Row>, DbError> {
        let rows = on_tx!(self, |conn| {
            let rows = bound(sql, values)?.fetch_all(conn).await?;
            rows.into_iter().map(Row::from).collect()
        });
        Ok(rows)
    }

    /// The first row, if there is one.
    pub(crate) async fn row(&mut self, sql: impl SqlSafeStr, values: Vec<Value>) -> Result<Option<Row>, DbError> {
        Ok(on_tx!(self, |conn| bound(sql, values)?.fetch_optional(conn).await?.map(Row::from)))
    }
}

/// A row of either engine.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl From<SqliteRow> for Row {
    fn from(row: SqliteRow) -> Self {
        Self::Sqlite(row)
    }
}

impl From<PgRow> for Row {
    fn from(row: PgRow) -> Self {
        Self::Postgres(row)
    }
}

fn unreadable(column: &str, why: impl Display) -> DbError {
    DbError::Unreadable { column: column.to_owned(), why: why.to_string() }
}

impl Row {
    fn get<T>(&self, column: &str) -> Result<T, DbError>
    where
        T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(|error| unreadable(column, error))
    }

    pub(crate) fn id<T: From<Uuid>>(&self, column: &str) -> Result<T, DbError> {
        self.get::<Uuid>(column).map(T::from)
    }

    pub(crate) fn opt_id<T: From<Uuid>>(&self, column: &str) -> Result<Option<T>, DbError> {
        Ok(self.get::<Option<Uuid>>(column)?.map(T::from))
    }

    pub(crate) fn int(&self, column: &str) -> Result<i64, DbError> {
        self.get(column)
    }

    pub(crate) fn opt_int(&self, column: &str) -> Result<Option<i64>, DbError> {
        self.get(column)
    }

    /// An integer in a narrower type.
    pub(crate) fn number<T: TryFrom<i64>>(&self, column: &str) -> Result<T, DbError> {
        T::try_from(self.int(column)?).map_err(|_| unreadable(column, "out of range"))
    }

    pub(crate) fn opt_number<T: TryFrom<i64>>(&self, column: &str) -> Result<Option<T>, DbError> {
        let value = self.opt_int(column)?;
        value.map(T::try_from).transpose().map_err(|_| unreadable(column, "out of range"))
    }

    pub(crate) fn usd(&self, column: &str) -> Result<NanoUsd, DbError> {
        self.int(column).map(NanoUsd)
    }

    pub(crate) fn opt_usd(&self, column: &str) -> Result<Option<NanoUsd>, DbError> {
        Ok(self.opt_int(column)?.map(NanoUsd))
    }

    pub(crate) fn factor(&self, column: &str) -> Result<Factor, DbError> {
        Factor::from_millionths(self.number(column)?).ok_or_else(|| unreadable(column, "out of range"))
    }

    pub(crate) fn flag(&self, column: &str) -> Result<bool, DbError> {
        self.get(column)
    }

    pub(crate) fn opt_flag(&self, column: &str) -> Result<Option<bool>, DbError> {
        self.get(column)
    }

    pub(crate) fn text(&self, column: &str) -> Result<String, DbError> {
        self.get(column)
    }

    pub(crate) fn opt_text(&self, column: &str) -> Result<Option<String>, DbError> {
        self.get(column)
    }

    pub(crate) fn bytes(&self, column: &str) -> Result<Vec<u8>, DbError> {
        self.get(column)
    }

    pub(crate) fn opt_bytes(&self, column: &str) -> Result<Option<Vec<u8>>, DbError> {
        self.get(column)
    }

    /// A value of a closed set of names.
    pub(crate) fn named<T: FromStr<Err: Display>>(&self, column: &str) -> Result<T, DbError> {
        self.text(column)?.parse().map_err(|error| unreadable(column, error))
    }

    pub(crate) fn opt_named<T: FromStr<Err: Display>>(&self, column: &str) -> Result<Option<T>, DbError> {
        let text = self.opt_text(column)?;
        text.map(|text| text.parse()).transpose().map_err(|error| unreadable(column, error))
    }

    /// A typed struct from JSON text; null is its default.
    pub(crate) fn json<T: DeserializeOwned + Default>(&self, column: &str) -> Result<T, DbError> {
        Ok(self.opt_json(column)?.unwrap_or_default())
    }

    pub(crate) fn opt_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, DbError> {
        let text = self.opt_text(column)?;
        text.map(|text| serde_json::from_str(&text)).transpose().map_err(|error| unreadable(column, error))
    }
}
