//! From a document and a state to the state that shall be: merging field by field, in memory.
//!
//! Every mistake is noted and planning goes on, so that a refusal names them all.

mod keys;
mod models;
mod people;
mod prune;
mod upstream;

pub(super) use people::to_hash;

use super::{ApplyError, ApplyOptions, report::MintedKey, state::State, table::Found};
use crate::document::{Document, Patch, Place, Problem, Reference, SettingsDoc, nearest};
use domain::catalog::Settings;
use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
};
use store::{repo::users::PasswordHash, vault::Vault};

/// A plan that is being made.
pub(super) struct Planner<'p> {
    pub(super) state: State,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
    pub(super) minted: Vec<MintedKey>,
    vault: &'p Vault,
    options: &'p ApplyOptions,
    /// Hashed passwords by username.
    passwords: &'p HashMap<String, PasswordHash>,
}

impl<'p> Planner<'p> {
    pub(super) fn new(
        state: State,
        vault: &'p Vault,
        options: &'p ApplyOptions,
        passwords: &'p HashMap<String, PasswordHash>,
    ) -> Self {
        Self { state, problems: Vec::new(), warnings: Vec::new(), minted: Vec::new(), vault, options, passwords }
    }

    /// Merges a whole document; what a section refers to is merged before it, and what is not named has gone before all.
    pub(super) fn merge(&mut self, document: &Document) -> Result<(), ApplyError> {
        if self.options.prune && document.at.has("settings") {
            self.state.settings = Settings::default();
        }
        let had_admin = self.has_admin();
        if self.options.prune {
            self.prune(document);
        }
        self.settings(&document.settings);
        self.global_models(&document.global_models);
        self.providers(&document.providers)?;
        self.users(&document.users)?;
        if had_admin && !self.has_admin() {
            self.no_admin(document);
        }
        self.client_keys(&document.api_keys)
    }

    fn settings(&mut self, doc: &SettingsDoc) {
        // Field by field: one that is read and not merged does not compile.
        let SettingsDoc {
            at: _,
            timezone,
            provider_priority_mode,
            scheduling_mode,
            on_disconnect,
            conversion_loss,
            image_token_estimate,
            price_defaults,
            default_rate_limit,
            auto_delete_expired_keys,
        } = doc;
        let defaults = Settings::default();
        let settings = &mut self.state.settings;
        reset(&mut settings.timezone, timezone, defaults.timezone);
        reset(&mut settings.provider_priority_mode, provider_priority_mode, defaults.provider_priority_mode);
        reset(&mut settings.scheduling_mode, scheduling_mode, defaults.scheduling_mode);
        reset(&mut settings.on_disconnect, on_disconnect, defaults.on_disconnect);
        reset(&mut settings.conversion_loss, conversion_loss, defaults.conversion_loss);
        reset(&mut settings.image_token_estimate, image_token_estimate, defaults.image_token_estimate);
        reset(&mut settings.price_defaults, price_defaults, defaults.price_defaults);
        reset(&mut settings.default_rate_limit, default_rate_limit, defaults.default_rate_limit);
        reset(&mut settings.auto_delete_expired_keys, auto_delete_expired_keys, defaults.auto_delete_expired_keys);
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Notes a name that leads nowhere, with the one of `known` that was probably meant.
    fn unknown(&mut self, kind: &str, reference: &Reference, known: impl Fn(&State) -> Vec<String>) {
        /// Searching all names takes its time: from here on problems come without a guess.
        const GUESSES: usize = 100;
        let known = if self.problems.len() < GUESSES { known(&self.state) } else { Vec::new() };
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let hint = nearest(&reference.name, &known).map_or_else(String::new, |name| format!("; did you mean {name}?"));
        self.problems.push(reference.at.problem(format!("there is no {kind} {}{hint}", reference.name)));
    }

    /// Notes a name that the database has more than once.
    fn ambiguous(&mut self, at: &Place, kind: &str, ids: &str) {
        let message = format!("the database has more than one {kind} of this name; rename all but one of {ids}");
        self.problems.push(at.field_problem("name", message));
    }

    /// The names behind a list of references; each once, unknown ones noted.
    fn resolve<T: PartialEq>(
        &mut self,
        kind: &str,
        list: &[Reference],
        find: impl Fn(&State, &str) -> Option<T>,
        known: impl Fn(&State) -> Vec<String>,
    ) -> Vec<T> {
        let mut found = Vec::with_capacity(list.len());
        for reference in list {
            match find(&self.state, &reference.name) {
                Some(one) if found.contains(&one) => {}
                Some(one) => found.push(one),
                None => self.unknown(kind, reference, &known),
            }
        }
        found
    }

    /// The same for a field that null clears. What a deleted object has left in the list stays if that is all there is
    /// beside what the document names: it has no name that a document could hold.
    fn resolve_patch<T: PartialEq>(
        &mut self,
        target: &mut Option<Vec<T>>,
        kind: &str,
        list: &Patch<Vec<Reference>>,
        find: impl Fn(&State, &str) -> Option<T>,
        known: impl Fn(&State) -> Vec<String>,
        lives: impl Fn(&State, &T) -> bool,
    ) {
        match list {
            Patch::Absent => {}
            Patch::Null => *target = None,
            Patch::Set(list) => {
                let named = self.resolve(kind, list, find, known);
                let live = |former: &Vec<T>| former.iter().filter(|one| lives(&self.state, one)).eq(&named);
                if !target.as_ref().is_some_and(live) {
                    *target = Some(named);
                }
            }
        }
    }
}

/// Refuses a name that a document has twice.
struct Once<K>(HashMap<K, u32>);

impl<K: Hash + Eq> Once<K> {
    fn new() -> Self {
        Self(HashMap::new())
    }

    /// Whether `key` comes for the first time; else notes a problem with the field that holds it.
    fn first(&mut self, problems: &mut Vec<Problem>, key: K, at: &Place, field: &str, what: &str) -> bool {
        self.check(key, at.line, |message| problems.push(at.field_problem(field, message)), what)
    }

    /// The same where `at` is the place of the value itself.
    fn first_value(&mut self, problems: &mut Vec<Problem>, key: K, at: &Place, what: &str) -> bool {
        self.check(key, at.line, |message| problems.push(at.problem(message)), what)
    }

    fn check(&mut self, key: K, line: u32, problem: impl FnOnce(String), what: &str) -> bool {
        match self.0.entry(key) {
            Entry::Vacant(place) => {
                place.insert(line);
                true
            }
            Entry::Occupied(first) => {
                problem(format!("{what} is in line {} already", first.get()));
                false
            }
        }
    }
}

/// Absent keeps.
fn keep<T: Clone>(target: &mut T, new: Option<&T>) {
    if let Some(new) = new {
        target.clone_from(new);
    }
}

/// Absent keeps, null clears.
fn patch<T: Clone>(target: &mut Option<T>, new: &Patch<T>) {
    match new {
        Patch::Absent => {}
        Patch::Null => *target = None,
        Patch::Set(new) => *target = Some(new.clone()),
    }
}

/// Absent keeps, null goes back to `default`.
fn reset<T: Clone>(target: &mut T, new: &Patch<T>, default: T) {
    match new {
        Patch::Absent => {}
        Patch::Null => *target = default,
        Patch::Set(new) => target.clone_from(new),
    }
}

/// The row that a name leads to, or `None` if it is to be made.
fn existing(found: Found) -> Result<Option<super::table::At>, String> {
    match found {
        Found::Nothing => Ok(None),
        Found::One(at) => Ok(Some(at)),
        Found::Several(ids) => Err(ids),
    }
}
