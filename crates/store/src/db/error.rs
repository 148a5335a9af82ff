//! What goes wrong between this crate and a database.

/// A failed statement or an unreadable row. No text of it holds a secret or a connection's address.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// A value that must be unique is there already.
    #[error("already taken: {0}")]
    Taken(String),
    /// The row is referred to, or refers to one that is not there.
    #[error("the row is still in use, or names one that does not exist")]
    InUse,
    /// A stored value that this version does not understand.
    #[error("column {column} holds what this version cannot read: {why}")]
    Unreadable {
        /// The column.
        column: String,
        /// What is wrong with it.
        why: String,
    },
    /// A value that cannot be stored.
    #[error("cannot be stored: {0}")]
    Unstorable(String),
    /// The database took a connection and then said nothing.
    #[error("the database does not answer")]
    Silent,
    /// The database failed or is away.
    #[error("the database failed: {0}")]
    Failed(#[source] sqlx::Error),
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        let Some(database) = error.as_database_error() else { return Self::Failed(error) };
        if database.is_unique_violation() {
            return Self::Taken(database.message().to_owned());
        }
        if database.is_foreign_key_violation() {
            return Self::InUse;
        }
        Self::Failed(error)
    }
}
