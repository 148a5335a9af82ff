//! Which call of a history a result answers, told in the time of a look-up: a body of 64 MiB holds half a million calls.

use std::collections::{BTreeMap, BTreeSet};

use crate::ir::Name;

/// A call without a result so far.
#[derive(Debug)]
pub(super) struct OpenCall {
    pub(super) id: Option<Name>,
    pub(super) name: Name,
    pub(super) custom: bool,
}

/// Such calls, in the order they were made.
#[derive(Debug, Default)]
pub(super) struct OpenCalls {
    calls: BTreeMap<usize, OpenCall>,
    made: usize,
    by_id: BTreeSet<(Name, usize)>,
    /// By the name, and whether there is an id.
    by_name: BTreeSet<(Name, bool, usize)>,
}

impl OpenCalls {
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    pub(super) fn push(&mut self, id: Option<&str>, name: &str, custom: bool) {
        let (id, name, at) = (id.map(Name::from), Name::from(name), self.made);
        self.made += 1;
        self.by_id.extend(id.clone().map(|id| (id, at)));
        self.by_name.insert((name.clone(), id.is_some(), at));
        self.calls.insert(at, OpenCall { id, name, custom });
    }

    /// Takes the first call that a result of this id and name answers. Where either goes without an id, the name tells.
    pub(super) fn answered(&mut self, id: Option<&str>, name: Option<&str>) -> Option<OpenCall> {
        let name = name.map(Name::from);
        let by_name = |has_id: bool| {
            let name = name.as_ref()?;
            let from = (name.clone(), has_id, 0);
            let found = self.by_name.range(from..).next().filter(|found| found.1 == has_id && found.0 == *name);
            found.map(|found| found.2)
        };
        let by_id = |id: &str| {
            let id = Name::from(id);
            self.by_id.range((id.clone(), 0)..).next().filter(|found| found.0 == id).map(|found| found.1)
        };
        let at = [id.map_or_else(|| by_name(true), by_id), by_name(false)].into_iter().flatten().min()?;
        let call = self.calls.remove(&at)?;
        self.by_name.remove(&(call.name.clone(), call.id.is_some(), at));
        if let Some(id) = &call.id {
            self.by_id.remove(&(id.clone(), at));
        }
        Some(call)
    }

    pub(super) fn into_calls(self) -> impl Iterator<Item = OpenCall> {
        self.calls.into_values()
    }
}
