//! Rows as they were read, as they shall be, and the writes between the two.

use super::ApplyError;
use std::{collections::HashMap, hash::Hash};
use store::{DbError, Tx};

/// An entity that a document can name.
pub(crate) trait Stored: Clone + PartialEq {
    /// What identifies it in a document.
    type Key: Eq + Hash;
    /// What it is called in messages.
    const KIND: &'static str;

    /// `None` if the database has no name for it.
    fn key(&self) -> Option<Self::Key>;
    /// Its id, for messages.
    fn id(&self) -> String;
    async fn insert(&self, tx: &mut Tx) -> Result<(), DbError>;
    /// False if the row is gone.
    async fn update(&self, before: &Self, tx: &mut Tx) -> Result<bool, DbError>;
    /// False if the row is gone.
    async fn delete(&self, tx: &mut Tx) -> Result<bool, DbError>;
}

/// One row: what the database has, and what it shall have.
pub(super) struct Slot<R> {
    pub(super) before: Option<R>,
    pub(super) after: R,
}

/// Where a row stands in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At(usize);

/// All rows of one kind.
pub(crate) struct Table<R: Stored> {
    slots: Vec<Slot<R>>,
    by_key: HashMap<R::Key, Vec<At>>,
    /// What is to be deleted.
    gone: Vec<R>,
}

/// What a name leads to.
pub(super) enum Found {
    Nothing,
    One(At),
    /// The database has the name more than once: the ids.
    Several(String),
}

impl<R: Stored> Table<R> {
    pub(super) fn new(rows: Vec<R>) -> Self {
        let (slots, by_key) = (Vec::with_capacity(rows.len()), HashMap::with_capacity(rows.len()));
        let mut table = Self { slots, by_key, gone: Vec::new() };
        for row in rows {
            table.index(&row);
            table.slots.push(Slot { before: Some(row.clone()), after: row });
        }
        table
    }

    fn index(&mut self, row: &R) -> At {
        let at = At(self.slots.len());
        if let Some(key) = row.key() {
            self.by_key.entry(key).or_default().push(at);
        }
        at
    }

    pub(super) fn find(&self, key: &R::Key) -> Found {
        match self.by_key.get(key).map_or(&[][..], Vec::as_slice) {
            [] => Found::Nothing,
            [at] => Found::One(*at),
            several => {
                let ids: Vec<_> = several.iter().map(|at| self.get(*at).id()).collect();
                Found::Several(ids.join(", "))
            }
        }
    }

    /// The only row of that key.
    pub(super) fn named(&self, key: &R::Key) -> Option<&R> {
        match self.find(key) {
            Found::One(at) => Some(self.get(at)),
            Found::Nothing | Found::Several(_) => None,
        }
    }

    /// What the row at `at` shall be, its key staying; without a place a row that is to be made.
    pub(super) fn put(&mut self, at: Option<At>, row: R) -> At {
        if let Some(At(index)) = at {
            self.slots[index].after = row;
            return At(index);
        }
        let at = self.index(&row);
        self.slots.push(Slot { before: None, after: row });
        at
    }

    /// Takes rows out, to be deleted. Places that were handed out before lead elsewhere from here on.
    pub(super) fn prune(&mut self, goes: impl Fn(&R) -> bool) {
        let slots = std::mem::take(&mut self.slots);
        self.by_key.clear();
        for slot in slots {
            if goes(&slot.after) {
                self.gone.push(slot.after);
            } else {
                self.index(&slot.after);
                self.slots.push(slot);
            }
        }
    }

    /// Takes rows out of the picture: what deletes others takes care of them.
    pub(super) fn forget(&mut self, goes: impl Fn(&R) -> bool) {
        let known = self.gone.len();
        self.prune(goes);
        self.gone.truncate(known);
    }

    /// Changes rows as they shall be, their keys staying.
    pub(super) fn rows_mut(&mut self) -> impl Iterator<Item = &mut R> {
        self.slots.iter_mut().map(|slot| &mut slot.after)
    }

    /// What is to be deleted.
    pub(super) fn gone(&self) -> &[R] {
        &self.gone
    }

    pub(super) fn get(&self, At(index): At) -> &R {
        &self.slots[index].after
    }

    /// Rows as they shall be.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &R> {
        self.slots.iter().map(|slot| &slot.after)
    }

    pub(super) fn slots(&self) -> &[Slot<R>] {
        &self.slots
    }

    /// Deletes what is to go.
    pub(super) async fn delete(&self, tx: &mut Tx) -> Result<(), DbError> {
        for row in &self.gone {
            // One that somebody else has deleted is gone as well.
            row.delete(tx).await?;
        }
        Ok(())
    }

    /// Brings the database there.
    pub(super) async fn write(&self, tx: &mut Tx) -> Result<(), ApplyError> {
        for Slot { before, after, .. } in &self.slots {
            match before {
                None => after.insert(tx).await?,
                Some(before) if before != after => {
                    if !after.update(before, tx).await? {
                        return Err(ApplyError::Gone { kind: R::KIND, id: after.id() });
                    }
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}
