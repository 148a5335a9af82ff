//! Users, what they may use, and their quotas.

use super::{
    Once, Planner, existing, keep,
    upstream::{endpoint_named, endpoint_names, model_names, provider_named, provider_names},
};
use crate::{
    apply::{
        ApplyError,
        state::{Person, State},
        table::Stored as _,
    },
    document::{AccessDoc, Document, Patch, Problem, QuotaDoc, QuotaType, Reference, UserDoc},
};
use domain::{
    catalog::Access,
    format::{Capability, Role},
    ids::{EndpointId, ProviderId, UserId},
};
use std::collections::{BTreeMap, HashMap, HashSet};
use store::{
    period::{self, Period},
    repo::{
        quotas::QuotaRow,
        users::{PasswordHash, UserRow},
    },
};

impl Planner<'_> {
    pub(super) fn users(&mut self, docs: &[UserDoc]) -> Result<(), ApplyError> {
        let mut emails: HashMap<String, UserId> =
            self.state.users.rows().map(|person| (person.row.email.clone(), person.row.id)).collect();
        let mut once = Once::new();
        for doc in docs {
            if once.first(&mut self.problems, &doc.username, &doc.at, "username", "a user of this name") {
                self.user(doc, &mut emails)?;
            }
        }
        Ok(())
    }

    /// Notes who takes the last active admin away.
    pub(super) fn no_admin(&mut self, document: &Document) {
        let known = self.problems.len();
        for doc in &document.users {
            let field = if doc.is_active == Some(false) { "is_active" } else { "role" };
            if doc.is_active == Some(false) || doc.role == Some(Role::User) {
                self.problem(doc.at.field_problem(field, "would leave no active admin"));
            }
        }
        if self.problems.len() == known {
            self.problem(document.at.field_problem("users", "names no active admin; the last one cannot go"));
        }
    }

    pub(super) fn has_admin(&self) -> bool {
        self.state.users.rows().any(|person| person.row.role == Role::Admin && person.row.is_active)
    }

    fn user(&mut self, doc: &UserDoc, emails: &mut HashMap<String, UserId>) -> Result<(), ApplyError> {
        let at = match existing(self.state.users.find(&doc.username)) {
            Ok(at) => at,
            Err(ids) => {
                self.ambiguous(&doc.at, "user", &ids);
                return Ok(());
            }
        };
        let mut person = match at {
            Some(at) => self.state.users.get(at).clone(),
            None => self.new_user(doc)?,
        };
        if let Some(email) = &doc.email {
            match emails.insert(email.clone(), person.row.id) {
                Some(other) if other != person.row.id => {
                    self.problem(doc.at.field_problem("email", "another user has this address"));
                }
                _ => {}
            }
        }
        let row = &mut person.row;
        keep(&mut row.email, doc.email.as_ref());
        if let Some(hash) = &doc.password_hash {
            row.password_hash = Some(PasswordHash(hash.expose().to_owned()));
        }
        keep(&mut row.role, doc.role.as_ref());
        self.access(&mut row.access, &doc.access);
        match &doc.model_capability_settings {
            Patch::Absent => {}
            Patch::Null => row.model_capability_settings.clear(),
            Patch::Set(settings) => {
                let named = self.capability_settings(settings);
                let former = row.model_capability_settings.iter();
                let live = former.filter(|(model, _)| self.state.global_models.named(model).is_some());
                // As in lists: what a deleted model has left stays if the document says the same of all others.
                if !live.eq(&named) {
                    row.model_capability_settings = named;
                }
            }
        }
        match &doc.default_provider_id {
            Patch::Absent => {}
            Patch::Null => row.default_provider_id = None,
            Patch::Set(provider) => match provider_named(&self.state, &provider.name) {
                Some(id) => row.default_provider_id = Some(id),
                None => self.unknown("provider", provider, provider_names),
            },
        }
        keep(&mut row.is_active, doc.is_active.as_ref());
        match &doc.quota {
            Patch::Absent => {}
            Patch::Null => {
                person.row.quota_usd = None;
                person.period = None;
            }
            Patch::Set(quota) => match self.quota(person.period.as_ref(), person.row.id, quota) {
                Ok(period) => {
                    person.row.quota_usd = quota.usd;
                    person.period = period;
                }
                Err(message) => self.problem(doc.at.field_problem("quota", message)),
            },
        }
        self.state.users.put(at, person);
        Ok(())
    }

    /// A user with problems is known all the same, so that the user's keys are no problems of their own.
    fn new_user(&mut self, doc: &UserDoc) -> Result<Person, ApplyError> {
        let problems = new_user_problems(doc);
        let password_hash = self.passwords.get(&doc.username).cloned();
        if problems.is_empty() && doc.password.value().is_some() && password_hash.is_none() {
            // There when passwords were hashed.
            return Err(ApplyError::Gone { kind: Person::KIND, id: doc.username.clone() });
        }
        self.problems.extend(problems);
        let row = UserRow {
            id: store::mint(),
            email: String::new(),
            username: doc.username.clone(),
            password_hash,
            role: Role::User,
            access: Access::default(),
            model_capability_settings: BTreeMap::new(),
            quota_usd: None,
            is_active: true,
            default_provider_id: None,
        };
        Ok(Person { row, period: None })
    }

    pub(super) fn access(&mut self, access: &mut Access, doc: &AccessDoc) {
        let (providers, endpoints) = (&mut access.providers, &mut access.endpoints);
        let lives = |state: &State, id: &ProviderId| state.providers.rows().any(|row| row.id == *id);
        self.resolve_patch(providers, "provider", &doc.providers, provider_named, provider_names, lives);
        let lives = |state: &State, id: &EndpointId| state.endpoints.rows().any(|row| row.id == *id);
        self.resolve_patch(endpoints, "endpoint", &doc.endpoints, endpoint_named, endpoint_names, lives);
        super::patch(&mut access.api_formats, &doc.api_formats);
        let find = |state: &State, name: &str| state.global_models.named(&name.to_owned()).map(|row| row.name.clone());
        let lives = |state: &State, name: &String| state.global_models.named(name).is_some();
        self.resolve_patch(&mut access.models, "global model", &doc.models, find, model_names, lives);
    }

    fn capability_settings(
        &mut self,
        settings: &[(Reference, BTreeMap<Capability, bool>)],
    ) -> BTreeMap<String, BTreeMap<Capability, bool>> {
        for (model, _) in settings {
            if self.state.global_models.named(&model.name).is_none() {
                self.unknown("global model", model, model_names);
            }
        }
        settings.iter().map(|(model, switches)| (model.name.clone(), switches.clone())).collect()
    }

    /// The period that a quota asks for: the open one with another limit where it is still right, else a new one.
    fn quota(&self, open: Option<&QuotaRow>, user: UserId, doc: &QuotaDoc) -> Result<Option<QuotaRow>, String> {
        let Some(limit) = doc.usd else { return Ok(None) };
        let now = self.options.now_us;
        let zone = &self.state.settings.timezone;
        let Period { kind, start, end } = match doc.kind {
            QuotaType::None => return Ok(None),
            QuotaType::Daily => period::day(now, zone)?,
            QuotaType::Monthly => period::month(now, zone)?,
            QuotaType::Custom => period::custom(doc.start.unwrap_or_default(), doc.end.unwrap_or_default()),
        };
        let still_right = |open: &&QuotaRow| match doc.kind {
            QuotaType::Custom => (open.period_start, open.period_end) == (start, end),
            _ => (open.period_start..open.period_end).contains(&now),
        };
        let open = open.filter(|open| open.quota_type == kind).filter(still_right);
        Ok(Some(match open {
            Some(open) => QuotaRow { quota_usd: limit, ..open.clone() },
            None => QuotaRow {
                id: store::mint(),
                user_id: user,
                quota_type: kind,
                quota_usd: limit,
                period_start: start,
                period_end: end,
            },
        }))
    }
}

/// Shortest password of a new user, in characters.
const PASSWORD_MIN: usize = 10;
/// Longest; hashing costs time by the byte.
const PASSWORD_MAX: usize = 1_000;

/// What is wrong with the fields that only a new user needs.
pub(in crate::apply) fn new_user_problems(doc: &UserDoc) -> Vec<Problem> {
    let mut problems = Vec::new();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    // One who comes with a stored password had the name elsewhere.
    let is_new = doc.password_hash.is_none();
    if is_new && !((3..=30).contains(&doc.username.len()) && doc.username.bytes().all(plain)) {
        let message = "a new user's name has 3 to 30 of the characters A-Z a-z 0-9 _ -";
        problems.push(doc.at.field_problem("username", message));
    }
    if doc.email.is_none() {
        problems.push(doc.at.field_problem("email", "is required for a new user"));
    }
    match &doc.password {
        Patch::Absent if is_new => {
            let message = "is required for a new user; null makes one who cannot log in by password";
            problems.push(doc.at.field_problem("password", message));
        }
        Patch::Set(password) if !(PASSWORD_MIN..=PASSWORD_MAX).contains(&password.expose().chars().count()) => {
            let message = format!("a password has {PASSWORD_MIN} to {PASSWORD_MAX} characters");
            problems.push(doc.at.field_problem("password", message));
        }
        Patch::Set(_) | Patch::Null | Patch::Absent => {}
    }
    problems
}

/// The new users of a document whose passwords have to be hashed.
pub(in crate::apply) fn to_hash<'d>(docs: &'d [UserDoc], known: &HashSet<String>) -> Vec<&'d UserDoc> {
    let fresh = docs.iter().filter(|doc| !known.contains(&doc.username) && doc.password.value().is_some());
    fresh.filter(|doc| new_user_problems(doc).is_empty()).collect()
}
