//! The whole configuration: as it is in the database, and as it shall be.

use super::{
    ApplyError,
    table::{Stored, Table},
};
use domain::{
    catalog::{Catalog, ClientKey, Parts, Settings, User},
    format::ApiFormat,
    ids::{EndpointId, GlobalModelId, ProviderId, UserId},
    ledger::Mark,
    money::NanoUsd,
};
use std::collections::{HashMap, HashSet};
use store::{
    DbError, Tx,
    repo::{
        api_keys::{self, ClientKeyRow},
        endpoints::{self, EndpointRow},
        global_models::{self, GlobalModelRow},
        mappings::{self, MappingRow},
        models::{self, ModelRow},
        provider_keys::{self, ProviderKeyRow},
        providers::{self, ProviderRow},
        quotas::{self, Open, QuotaRow},
        settings,
        users::{self, UserRow},
    },
};

/// A user with the open quota period, if there is one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Person {
    pub(crate) row: UserRow,
    pub(super) period: Option<QuotaRow>,
}

/// A client key with its ties to providers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) row: ClientKeyRow,
    pub(super) mappings: Vec<MappingRow>,
}

impl Key {
    /// Mappings have an order of their own, so that two lists of the same ones are equal.
    pub(super) fn new(mut mappings: Vec<MappingRow>, row: ClientKeyRow) -> Self {
        mappings.sort_unstable_by_key(|mapping| mapping.provider_id);
        Self { row, mappings }
    }
}

/// Everything that a document can change.
pub(crate) struct State {
    pub(super) settings_before: Settings,
    pub(crate) settings: Settings,
    pub(crate) global_models: Table<GlobalModelRow>,
    pub(crate) providers: Table<ProviderRow>,
    pub(crate) endpoints: Table<EndpointRow>,
    pub(crate) provider_keys: Table<ProviderKeyRow>,
    pub(crate) models: Table<ModelRow>,
    pub(crate) users: Table<Person>,
    pub(crate) client_keys: Table<Key>,
}

impl State {
    pub(crate) async fn read(tx: &mut Tx) -> Result<Self, DbError> {
        let settings = settings::load(tx).await?;
        let mut periods: HashMap<UserId, QuotaRow> =
            quotas::active_any_owner(tx).await?.into_iter().map(|open| (open.quota.user_id, open.quota)).collect();
        let people = users::all_any_owner(tx).await?.into_iter();
        let people = people.map(|row| Person { period: periods.remove(&row.id), row }).collect();
        let mut ties: HashMap<_, Vec<MappingRow>> = HashMap::new();
        for mapping in mappings::all_any_owner(tx).await? {
            ties.entry(mapping.api_key_id).or_default().push(mapping);
        }
        let keys = api_keys::all_any_owner(tx).await?.into_iter();
        let keys = keys.map(|row| Key::new(ties.remove(&row.id).unwrap_or_default(), row)).collect();
        Ok(Self {
            settings_before: settings.clone(),
            settings,
            global_models: Table::new(global_models::all(tx).await?),
            providers: Table::new(providers::all(tx).await?),
            endpoints: Table::new(endpoints::all(tx).await?),
            provider_keys: Table::new(provider_keys::all(tx).await?),
            models: Table::new(models::all(tx).await?),
            users: Table::new(people),
            client_keys: Table::new(keys),
        })
    }

    /// Makes the database what this state is; an order in which every row finds those that it names. Names that are freed
    /// can be taken at once.
    pub(super) async fn write(&self, tx: &mut Tx) -> Result<(), ApplyError> {
        self.client_keys.delete(tx).await?;
        self.users.delete(tx).await?;
        self.models.delete(tx).await?;
        self.provider_keys.delete(tx).await?;
        self.endpoints.delete(tx).await?;
        self.providers.delete(tx).await?;
        self.global_models.delete(tx).await?;
        let defaults = as_json(&Settings::default())?;
        for (name, _, after) in self.changed_settings()? {
            let value = Some(&after).filter(|after| defaults.get(&name) != Some(after));
            settings::set(tx, &name, value).await?;
        }
        self.global_models.write(tx).await?;
        self.providers.write(tx).await?;
        self.endpoints.write(tx).await?;
        self.provider_keys.write(tx).await?;
        self.free_upstream_names(tx).await?;
        self.models.write(tx).await?;
        self.users.write(tx).await?;
        self.client_keys.write(tx).await
    }

    /// Where models of a provider pass their upstream names on to each other, each lets go of its own first.
    async fn free_upstream_names(&self, tx: &mut Tx) -> Result<(), DbError> {
        let name = |row: &ModelRow| (row.provider_id, row.provider_model_name.clone());
        let moves = || {
            let pairs = self.models.slots().iter().filter_map(|slot| Some((slot.before.as_ref()?, &slot.after)));
            pairs.filter(|(before, after)| before.provider_model_name != after.provider_model_name)
        };
        let wanted: HashSet<_> = moves().map(|(_, after)| name(after)).collect();
        for (before, _) in moves().filter(|(before, _)| wanted.contains(&name(before))) {
            let parked = ModelRow { provider_model_name: before.id.to_string(), ..before.clone() };
            models::update(tx, &parked).await?;
        }
        Ok(())
    }

    /// Name, value before and value after of every setting that changes.
    pub(super) fn changed_settings(&self) -> Result<Vec<(String, serde_json::Value, serde_json::Value)>, DbError> {
        let before = as_json(&self.settings_before)?;
        let after = as_json(&self.settings)?;
        let mut changed = Vec::new();
        for (name, after) in after.as_object().into_iter().flatten() {
            let before = before.get(name).cloned().unwrap_or_default();
            if before != *after {
                changed.push((name.clone(), before, after.clone()));
            }
        }
        Ok(changed)
    }

    pub(super) fn endpoint(&self, provider: ProviderId, format: ApiFormat) -> Option<&EndpointRow> {
        self.endpoints.named(&(provider, format))
    }

    /// The catalog that this state makes; prices have their versions, and rows their times, only after the write.
    pub(crate) fn catalog(&self) -> Result<Catalog, ApplyError> {
        Ok(Catalog::build(self.parts())?)
    }

    /// The rows of that catalog.
    pub(super) fn parts(&self) -> Parts {
        Parts {
            revision: 0,
            shipped: Mark::default(),
            settings: self.settings.clone(),
            users: self.users.rows().map(Person::user).collect(),
            client_keys: self.client_keys.rows().map(|key| Box::new(key.client_key())).collect(),
            providers: self.providers.rows().map(|row| row.provider(NanoUsd::ZERO)).collect(),
            endpoints: self.endpoints.rows().map(EndpointRow::endpoint).collect(),
            provider_keys: self.provider_keys.rows().map(ProviderKeyRow::provider_key).collect(),
            global_models: self.global_models.rows().cloned().map(|row| row.global_model(None, 0)).collect(),
            models: self.models.rows().cloned().map(|row| row.model(None)).collect(),
        }
    }
}

impl Person {
    /// The quota period that is open.
    pub(crate) fn period(&self) -> Option<&QuotaRow> {
        self.period.as_ref()
    }

    fn user(&self) -> User {
        let open = self.period.clone().map(|quota| Open { quota, used_usd: NanoUsd::ZERO });
        self.row.clone().user(open.as_ref(), NanoUsd::ZERO)
    }
}

impl Key {
    pub(crate) fn mappings(&self) -> &[MappingRow] {
        &self.mappings
    }

    /// Takes out the ties to these providers; whether the last one that counts was among them.
    pub(super) fn untie(&mut self, gone: &HashSet<ProviderId>) -> bool {
        let tied = |key: &Self| key.mappings.iter().any(|mapping| mapping.is_enabled);
        let was_tied = tied(self);
        self.mappings.retain(|mapping| !gone.contains(&mapping.provider_id));
        was_tied && !tied(self)
    }

    fn client_key(&self) -> ClientKey {
        self.row.clone().client_key(NanoUsd::ZERO, self.mappings.iter().map(MappingRow::mapping).collect())
    }
}

fn as_json(settings: &Settings) -> Result<serde_json::Value, DbError> {
    serde_json::to_value(settings).map_err(|error| DbError::Unstorable(error.to_string()))
}

/// Ties an entity to its functions of the store.
macro_rules! stored {
    ($($row:ty, $kind:literal, $key:ty, |$this:ident| $of:expr, $insert:path, $update:path, $delete:path;)*) => {$(
        impl Stored for $row {
            type Key = $key;
            const KIND: &'static str = $kind;

            fn key(&self) -> Option<Self::Key> {
                let $this = self;
                Some($of)
            }

            fn id(&self) -> String {
                self.id.to_string()
            }

            async fn insert(&self, tx: &mut Tx) -> Result<(), DbError> {
                $insert(tx, self).await
            }

            async fn update(&self, _before: &Self, tx: &mut Tx) -> Result<bool, DbError> {
                $update(tx, self).await
            }

            async fn delete(&self, tx: &mut Tx) -> Result<bool, DbError> {
                $delete(tx, self.id).await
            }
        }
    )*};
}
stored! {
    GlobalModelRow, "global_model", String, |row| row.name.clone(), global_models::insert, global_models::update,
        global_models::delete;
    ProviderRow, "provider", String, |row| row.name.clone(), providers::insert, providers::update,
        providers::delete;
    EndpointRow, "endpoint", (ProviderId, ApiFormat), |row| (row.provider_id, row.api_format),
        endpoints::insert, endpoints::update, endpoints::delete;
    ProviderKeyRow, "provider_key", (EndpointId, String), |row| (row.endpoint_id, row.name.clone()),
        provider_keys::insert, provider_keys::update, provider_keys::delete;
    ModelRow, "model", (ProviderId, GlobalModelId), |row| (row.provider_id, row.global_model_id),
        models::insert, models::update, models::delete;
}

impl Stored for Person {
    type Key = String;
    const KIND: &'static str = "user";

    fn key(&self) -> Option<String> {
        Some(self.row.username.clone())
    }

    fn id(&self) -> String {
        self.row.id.to_string()
    }

    async fn insert(&self, tx: &mut Tx) -> Result<(), DbError> {
        users::insert(tx, &self.row).await?;
        match &self.period {
            Some(period) => quotas::open(tx, period).await,
            None => Ok(()),
        }
    }

    async fn update(&self, before: &Self, tx: &mut Tx) -> Result<bool, DbError> {
        if self.row != before.row && !users::update(tx, &self.row).await? {
            return Ok(false);
        }
        match (&before.period, &self.period) {
            (before, after) if before == after => Ok(true),
            (Some(before), Some(after)) if before.id == after.id => {
                quotas::set_limit(tx, self.row.id, after.quota_usd).await
            }
            (_, Some(after)) => quotas::open(tx, after).await.map(|()| true),
            (_, None) => quotas::close(tx, self.row.id).await,
        }
    }

    /// Softly: the keys are off, the history stays.
    async fn delete(&self, tx: &mut Tx) -> Result<bool, DbError> {
        users::delete(tx, self.row.id).await
    }
}

impl Stored for Key {
    type Key = (Option<UserId>, String);
    const KIND: &'static str = "api_key";

    fn key(&self) -> Option<Self::Key> {
        Some((self.row.user_id, self.row.name.clone()?))
    }

    fn id(&self) -> String {
        self.row.id.to_string()
    }

    async fn insert(&self, tx: &mut Tx) -> Result<(), DbError> {
        api_keys::insert(tx, &self.row).await?;
        for mapping in &self.mappings {
            mappings::insert(tx, mapping).await?;
        }
        Ok(())
    }

    async fn update(&self, before: &Self, tx: &mut Tx) -> Result<bool, DbError> {
        if self.row != before.row && !api_keys::update_any_owner(tx, &self.row).await? {
            return Ok(false);
        }
        for gone in before.mappings.iter().filter(|old| !self.mappings.iter().any(|new| new.id == old.id)) {
            mappings::delete_any_owner(tx, gone.id).await?;
        }
        for mapping in &self.mappings {
            match before.mappings.iter().find(|old| old.id == mapping.id) {
                None => mappings::insert(tx, mapping).await?,
                Some(old) if old != mapping => {
                    mappings::update_any_owner(tx, mapping).await?;
                }
                Some(_) => {}
            }
        }
        Ok(true)
    }

    async fn delete(&self, tx: &mut Tx) -> Result<bool, DbError> {
        api_keys::delete_any_owner(tx, self.row.id).await
    }
}
