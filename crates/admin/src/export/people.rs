//! Users and client keys.

use super::{ExportError, Exporter, sorted, switches, time};
use crate::{
    apply::{Key, Names, Person, State},
    document::{Fields, Value},
};
use domain::{
    catalog::KeyHash,
    money::{Factor, NanoUsd},
};
use std::fmt::Write as _;
use store::{
    fingerprint,
    repo::{api_keys::ClientKeyRow, mappings::MappingRow, quotas::QuotaType},
    vault::Column,
};

impl Exporter<'_> {
    pub(super) fn users(&self) -> Vec<Value> {
        let people = sorted(self.state.users.rows(), |person| person.row.username.clone());
        people.into_iter().map(|person| self.user(person)).collect()
    }

    fn user(&self, person: &Person) -> Value {
        let row = &person.row;
        let mut fields = Fields::default();
        fields.text("username", &row.username);
        fields.text("email", &row.email);
        match &row.password_hash {
            // It acts on creation only: who has a password keeps it.
            None => fields.put("password", Value::Null),
            Some(hash) if self.vault.is_some() => fields.secret("password_hash", &hash.0),
            Some(_) => {}
        }
        fields.text("role", row.role);
        self.access(&mut fields, &row.access);
        let mut settings = Fields::default();
        for (model, capabilities) in &row.model_capability_settings {
            if self.names.has_global_model(model) {
                settings.put(model, switches(capabilities));
            }
        }
        fields.put("model_capability_settings", settings.into());
        fields.put("quota", quota(person));
        fields.opt_text("default_provider_id", row.default_provider_id.map(|id| self.names.provider(id)));
        fields.flag("is_active", row.is_active);
        fields.into()
    }

    pub(super) fn client_keys(&self) -> Result<Vec<Value>, ExportError> {
        exported_client_keys(self.state, &self.names).into_iter().map(|key| self.client_key(key)).collect()
    }

    fn client_key(&self, key: &Key) -> Result<Value, ExportError> {
        let row = &key.row;
        let mut fields = Fields::default();
        fields.text("name", row.name.as_deref().unwrap_or_default());
        if let Some(user) = row.user_id {
            fields.text("user", self.names.user(user));
        }
        self.text(&mut fields, row)?;
        fields.flag("is_standalone", row.is_standalone);
        if row.is_standalone {
            // What is left where it is made anew; a debt is not taken along.
            fields.opt_text("balance_usd", row.current_balance_usd.map(|left| left.max(NanoUsd::ZERO)));
        }
        self.access(&mut fields, &row.access);
        fields.opt_texts("allowed_ips", row.allowed_ips.as_ref());
        fields.opt_number("rate_limit", row.rate_limit);
        fields.opt_number("concurrent_limit", row.concurrent_limit);
        fields.put("force_capabilities", switches(&row.force_capabilities));
        fields.opt_text("on_disconnect", row.on_disconnect);
        time(&mut fields, "capture_until", row.capture_until);
        fields.flag("is_active", row.is_active);
        time(&mut fields, "locked_at", row.locked_at);
        fields.opt_text("lock_reason", row.lock_reason.as_ref());
        time(&mut fields, "expires_at", row.expires_at);
        fields.flag("auto_delete_on_expiry", row.auto_delete_on_expiry);
        let mappings = sorted(key.mappings().iter(), |mapping| self.names.provider(mapping.provider_id));
        fields.list("mappings", mappings.into_iter().map(|mapping| self.mapping(mapping)));
        Ok(fields.into())
    }

    /// The key's text, or what it is known by if the text is not stored.
    fn text(&self, fields: &mut Fields, row: &ClientKeyRow) -> Result<(), ExportError> {
        let Some(vault) = self.vault else { return Ok(()) };
        if let Some(sealed) = &row.key_encrypted {
            let clear = vault.unseal(Column::ClientKey, row.id.uuid(), sealed);
            let clear = clear.map_err(|_| ExportError::Sealed(format!("client key {}", self.names.client_key(row))))?;
            if fingerprint(clear.clone()).hash == row.key_hash && crate::document::is_client_key(clear.expose()) {
                fields.secret("key", clear.expose());
                return Ok(());
            }
        }
        fields.text("key_hash", hexadecimal(&row.key_hash));
        fields.opt_text("key_prefix", row.key_prefix.as_ref());
        fields.opt_text("key_last4", row.key_last4.as_ref());
        Ok(())
    }

    fn mapping(&self, mapping: &MappingRow) -> Value {
        let mut fields = Fields::default();
        fields.text("provider", self.names.provider(mapping.provider_id));
        fields.number("priority_adjustment", mapping.priority_adjustment);
        let weight = u32::try_from(mapping.weight_millionths).ok().and_then(Factor::from_millionths);
        fields.text("weight_multiplier", weight.unwrap_or(Factor::ONE));
        fields.flag("is_enabled", mapping.is_enabled);
        fields.into()
    }
}

/// Without those whose owner is deleted: they are not known any more.
pub(super) fn exported_client_keys<'s>(state: &'s State, names: &Names) -> Vec<&'s Key> {
    let owned = |key: &&Key| key.row.user_id.is_none_or(|user| names.has_user(user));
    let keys = state.client_keys.rows().filter(owned);
    sorted(keys, |key| (key.row.user_id.map(|user| names.user(user)), key.row.name.clone()))
}

fn quota(person: &Person) -> Value {
    let mut fields = Fields::default();
    let Some(period) = person.period() else {
        let Some(limit) = person.row.quota_usd else { return Value::Null };
        fields.text("type", "none");
        fields.text("usd", limit);
        return fields.into();
    };
    fields.text("type", period.quota_type);
    fields.text("usd", period.quota_usd);
    if period.quota_type == QuotaType::Custom {
        time(&mut fields, "start", Some(period.period_start));
        time(&mut fields, "end", Some(period.period_end));
    }
    fields.into()
}

fn hexadecimal(hash: &KeyHash) -> String {
    hash.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
