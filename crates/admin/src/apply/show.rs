//! Rows as people read them: names for ids, masks for secrets, and the fields in which two differ.

use super::{
    ApplyError,
    report::{Action, Change, FieldChange},
    state::{Key, Person, State},
    table::{Stored, Table},
};
use domain::{
    catalog::{Access, HeaderMode},
    format::Feature,
    ids::{EndpointId, GlobalModelId, ProviderId, UserId},
    money::Factor,
};
use serde::Serialize;
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fmt::Display,
};
use store::repo::{
    api_keys::ClientKeyRow, endpoints::EndpointRow, global_models::GlobalModelRow, models::ModelRow,
    provider_keys::ProviderKeyRow, providers::ProviderRow, quotas::QuotaRow,
};

/// Every change between the two halves of a state, in the order of a document's sections.
pub(super) fn changes(state: &State) -> Result<Vec<Change>, ApplyError> {
    let names = Names::of(state);
    let mut all = Vec::new();
    for (name, before, after) in state.changed_settings()? {
        let value = FieldChange { name: String::new(), before: Some(before.to_string()), after: after.to_string() };
        all.push(Change { action: Action::Updated, kind: "setting", name, fields: vec![value] });
    }
    names.compare(&state.global_models, &mut all);
    names.compare(&state.providers, &mut all);
    names.compare(&state.endpoints, &mut all);
    names.compare(&state.provider_keys, &mut all);
    names.compare(&state.models, &mut all);
    names.compare(&state.users, &mut all);
    names.compare(&state.client_keys, &mut all);
    Ok(all)
}

/// Names by id.
pub(crate) struct Names {
    providers: HashMap<ProviderId, String>,
    endpoints: HashMap<EndpointId, String>,
    global_models: HashMap<GlobalModelId, String>,
    askable: HashSet<String>,
    users: HashMap<UserId, String>,
}

fn name_of<I: std::hash::Hash + Eq + Display>(names: &HashMap<I, String>, id: &I) -> String {
    names.get(id).cloned().unwrap_or_else(|| id.to_string())
}

impl Names {
    pub(crate) fn of(state: &State) -> Self {
        // What goes has its name to the end.
        let providers = state.providers.rows().chain(state.providers.gone());
        let providers: HashMap<_, _> = providers.map(|row| (row.id, row.name.clone())).collect();
        let endpoints = state.endpoints.rows().chain(state.endpoints.gone());
        let models = state.global_models.rows().chain(state.global_models.gone());
        let users = state.users.rows().chain(state.users.gone());
        let endpoints =
            endpoints.map(|row| (row.id, format!("{}/{}", name_of(&providers, &row.provider_id), row.api_format)));
        Self {
            endpoints: endpoints.collect(),
            askable: state.global_models.rows().map(|row| row.name.clone()).collect(),
            global_models: models.map(|row| (row.id, row.name.clone())).collect(),
            users: users.map(|person| (person.row.id, person.row.username.clone())).collect(),
            providers,
        }
    }

    pub(crate) fn has_provider(&self, id: ProviderId) -> bool {
        self.providers.contains_key(&id)
    }

    pub(crate) fn has_endpoint(&self, id: EndpointId) -> bool {
        self.endpoints.contains_key(&id)
    }

    pub(crate) fn has_user(&self, id: UserId) -> bool {
        self.users.contains_key(&id)
    }

    pub(crate) fn user(&self, id: UserId) -> String {
        name_of(&self.users, &id)
    }

    pub(crate) fn global_model(&self, id: GlobalModelId) -> String {
        name_of(&self.global_models, &id)
    }

    pub(crate) fn provider(&self, id: ProviderId) -> String {
        name_of(&self.providers, &id)
    }

    pub(crate) fn endpoint(&self, id: EndpointId) -> String {
        name_of(&self.endpoints, &id)
    }

    pub(crate) fn has_global_model(&self, name: &str) -> bool {
        self.askable.contains(name)
    }

    /// A client key as `ann/laptop`.
    pub(crate) fn client_key(&self, row: &ClientKeyRow) -> String {
        let name = row.name.clone().unwrap_or_else(|| row.id.to_string());
        match row.user_id {
            Some(user) => format!("{}/{name}", name_of(&self.users, &user)),
            None => format!("{name} (standalone)"),
        }
    }

    fn compare<R: Shown>(&self, table: &Table<R>, all: &mut Vec<Change>) {
        for slot in table.slots() {
            let (action, before) = match &slot.before {
                None => (Action::Created, None),
                Some(before) if *before != slot.after => (Action::Updated, Some(before.fields(self))),
                Some(_) => continue,
            };
            let fields = differences(before.as_ref(), &slot.after.fields(self));
            all.push(Change { action, kind: R::KIND, name: slot.after.label(self), fields });
        }
        let gone =
            |row: &R| Change { action: Action::Deleted, kind: R::KIND, name: row.label(self), fields: Vec::new() };
        all.extend(table.gone().iter().map(gone));
    }
}

/// A field as it is shown, and what it is compared by where that says more.
struct Field {
    name: Cow<'static, str>,
    shown: String,
    hidden: Vec<u8>,
}

/// The fields of a row; null is `none`.
#[derive(Default)]
pub(super) struct Fields(Vec<Field>);

impl Fields {
    fn add(&mut self, name: impl Into<Cow<'static, str>>, shown: String) {
        self.0.push(Field { name: name.into(), shown, hidden: Vec::new() });
    }

    fn plain(&mut self, name: &'static str, value: impl Display) {
        self.add(name, value.to_string());
    }

    fn opt(&mut self, name: &'static str, value: Option<impl Display>) {
        self.add(name, value.map_or_else(none, |value| value.to_string()));
    }

    /// Text and structures as JSON: in quotes, control characters escaped.
    fn json(&mut self, name: &'static str, value: &impl Serialize) {
        let shown = serde_json::to_string(value).unwrap_or_default();
        self.add(name, if shown == "null" { none() } else { shown });
    }

    fn time(&mut self, name: &'static str, unix_us: Option<i64>) {
        self.opt(name, unix_us.map(time));
    }

    fn secret(&mut self, name: impl Into<Cow<'static, str>>, shown: &str, hidden: &[u8]) {
        self.0.push(Field { name: name.into(), shown: shown.to_owned(), hidden: hidden.to_vec() });
    }

    fn access(&mut self, access: &Access, names: &Names) {
        let list = |list: Vec<String>| format!("[{}]", list.join(", "));
        let providers = access.providers.as_ref().map(|ids| ids.iter().map(|id| names.provider(*id)).collect());
        let endpoints = access.endpoints.as_ref().map(|ids| ids.iter().map(|id| names.endpoint(*id)).collect());
        let formats = access.api_formats.as_ref().map(|all| all.iter().map(ToString::to_string).collect());
        self.opt("allowed_providers", providers.map(list));
        self.opt("allowed_endpoints", endpoints.map(list));
        self.opt("allowed_api_formats", formats.map(list));
        self.json("allowed_models", &access.models);
    }
}

fn none() -> String {
    "none".to_owned()
}

/// RFC 3339 in UTC, with as many decimal places as it needs.
pub(crate) fn time(unix_us: i64) -> String {
    jiff::Timestamp::from_microsecond(unix_us).map_or_else(|_| unix_us.to_string(), |time| time.to_string())
}

/// The fields in which two rows differ; without a row before, all.
fn differences(before: Option<&Fields>, after: &Fields) -> Vec<FieldChange> {
    let change = |field: &Field, before: Option<String>, after: String| FieldChange {
        name: field.name.to_string(),
        before,
        after,
    };
    let Some(before) = before else {
        return after.0.iter().map(|new| change(new, None, new.shown.clone())).collect();
    };
    let find = |fields: &Fields, name: &str| fields.0.iter().position(|field| field.name == name);
    let mut all = Vec::new();
    for old in &before.0 {
        match find(after, &old.name).and_then(|index| after.0.get(index)) {
            None => all.push(change(old, Some(old.shown.clone()), none())),
            Some(new) if new.shown != old.shown || new.hidden != old.hidden => {
                all.push(change(new, Some(old.shown.clone()), new.shown.clone()));
            }
            Some(_) => {}
        }
    }
    let fresh = after.0.iter().filter(|new| find(before, &new.name).is_none());
    all.extend(fresh.map(|new| change(new, Some(none()), new.shown.clone())));
    all
}

/// An entity with a name and fields for people.
pub(super) trait Shown: Stored {
    fn label(&self, names: &Names) -> String;
    fn fields(&self, names: &Names) -> Fields;
}

impl Shown for GlobalModelRow {
    fn label(&self, _names: &Names) -> String {
        self.name.clone()
    }

    fn fields(&self, _names: &Names) -> Fields {
        let mut fields = Fields::default();
        fields.json("display_name", &self.display_name);
        fields.opt("default_price_per_request", self.default_price_per_request);
        fields.json("default_tiered_pricing", &self.default_tiered_pricing);
        fields.plain("is_free", self.is_free);
        fields.json("supported_capabilities", &self.supported_capabilities);
        fields.json("config", &self.config);
        fields.plain("is_active", self.is_active);
        fields
    }
}

impl Shown for ProviderRow {
    fn label(&self, _names: &Names) -> String {
        self.name.clone()
    }

    fn fields(&self, _names: &Names) -> Fields {
        let mut fields = Fields::default();
        fields.json("display_name", &self.display_name);
        fields.json("description", &self.description);
        fields.json("website", &self.website);
        fields.plain("billing_type", self.billing_type);
        fields.opt("monthly_quota_usd", self.monthly_quota_usd);
        fields.plain("quota_reset_day", self.quota_reset_day);
        fields.time("quota_last_reset_at", self.quota_last_reset_at);
        fields.opt("rpm_limit", self.rpm_limit);
        fields.plain("provider_priority", self.provider_priority);
        fields.plain("is_active", self.is_active);
        fields.time("quota_expires_at", self.quota_expires_at);
        fields.opt("rate_limit", self.rate_limit);
        fields.opt("concurrent_limit", self.concurrent_limit);
        fields
    }
}

impl Shown for EndpointRow {
    fn label(&self, names: &Names) -> String {
        names.endpoint(self.id)
    }

    fn fields(&self, _names: &Names) -> Fields {
        let mut fields = Fields::default();
        fields.plain("base_url", &self.base_url);
        for (name, rule) in &self.headers {
            // A header's value may be a credential.
            let shown = match rule.mode {
                HeaderMode::Default => "***",
                HeaderMode::Override => "override ***",
                HeaderMode::Remove => "remove",
            };
            fields.secret(format!("headers.{name}"), shown, rule.value.as_bytes());
        }
        fields.plain("timeout", self.timeout);
        fields.plain("max_retries", self.max_retries);
        fields.opt("max_concurrent", self.max_concurrent);
        fields.opt("rate_limit", self.rate_limit);
        fields.plain("is_active", self.is_active);
        fields.json("custom_path", &self.custom_path);
        fields.json("config", &self.config);
        if let Some(proxy) = &self.proxy {
            fields.json("proxy", proxy);
        }
        if let Some(password) = &self.proxy_password {
            fields.secret("proxy.password", "***", &password.0);
        }
        fields
    }
}

impl Shown for ProviderKeyRow {
    fn label(&self, names: &Names) -> String {
        format!("{}/{}", names.endpoint(self.endpoint_id), self.name)
    }

    fn fields(&self, _names: &Names) -> Fields {
        let mut fields = Fields::default();
        fields.secret("api_key", "***", &self.api_key.0);
        fields.json("note", &self.note);
        fields.plain("rate_multiplier", self.rate_multiplier);
        fields.plain("internal_priority", self.internal_priority);
        fields.opt("global_priority", self.global_priority);
        fields.opt("max_concurrent", self.max_concurrent);
        fields.opt("rate_limit", self.rate_limit);
        fields.opt("daily_limit", self.daily_limit);
        fields.opt("monthly_limit", self.monthly_limit);
        fields.json("allowed_models", &self.allowed_models);
        fields.json("capabilities", &self.capabilities);
        fields.plain("cache_ttl_minutes", self.cache_ttl_minutes);
        fields.plain("max_probe_interval_minutes", self.max_probe_interval_minutes);
        fields.plain("is_active", self.is_active);
        fields.time("expires_at", self.expires_at);
        fields
    }
}

impl Shown for ModelRow {
    fn label(&self, names: &Names) -> String {
        format!("{}/{}", names.provider(self.provider_id), names.global_model(self.global_model_id))
    }

    fn fields(&self, _names: &Names) -> Fields {
        let mut fields = Fields::default();
        fields.json("provider_model_name", &self.provider_model_name);
        fields.json("provider_model_aliases", &self.provider_model_aliases);
        fields.opt("price_per_request", self.price_per_request);
        fields.json("tiered_pricing", &self.tiered_pricing);
        fields.plain("is_free", self.is_free);
        for feature in Feature::ALL {
            fields.opt(crate::document::supports(*feature), self.supports.get(feature));
        }
        fields.plain("is_active", self.is_active);
        fields.plain("is_available", self.is_available);
        fields
    }
}

fn quota(person: &Person) -> String {
    let usd = person.row.quota_usd.map_or_else(none, |usd| usd.to_string());
    let Some(QuotaRow { quota_type, quota_usd, period_start, period_end, .. }) = &person.period else { return usd };
    format!("{quota_type} {quota_usd} from {} to {}", time(*period_start), time(*period_end))
}

impl Shown for Person {
    fn label(&self, _names: &Names) -> String {
        self.row.username.clone()
    }

    fn fields(&self, names: &Names) -> Fields {
        let row = &self.row;
        let mut fields = Fields::default();
        fields.json("email", &row.email);
        fields.secret("password", "***", row.password_hash.as_ref().map_or(b"", |hash| hash.0.as_bytes()));
        fields.plain("role", row.role);
        fields.access(&row.access, names);
        fields.json("model_capability_settings", &row.model_capability_settings);
        fields.plain("quota", quota(self));
        fields.opt("default_provider_id", row.default_provider_id.map(|id| names.provider(id)));
        fields.plain("is_active", row.is_active);
        fields
    }
}

impl Shown for Key {
    fn label(&self, names: &Names) -> String {
        names.client_key(&self.row)
    }

    fn fields(&self, names: &Names) -> Fields {
        let row = &self.row;
        let mut fields = Fields::default();
        let shown = [&row.key_prefix, &row.key_last4].map(|part| part.clone().unwrap_or_default()).concat();
        fields.secret("key", "***", &[&row.key_hash, shown.as_bytes()].concat());
        fields.plain("is_standalone", row.is_standalone);
        fields.access(&row.access, names);
        fields.json("allowed_ips", &row.allowed_ips);
        fields.opt("rate_limit", row.rate_limit);
        fields.opt("concurrent_limit", row.concurrent_limit);
        fields.json("force_capabilities", &row.force_capabilities);
        fields.opt("on_disconnect", row.on_disconnect);
        fields.time("capture_until", row.capture_until);
        fields.plain("is_active", row.is_active);
        fields.time("locked_at", row.locked_at);
        fields.json("lock_reason", &row.lock_reason);
        fields.time("expires_at", row.expires_at);
        fields.plain("auto_delete_on_expiry", row.auto_delete_on_expiry);
        let ties = self.mappings.iter().map(|tie| {
            let off = if tie.is_enabled { "" } else { " off" };
            let provider = names.provider(tie.provider_id);
            let weight = u32::try_from(tie.weight_millionths).ok().and_then(Factor::from_millionths);
            let weight = weight.filter(|weight| *weight != Factor::ONE);
            let weight = weight.map_or_else(String::new, |weight| format!(" weight {weight}"));
            format!("{provider} {:+}{weight}{off}", tie.priority_adjustment)
        });
        fields.add("mappings", format!("[{}]", ties.collect::<Vec<_>>().join(", ")));
        fields
    }
}
