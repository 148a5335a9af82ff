//! Client keys and their ties to providers.

use super::{
    Once, Planner, existing, keep, patch,
    upstream::{provider_named, provider_names},
};
use crate::{
    apply::{
        ApplyError,
        report::MintedKey,
        state::{Key, State},
    },
    document::{ClientKeyDoc, MappingDoc, Patch},
};
use domain::{
    catalog::{Access, KeyHash},
    ids::{ClientKeyId, UserId},
};
use std::collections::{BTreeMap, HashMap};
use store::{
    ClientKeyText,
    repo::{api_keys::ClientKeyRow, mappings::MappingRow},
    vault::Column,
};

/// Requests in flight that a new key may have.
const CONCURRENT_LIMIT: u32 = 5;
/// Of a shorter key no characters are kept to show it by: they would be too much of it.
const SHOWN_FROM: usize = 30;

fn user_names(state: &State) -> Vec<String> {
    state.users.rows().map(|person| person.row.username.clone()).collect()
}

impl Planner<'_> {
    pub(super) fn client_keys(&mut self, docs: &[ClientKeyDoc]) -> Result<(), ApplyError> {
        let mut hashes: HashMap<KeyHash, ClientKeyId> = HashMap::new();
        for key in self.state.client_keys.rows() {
            hashes.insert(key.row.key_hash, key.row.id);
            hashes.extend(key.row.previous_key_hash.map(|hash| (hash, key.row.id)));
        }
        let mut once = Once::new();
        for doc in docs {
            let owner = doc.user.as_ref().map(|user| &user.name);
            if once.first(&mut self.problems, (owner, &doc.name), &doc.at, "name", "this owner's key of this name") {
                self.client_key(doc, &mut hashes)?;
            }
        }
        Ok(())
    }

    fn client_key(&mut self, doc: &ClientKeyDoc, hashes: &mut HashMap<KeyHash, ClientKeyId>) -> Result<(), ApplyError> {
        let owner = match &doc.user {
            None => None,
            Some(user) => {
                let Some(person) = self.state.users.named(&user.name) else {
                    self.unknown("user", user, user_names);
                    return Ok(());
                };
                Some(person.row.id)
            }
        };
        let at = match existing(self.state.client_keys.find(&(owner, doc.name.clone()))) {
            Ok(at) => at,
            Err(ids) => {
                self.ambiguous(&doc.at, "client key", &ids);
                return Ok(());
            }
        };
        let (mut row, former) = match at {
            Some(at) => {
                let Key { row, mappings } = self.state.client_keys.get(at).clone();
                if doc.is_standalone.is_some_and(|standalone| standalone != row.is_standalone) {
                    let message = "cannot change: what a key spends from is settled when it is made";
                    self.problem(doc.at.field_problem("is_standalone", message));
                }
                (row, mappings)
            }
            None => (self.new_client_key(doc, owner), Vec::new()),
        };

        match &doc.key {
            Some(secret) => {
                let text = store::fingerprint(secret.clone());
                if text.hash != row.key_hash || at.is_none() {
                    self.store_text(&mut row, &text)?;
                }
                let other = hashes.insert(text.hash, row.id);
                if other.is_some_and(|other| other != row.id) {
                    self.problem(doc.at.field_problem("key", "another client key has this text"));
                }
            }
            None if doc.key_hash.is_some() => self.store_hash(&mut row, doc, hashes),
            None if at.is_none() => {
                let text = store::mint_client_key(&self.options.client_key_prefix);
                let text = text.map_err(|_| ApplyError::NoRandomness)?;
                self.store_text(&mut row, &text)?;
                let owner = doc.user.as_ref().map_or_else(String::new, |user| format!("{}/", user.name));
                self.minted.push(MintedKey { name: format!("{owner}{}", doc.name), key: text.text });
            }
            None => {}
        }
        self.access(&mut row.access, &doc.access);
        patch(&mut row.allowed_ips, &doc.allowed_ips);
        patch(&mut row.rate_limit, &doc.rate_limit);
        patch(&mut row.concurrent_limit, &doc.concurrent_limit);
        super::reset(&mut row.force_capabilities, &doc.force_capabilities, BTreeMap::new());
        patch(&mut row.on_disconnect, &doc.on_disconnect);
        patch(&mut row.capture_until, &doc.capture_until);
        keep(&mut row.is_active, doc.is_active.as_ref());
        patch(&mut row.locked_at, &doc.locked_at);
        patch(&mut row.lock_reason, &doc.lock_reason);
        patch(&mut row.expires_at, &doc.expires_at);
        keep(&mut row.auto_delete_on_expiry, doc.auto_delete_on_expiry.as_ref());
        let mappings = match &doc.mappings {
            Patch::Absent => former,
            Patch::Null => Vec::new(),
            Patch::Set(docs) => self.mappings(row.id, &former, docs),
        };
        let key = Key::new(mappings, row);
        self.state.client_keys.put(at, key);
        Ok(())
    }

    fn new_client_key(&mut self, doc: &ClientKeyDoc, owner: Option<UserId>) -> ClientKeyRow {
        let is_standalone = doc.is_standalone.unwrap_or(false);
        if owner.is_none() && !is_standalone {
            self.problem(doc.at.field_problem("user", "is required, unless is_standalone is true"));
        }
        let balance = doc.balance_usd.value().copied();
        if is_standalone && balance.is_none() {
            self.warnings
                .push(format!("the standalone key {} has no balance_usd: it may spend without limit", doc.name));
        }
        if !is_standalone && balance.is_some() {
            self.problem(doc.at.field_problem("balance_usd", "belongs to a key with is_standalone: true"));
        }
        ClientKeyRow {
            id: store::mint(),
            user_id: owner,
            key_hash: KeyHash::default(),
            previous_key_hash: None,
            previous_valid_until: None,
            key_encrypted: None,
            key_prefix: None,
            key_last4: None,
            name: Some(doc.name.clone()),
            is_standalone,
            current_balance_usd: balance.filter(|_| is_standalone),
            access: Access::default(),
            allowed_ips: None,
            rate_limit: Some(self.state.settings.default_rate_limit),
            concurrent_limit: Some(CONCURRENT_LIMIT),
            force_capabilities: BTreeMap::new(),
            on_disconnect: None,
            capture_until: None,
            is_active: true,
            locked_at: None,
            lock_reason: None,
            expires_at: None,
            auto_delete_on_expiry: false,
        }
    }

    fn store_text(&self, row: &mut ClientKeyRow, text: &ClientKeyText) -> Result<(), ApplyError> {
        let is_long = text.text.expose().len() >= SHOWN_FROM;
        row.key_hash = text.hash;
        row.key_encrypted = Some(self.vault.seal(Column::ClientKey, row.id.uuid(), &text.text)?);
        row.key_prefix = is_long.then(|| text.prefix.clone());
        row.key_last4 = is_long.then(|| text.last4.clone());
        Ok(())
    }

    /// A key whose text is not known here.
    fn store_hash(&mut self, row: &mut ClientKeyRow, doc: &ClientKeyDoc, hashes: &mut HashMap<KeyHash, ClientKeyId>) {
        let Some(hash) = doc.key_hash else { return };
        if row.key_hash != hash {
            row.key_hash = hash;
            row.key_encrypted = None;
        }
        patch(&mut row.key_prefix, &doc.key_prefix);
        patch(&mut row.key_last4, &doc.key_last4);
        if hashes.insert(hash, row.id).is_some_and(|other| other != row.id) {
            self.problem(doc.at.field_problem("key_hash", "another client key has this text"));
        }
    }

    /// The list as the document has it; a tie that is there already keeps its row.
    fn mappings(&mut self, key: ClientKeyId, former: &[MappingRow], docs: &[MappingDoc]) -> Vec<MappingRow> {
        let mut once = Once::new();
        let mut mappings = Vec::with_capacity(docs.len());
        for doc in docs {
            let provider = &doc.provider;
            let Some(provider_id) = provider_named(&self.state, &provider.name) else {
                self.unknown("provider", provider, provider_names);
                continue;
            };
            if !once.first_value(&mut self.problems, provider_id, &provider.at, "a mapping to this provider") {
                continue;
            }
            let former = former.iter().find(|mapping| mapping.provider_id == provider_id);
            mappings.push(MappingRow {
                id: former.map_or_else(store::mint, |mapping| mapping.id),
                api_key_id: key,
                provider_id,
                priority_adjustment: doc.priority_adjustment,
                weight_millionths: doc.weight_millionths,
                is_enabled: doc.is_enabled,
            });
        }
        mappings
    }
}
