//! Users and the one preference that routes their requests.

use super::{Entity, access_values, quotas, read_access};
use crate::{
    db::{DbError, Row, Tx, Value},
    feed, mint,
};
use domain::{
    catalog::{Access, Budget, User},
    format::{Capability, Role},
    ids::{ProviderId, UserId},
    money::NanoUsd,
    records::Account,
};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};
use uuid::Uuid;

/// The hash of a password in its PHC text form; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A user's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct UserRow {
    /// The row's id, from [`crate::mint`].
    pub id: UserId,
    /// Lower-cased, unique among users that are not deleted.
    pub email: String,
    /// Likewise unique.
    pub username: String,
    /// `None`: no login by password.
    pub password_hash: Option<PasswordHash>,
    /// Rights.
    pub role: Role,
    /// What the user may use.
    pub access: Access,
    /// Per global model: capabilities that are required or ruled out.
    pub model_capability_settings: BTreeMap<String, BTreeMap<Capability, bool>>,
    /// Limit without a period; a period's own limit is mirrored here by [`super::quotas::open`].
    pub quota_usd: Option<NanoUsd>,
    /// Off: none of the user's keys works.
    pub is_active: bool,
    /// Goes first within its priority; kept in `user_preferences`.
    pub default_provider_id: Option<ProviderId>,
}

impl UserRow {
    /// As the catalog holds it: with the period in force, or what was spent outside any.
    pub fn user(self, open: Option<&quotas::Open>, spent: NanoUsd) -> User {
        let outside = || Budget { account: Account::User(self.id), limit: self.quota_usd, spent, ends_at: None };
        let quota = open.map_or_else(outside, quotas::Open::budget);
        User {
            id: self.id,
            username: self.username,
            email: self.email,
            role: self.role,
            is_active: self.is_active,
            access: self.access,
            model_capability_settings: self.model_capability_settings,
            default_provider_id: self.default_provider_id,
            quota,
        }
    }
}

impl Entity for UserRow {
    const TABLE: &'static str = "users";
    const COLUMNS: &'static [&'static str] = &[
        "email",
        "username",
        "password_hash",
        "role",
        "allowed_providers",
        "allowed_endpoints",
        "allowed_api_formats",
        "allowed_models",
        "model_capability_settings",
        "quota_usd",
        "is_active",
    ];

    fn id(&self) -> Uuid {
        self.id.uuid()
    }

    fn values(&self) -> Result<Vec<Value>, DbError> {
        let mut values = vec![
            (&self.email).into(),
            (&self.username).into(),
            Value::Text(self.password_hash.as_ref().map(|hash| hash.0.clone())),
            self.role.as_str().into(),
        ];
        values.extend(access_values(&self.access)?);
        let capabilities = Some(&self.model_capability_settings).filter(|settings| !settings.is_empty());
        values.extend([Value::opt_json(capabilities)?, self.quota_usd.into(), self.is_active.into()]);
        Ok(values)
    }

    fn read(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: row.id("id")?,
            email: row.text("email")?,
            username: row.text("username")?,
            password_hash: row.opt_text("password_hash")?.map(PasswordHash),
            role: row.named("role")?,
            access: read_access(row)?,
            model_capability_settings: row.json("model_capability_settings")?,
            quota_usd: row.opt_usd("quota_usd")?,
            is_active: row.flag("is_active")?,
            default_provider_id: None,
        })
    }
}

/// All users that are not deleted.
pub async fn all_any_owner(tx: &mut Tx) -> Result<Vec<UserRow>, DbError> {
    const PREFERENCES: &str =
        "SELECT user_id, default_provider_id FROM user_preferences WHERE default_provider_id IS NOT NULL";
    let mut users: Vec<UserRow> = super::select(tx, "WHERE NOT is_deleted", vec![]).await?;
    let mut preferred = HashMap::new();
    for row in tx.rows(PREFERENCES, vec![]).await? {
        preferred.insert(row.id::<UserId>("user_id")?, row.id("default_provider_id")?);
    }
    for user in &mut users {
        user.default_provider_id = preferred.get(&user.id).copied();
    }
    Ok(users)
}

/// Adds a user.
pub async fn insert(tx: &mut Tx, user: &UserRow) -> Result<(), DbError> {
    super::insert(tx, user).await?;
    prefer(tx, user).await
}

/// Writes a user's configuration; false if there is no such user.
pub async fn update(tx: &mut Tx, user: &UserRow) -> Result<bool, DbError> {
    Ok(super::update(tx, user, &[]).await? && prefer(tx, user).await.map(|()| true)?)
}

/// Deletes a user softly: the keys are off, e-mail and username are free, history stays.
pub async fn delete(tx: &mut Tx, user: UserId) -> Result<bool, DbError> {
    const DELETE: &str =
        "UPDATE users SET is_deleted = TRUE, is_active = FALSE, updated_at = $2 WHERE id = $1 AND NOT is_deleted";
    const KEYS_OFF: &str = "UPDATE api_keys SET is_active = FALSE, updated_at = $2 WHERE user_id = $1";
    const BURY: &str = "INSERT INTO tombstones (id, kind, name, deleted_at) SELECT id, 'user', username, $2 FROM users \
                        WHERE id = $1 ON CONFLICT (id) DO NOTHING";
    let values = || vec![Value::from(user.uuid()), tx_now(tx)];
    let (delete, keys, bury) = (values(), values(), values());
    if tx.run(DELETE, delete).await? == 0 {
        return Ok(false);
    }
    tx.run(KEYS_OFF, keys).await?;
    tx.run(BURY, bury).await?;
    feed::append(tx, UserRow::TABLE, user.uuid()).await?;
    Ok(true)
}

fn tx_now(tx: &Tx) -> Value {
    tx.now_us().into()
}

async fn prefer(tx: &mut Tx, user: &UserRow) -> Result<(), DbError> {
    const PREFER: &str = "INSERT INTO user_preferences (id, created_at, updated_at, user_id, default_provider_id) \
                          VALUES ($1, $2, $2, $3, $4) ON CONFLICT (user_id) \
                          DO UPDATE SET default_provider_id = excluded.default_provider_id, updated_at = excluded.updated_at";
    const FORGET: &str = "UPDATE user_preferences SET default_provider_id = NULL WHERE user_id = $1";
    let Some(provider) = user.default_provider_id else {
        tx.run(FORGET, vec![user.id.uuid().into()]).await?;
        return Ok(());
    };
    let values = vec![mint::<Uuid>().into(), tx.now_us().into(), user.id.uuid().into(), provider.uuid().into()];
    tx.run(PREFER, values).await?;
    Ok(())
}

/// What users have spent in what runs now, period or not; who has spent nothing is left out.
pub(crate) async fn spent_any_owner(tx: &mut Tx) -> Result<HashMap<UserId, NanoUsd>, DbError> {
    const SPENT: &str = "SELECT id, used_usd FROM users WHERE used_usd <> 0";
    tx.rows(SPENT, vec![]).await?.iter().map(|row| Ok((row.id("id")?, row.usd("used_usd")?))).collect()
}
